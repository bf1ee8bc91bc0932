package images_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferric/images"
	"ferric/images/disk/disktest"
)

// TestNextURL: an image that the first URL does not serve to its end comes
// from the next one, and each URL has its turn once.
func TestNextURL(t *testing.T) {
	raw := makeRaw(t, t.TempDir(), 12*mib)
	plain := readFile(t, raw)
	wrong := bytes.Clone(plain)
	wrong[len(wrong)-1] ^= 1
	dies := &flaky{content: always(plain), cut: 6 * mib, cuts: 1}
	halfThen503 := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dies.requests.Load() > 0 {
			dies.requests.Add(1)
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		dies.ServeHTTP(w, r)
	})
	serve := func(h http.Handler) string {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return srv.URL + "/x?secret=1"
	}
	good := func() string { return serve(&flaky{content: always(plain)}) }
	other := &flaky{content: always(wrong)}
	absent := serve(http.NotFoundHandler())
	for _, c := range []struct {
		name  string
		urls  []string
		is    error
		wants []string // in the error
	}{
		{"half of it and then errors", []string{serve(halfThen503), good()}, nil, nil},
		{"cut off for ever", []string{serve(&flaky{content: always(plain), cut: 2 * mib, cuts: 1 << 30, noRange: true}), good()}, nil, nil},
		{"another image", []string{serve(&flaky{content: always(wrong)}), good()}, nil, nil},
		{"changing for ever", []string{serve(&flaky{content: always(plain), cut: 3 * mib, cuts: 1 << 30, etag: func(n int) string { return fmt.Sprintf("%q", fmt.Sprint(n)) }}), good()}, nil, nil},
		{"not there, another image, good", []string{absent, serve(&flaky{content: always(wrong)}), good()}, nil, nil},
		{"none is good", []string{serve(other), absent, serve(halfThen503)}, images.ErrDownload, []string{"503", "before that", "wrong digest"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := makeDisk(t, 12*mib)
			req := request("", "raw", sha256File(t, raw))
			req.URLs = c.urls
			res, err := images.Write(context.Background(), disktest.Target(t, disk), req, nil)
			if !errors.Is(err, c.is) {
				t.Fatalf("got error %v, want %v", err, c.is)
			}
			if strings.Contains(fmt.Sprint(err), "secret") {
				t.Errorf("a secret is in the message: %v", err)
			}
			for _, want := range c.wants {
				if !strings.Contains(fmt.Sprint(err), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			switch {
			case err != nil && hasTable(t, disk):
				t.Error("the disk still has a beginning or an end")
			case err == nil && res.URL+"?secret=1" != c.urls[len(c.urls)-1]:
				t.Errorf("served by %s", res.URL)
			case err == nil:
				tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, disk)
			}
		})
	}
	if n := other.requests.Load(); n != 2 {
		t.Errorf("%d requests for the wrong image, want 2", n)
	}
}
