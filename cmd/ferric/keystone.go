package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"

	"ferric/api/client"
)

// keystoneClient has Keystone's token sent with every request. Without a base
// the address is that of the service "baremetal" in the catalog.
func (c *connection) keystoneClient(ctx context.Context, base, cloud string, transport *http.Transport) (*client.Client, error) {
	var auth gophercloud.AuthOptions
	var endpoint gophercloud.EndpointOpts
	var trusted *tls.Config
	var err error
	if cloud != "" {
		auth, endpoint, trusted, err = clouds.Parse(clouds.WithCloudName(cloud))
	} else {
		auth = fromEnvironment(os.Getenv)
		endpoint.Region = os.Getenv("OS_REGION_NAME")
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if transport.TLSClientConfig == nil && trusted != nil {
		transport.TLSClientConfig = trusted // those of clouds.yaml
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
	return client.New(base, &tokens{provider, c.watched(transport)})
}

// fromEnvironment reads the variables of OpenStack's own clients, in which the
// user and the project have domains of their own.
func fromEnvironment(env func(string) string) gophercloud.AuthOptions {
	auth := gophercloud.AuthOptions{
		IdentityEndpoint:            env("OS_AUTH_URL"),
		ApplicationCredentialID:     env("OS_APPLICATION_CREDENTIAL_ID"),
		ApplicationCredentialName:   env("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: env("OS_APPLICATION_CREDENTIAL_SECRET"),
		TokenID:                     env("OS_TOKEN"),
	}
	if auth.TokenID == "" {
		auth.UserID, auth.Username = first(env("OS_USER_ID"), env("OS_USERID")), env("OS_USERNAME")
		auth.Password, auth.Passcode = env("OS_PASSWORD"), env("OS_PASSCODE")
	}
	if auth.UserID == "" && auth.Username != "" {
		auth.DomainID, auth.DomainName = domain(env, "OS_USER_DOMAIN", "OS_DOMAIN")
	}
	if auth.ApplicationCredentialSecret != "" {
		return auth // it has a scope of its own
	}
	switch id, name := env("OS_PROJECT_ID"), env("OS_PROJECT_NAME"); {
	case env("OS_SYSTEM_SCOPE") == "all":
		auth.Scope = &gophercloud.AuthScope{System: true}
	case id != "":
		auth.Scope = &gophercloud.AuthScope{ProjectID: id}
	case name != "":
		auth.Scope = &gophercloud.AuthScope{ProjectName: name}
		auth.Scope.DomainID, auth.Scope.DomainName = domain(env, "OS_PROJECT_DOMAIN", "OS_DOMAIN", "OS_USER_DOMAIN")
	}
	return auth
}

// domain is the first of those that are named, by ID or else by name; without
// any it is Keystone's own default.
func domain(env func(string) string, variables ...string) (id, name string) {
	for _, variable := range variables {
		if id := env(variable + "_ID"); id != "" {
			return id, ""
		}
		if name := env(variable + "_NAME"); name != "" {
			return "", name
		}
	}
	return "default", ""
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
