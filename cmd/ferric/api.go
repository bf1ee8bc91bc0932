package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"

	"ferric/api"
	"ferric/api/client"
	"ferric/api/ironic"
)

// defaultAPI is the conductor's own default address.
const defaultAPI = "http://127.0.0.1:6385"

// connection is how the API is reached. What no flag says is taken from the
// variables that other clients of Ironic read, too.
type connection struct {
	api, cacert, cloud, version string
	insecure, debug             bool
	retries                     int
	stderr                      io.Writer
}

func (c *connection) flags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.api, "api", "", "`URL` of the conductor's API (default $OS_ENDPOINT, else that of the Keystone catalog, else "+defaultAPI+"); user and password are taken from it, or from $OS_USERNAME and $OS_PASSWORD")
	flags.StringVar(&c.cacert, "cacert", "", "`file` with the certificates to trust (default $OS_CACERT)")
	flags.BoolVar(&c.insecure, "insecure", false, "trust any certificate")
	flags.StringVar(&c.version, "api-version", "", "`version` of the API to speak, 1.N (default $OS_BAREMETAL_API_VERSION, else the newest that both know)")
	flags.BoolVar(&c.debug, "debug", false, "show each request and its status on standard error")
	// As the baremetal client calls them.
	flags.StringVar(&c.api, "os-endpoint", "", "")
	flags.StringVar(&c.cacert, "os-cacert", "", "")
	flags.StringVar(&c.version, "os-baremetal-api-version", "", "")
	flags.StringVar(&c.cloud, "os-cloud", "", "")
	flags.IntVar(&c.retries, "max-retries", -1, "")
	for _, name := range []string{"os-endpoint", "os-cacert", "os-baremetal-api-version", "os-cloud", "max-retries"} {
		flags.Lookup(name).Hidden = true
	}
}

// retryDelay is how long the baremetal client waits between two tries.
const retryDelay = 2 * time.Second

// client connects. With $OS_CLOUD, or $OS_AUTH_URL, a token is asked of Keystone.
func (c *connection) client(ctx context.Context) (*client.Client, error) {
	api, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	if c.retries >= 0 {
		api = api.Patient(time.Duration(c.retries) * retryDelay)
	}
	api = api.OnLocked(func(err error) { fmt.Fprintf(c.stderr, "%s Trying again.\n", printable(err.Error())) })
	version := first(c.version, os.Getenv("OS_BAREMETAL_API_VERSION"))
	if version == "" || version == "latest" {
		return api, nil
	}
	v, err := ironic.ParseVersion(version)
	if err != nil {
		return nil, usageError("version of the API: %v", err)
	}
	return api.Only(v), nil
}

func (c *connection) connect(ctx context.Context) (*client.Client, error) {
	base := first(c.api, os.Getenv("OS_ENDPOINT"), os.Getenv("OS_ENDPOINT_OVERRIDE"))
	transport, err := c.transport()
	if err != nil {
		return nil, err
	}
	kind := os.Getenv("OS_AUTH_TYPE")
	cloud := first(c.cloud, os.Getenv("OS_CLOUD"))
	if (cloud != "" || os.Getenv("OS_AUTH_URL") != "") && kind != "none" && kind != "http_basic" {
		return c.keystoneClient(ctx, base, cloud, transport)
	}
	base = first(base, defaultAPI)
	if user := os.Getenv("OS_USERNAME"); user != "" && kind != "none" {
		u, err := url.Parse(base)
		if err == nil && u.User == nil {
			u.User = url.UserPassword(user, os.Getenv("OS_PASSWORD"))
			base = u.String()
		}
	}
	return client.New(base, c.watched(transport))
}

// watched shows requests when that is asked for.
func (c *connection) watched(next http.RoundTripper) http.RoundTripper {
	if !c.debug {
		return next
	}
	return &watch{next, c.stderr}
}

// watch is a transport that shows requests: no headers and no bodies, in which
// secrets may be.
type watch struct {
	next http.RoundTripper
	out  io.Writer
}

// RoundTrip implements http.RoundTripper.
func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := w.next.RoundTrip(r)
	status := "no answer"
	if err == nil {
		status = fmt.Sprintf("%s, %s", resp.Status, first(resp.Header.Get("Openstack-Request-Id"), "no request id"))
	}
	fmt.Fprintf(w.out, "%s %s (version %s): %s, %s\n", r.Method, printable(r.URL.Redacted()), r.Header.Get(ironic.HeaderVersion), printable(status), time.Since(start).Round(time.Millisecond))
	return resp, err
}

func (c *connection) transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if c.insecure || os.Getenv("OS_INSECURE") == "true" {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
		return transport, nil
	}
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

const whoAsks = "Who you are is taken from $OS_USERNAME and $OS_PASSWORD (HTTP basic authentication), or from $OS_CLOUD, or $OS_AUTH_URL with the variables of Keystone."

// explain makes of an error what an operator can act upon.
func explain(err error) string {
	text := err.Error()
	var away *url.Error
	if errors.As(err, &away) && !errors.Is(err, context.Canceled) {
		address := away.URL
		if u, bad := url.Parse(address); bad == nil {
			address = u.Scheme + "://" + u.Host
		}
		text = fmt.Sprintf("cannot reach the API at %s: %v", address, away.Err)
		var unknown x509.UnknownAuthorityError
		var wrongHost x509.HostnameError
		switch {
		case errors.As(err, &unknown):
			return text + "\nIf its certificate is to be trusted, name the file with it, or with its issuer's, by --cacert or $OS_CACERT."
		case errors.As(err, &wrongHost):
			return text + "\nCall it by a name that its certificate has."
		case strings.Contains(text, "server gave HTTP response to HTTPS client"):
			return text + "\nIt does not speak TLS: its address begins with http://."
		}
		return text + "\nIs the conductor running there? Its address is taken from --api or $OS_ENDPOINT."
	}
	if gophercloud.ResponseCodeIs(err, http.StatusUnauthorized) {
		return "Keystone refuses the user or the password.\n" + whoAsks
	}
	var refusal *api.Error
	if !errors.As(err, &refusal) {
		return text
	}
	switch refusal.Status {
	case http.StatusUnauthorized:
		return text + "\n" + whoAsks
	case http.StatusForbidden:
		return text + "\nYou are known, but your roles do not allow this."
	case http.StatusConflict:
		if strings.Contains(refusal.Text, "is locked by") {
			return text + "\nIt was tried again while it was locked; wait for what is under way, and repeat it."
		}
	}
	return text
}
