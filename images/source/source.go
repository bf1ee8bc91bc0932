package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"ferric/images/stopwatch"
)

// Config says where a file comes from.
type Config struct {
	URLs   []string     // tried in order
	Header http.Header  // sent with every request
	Client *http.Client // nil is http.DefaultClient
	Retry  Retry
}

// File is a file on a server, read from its beginning to its end. Its methods
// are for one goroutine; Done and Waited may be called from any.
type File struct {
	ctx    context.Context // of the transfer
	client *http.Client
	header http.Header
	retry  Retry
	url    string
	number int // of url in Config.URLs

	version version
	body    *watchedBody
	at      atomic.Int64 // bytes handed out
	waited  stopwatch.Watch
	pace    *pace
	err     error // sticky, also io.EOF
}

// version is what identifies the content of a file across requests.
type version struct {
	size      int64  // -1 if the server did not tell
	validator string // for If-Range
	tag       string // entity tag, also a weak one; only to be compared
}

// differs tells whether other cannot be the same content. A server may leave
// out in one answer what it says in another.
func (v version) differs(other version) bool {
	return v.size >= 0 && other.size >= 0 && v.size != other.size ||
		v.tag != "" && other.tag != "" && v.tag != other.tag ||
		v.validator != "" && other.validator != "" && v.validator != other.validator
}

// Open asks for the file at the first URL that answers. A client error (4xx)
// is final for its URL; everything else is tried again. ctx bounds the
// whole transfer.
func Open(ctx context.Context, c Config) (*File, error) {
	if len(c.URLs) == 0 {
		return nil, fmt.Errorf("%w: no URL", ErrDownload)
	}
	client := c.Client
	if client == nil {
		client = http.DefaultClient
	}
	var failures []error
	retry := c.Retry.withDefaults()
	for i, u := range c.URLs {
		f := &File{ctx: ctx, client: client, header: c.Header, retry: retry, url: u, number: i, pace: &pace{slow: retry.Slow}}
		err := f.open()
		if err == nil {
			return f, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrDownload, joinLine(failures))
}

// URL is the one that serves the file, without credentials and query.
func (f *File) URL() string { return Redact(f.url) }

// Number is the place in Config.URLs of the one that serves the file.
func (f *File) Number() int { return f.number }

// Size in bytes, -1 if the server did not tell.
func (f *File) Size() int64 { return f.version.size }

// Done is the number of bytes read so far.
func (f *File) Done() int64 { return f.at.Load() }

// Waited is how long the readers of the file have waited for its bytes. It may
// be called from any goroutine.
func (f *File) Waited() time.Duration { return f.waited.Total() }

// Close ends the transfer.
func (f *File) Close() error {
	if f.body != nil {
		f.body.Close()
		f.body = nil
	}
	if f.err == nil {
		f.err = errors.New("file is closed")
	}
	return nil
}

// open makes the first request, whose answer says which file it is.
func (f *File) open() error {
	for {
		resp, body, err := f.request("")
		if err == nil && resp.StatusCode == http.StatusOK {
			f.version, f.body = versionOf(resp), body
			return nil
		}
		if err == nil {
			body.Close()
			err = statusError(f.url, resp.StatusCode)
			if resp.StatusCode < 500 {
				return err
			}
		}
		if err := f.pause(err); err != nil {
			return err
		}
	}
}

// Read reads on, through as many connections as it takes.
func (f *File) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	defer f.waited.Start()()
	for {
		if f.body != nil {
			n, err := f.body.Read(p)
			if n > 0 {
				f.at.Add(int64(n))
				f.pace.gain(n)
				return n, nil
			}
			if err == nil {
				continue
			}
			f.body.Close()
			f.body = nil
			if f.ended(err) {
				f.err = io.EOF
				return 0, io.EOF
			}
			if err := f.pause(f.cut(err)); err != nil {
				f.err = err
				return 0, err
			}
		}
		if err := f.resume(); err != nil {
			f.err = err
			return 0, err
		}
	}
}

// ended tells whether a connection that ended with err brought the file to
// its end.
func (f *File) ended(err error) bool {
	if f.version.size >= 0 {
		return f.at.Load() == f.version.size
	}
	return errors.Is(err, io.EOF)
}

