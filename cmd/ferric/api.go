package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/spf13/cobra"

	"ferric/api/client"
)

// defaultAPI is the conductor's own default address.
const defaultAPI = "http://127.0.0.1:6385"

// connection is how the API is reached. What no flag says is taken from the
// variables that other clients of Ironic read, too.
type connection struct {
	api    string
	cacert string
}

func (c *connection) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&c.api, "api", "", "`URL` of the conductor's API (default $OS_ENDPOINT, else that of the Keystone catalog, else "+defaultAPI+"); user and password are taken from it, or from $OS_USERNAME and $OS_PASSWORD")
	cmd.PersistentFlags().StringVar(&c.cacert, "cacert", "", "`file` with the certificates to trust (default $OS_CACERT)")
}

// client connects. With $OS_CLOUD, or $OS_AUTH_URL, a token is asked of Keystone.
func (c *connection) client(ctx context.Context) (*client.Client, error) {
	base := first(c.api, os.Getenv("OS_ENDPOINT"), os.Getenv("OS_ENDPOINT_OVERRIDE"))
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	kind := os.Getenv("OS_AUTH_TYPE")
	if (os.Getenv("OS_CLOUD") != "" || os.Getenv("OS_AUTH_URL") != "") && kind != "none" && kind != "http_basic" {
		return keystoneClient(ctx, base, transport)
	}
	base = first(base, defaultAPI)
	if user := os.Getenv("OS_USERNAME"); user != "" && kind != "none" {
		u, err := url.Parse(base)
		if err == nil && u.User == nil {
			u.User = url.UserPassword(user, os.Getenv("OS_PASSWORD"))
			base = u.String()
		}
	}
	return client.New(base, transport)
}

func (c *connection) transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	file := first(c.cacert, os.Getenv("OS_CACERT"))
	if file == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates to trust: %s holds none", file)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}

// keystoneClient has Keystone's token sent with every request. Without a base
// the address is that of the service "baremetal" in the catalog.
func keystoneClient(ctx context.Context, base string, transport *http.Transport) (*client.Client, error) {
	var auth gophercloud.AuthOptions
	var endpoint gophercloud.EndpointOpts
	var err error
	if os.Getenv("OS_CLOUD") != "" {
		auth, endpoint, _, err = clouds.Parse()
	} else {
		auth, err = openstack.AuthOptionsFromEnv()
		endpoint.Region = os.Getenv("OS_REGION_NAME")
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if os.Getenv("OS_SYSTEM_SCOPE") == "all" {
		auth.Scope = &gophercloud.AuthScope{System: true}
	}
	auth.AllowReauth = true
	provider, err := config.NewProviderClient(ctx, auth, config.WithTLSConfig(transport.TLSClientConfig))
	if err != nil {
		return nil, fmt.Errorf("ask Keystone for a token: %w", err)
	}
	if base == "" {
		service, err := openstack.NewBareMetalV1(provider, endpoint)
		if err != nil {
			return nil, fmt.Errorf("find the API in Keystone's catalog: %w", err)
		}
		base = strings.TrimSuffix(strings.TrimRight(service.Endpoint, "/"), "/v1")
	}
	return client.New(base, &tokens{provider, transport})
}

// tokens is a transport that adds Keystone's token.
type tokens struct {
	provider *gophercloud.ProviderClient
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *tokens) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, value := range t.provider.AuthenticatedHeaders() {
		r.Header.Set(name, value)
	}
	return t.next.RoundTrip(r)
}

func first(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}

// usage is a mistake in the command line; its exit status is 2.
type usage struct{ error }

func usageError(format string, args ...any) error { return usage{fmt.Errorf(format, args...)} }

// explain makes of an error what an operator can act upon.
func explain(err error) string {
	var refused *url.Error
	if errors.As(err, &refused) && !errors.Is(err, context.Canceled) {
		address := refused.URL
		if u, bad := url.Parse(address); bad == nil {
			address = u.Scheme + "://" + u.Host
		}
		return fmt.Sprintf("cannot reach the API at %s: %v\nIs the conductor running there? Its address is taken from --api or $OS_ENDPOINT.", address, refused.Err)
	}
	return err.Error()
}
