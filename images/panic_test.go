package images_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferric/images"
	"ferric/images/disk/disktest"
)

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDeployPanics: when something breaks down after the image was written,
// the disk is wiped as after any other failure.
func TestDeployPanics(t *testing.T) {
	raw := makeImage(t, "gpt", 512)
	srv := httptest.NewServer(&flaky{content: always(readFile(t, raw))})
	defer srv.Close()
	disk := makeDisk(t, 32*mib)
	req := request(srv.URL+"/image", "raw", sha256File(t, raw))
	req.Client = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/configdrive" {
			panic("index out of range")
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	_, err := images.Deploy(context.Background(), disktest.Target(t, disk), req, srv.URL+"/configdrive", nil)
	if !errors.Is(err, images.ErrCorrupt) || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("got error %v", err)
	}
	if hasTable(t, disk) {
		t.Error("the disk still has a beginning or an end")
	}
}
