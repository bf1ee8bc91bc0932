// Package agentclient speaks to the agent in a ramdisk as its conductor does:
// it runs a command and lists what became of the commands before it.
package agentclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ferric/api/ipa"
)

const (
	// requestTimeout and attempts are what Ironic has by default as
	// [agent]command_timeout and max_command_attempts (deploy flow, section 1).
	requestTimeout = 60 * time.Second
	attempts       = 3

	// maxBody bounds an answer. The largest one is the archive of
	// log.collect_system_logs, which later lists repeat.
	maxBody = 64 << 20
)

// Client talks to one agent in one of its lives: a rebooted agent has another
// certificate and token and needs a new Client. It is safe for concurrent use
// and holds nothing that must be closed.
type Client struct {
	base       string
	token      string
	http       *http.Client
	retryDelay time.Duration
	timeout    time.Duration // of one request
	attempts   int
	invalid    error // why base or the certificate cannot be used
}

// Options change how a Client speaks; zero values are the defaults.
type Options struct {
	Timeout  time.Duration // of one request
	Attempts int           // to connect
	// Insecure takes any certificate of an agent that has announced none.
	Insecure bool
}

// New returns a client of the agent at baseURL, the callback_url of its
// heartbeat. caPEM is the certificate that came with that heartbeat: only a
// server that proves to be its owner is spoken to. Empty means the system's
// certificate authorities. What is wrong with the arguments is the error of
// every later call.
func New(baseURL, token, caPEM string) *Client { return NewWith(baseURL, token, caPEM, Options{}) }

// NewWith is New with options.
func NewWith(baseURL, token, caPEM string, o Options) *Client {
	c := &Client{base: strings.TrimRight(baseURL, "/"), token: token, retryDelay: time.Second, timeout: o.Timeout, attempts: o.Attempts}
	if c.timeout <= 0 {
		c.timeout = requestTimeout
	}
	if c.attempts <= 0 {
		c.attempts = attempts
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: o.Insecure && caPEM == ""}
	if caPEM != "" {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM([]byte(caPEM)) {
			c.invalid = errors.New("agent's certificate (agent_verify_ca) is not a PEM certificate")
		}
	}
	if u, err := url.Parse(c.base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.invalid = fmt.Errorf("agent url %q is not an http or https url", baseURL)
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     tlsConfig,
			TLSHandshakeTimeout: c.timeout,
			// A machine goes away between two commands without a farewell:
			// with a connection of its own no request meets a dead one.
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("agent redirects, which would give its token away")
		},
	}
	return c
}

