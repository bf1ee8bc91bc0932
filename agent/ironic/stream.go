package ironic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Limits of a stream.
const (
	maxStreamIdle  = 15 * time.Second // without a byte
	streamFailures = 5                // in a row, without a byte between them
	firstWait      = 200 * time.Millisecond
	longestWait    = 2 * time.Second
)

// Download says what to fetch for a node.
type Download struct {
	URL         string // absolute, or a path at the API
	Size        int64  // bytes; neither more nor less
	Node, Token string // shown to the API only
	Log         *logrus.Entry
}

// Stream is what is behind a URL, in one piece: where a connection breaks, the
// next one goes on. It must be closed.
type Stream struct {
	ctx    context.Context
	client *Client
	http   *http.Client
	d      Download

	offset   int64
	failures int
	body     io.ReadCloser // nil: not connected
	end      context.CancelFunc
	idle     *time.Timer
}

// Stream prepares to fetch d as long as ctx lasts; Read connects. Redirections
// are not followed: the token is for the API alone.
func (c *Client) Stream(ctx context.Context, d Download) (*Stream, error) {
	u, err := url.Parse(d.URL)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	absolute := u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
	path := u.Scheme == "" && u.Host == "" && u.Opaque == "" && strings.HasPrefix(d.URL, "/")
	if !absolute && !path || u.User != nil {
		return nil, fmt.Errorf("fetch: %.200q is neither a URL nor a path at the API", d.URL)
	}
	return &Stream{ctx: ctx, client: c, d: d, http: &http.Client{
		Transport:     c.http.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// errFinal: another connection would not help.
var errFinal = errors.New("not tried again")

// Read implements io.Reader. After the size that was promised it is at its end.
func (s *Stream) Read(p []byte) (int, error) {
	for {
		n, err := s.readOnce(p)
		switch {
		case n > 0:
			s.failures = 0
			return n, nil
		case err == nil, errors.Is(err, io.EOF):
			return 0, err
		case s.ctx.Err() != nil:
			return 0, fmt.Errorf("fetch %s: after %d of %d bytes: %w", s.d.URL, s.offset, s.d.Size, context.Cause(s.ctx))
		case errors.Is(err, errFinal), s.failures+1 >= streamFailures:
			return 0, fmt.Errorf("fetch %s: after %d of %d bytes: %w", s.d.URL, s.offset, s.d.Size, err)
		}
		s.failures++
		s.d.Log.WithError(err).WithFields(logrus.Fields{"url": s.d.URL, "bytes": s.offset}).Warn("fetch broken off, trying again")
		select {
		case <-time.After(min(firstWait<<(s.failures-1), longestWait)):
		case <-s.ctx.Done():
		}
	}
}

// readOnce reads from the connection that there is, or makes one. Its error
// has closed it; io.EOF is the true end.
func (s *Stream) readOnce(p []byte) (int, error) {
	if s.body == nil {
		if s.offset == s.d.Size && s.offset > 0 {
			return 0, io.EOF
		}
		if err := s.connect(); err != nil {
			s.disconnect()
			return 0, err
		}
	}
	s.idle.Reset(s.patience())
	n, err := s.body.Read(p)
	if s.offset += int64(n); s.offset > s.d.Size {
		s.disconnect()
		return 0, fmt.Errorf("%w: it has more than the %d bytes that were promised", errFinal, s.d.Size)
	}
	if err == nil || n > 0 && errors.Is(err, io.EOF) {
		return n, nil
	}
	s.disconnect()
	if errors.Is(err, io.EOF) && s.offset < s.d.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *Stream) patience() time.Duration { return min(s.client.opts.Timeout, maxStreamIdle) }

// connect asks for what is not there yet: at the URLs of the API in their
// order, or at the one that was given.
func (s *Stream) connect() error {
	var failures []error
	for _, target := range s.targets() {
		s.disconnect()
		ctx, end := context.WithCancel(s.ctx)
		s.end, s.idle = end, time.AfterFunc(s.patience(), end)
		resp, err := s.request(ctx, target)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		s.body = resp.Body
		if target.base != "" {
			s.client.prefer(target.base)
		}
		return s.place(resp)
	}
	return errors.Join(failures...)
}

// target is a place to fetch from; base is the URL of the API that it is at,
// "" if it is elsewhere.
type target struct{ url, base string }

func (s *Stream) targets() []target {
	bases := s.client.URLs()
	if !strings.HasPrefix(s.d.URL, "/") {
		for _, base := range bases {
			if strings.HasPrefix(s.d.URL, base+"/") {
				return []target{{s.d.URL, base}}
			}
		}
		return []target{{s.d.URL, ""}}
	}
	targets := make([]target, len(bases))
	for i, base := range bases {
		targets[i] = target{base + s.d.URL, base}
	}
	return targets
}

func (s *Stream) request(ctx context.Context, t target) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return nil, err
	}
	// What is counted, and gone on with, are the bytes themselves.
	req.Header.Set("Accept-Encoding", "identity")
	if s.offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(s.offset, 10)+"-")
	}
	if t.base != "" {
		query := req.URL.Query()
		query.Set("node_uuid", s.d.Node)
		req.URL.RawQuery = query.Encode()
		req.Header.Set(ipa.HeaderAgentToken, s.d.Token)
	}
	if s.client.opts.GlobalRequestID != "" {
		req.Header.Set("X-OpenStack-Request-ID", s.client.opts.GlobalRequestID)
	}
	return s.http.Do(req)
}

// place brings a new connection to the offset.
func (s *Stream) place(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusPartialContent && s.offset > 0:
		if want := fmt.Sprintf("bytes %d-", s.offset); !strings.HasPrefix(resp.Header.Get("Content-Range"), want) {
			return fmt.Errorf("%w: asked from byte %d on, the server sent the range %.80q", errFinal, s.offset, resp.Header.Get("Content-Range"))
		}
		return nil
	case resp.StatusCode == http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != s.d.Size {
			return fmt.Errorf("%w: it has %d bytes, but %d were promised", errFinal, resp.ContentLength, s.d.Size)
		}
		return s.skip()
	}
	const shown = 300
	text, _ := io.ReadAll(io.LimitReader(resp.Body, shown)) // for the error that there is
	err := error(&StatusError{Code: resp.StatusCode, Text: strings.ToValidUTF8(string(text), "?")})
	if resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout {
		err = fmt.Errorf("%w: %w", errFinal, err)
	}
	return err
}

// skip reads again what is there already, from a server without ranges.
func (s *Stream) skip() error {
	buffer := make([]byte, 64<<10)
	for left := s.offset; left > 0; {
		s.idle.Reset(s.patience())
		n, err := s.body.Read(buffer[:min(left, int64(len(buffer)))])
		if left -= int64(n); err != nil && left > 0 {
			return err
		}
	}
	return nil
}

func (s *Stream) disconnect() {
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
	if s.end != nil {
		s.idle.Stop()
		s.end()
		s.end = nil
	}
}

// Close implements io.Closer.
func (s *Stream) Close() error {
	s.disconnect()
	return nil
}

// ReportPlugins tells the API what became of the plugins that it offered.
func (c *Client) ReportPlugins(ctx context.Context, report ipa.PluginReport) error {
	err := c.do(ctx, http.MethodPost, ipa.PluginReportPath, 0, report, nil, http.StatusNoContent)
	var status *StatusError
	if errors.As(err, &status) && status.Code/100 == http.StatusOK/100 {
		return nil
	}
	return err
}
