// Package ironic is the agent as a client of the bare-metal API: version
// negotiation, lookup, heartbeats, and which address to advertise.
package ironic

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
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Version is an API microversion (major is always 1).
type Version int

// Versions that the agent contract names, section "Version negotiation".
const (
	fallbackVersion     Version = 31 // when the server cannot be asked
	maxLookup           Version = 62
	maxHeartbeat        Version = 68
	sinceAgentVersion   Version = 36
	sinceAgentToken     Version = 62
	sinceVerifyCA       Version = 68
	TokenOnEveryRequest Version = 96 // conductors since then poll with the token
)

func (v Version) String() string { return "1." + strconv.Itoa(int(v)) }

// SupportsVerifyCA reports whether the server takes the agent's certificate.
func (v Version) SupportsVerifyCA() bool { return v >= sinceVerifyCA }

// ParseVersion reads "1.96".
func ParseVersion(s string) (Version, error) {
	minor, ok := strings.CutPrefix(strings.TrimSpace(s), "1.")
	n, err := strconv.Atoi(minor)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not an API version", s)
	}
	return Version(n), nil
}

// maxAnswer bounds an answer of the API in bytes.
const maxAnswer = 16 << 20

// Options of a client.
type Options struct {
	URLs            []string // without trailing slashes
	Timeout         time.Duration
	Insecure        bool
	CAFile          string
	CertFile        string // of a client certificate, if KeyFile is set too
	KeyFile         string
	GlobalRequestID string
	Version         string // of the API, "1.96"; "": ask the server
}

// Client talks to the API. Several URLs are tried in order on connection
// errors; the one that works moves to the front.
type Client struct {
	opts Options
	http *http.Client

	mu      sync.Mutex
	urls    []string
	version Version // configured or negotiated; 0 if not yet
}

// NewClient makes a client.
func NewClient(opts Options) (*Client, error) {
	if len(opts.URLs) == 0 {
		return nil, errors.New("no API URL is configured")
	}
	c := &Client{opts: opts, urls: append([]string(nil), opts.URLs...)}
	var err error
	if opts.Version != "" {
		if c.version, err = ParseVersion(opts.Version); err != nil {
			return nil, err
		}
	}
	if c.http, err = NewHTTPClient(opts); err != nil {
		return nil, err
	}
	return c, nil
}

// NewHTTPClient makes a client for servers of OpenStack, with the trust,
// certificate and time limit of the options.
func NewHTTPClient(opts Options) (*http.Client, error) {
	trust := &tls.Config{InsecureSkipVerify: opts.Insecure}
	if opts.CAFile != "" && !opts.Insecure {
		pem, err := os.ReadFile(opts.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", opts.CAFile)
		}
	}
	if opts.CertFile != "" && opts.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(opts.CertFile, opts.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		trust.Certificates = []tls.Certificate{cert}
	}
	transport := &http.Transport{TLSClientConfig: trust, Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 30 * time.Second}
	return &http.Client{Timeout: opts.Timeout, Transport: transport}, nil
}

// StatusError is an answer of the API other than the one that was wanted.
type StatusError struct {
	Code int
	Text string // beginning of the body
}

func (e *StatusError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the API answered %d %s", e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("the API answered %d %s: %s", e.Code, http.StatusText(e.Code), e.Text)
}

// do makes a request on the first URL that answers at all and decodes the
// answer into out, if it has the status wanted.
func (c *Client) do(ctx context.Context, method, path string, v Version, in, out any, want int) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	var failures []error
	for _, base := range c.URLs() {
		resp, err := c.request(ctx, method, base+path, v, body)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		c.prefer(base)
		return decode(resp, out, want)
	}
	return errors.Join(failures...)
}

// URLs are those of the API, the one that answered last in front.
func (c *Client) URLs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.urls...)
}

func (c *Client) prefer(base string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.urls[0] == base {
		return
	}
	urls := []string{base}
	for _, u := range c.urls {
		if u != base {
			urls = append(urls, u)
		}
	}
	c.urls = urls
}

func (c *Client) request(ctx context.Context, method, url string, v Version, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if v > 0 {
		req.Header.Set("X-OpenStack-Ironic-API-Version", v.String())
	}
	if c.opts.GlobalRequestID != "" {
		req.Header.Set("X-OpenStack-Request-ID", c.opts.GlobalRequestID)
	}
	return c.http.Do(req)
}

func decode(resp *http.Response, out any, want int) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read answer of the API: %w", err)
	}
	if resp.StatusCode != want {
		const shown = 300
		return &StatusError{Code: resp.StatusCode, Text: strings.ToValidUTF8(string(body[:min(len(body), shown)]), "?")}
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("answer of the API is longer than %d bytes", maxAnswer)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("decode answer of the API: %w", err)
	}
	return nil
}

// ServerVersion is the newest API version of the server. It is asked once;
// as long as that fails, 1.31 is assumed.
func (c *Client) ServerVersion(ctx context.Context) Version {
	v, err := c.askVersion(ctx)
	if err != nil {
		return fallbackVersion
	}
	return v
}

// versionPoll is the time between two questions for the version.
const versionPoll = time.Second

// WaitForVersion is ServerVersion for what is decided once in a life of the
// agent: it asks until the server tells, for at most patience.
func (c *Client) WaitForVersion(ctx context.Context, patience time.Duration) (Version, error) {
	deadline := time.Now().Add(patience)
	for {
		v, err := c.askVersion(ctx)
		if err == nil {
			return v, nil
		}
		if !time.Now().Before(deadline) {
			return 0, fmt.Errorf("API version of the server: %w", err)
		}
		select {
		case <-time.After(versionPoll):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (c *Client) versionKnown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version > 0
}

func (c *Client) askVersion(ctx context.Context) (Version, error) {
	c.mu.Lock()
	known := c.version
	c.mu.Unlock()
	if known > 0 {
		return known, nil
	}
	var root struct {
		Default struct {
			Version string `json:"version"`
		} `json:"default_version"`
	}
	if err := c.do(ctx, http.MethodGet, "/", 0, nil, &root, http.StatusOK); err != nil {
		return 0, err
	}
	v, err := ParseVersion(root.Default.Version)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = v
	return v, nil
}
