package images_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/images"
	"ferric/images/configdrive"
	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

func TestNewRequestAuthorization(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name string
		info ipa.ImageInfo
		want string // header
		is   error
	}{
		{"none", ipa.ImageInfo{}, "", nil},
		{"noauth", ipa.ImageInfo{ImageServerAuthStrategy: "noauth", ImageServerUser: "u", ImageServerPassword: "p"}, "", nil},
		{"basic", ipa.ImageInfo{ImageServerAuthStrategy: "http_basic", ImageServerUser: "u", ImageServerPassword: "p"}, "Basic " + b64("u:p"), nil},
		{"basic without user", ipa.ImageInfo{ImageServerAuthStrategy: "http_basic", ImageServerPassword: "p"}, "", images.ErrDownload},
		{"basic without password", ipa.ImageInfo{ImageServerAuthStrategy: "http_basic", ImageServerUser: "u"}, "", images.ErrDownload},
		{"the image's own wins", ipa.ImageInfo{ImageRequestAuthorization: b64("Bearer token\n"), ImageServerAuthStrategy: "http_basic", ImageServerUser: "u", ImageServerPassword: "p"}, "Bearer token", nil},
		{"not base64", ipa.ImageInfo{ImageRequestAuthorization: "Bearer token"}, "", images.ErrRequest},
	} {
		req, err := images.NewRequest(c.info, nil)
		if !errors.Is(err, c.is) || req.Header.Get("Authorization") != c.want {
			t.Errorf("%s: header %q, %v", c.name, req.Header.Get("Authorization"), err)
		}
		if err != nil && (strings.Contains(err.Error(), "token") || images.Kind(err) == ipa.Deployment) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestProxies: image and checksum file come through the proxy, with the
// authorization, but not what no_proxy names, and never the config drive.
func TestProxies(t *testing.T) {
	image := makeImage(t, partition.GPT, 512)
	var mu sync.Mutex
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, fmt.Sprintf("%s %v", r.URL, r.Header.Get("Authorization") == "Bearer x"))
		mu.Unlock()
		switch r.URL.Path {
		case "/SUMS":
			fmt.Fprintf(w, "%s *image.raw\n", sha256File(t, image))
		default:
			http.ServeFile(w, r, image)
		}
	}))
	defer proxy.Close()
	drives := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the config drive's server sees the image's authorization")
		}
		_, _ = io.WriteString(w, encode(t, makeISO(t)))
	}))
	defer drives.Close()
	info := ipa.ImageInfo{
		URLs: []string{"http://images.invalid/a/image.raw?sig=1"}, Checksum: "http://images.invalid/SUMS", DiskFormat: "raw",
		Proxies: map[string]string{"http": proxy.URL}, ImageRequestAuthorization: base64.StdEncoding.EncodeToString([]byte("Bearer x")),
	}
	req, err := images.NewRequest(info, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := images.Deploy(context.Background(), disktest.Target(t, makeDisk(t, 160*mib)), req, drives.URL, nil)
	if err != nil || d.ConfigDrive == "" {
		t.Fatalf("%+v, %v", d, err)
	}
	want := []string{"http://images.invalid/SUMS true", "http://images.invalid/a/image.raw?sig=1 true"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	info.NoProxy = "images.invalid"
	if req, err = images.NewRequest(info, nil); err != nil {
		t.Fatal(err)
	}
	req.Retry.Retries = -1
	if _, err := images.Write(context.Background(), disktest.Target(t, makeDisk(t, 32*mib)), req, nil); !errors.Is(err, images.ErrDownload) {
		t.Errorf("no_proxy: %v", err)
	}
}

func TestConfigDriveByURL(t *testing.T) {
	image := makeImage(t, partition.GPT, 512)
	absent := httptest.NewServer(http.NotFoundHandler())
	defer absent.Close()
	req := request(serve(t, image), "raw", sha256File(t, image))
	_, err := images.Deploy(context.Background(), disktest.Target(t, makeDisk(t, 160*mib)), req, absent.URL+"/drive", nil)
	if images.Kind(err) != ipa.Deployment || !strings.Contains(fmt.Sprint(err), "/drive: status 404") {
		t.Errorf("got %v (%s)", err, images.Kind(err).Type)
	}
}

func TestConfigDriveIsRebuilt(t *testing.T) {
	image, device := makeImage(t, partition.GPT, 512), makeDisk(t, 160*mib)
	tool(t, "cp", image, device)
	if err := os.Truncate(device, 160*mib); err != nil {
		t.Fatal(err)
	}
	p, err := configdrive.Write(context.Background(), disktest.Target(t, device), encode(t, makeISO(t)), configdrive.Options{Rebuild: true})
	if err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(volume, readPart(t, device, p), 0o600); err != nil {
		t.Fatal(err)
	}
	if kind, label := blkid(t, volume, "TYPE"), blkid(t, volume, "LABEL"); kind != "vfat" || label != "CONFIG-2" {
		t.Errorf("%s labelled %s", kind, label)
	}
	if got := tool(t, "mtype", "-i", volume, "::openstack/latest/meta_data.json"); got != metadata {
		t.Errorf("meta_data.json %q", got)
	}
}
