package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const size = 3 << 20

// dripping serves a file of size bytes, piece by piece.
type dripping struct {
	piece, pieces int           // per connection
	every         time.Duration // between them
	answer        time.Duration // before the answer
	requests      atomic.Int32
}

func (d *dripping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.requests.Add(1)
	wait := func(pause time.Duration) {
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
		}
	}
	wait(d.answer)
	start, end, status := 0, size, http.StatusOK
	if span, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		first, last, _ := strings.Cut(span, "-")
		start, _ = strconv.Atoi(first)
		if last != "" {
			end, _ = strconv.Atoi(last)
			end++
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, size))
		status = http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(end-start))
	w.WriteHeader(status)
	for i := 0; i < d.pieces && start < end && r.Context().Err() == nil; i++ {
		k := min(d.piece, end-start)
		_, _ = w.Write(make([]byte, k))
		w.(http.Flusher).Flush()
		start += k
		wait(d.every)
	}
	if start < end {
		panic(http.ErrAbortHandler)
	}
}

func open(t *testing.T, d *dripping, retry Retry) *File {
	t.Helper()
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	f, err := Open(ctx, Config{URLs: []string{srv.URL}, Retry: retry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestDripping: a server that sends too little to ever come to an end does not
// keep a transfer alive.
func TestDripping(t *testing.T) {
	const many = 1 << 30
	for _, c := range []struct {
		name     string
		server   *dripping
		slow     time.Duration
		want     error
		text     string
		requests int32 // at most
	}{
		{"a byte now and then", &dripping{piece: 1, pieces: many, every: time.Millisecond}, 100 * time.Millisecond, ErrDownload, "too slow", 1},
		{"a byte per connection", &dripping{piece: 1, pieces: 1}, time.Minute, ErrTruncated, "ended after 4 of", 4},
		{"a MiB and half of one per connection", &dripping{piece: 3 << 19, pieces: 1}, time.Minute, nil, "", 2},
		{"small pieces, fast enough", &dripping{piece: 16 << 10, pieces: many, every: time.Millisecond}, 10 * time.Second, nil, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := open(t, c.server, Retry{Retries: 3, Interval: time.Millisecond, Idle: 10 * time.Second, Slow: c.slow})
			var got bytes.Buffer
			_, err := io.Copy(&got, f)
			if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Errorf("got error %v, want %v with %q", err, c.want, c.text)
			}
			if err == nil && got.Len() != size {
				t.Errorf("got %d bytes", got.Len())
			}
			if n := c.server.requests.Load(); n > c.requests {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestDrippingRanges: the time that many small requests take is counted together.
func TestDrippingRanges(t *testing.T) {
	d := &dripping{piece: 512, pieces: 1, answer: 20 * time.Millisecond}
	f := open(t, d, Retry{Idle: 10 * time.Second, Slow: 150 * time.Millisecond})
	var err error
	for n := 0; err == nil; n++ {
		if n > 20 {
			t.Fatal("21 requests of 20 ms were allowed")
		}
		err = f.ReadRange(context.Background(), make([]byte, 512), 0)
	}
	if !errors.Is(err, ErrDownload) || !strings.Contains(err.Error(), "too slow") {
		t.Errorf("got %v", err)
	}
}
