// Package client speaks Ironic's REST API: to ferric's conductor and to any
// other that serves it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"ferric/api"
	"ferric/api/ironic"
)

const (
	requestTimeout = 60 * time.Second
	maxBody        = 64 << 20

	// A locked node, or a conductor without a free worker, is asked again for
	// so long: most locks are held for the time of a BMC command.
	lockPatience = 30 * time.Second
	lockDelay    = 500 * time.Millisecond
)

// Client is a client of one API. It is safe for concurrent use.
type Client struct {
	base         *url.URL
	http         *http.Client
	version      *atomic.Int64   // of the next request; falls to the server's maximum
	only         bool            // no other version
	onLocked     func(err error) // may be nil
	lockPatience time.Duration
	lockDelay    time.Duration
	pollInterval time.Duration
}

// New returns a client of the API at base, "http://host:6385"; user and
// password in it are sent with every request. A nil transport is the default
// one.
func New(base string, transport http.RoundTripper) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil {
		return nil, fmt.Errorf("url of the API: %w", errors.Unwrap(err))
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("url of the API %q is not an http or https url", u.Redacted())
	}
	c := &Client{
		base:         u,
		http:         &http.Client{Transport: transport, Timeout: requestTimeout},
		version:      new(atomic.Int64),
		lockPatience: lockPatience,
		lockDelay:    lockDelay,
		pollInterval: 500 * time.Millisecond,
	}
	c.version.Store(int64(ironic.VersionLatest))
	return c, nil
}

// At returns a client that asks for version, or lower if the server has not
// got it.
func (c *Client) At(version ironic.Version) *Client {
	at := *c
	at.version = new(atomic.Int64)
	at.version.Store(int64(version))
	return &at
}

// Only returns a client that asks for version; a server that has not got it
// refuses.
func (c *Client) Only(version ironic.Version) *Client {
	only := c.At(version)
	only.only = true
	return only
}

// Patient returns a client that asks a locked node again for so long; others do
// so for lockPatience.
func (c *Client) Patient(patience time.Duration) *Client {
	other := *c
	other.lockPatience = patience
	return &other
}

// OnLocked returns a client that calls a function before it asks again what was
// refused because of a lock.
func (c *Client) OnLocked(f func(err error)) *Client {
	other := *c
	other.onLocked = f
	return &other
}

// Version tells the version that is spoken, after asking the server.
func (c *Client) Version(ctx context.Context) (ironic.Version, error) {
	if err := c.get(ctx, "/v1", nil, nil); err != nil {
		return 0, err
	}
	return ironic.Version(c.version.Load()), nil
}

func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, out)
}

// call makes a request, again while the node is locked, and decodes the answer
// into out unless that is nil. A refusal is an *api.Error.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	err := c.send(ctx, method, path, query, body, out)
	if locked(err) && c.lockPatience > 0 && c.onLocked != nil {
		c.onLocked(err)
	}
	for deadline := time.Now().Add(c.lockPatience); locked(err) && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", method, path, errors.Join(err, ctx.Err()))
		case <-time.After(c.lockDelay):
		}
		err = c.send(ctx, method, path, query, body, out)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// locked tells a refusal that passes by itself (REST contract, section 1.2)
// from other conflicts.
func locked(err error) bool {
	var refusal *api.Error
	if !errors.As(err, &refusal) {
		return false
	}
	return refusal.Status == http.StatusServiceUnavailable ||
		refusal.Status == http.StatusConflict && strings.Contains(refusal.Text, "is locked by host")
}

// send makes a request, once more if the server refuses its version.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	for {
		version := ironic.Version(c.version.Load())
		resp, err := c.request(ctx, method, path, query, body, version)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
		resp.Body.Close()
		if err != nil {
			return err
		}
		if len(answer) > maxBody {
			return fmt.Errorf("answer is larger than %d MiB", maxBody>>20)
		}
		if resp.StatusCode == http.StatusNotAcceptable {
			newest, err := ironic.ParseVersion(resp.Header.Get(ironic.HeaderMaximumVersion))
			switch {
			case err != nil:
			case newest < version && c.only:
				return &api.Error{Status: resp.StatusCode, Text: fmt.Sprintf("version %s of the API was asked for, the server has %s at most", version, newest)}
			case newest < version:
				c.version.CompareAndSwap(int64(version), int64(newest))
				continue // at most once for each version that was ever asked for
			}
		}
		if resp.StatusCode >= 300 {
			refusal := decodeError(resp.StatusCode, answer)
			if version < ironic.VersionLatest && ofOldServer(refusal) {
				refusal.Text += fmt.Sprintf(" (version %s of the API is spoken; this client knows %s)", version, ironic.VersionLatest)
			}
			return refusal
		}
		if out == nil || len(answer) == 0 && resp.StatusCode != http.StatusOK {
			return nil
		}
		if err := json.Unmarshal(answer, out); err != nil {
			return fmt.Errorf("answer is broken JSON: %w", err)
		}
		return nil
	}
}

// ofOldServer tells refusals that a server makes of what it does not know yet:
// a path of which it says nothing else, or an attribute.
func ofOldServer(refusal *api.Error) bool {
	return refusal.Status == http.StatusNotAcceptable ||
		refusal.Status == http.StatusNotFound && refusal.Text == http.StatusText(http.StatusNotFound) ||
		strings.Contains(refusal.Text, "is not a valid field")
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte, version ironic.Version) (*http.Response, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set(ironic.HeaderVersion, version.String())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.http.Do(req) // its error shows no password
}

// decodeError reads the shapes of an error body (REST contract, section 1.2):
// a document, or a document as text, below error_message, or error, or by
// itself.
func decodeError(status int, body []byte) *api.Error {
	text := http.StatusText(status)
	document := json.RawMessage(body)
	for range 3 {
		var outer struct {
			Wrapped json.RawMessage `json:"error_message"`
			Basic   json.RawMessage `json:"error"`
			Fault   string          `json:"faultstring"`
			Message string          `json:"message"`
			Title   string          `json:"title"`
		}
		var inner string
		if json.Unmarshal(document, &inner) == nil && inner != "" {
			text, document = inner, json.RawMessage(inner)
			continue
		}
		if json.Unmarshal(document, &outer) != nil {
			break
		}
		for _, candidate := range []string{outer.Title, outer.Message, outer.Fault} {
			if candidate != "" {
				text = candidate
			}
		}
		if document = outer.Wrapped; document == nil {
			document = outer.Basic
		}
		if document == nil {
			break
		}
	}
	return &api.Error{Status: status, Text: text}
}

// IsStatus tells whether err is a refusal of the server with that HTTP status.
func IsStatus(err error, status int) bool {
	var refusal *api.Error
	return errors.As(err, &refusal) && refusal.Status == status
}

// segment makes an identifier fit for a path.
func segment(ident string) string { return url.PathEscape(ident) }