func (f *File) cut(err error) error {
	switch {
	case f.ctx.Err() != nil:
		return context.Cause(f.ctx)
	case errors.Is(err, ErrDownload):
		return fmt.Errorf("%s after %d bytes: %w", f.URL(), f.at.Load(), err)
	case f.version.size < 0:
		return fmt.Errorf("%w: %s broke off after %d bytes: %w", ErrTruncated, f.URL(), f.at.Load(), err)
	default:
		return fmt.Errorf("%w: %s ended after %d of %d bytes", ErrTruncated, f.URL(), f.at.Load(), f.version.size)
	}
}

// resume reconnects at the place reached, or says why that is not possible.
func (f *File) resume() error {
	at := f.at.Load()
	for {
		resp, body, err := f.request(fmt.Sprintf("bytes=%d-", at))
		if err == nil {
			switch {
			case resp.StatusCode == http.StatusPartialContent:
				if err := f.sameRange(resp, at); err != nil {
					body.Close()
					return err
				}
				f.body = body
				return nil
			case resp.StatusCode == http.StatusOK:
				// No ranges here, or If-Range found another file.
				if f.version.differs(versionOf(resp)) {
					body.Close()
					return f.changed()
				}
				if _, err = io.CopyN(io.Discard, body, at); err == nil {
					f.body = body
					return nil
				}
				body.Close()
				err = f.cut(err)
			case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
				body.Close()
				return f.changed()
			default:
				body.Close()
				err = statusError(f.url, resp.StatusCode)
				if resp.StatusCode < 500 {
					return fmt.Errorf("%w: %w", ErrDownload, err)
				}
			}
		}
		if err := f.pause(err); err != nil {
			if errors.Is(err, ErrTruncated) || f.ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("%w: after %d bytes: %w", ErrDownload, at, err)
		}
	}
}

// ReadRange reads len(p) bytes from off over a connection of its own. It fails
// with ErrNoRange if the server does not serve parts, with ErrChanged if the
// file is no longer the one that Open found.
func (f *File) ReadRange(ctx context.Context, p []byte, off int64) error {
	if f.version.size >= 0 && off+int64(len(p)) > f.version.size {
		return fmt.Errorf("%w: bytes %d to %d of %s, which has %d", io.ErrUnexpectedEOF, off, off+int64(len(p)), f.URL(), f.version.size)
	}
	defer f.waited.Start()()
	part := File{ctx: ctx, client: f.client, header: f.header, retry: f.retry, url: f.url, version: f.version, pace: f.pace}
	for {
		err := part.readRange(p, off)
		if err == nil || errors.Is(err, ErrNoRange) || errors.Is(err, ErrChanged) || errors.Is(err, ErrDownload) {
			return err
		}
		if err := part.pause(err); err != nil {
			return fmt.Errorf("%w: %w", ErrDownload, err)
		}
	}
}

func (f *File) readRange(p []byte, off int64) error {
	resp, body, err := f.request(fmt.Sprintf("bytes=%d-%d", off, off+int64(len(p))-1))
	if err != nil {
		return err
	}
	defer body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		if err := f.sameRange(resp, off); err != nil {
			return err
		}
		_, err := io.ReadFull(body, p)
		if err == nil {
			f.pace.gain(len(p))
		}
		return err
	case resp.StatusCode == http.StatusOK:
		if f.version.differs(versionOf(resp)) {
			return f.changed()
		}
		return fmt.Errorf("%s: %w", f.URL(), ErrNoRange)
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return f.changed()
	case resp.StatusCode < 500:
		return fmt.Errorf("%w: %w", ErrDownload, statusError(f.url, resp.StatusCode))
	}
	return statusError(f.url, resp.StatusCode)
}

// sameRange checks that a partial answer begins at off and is of this file.
func (f *File) sameRange(resp *http.Response, off int64) error {
	start, size, ok := contentRange(resp.Header.Get("Content-Range"))
	if !ok || start != off {
		return fmt.Errorf("%w: %s answered a request for byte %d with Content-Range %q", ErrDownload, f.URL(), off, resp.Header.Get("Content-Range"))
	}
	other := versionOf(resp)
	other.size = size
	if f.version.differs(other) {
		return f.changed()
	}
	return nil
}

func (f *File) changed() error {
	return fmt.Errorf("%w: %s", ErrChanged, f.URL())
}

