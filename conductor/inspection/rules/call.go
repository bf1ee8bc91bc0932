package rules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of the calls that rules make.
const (
	maxTimeout  = 30 * time.Second // of a try
	maxRetries  = 5
	maxBackoff  = 10 * time.Second // between two tries
	maxResponse = 64 << 10         // bytes that are read, so that the connection ends well
	maxHeaders  = 32
)

// Call is a GET that a rule makes to tell another system of an inspection. The
// answer counts by its status only. So that the conductor is no way for an
// inspected machine to reach other systems, it goes by HTTP or HTTPS only, to a
// host that the rule itself names, follows redirects on that host only, and
// nobody is shown what was answered.
type Call struct {
	URL     *url.URL
	Headers map[string]string
	Proxies map[string]*url.URL // by scheme of the URL
	Timeout time.Duration       // of a try
	Retries int
	Backoff time.Duration // before the second try, doubled for each later
}

func readCall(args map[string]any) (Call, error) {
	c := Call{Timeout: 5 * time.Second, Retries: 3, Backoff: 300 * time.Millisecond, Headers: map[string]string{}, Proxies: map[string]*url.URL{}}
	var err error
	if c.URL, err = webAddress(args["url"]); err != nil {
		return c, fmt.Errorf("url: %w", err)
	}
	seconds := func(name string, to *time.Duration, limit time.Duration) {
		v, given := args[name]
		if !given || err != nil {
			return
		}
		n, numberErr := asNumber(v)
		if numberErr != nil || math.IsNaN(n) || n < 0 || n == 0 && name == "timeout" {
			err = fmt.Errorf("%s has to be a number of seconds greater than zero", name)
			return
		}
		*to = time.Duration(min(n, limit.Seconds()) * float64(time.Second))
	}
	seconds("timeout", &c.Timeout, maxTimeout)
	seconds("backoff_factor", &c.Backoff, maxBackoff)
	if v, given := args["retries"]; given && err == nil {
		n, numberErr := asNumber(v)
		if numberErr != nil || n < 0 || n != math.Trunc(n) {
			return c, errors.New("retries has to be a whole number")
		}
		c.Retries = int(min(n, maxRetries))
	}
	if err != nil {
		return c, err
	}
	return c, c.readMaps(args)
}

func (c *Call) readMaps(args map[string]any) error {
	headers, isObject := args["headers"].(map[string]any)
	if !isObject && args["headers"] != nil || len(headers) > maxHeaders {
		return fmt.Errorf("headers has to be an object of at most %d texts", maxHeaders)
	}
	for name, v := range headers {
		c.Headers[name] = text(v)
	}
	proxies, isObject := args["proxies"].(map[string]any)
	if !isObject && args["proxies"] != nil {
		return errors.New("proxies has to be an object of addresses by scheme")
	}
	for scheme, v := range proxies {
		proxy, err := webAddress(v)
		if err != nil {
			return fmt.Errorf("proxies: %w", err)
		}
		c.Proxies[strings.TrimSuffix(scheme, "://")] = proxy
	}
	return nil
}

func webAddress(v any) (*url.URL, error) {
	s, _ := v.(string)
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%.200q is not an http or https address", s)
	}
	return u, nil
}

// namedIn reports whether the call's hosts stand in the rule itself: in the
// action's arguments or loop, rather than in what was inspected.
func (c Call) namedIn(raw map[string]any) bool {
	named := map[string]bool{}
	var collect func(v any)
	collect = func(v any) {
		switch v := v.(type) {
		case string:
			rest := v
			for _, scheme := range []string{"http://", "https://"} {
				if after, ok := strings.CutPrefix(rest, scheme); ok {
					if end := strings.IndexAny(after, "/?#"); end >= 0 {
						after = after[:end]
					}
					if u, err := url.Parse(scheme + after); err == nil {
						named[u.Host] = true
					}
				}
			}
			named[v] = true // a host in an item of a loop
		case map[string]any:
			for _, part := range v {
				collect(part)
			}
		case []any:
			for _, part := range v {
				collect(part)
			}
		}
	}
	collect(raw["args"])
	collect(raw["loop"])
	for _, proxy := range c.Proxies {
		if !named[proxy.Host] {
			return false
		}
	}
	return named[c.URL.Host] || named[c.URL.Hostname()]
}

// Get makes calls.
func Get(ctx context.Context, c Call) error {
	transport := &http.Transport{DisableKeepAlives: true, Proxy: func(r *http.Request) (*url.URL, error) { return c.Proxies[r.URL.Scheme], nil }}
	client := &http.Client{Transport: transport, Timeout: c.Timeout, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > 3 || r.URL.Host != c.URL.Host {
			return errors.New("redirected too often, or to another host")
		}
		return nil
	}}
	pause := c.Backoff
	for try := 0; ; try++ {
		again, err := get(ctx, client, c)
		if err == nil || !again || try >= c.Retries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, maxBackoff)
	}
}

// get tries once; again says whether a later try may do better.
func get(ctx context.Context, client *http.Client, c Call) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL.String(), nil)
	if err != nil {
		return false, err
	}
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return true, fmt.Errorf("request failed: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse)); err != nil {
		return true, fmt.Errorf("request failed: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		again := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError
		return again, errors.New("request to " + c.URL.Redacted() + " failed with status " + strconv.Itoa(resp.StatusCode))
	}
	return false, nil
}
