package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxTokenDocument bounds what Keystone says of a token, in bytes.
	maxTokenDocument = 1 << 20
	// renewBefore is how long before its end our own token is renewed.
	renewBefore = 60 * time.Second
	retryPause  = 200 * time.Millisecond
)

// errTokenUnknown is for tokens that Keystone does not know, or not any more.
var errTokenUnknown = errors.New("token unknown to Keystone")

// errOurs is for our own token being refused.
var errOurs = errors.New("Keystone refuses the service's own token")

// keystoneClient speaks version 3 of the identity API, as far as one has to to
// validate tokens.
type keystoneClient struct {
	tokens  string // URL
	login   []byte // request for our own token
	http    *http.Client
	retries int
	timeout time.Duration

	mu      sync.Mutex // held while logging in
	own     string
	ownEnds time.Time
}

func newKeystoneClient(cfg Config) (*keystoneClient, error) {
	base := cfg.AuthURL
	if base == "" {
		base = cfg.AuthURI
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("[keystone_authtoken]auth_url is %q, it has to be an http or https URL", base)
	}
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v3")
	u.Path, u.RawPath, u.RawQuery, u.Fragment = path+"/v3/auth/tokens", "", "", ""
	if cfg.AuthType != "password" && cfg.AuthType != "v3password" {
		return nil, fmt.Errorf("[keystone_authtoken]auth_type is %q, only password is supported", cfg.AuthType)
	}
	if cfg.Username == "" || cfg.Password == "" {
		return nil, errors.New("[keystone_authtoken]username and password have to be set")
	}
	roots, err := rootsOf(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("[keystone_authtoken]cafile: %w", err)
	}
	login, err := json.Marshal(loginOf(cfg))
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, InsecureSkipVerify: cfg.Insecure, MinVersion: tls.VersionTLS12}
	transport.MaxIdleConnsPerHost = 8
	timeout := cfg.ConnectTimeout
	if timeout <= 0 {
		timeout = DefaultConfig().ConnectTimeout
	}
	return &keystoneClient{
		tokens: u.String(), login: login, retries: max(cfg.MaxRetries, 0), timeout: timeout,
		http: &http.Client{Transport: transport, Timeout: timeout,
			// A redirection would carry tokens elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// rootsOf reads certificates; an empty path is the system's.
func rootsOf(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", path)
	}
	return pool, nil
}

// loginOf is the body of the request for our own token.
func loginOf(cfg Config) map[string]any {
	domain := func(id, name string) map[string]any {
		if id != "" {
			return map[string]any{"id": id}
		}
		return map[string]any{"name": name}
	}
	auth := map[string]any{"identity": map[string]any{
		"methods": []string{"password"},
		"password": map[string]any{"user": map[string]any{
			"name": cfg.Username, "password": cfg.Password, "domain": domain(cfg.UserDomainID, cfg.UserDomainName)}},
	}}
	switch {
	case cfg.SystemScope == "all":
		auth["scope"] = map[string]any{"system": map[string]any{"all": true}}
	case cfg.ProjectName != "":
		auth["scope"] = map[string]any{"project": map[string]any{
			"name": cfg.ProjectName, "domain": domain(cfg.ProjectDomainID, cfg.ProjectDomainName)}}
	}
	return map[string]any{"auth": auth}
}

// validate asks about a token: errTokenUnknown for one that is not valid.
func (k *keystoneClient) validate(ctx context.Context, id string, expired bool) (*token, error) {
	// Each step has a deadline; together they need not take longer than clients wait.
	ctx, cancel := context.WithTimeout(ctx, 3*k.timeout)
	defer cancel()
	var err error
	for attempt := 0; attempt <= k.retries; attempt++ {
		if attempt > 0 {
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(retryPause << (attempt - 1)):
			}
		}
		var t *token
		t, err = k.ask(ctx, id, expired)
		if errors.Is(err, errOurs) && attempt == 0 {
			k.forget()
			t, err = k.ask(ctx, id, expired)
		}
		if err == nil || errors.Is(err, errTokenUnknown) || errors.Is(err, errOurs) {
			return t, err
		}
	}
	return nil, err
}

func (k *keystoneClient) ask(ctx context.Context, id string, expired bool) (*token, error) {
	own, err := k.ownToken(ctx)
	if err != nil {
		return nil, err
	}
	address := k.tokens + "?nocatalog=1"
	if expired {
		address += "&allow_expired=1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("validate token: %w", err)
	}
	req.Header = http.Header{"Accept": {"application/json"}, "X-Auth-Token": {own}, "X-Subject-Token": {id}}
	resp, err := k.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("validate token: %w", err)
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("validate token: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		t, err := parseToken(body)
		if err != nil {
			return nil, fmt.Errorf("validate token: %w", err)
		}
		return t, nil
	case http.StatusNotFound, http.StatusBadRequest:
		return nil, errTokenUnknown
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("validate token: %w: %s", errOurs, resp.Status)
	}
	return nil, fmt.Errorf("validate token: Keystone answered %s", resp.Status)
}

// ownToken is the token that we ask with; it is renewed before it ends.
func (k *keystoneClient) ownToken(ctx context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.own != "" && time.Until(k.ownEnds) > renewBefore {
		return k.own, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.tokens+"?nocatalog=1", bytes.NewReader(k.login))
	if err != nil {
		return "", fmt.Errorf("log in to Keystone: %w", err)
	}
	req.Header = http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}}
	resp, err := k.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("log in to Keystone: %w", err)
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("log in to Keystone: %w", err)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return "", fmt.Errorf("log in to Keystone with [keystone_authtoken]username: %w: %s", errOurs, resp.Status)
	}
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("log in to Keystone: it answered %s", resp.Status)
	}
	t, err := parseToken(body)
	if err != nil {
		return "", fmt.Errorf("log in to Keystone: %w", err)
	}
	own := resp.Header.Get("X-Subject-Token")
	if own == "" {
		return "", errors.New("log in to Keystone: its answer has no token")
	}
	k.own, k.ownEnds = own, t.expires
	return own, nil
}

func (k *keystoneClient) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.own = ""
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxTokenDocument+1))
	if err == nil && len(body) > maxTokenDocument {
		err = fmt.Errorf("the answer has more than %d bytes", maxTokenDocument)
	}
	return body, err
}

// token is what Keystone says of one.
type token struct {
	userID, userName       string
	projectID, projectName string
	roles                  []string
	system                 bool
	expires                time.Time
}

func parseToken(body []byte) (*token, error) {
	type named struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	var doc struct {
		Token *struct {
			User    named  `json:"user"`
			Project *named `json:"project"`
			System  *struct {
				All bool `json:"all"`
			} `json:"system"`
			Roles   []named   `json:"roles"`
			Expires time.Time `json:"expires_at"`
		} `json:"token"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errors.New("the answer is not a token's document")
	}
	if doc.Token == nil || doc.Token.User.ID == "" || doc.Token.Expires.IsZero() {
		return nil, errors.New("the answer lacks the token, its user or its end")
	}
	t := &token{userID: doc.Token.User.ID, userName: doc.Token.User.Name, expires: doc.Token.Expires,
		system: doc.Token.System != nil && doc.Token.System.All}
	if doc.Token.Project != nil {
		if t.system {
			return nil, errors.New("the token is both of a project and of the system")
		}
		t.projectID, t.projectName = doc.Token.Project.ID, doc.Token.Project.Name
	}
	for _, r := range doc.Token.Roles {
		t.roles = append(t.roles, r.Name)
	}
	return t, nil
}
