package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"

	"ferric/api"
)

// maxToken bounds the tokens that Keystone is asked about, in bytes.
const maxToken = 8 << 10

// badTokenCacheTime is how long a token that Keystone does not know is not
// asked for again.
const badTokenCacheTime = 10 * time.Second

// keystone asks Keystone who holds a token.
type keystone struct {
	cfg       Config
	challenge string
	client    *keystoneClient
	known     *memory[*token]
	asking    singleflight.Group
	log       *logrus.Entry
}

func newKeystone(cfg Config, log *logrus.Entry) (*keystone, error) {
	client, err := newKeystoneClient(cfg)
	if err != nil {
		return nil, err
	}
	uri := cfg.AuthURI
	if uri == "" {
		uri = cfg.AuthURL
	}
	return &keystone{cfg: cfg, challenge: fmt.Sprintf("Keystone uri=%q", uri), client: client, known: newMemory[*token](), log: log}, nil
}

// Authenticate checks the X-Auth-Token header. A token that has expired is
// good still if a service vouches for it with its own one, X-Service-Token.
func (k *keystone) Authenticate(r *http.Request) (*Identity, error) {
	id := r.Header.Get("X-Auth-Token")
	if id == "" {
		return nil, k.refuse()
	}
	vouched := false
	if service := r.Header.Get("X-Service-Token"); service != "" {
		t, err := k.token(r.Context(), service, false)
		if err != nil {
			return nil, err
		}
		if vouched = slices.ContainsFunc(t.roles, func(role string) bool { return slices.Contains(k.cfg.ServiceTokenRoles, role) }); !vouched {
			k.log.WithField("user", t.userID).Debug("a service token has none of the roles in [keystone_authtoken]service_token_roles")
		}
	}
	t, err := k.token(r.Context(), id, vouched)
	if err != nil {
		return nil, err
	}
	return &Identity{
		UserID: t.userID, UserName: t.userName, ProjectID: t.projectID, ProjectName: t.projectName,
		Roles: t.roles, System: t.system,
		elevated: k.cfg.ServiceElevated && t.projectName == k.cfg.ServiceProject && k.cfg.ServiceProject != "" && slices.Contains(t.roles, "service"),
	}, nil
}

// token gives what Keystone says of a token, now or a while ago.
func (k *keystone) token(ctx context.Context, id string, expired bool) (*token, error) {
	if len(id) > maxToken {
		return nil, k.refuse()
	}
	kind := "valid"
	if expired {
		kind = "expired"
	}
	key := k.known.key(kind, id)
	if t, ok := k.known.get(key); ok {
		if t == nil || !expired && time.Now().After(t.expires) {
			return nil, k.refuse()
		}
		return t, nil
	}
	// Requests that come together ask once. Who goes away meanwhile must not
	// fail the others: the question has a deadline of its own.
	found, err, _ := k.asking.Do(string(key[:]), func() (any, error) {
		t, err := k.client.validate(context.WithoutCancel(ctx), id, expired)
		switch {
		case errors.Is(err, errTokenUnknown):
			k.known.put(key, nil, time.Now().Add(badTokenCacheTime))
		case err == nil:
			until := time.Now().Add(k.cfg.TokenCacheTime)
			if t.expires.Before(until) && !expired {
				until = t.expires
			}
			k.known.put(key, t, until)
		}
		return t, err
	})
	if errors.Is(err, errTokenUnknown) {
		return nil, k.refuse()
	}
	if err != nil {
		k.log.WithError(err).Error("cannot ask Keystone about a token")
		return nil, api.Refusal(http.StatusServiceUnavailable, "", "The identity service cannot be asked about the token.")
	}
	t := found.(*token)
	if !expired && time.Now().After(t.expires) {
		return nil, k.refuse()
	}
	return t, nil
}

func (k *keystone) refuse() error {
	return api.Refusal(http.StatusUnauthorized, k.challenge, "The request you have made requires authentication.")
}
