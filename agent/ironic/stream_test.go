package ironic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// TestStream: what a server does wrong, and what comes of it.
func TestStream(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	serve := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	// half sends a part and keeps the connection.
	half := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, test := range map[string]struct {
		answers []http.HandlerFunc // one after the other, the last again and again
		size    int64
		fault   string
	}{
		"whole":                                {answers: []http.HandlerFunc{serve}},
		"a stalled connection is gone on with": {answers: []http.HandlerFunc{half, serve}},
		"an end without a length": {answers: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Write(content[:500])
			w.(http.Flusher).Flush()
		}, serve}},
		"compressed in transit is not asked for": {answers: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				w.WriteHeader(http.StatusTeapot)
			}
			serve(w, r)
		}}},
		"another range": {answers: []http.HandlerFunc{half, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=5-")
			serve(w, r)
		}}, fault: "bytes 5-"},
		"too long": {answers: []http.HandlerFunc{serve}, size: 100, fault: "100 were promised"},
		"too long without a length": {answers: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(content); err != nil {
					return
				}
			}
		}}, fault: "more than the"},
		"too short":    {answers: []http.HandlerFunc{serve}, size: 1 << 20, fault: "1048576 were promised"},
		"forbidden":    {answers: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not yours", http.StatusForbidden) }}, fault: "403 Forbidden: not yours"},
		"never ready":  {answers: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) }}, fault: "503"},
		"never a byte": {answers: []http.HandlerFunc{func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }}, fault: "after 0 of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := make(chan http.HandlerFunc, len(test.answers))
			for _, a := range test.answers {
				answers <- a
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get(ipa.HeaderAgentToken) != "secret" || r.URL.Query().Get("node_uuid") != "u" {
					t.Errorf("%s %v", r.URL, r.Header)
				}
				answer := <-answers
				if len(answers) == 0 {
					answers <- answer
				}
				answer(w, r)
			}))
			defer s.Close()
			size := test.size
			if size == 0 {
				size = int64(len(content))
			}
			got, err := fetch(t.Context(), t, []string{s.URL}, Download{URL: "/x", Size: size, Node: "u", Token: "secret"})
			if test.fault == "" && (err != nil || !bytes.Equal(got, content)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%v; want %q", err, test.fault)
			}
		})
	}
}

func fetch(ctx context.Context, t *testing.T, urls []string, d Download) ([]byte, error) {
	t.Helper()
	c, err := NewClient(Options{URLs: urls, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	d.Log = logrus.NewEntry(log)
	s, err := c.Stream(ctx, d)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return io.ReadAll(s)
}

// TestStreamURLs: the URLs of the API are tried in their order; a token is
// shown to no other server, and what is no URL is refused.
func TestStreamURLs(t *testing.T) {
	t.Parallel()
	shown := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown <- r.URL.Path + " " + r.Header.Get(ipa.HeaderAgentToken)
		w.Write([]byte("x"))
	}))
	defer s.Close()
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	for _, test := range []struct {
		url, want string
	}{
		{"/x", "/base/x secret"},
		{s.URL + "/base/x", "/base/x secret"},
		{s.URL + "/elsewhere", "/elsewhere "},
		{s.URL + "/baseless", "/baseless "},
		{"file:///etc/passwd", ""}, {"//evil/x", ""}, {"x", ""}, {"", ""}, {"http://user:password@" + s.URL[7:] + "/base/x", ""}, {"ftp://h/x", ""},
	} {
		_, err := fetch(t.Context(), t, []string{dead.URL, s.URL + "/base"}, Download{URL: test.url, Size: 1, Node: "u", Token: "secret"})
		if test.want == "" {
			if err == nil || len(shown) > 0 {
				t.Errorf("%q is fetched", test.url)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.url, err)
			continue
		}
		if got := <-shown; got != test.want {
			t.Errorf("%q: the server got %q; want %q", test.url, got, test.want)
		}
	}
}

// TestStreamEnds: the end of the context ends a fetch, with its cause.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer s.Close()
	cause := errors.New("it took longer than allowed")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	if _, err := fetch(ctx, t, []string{s.URL}, Download{URL: "/x", Size: 1}); !errors.Is(err, cause) {
		t.Error(err)
	}
}
