// Package auth says who a request comes from and what they may do. A Strategy
// turns the credentials of a request into an Identity; rules (policy.go) say
// which roles are allowed what, as Ironic's default policy has it.
package auth

import (
	"fmt"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"
)

// Config of authentication. The tag names section and option of the INI file;
// all are Ironic's. Durations are seconds there.
type Config struct {
	// Strategy is noauth, http_basic or keystone.
	Strategy string `ini:"DEFAULT.auth_strategy"`
	// UserFile has the users of http_basic, each a line of name:bcrypt.
	UserFile string `ini:"DEFAULT.http_basic_auth_user_file"`
	// ServiceElevated gives the role service in the project ServiceProject the
	// rights of a system member.
	ServiceElevated bool   `ini:"DEFAULT.rbac_service_role_elevated_access"`
	ServiceProject  string `ini:"DEFAULT.rbac_service_project_name"`

	// AuthURI is where clients get their tokens, as they are told with a 401.
	AuthURI string `ini:"keystone_authtoken.www_authenticate_uri"`
	// AuthURL is where Keystone is asked about tokens; empty is AuthURI.
	AuthURL string `ini:"keystone_authtoken.auth_url"`
	// AuthType is password, or its other name v3password.
	AuthType string `ini:"keystone_authtoken.auth_type"`
	// Username and the rest are the account that Keystone is asked with.
	Username          string `ini:"keystone_authtoken.username"`
	Password          string `ini:"keystone_authtoken.password"`
	UserDomainName    string `ini:"keystone_authtoken.user_domain_name"`
	UserDomainID      string `ini:"keystone_authtoken.user_domain_id"`
	ProjectName       string `ini:"keystone_authtoken.project_name"`
	ProjectDomainName string `ini:"keystone_authtoken.project_domain_name"`
	ProjectDomainID   string `ini:"keystone_authtoken.project_domain_id"`
	// SystemScope is all for an account with a role on the system instead of in a project.
	SystemScope string `ini:"keystone_authtoken.system_scope"`
	// CAFile has the authorities that Keystone's certificate is checked with;
	// empty is the system's.
	CAFile string `ini:"keystone_authtoken.cafile"`
	// Insecure does not check it.
	Insecure bool `ini:"keystone_authtoken.insecure"`
	// ConnectTimeout bounds each request to Keystone.
	ConnectTimeout time.Duration `ini:"keystone_authtoken.http_connect_timeout"`
	// MaxRetries is how often a request that failed is repeated.
	MaxRetries int `ini:"keystone_authtoken.http_request_max_retries"`
	// TokenCacheTime is for how long an answer of Keystone is good.
	TokenCacheTime time.Duration `ini:"keystone_authtoken.token_cache_time"`
	// ServiceTokenRoles are those of which a service's token needs one, to
	// vouch for a user's token that has expired meanwhile.
	ServiceTokenRoles []string `ini:"keystone_authtoken.service_token_roles"`
}

// DefaultConfig needs no other service.
func DefaultConfig() Config {
	return Config{
		Strategy: "noauth", UserFile: "/etc/ironic/htpasswd", ServiceProject: "service",
		AuthType: "password", UserDomainName: "Default", ProjectDomainName: "Default",
		ConnectTimeout: 10 * time.Second, MaxRetries: 3, TokenCacheTime: 300 * time.Second, ServiceTokenRoles: []string{"service"},
	}
}

// Strategy is a way to authenticate. Its errors are *api.Error with the shape
// and the challenge that clients of this way expect.
type Strategy interface {
	Authenticate(r *http.Request) (*Identity, error)
}

// New makes the strategy that cfg names, after checking its options.
func New(cfg Config, log *logrus.Entry) (Strategy, error) {
	switch cfg.Strategy {
	case "noauth":
		return noauth{}, nil
	case "http_basic":
		return newBasic(cfg.UserFile)
	case "keystone":
		return newKeystone(cfg, log)
	}
	return nil, fmt.Errorf("[DEFAULT]auth_strategy is %q, it can be noauth, http_basic and keystone", cfg.Strategy)
}

// Identity is who a request comes from.
type Identity struct {
	UserID, UserName       string
	ProjectID, ProjectName string
	Roles                  []string
	// System is set when the roles are those on the whole system, rather than
	// in a project.
	System bool
	// Admin passes every rule: without Keystone there are no roles.
	Admin bool
	// elevated is set for the service project's service role.
	elevated bool
}

// User is what a log or a history calls them, "" when nobody knows.
func (id *Identity) User() string {
	if id.UserID != "" {
		return id.UserID
	}
	return id.UserName
}

// noauth trusts everybody who can reach the API.
type noauth struct{}

func (noauth) Authenticate(*http.Request) (*Identity, error) { return &Identity{Admin: true}, nil }
