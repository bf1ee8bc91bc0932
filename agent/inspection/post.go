package inspection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tries to post (agent contract, section "When and how inspection runs"):
// after connection errors on all URLs, 5xx and 409.
const (
	tries         = 5
	shortestRetry = 5 * time.Second
	longestRetry  = 30 * time.Second
)

// An agent that is faster than the conductor gets 404 until the node has
// moved on from "inspecting" (peer notes, section "A fast agent is too
// early"), and one that is faster than DHCP reaches no network; both take
// seconds.
const (
	earlyTries = 30
	earlyRetry = time.Second
)

// maxAnswer bounds an answer of the server in bytes.
const maxAnswer = 1 << 20

// rejection is an answer other than that the document was taken.
type rejection struct {
	url    string
	status int
	text   string
}

func (r *rejection) Error() string {
	return fmt.Sprintf("%s answered %d %s: %s", r.url, r.status, http.StatusText(r.status), r.text)
}

// post sends the document until a server takes it and returns the node's UUID.
func (o *Options) post(ctx context.Context, doc document) (string, error) {
	if len(o.URLs) == 0 {
		return "", errors.New("no URL to post the inventory to")
	}
	body, err := json.Marshal(doc)
	if err != nil {
		return "", fmt.Errorf("encode inventory: %w", err)
	}
	for try, early := 1, 1; ; {
		uuid, err := o.postOnce(ctx, body)
		var rejected *rejection
		isRejected := errors.As(err, &rejected)
		isEarly := isRejected && rejected.status == http.StatusNotFound || errors.Is(err, unix.ENETUNREACH)
		var wait time.Duration
		switch {
		case err == nil:
			return uuid, nil
		case isEarly:
			if early == earlyTries {
				return "", err
			}
			wait = earlyRetry
			early++
		case isRejected && rejected.status < 500 && rejected.status != http.StatusConflict && rejected.status != http.StatusTooManyRequests:
			return "", err
		case try == tries:
			return "", fmt.Errorf("%d tries: %w", tries, err)
		default:
			wait = retryWait(try)
			try++
		}
		o.Log.WithError(err).Warnf("inventory was not taken, trying again in %s", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// retryWait is the wait after the nth try: 5, 5, 6, 12 s.
func retryWait(try int) time.Duration {
	grown := 1500 * time.Millisecond << (try - 1)
	return min(max(grown, shortestRetry), longestRetry)
}

// postOnce sends the document to the first URL that answers at all.
func (o *Options) postOnce(ctx context.Context, body []byte) (string, error) {
	var unreachable []error
	for _, url := range o.URLs {
		resp, err := o.request(ctx, url, body)
		if err != nil {
			unreachable = append(unreachable, err)
			continue
		}
		return readAnswer(url, resp)
	}
	return "", errors.Join(unreachable...)
}

// request carries no API version (agent contract, section "Version negotiation").
func (o *Options) request(ctx context.Context, url string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if o.RequestID != "" {
		req.Header.Set("X-OpenStack-Request-ID", o.RequestID)
	}
	return o.HTTP.Do(req)
}

func readAnswer(url string, resp *http.Response) (uuid string, err error) {
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("read answer of %s: %w", url, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		const shown = 300
		text := strings.ToValidUTF8(string(data[:min(len(data), shown)]), "?")
		return "", &rejection{url, resp.StatusCode, text}
	}
	var answer struct {
		UUID string `json:"uuid"`
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return "", &rejection{url, resp.StatusCode, fmt.Sprintf("no JSON object: %v", err)}
	}
	return answer.UUID, nil
}
