package conversation

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
	"time"

	"ferric/api/ipa"
)

// How a conductor calls an agent: [agent]command_timeout, max_command_attempts, and command_wait_interval, which is six
// seconds there; a machine of ours is not to be waited for that long.
const (
	commandTimeout  = 60 * time.Second
	commandAttempts = 3
	waitInterval    = time.Second
)

// ErrRefused marks an answer of the agent with an HTTP status of 400 and above.
var ErrRefused = errors.New("the agent refused the command")

// Refused is such an answer. It is an ErrRefused.
type Refused struct {
	Status int
	Code   string `json:"faultcode"`
	Text   string `json:"faultstring"`
}

func (r *Refused) Error() string        { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Text) }
func (r *Refused) Is(target error) bool { return target == ErrRefused }

// Command sends one command as the conductor does: the token in the query, "wait" in lower case, JSON without a content
// type. A refusal is a *[Refused].
func (c *Conductor) Command(ctx context.Context, name string, params map[string]any, wait bool) (ipa.Result, error) {
	if params == nil {
		params = map[string]any{}
	}
	body, err := json.Marshal(map[string]any{"name": name, "params": params})
	if err != nil {
		return ipa.Result{}, fmt.Errorf("command %s: %w", name, err)
	}
	answer, err := c.call(ctx, http.MethodPost, url.Values{"wait": {fmt.Sprint(wait)}, "agent_token": {c.Token()}}, body, name)
	if err != nil {
		return ipa.Result{}, fmt.Errorf("command %s: %w", name, err)
	}
	return decodeResult(answer)
}

// Commands asks for the list of all results, oldest first. Releases before 29 show no token.
func (c *Conductor) Commands(ctx context.Context) ([]ipa.Result, error) {
	query := url.Values{}
	if c.Release.TokenOnGET {
		query.Set("agent_token", c.Token())
	}
	answer, err := c.call(ctx, http.MethodGet, query, nil, "")
	if err != nil {
		return nil, fmt.Errorf("list the agent's commands: %w", err)
	}
	var list struct {
		Commands []json.RawMessage `json:"commands"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("list the agent's commands: %w", err)
	}
	results := []ipa.Result{}
	for _, raw := range list.Commands {
		result, err := decodeResult(raw)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}

// decodeResult reads a result, which has these five members and no other (agent contract 1.4).
func decodeResult(raw json.RawMessage) (ipa.Result, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return ipa.Result{}, fmt.Errorf("result %.200q: %w", raw, err)
	}
	for _, name := range []string{"id", "command_name", "command_status", "command_error", "command_result"} {
		if _, there := members[name]; !there {
			return ipa.Result{}, fmt.Errorf("result %.200q has no %s", raw, name)
		}
		delete(members, name)
	}
	for name := range members {
		return ipa.Result{}, fmt.Errorf("result %.200q has a %s", raw, name)
	}
	var result ipa.Result
	return result, json.Unmarshal(raw, &result)
}

// call makes one request to /v1/commands/ and notes it in the transcript. Connection errors are tried again.
func (c *Conductor) call(ctx context.Context, method string, query url.Values, body []byte, name string) (json.RawMessage, error) {
	client, base, err := c.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	for attempt := 1; ; attempt++ {
		status, answer, err := request(ctx, client, method, base+"/v1/commands/?"+query.Encode(), body)
		if err == nil {
			c.note(method, name, query.Get("wait"), status, answer)
			if status >= http.StatusBadRequest {
				refused := &Refused{Status: status}
				if err := json.Unmarshal(answer, refused); err != nil || refused.Text == "" {
					return nil, fmt.Errorf("status %d has no faultstring: %.200q", status, answer)
				}
				return nil, refused
			}
			return answer, nil
		}
		if attempt == commandAttempts || ctx.Err() != nil {
			return nil, err
		}
	}
}

func request(ctx context.Context, client *http.Client, method, address string, body []byte) (int, json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("User-Agent", "python-requests/2.28.1")
	req.Header.Set("Accept", "*/*")
	res, err := client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL, which has the token
		}
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return 0, nil, err
	}
	if kind := res.Header.Get("Content-Type"); kind != "application/json" {
		return 0, nil, fmt.Errorf("content type %q, body %.200q", kind, answer)
	}
	return res.StatusCode, answer, nil
}

// client trusts the certificate of the last heartbeat and nothing else.
func (c *Conductor) client() (*http.Client, string, error) {
	beat := c.Beat()
	if beat.CallbackURL == "" {
		return nil, "", errors.New("no agent has sent a heartbeat in this boot")
	}
	transport := &http.Transport{}
	if beat.AgentVerifyCA != "" {
		pinned := x509.NewCertPool()
		if !pinned.AppendCertsFromPEM([]byte(beat.AgentVerifyCA)) {
			return nil, "", errors.New("agent_verify_ca holds no certificate")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pinned, MinVersion: c.Release.MinTLS}
	}
	return &http.Client{Transport: transport, Timeout: commandTimeout}, beat.CallbackURL, nil
}

// Dead reports whether nothing listens any more where the agent did.
func (c *Conductor) Dead(ctx context.Context) bool {
	client, base, err := c.client()
	if err != nil {
		return false
	}
	defer client.CloseIdleConnections()
	client.Timeout = 2 * time.Second
	_, _, err = request(ctx, client, http.MethodGet, base+"/v1/commands/", nil)
	return err != nil && ctx.Err() == nil
}