// request sends a GET, for a range of the known version if rng is not empty.
// The body must be closed; it fails when no byte comes for Retry.Idle.
func (f *File) request(rng string) (*http.Response, *watchedBody, error) {
	ctx, cancel := context.WithCancelCause(f.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		cancel(nil)
		return nil, nil, fmt.Errorf("%w: %s is not a URL", ErrDownload, Redact(f.url))
	}
	for k, v := range f.header {
		req.Header[k] = v
	}
	// The digest is over the bytes as served: no decoding on the way.
	req.Header.Set("Accept-Encoding", "identity")
	if rng != "" {
		req.Header.Set("Range", rng)
		if f.version.validator != "" {
			req.Header.Set("If-Range", f.version.validator)
		}
	}
	idle := time.AfterFunc(f.retry.Idle, func() {
		cancel(fmt.Errorf("no byte from %s for %s", Redact(f.url), f.retry.Idle))
	})
	begun := time.Now()
	resp, err := f.client.Do(req)
	waited := time.Since(begun)
	if err != nil {
		idle.Stop()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel(nil)
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which may hold a secret
		}
		return nil, nil, fmt.Errorf("GET %s: %w", Redact(f.url), err)
	}
	body := &watchedBody{body: resp.Body, ctx: ctx, cancel: cancel, idle: idle, every: f.retry.Idle, pace: f.pace}
	if resp.StatusCode < 300 { // the others count as tries
		if err := f.pace.count(0, waited); err != nil {
			body.Close()
			return nil, nil, fmt.Errorf("GET %s: %w", Redact(f.url), err)
		}
	}
	return resp, body, nil
}

// pause waits before another try, or returns err when there were enough.
func (f *File) pause(err error) error {
	if f.ctx.Err() != nil {
		return context.Cause(f.ctx)
	}
	if errors.Is(err, ErrDownload) || f.pace.tries >= f.retry.Retries {
		return err
	}
	f.pace.tries++
	timer := time.NewTimer(f.retry.Interval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

// watchedBody cancels its request when nothing arrives for too long, and fails
// when what arrives is too little.
type watchedBody struct {
	body   io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer
	every  time.Duration
	pace   *pace
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.idle.Reset(b.every)
	begun := time.Now()
	n, err := b.body.Read(p)
	b.idle.Stop() // time that the reader takes does not count
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	if n > 0 || err == nil {
		if perr := b.pace.count(n, time.Since(begun)); perr != nil {
			return 0, perr
		}
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.idle.Stop()
	b.cancel(nil)
	return b.body.Close()
}

func versionOf(resp *http.Response) version {
	return version{
		size:      resp.ContentLength,
		validator: validator(resp.Header),
		tag:       resp.Header.Get("ETag"),
	}
}

// validator is what If-Range may carry: a strong entity tag, or else the date
// of the last change (RFC 9110, section 13.1.5).
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" && !strings.HasPrefix(tag, "W/") {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange parses "bytes 5-9/100" or "bytes 5-9/*" (size -1).
func contentRange(s string) (start, size int64, ok bool) {
	rest, found := strings.CutPrefix(s, "bytes ")
	span, total, found2 := strings.Cut(rest, "/")
	first, _, found3 := strings.Cut(span, "-")
	if !found || !found2 || !found3 {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil || start < 0 {
		return 0, 0, false
	}
	if total == "*" {
		return start, -1, true
	}
	size, err = strconv.ParseInt(total, 10, 64)
	return start, size, err == nil && size >= 0
}

func statusError(u string, status int) error {
	return fmt.Errorf("GET %s: status %d %s", Redact(u), status, http.StatusText(status))
}

// Redact is u as it may stand in a message: without credentials and without
// the query, in which servers put signatures.
func Redact(u string) string {
	parsed, err := url.Parse(u)
	if err != nil {
		return "(unreadable URL)"
	}
	parsed.User, parsed.RawQuery, parsed.Fragment = nil, "", ""
	return parsed.String()
}

// joinLine joins errors in one line.
func joinLine(errs []error) error {
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}

// Ranges finds out, by asking for the first byte, whether ReadRange works.
func (f *File) Ranges(ctx context.Context) bool {
	return !errors.Is(f.ReadRange(ctx, make([]byte, 1), 0), ErrNoRange)
}