// Execute runs the command name ("clean.get_clean_steps") and returns what the
// agent says of it, which may be a failure: see Status and Error of the result.
// Without wait an asynchronous command answers RUNNING.
//
// A request that got lost on its way is repeated. One that may have arrived is
// not: the agent is asked instead whether that command is running. The error
// is ErrBusy while another command runs, ErrUnreachable if the agent does not
// answer, else a StatusError.
func (c *Client) Execute(ctx context.Context, name string, params map[string]any, wait bool) (*ipa.Result, error) {
	if params == nil {
		params = map[string]any{} // the member is required, null is refused
	}
	body, err := json.Marshal(ipa.Request{Name: name, Params: params})
	if err != nil {
		return nil, fmt.Errorf("encode agent command %s: %w", name, err)
	}
	var result ipa.Result
	query := url.Values{"wait": {strconv.FormatBool(wait)}}
	err = c.retry(ctx, func() error { return c.do(ctx, http.MethodPost, "/v1/commands/", query, body, &result) })
	if errors.Is(err, errSent) {
		if running := c.running(ctx, name); running != nil {
			return running, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("agent command %s: %w", name, err)
	}
	return &result, nil
}

// Commands lists the commands of this life of the agent, oldest first. Names
// have no extension prefix.
func (c *Client) Commands(ctx context.Context) ([]ipa.Result, error) {
	var list ipa.Results
	get := func() error { return c.do(ctx, http.MethodGet, "/v1/commands/", nil, nil, &list) }
	err := c.retry(ctx, func() error {
		err := get()
		if errors.Is(err, errSent) && ctx.Err() == nil {
			return get() // a list may be asked for twice
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list agent commands: %w", err)
	}
	return list.Commands, nil
}

// Progress tells how far a transfer is, as of now: it is asked for once. An
// agent that transfers nothing, or knows no such question, has ErrNoProgress.
func (c *Client) Progress(ctx context.Context) (*ipa.Progress, error) {
	var progress ipa.Progress
	err := c.do(ctx, http.MethodGet, "/ferric/v1/progress", nil, nil, &progress)
	if status := (*StatusError)(nil); errors.As(err, &status) && status.Status == http.StatusNotFound {
		return nil, ErrNoProgress
	}
	if err != nil {
		return nil, fmt.Errorf("agent progress: %w", err)
	}
	return &progress, nil
}

// EraseReport tells what the latest step that erases did to which device. It is
// asked for once. An agent that erased nothing, or knows no such question,
// answers with a StatusError.
func (c *Client) EraseReport(ctx context.Context) (*ipa.EraseReport, error) {
	var report ipa.EraseReport
	if err := c.do(ctx, http.MethodGet, "/ferric/v1/erase_report", nil, nil, &report); err != nil {
		return nil, fmt.Errorf("agent erase report: %w", err)
	}
	return &report, nil
}

// Cancel ends the step that runs, if it may be aborted, and waits for its end
// as long as ctx lasts. Only ferric's own agents know how to: any other, and
// one that runs nothing or nothing abortable, answers with a StatusError.
func (c *Client) Cancel(ctx context.Context) error {
	commands, err := c.Commands(ctx)
	if err != nil {
		return err
	}
	if len(commands) == 0 || commands[len(commands)-1].Status != ipa.StatusRunning {
		return nil
	}
	last := commands[len(commands)-1]
	var result ipa.Result
	if err := c.do(ctx, http.MethodDelete, "/ferric/v1/commands/"+url.PathEscape(last.ID), url.Values{"wait": {"true"}}, nil, &result); err != nil {
		return fmt.Errorf("cancel agent command %s: %w", last.Name, err)
	}
	return nil
}

// running returns the newest command of the agent if it is name and still
// runs: the rule by which a lost answer is recovered (agent contract, 12).
func (c *Client) running(ctx context.Context, name string) *ipa.Result {
	commands, err := c.Commands(ctx)
	if err != nil || len(commands) == 0 {
		return nil
	}
	last := commands[len(commands)-1]
	if _, short, _ := strings.Cut(name, "."); last.Name != short || last.Status != ipa.StatusRunning {
		return nil
	}
	return &last
}

// retry repeats send while the agent cannot be connected to.
func (c *Client) retry(ctx context.Context, send func() error) error {
	for attempt := 1; ; attempt++ {
		err := send()
		if attempt == c.attempts || !errors.Is(err, ErrUnreachable) || errors.Is(err, errSent) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(c.retryDelay):
		}
	}
}

// do makes one request and decodes its answer into out.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	if c.invalid != nil {
		return c.invalid
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	if query == nil {
		query = url.Values{}
	}
	query.Set("agent_token", c.token)
	req, err := http.NewRequestWithContext(ctx, method, c.base+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")

	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return c.unreachable(err)
	case len(answer) > maxBody:
		return fmt.Errorf("agent at %s answers with more than %d MiB", c.base, maxBody>>20)
	case resp.StatusCode >= 300:
		return newStatusError(resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("agent at %s answers with broken JSON: %w", c.base, err)
	}
	return nil
}

// unreachable tells a request that never left, which may be repeated, from
// one whose answer got lost.
func (c *Client) unreachable(err error) error {
	err = withoutURL(err)
	var dial *net.OpError
	var handshake *tls.CertificateVerificationError
	switch {
	case errors.As(err, &handshake):
		return fmt.Errorf("agent at %s does not own the certificate of its heartbeat: %w", c.base, err)
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.base, err)
	default:
		return fmt.Errorf("%w at %s: %w", errSent, c.base, err)
	}
}

// withoutURL strips the address from an error of net/http: it has the token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
