package hwmanager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
)

// image is the file that the server has.
func image() []byte { return bytes.Repeat([]byte("firmware "), 1<<16) }

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// leftovers are what downloads have left in memory.
func leftovers(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(memoryDir(), "ferric-download-*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestDownload(t *testing.T) {
	content := image()
	sum512 := sha512.Sum512(content)
	var requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := r.BasicAuth(); {
		case r.URL.Path == "/missing":
			http.NotFound(w, r)
		case user+":"+password != "ferric:secret" && user != "own":
			w.WriteHeader(http.StatusUnauthorized)
		case requests.Add(1) == 1: // the first connection breaks
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Header().Set("ETag", `"1"`)
			_, _ = w.Write(content[:100_000])
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("ETag", `"1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it
	server.StartTLS()
	defer server.Close()
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authorities, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	trusted := Settings{
		CAFile: authorities, ConnectRetries: 2, ConnectRetryInterval: time.Millisecond,
		ImageServer: ImageServer{AuthStrategy: "http_basic", User: "ferric", Password: "secret"},
	}
	h := host()
	h.Settings = trusted
	before := leftovers(t)

	var last ipa.Progress
	file, err := h.Download(t.Context(), Source{URL: server.URL + "/fw/bios%201.bin?token=x", Checksum: "sha256:" + strings.ToUpper(sha(content)), Progress: func(p ipa.Progress) { last = p }})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file.Path); err != nil || !bytes.Equal(got, content) || file.Size != int64(len(content)) || filepath.Base(file.Path) != "bios 1.bin" {
		t.Errorf("downloaded %s, %d bytes, %v", file.Path, file.Size, err)
	}
	if requests.Load() != 2 || !last.Finished || last.Done != file.Size || last.Total != file.Size {
		t.Errorf("%d requests, progress %+v; want a second one for the rest", requests.Load(), last)
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(file.Path, &stat); err != nil || memoryDir() != os.TempDir() && stat.Type != unix.TMPFS_MAGIC {
		t.Errorf("%s is not in memory: %v", file.Path, err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	for _, checksum := range []string{sha(content), hex.EncodeToString(sum512[:]), "SHA512: " + hex.EncodeToString(sum512[:])} {
		file, err := h.Download(t.Context(), Source{URL: server.URL + "/..", Checksum: checksum})
		if err != nil {
			t.Fatalf("checksum %.20s: %v", checksum, err)
		}
		if filepath.Base(file.Path) != "download" {
			t.Errorf("the name is %s", file.Path)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}

	stranger, noUser := trusted, trusted
	stranger.CAFile, noUser.ImageServer = "", ImageServer{}
	insecure := stranger
	insecure.Insecure = true
	good := Source{URL: server.URL + "/fw", Checksum: sha(content)}
	for _, test := range []struct {
		name     string
		settings Settings
		change   func(*Source)
		kind     ipa.Kind // of nothing for success
		want     string
	}{
		{"no checksum", trusted, func(s *Source) { s.Checksum = "" }, ipa.InvalidCommandParams, "no file is taken without"},
		{"md5", trusted, func(s *Source) { s.Checksum = "md5:00" }, ipa.InvalidCommandParams, "neither sha256 nor sha512"},
		{"cut digest", trusted, func(s *Source) { s.Checksum = sha(content)[1:] }, ipa.InvalidCommandParams, "64 hexadecimal digits"},
		{"sha512 under another name", trusted, func(s *Source) { s.Checksum = "sha512:" + sha(content) }, ipa.InvalidCommandParams, "128 hexadecimal digits"},
		{"no URL", trusted, func(s *Source) { s.URL = "file:///etc/passwd" }, ipa.InvalidCommandParams, "not an http or https URL"},
		{"wrong digest", trusted, func(s *Source) { s.Checksum = sha(nil) }, ipa.ImageChecksum, "expected " + sha(nil)},
		{"too large", trusted, func(s *Source) { s.MaxSize = 1000 }, ipa.ImageDownload, "more than the 1000"},
		{"not there", trusted, func(s *Source) { s.URL = server.URL + "/missing?secret=1" }, ipa.ImageDownload, "404"},
		{"a server that is not trusted", stranger, func(*Source) {}, ipa.ImageDownload, "certificate"},
		{"a server that need not be trusted", insecure, func(*Source) {}, ipa.Kind{}, ""},
		{"no credentials", noUser, func(*Source) {}, ipa.ImageDownload, "401"},
		{"credentials of its own", noUser, func(s *Source) { s.URL = strings.Replace(s.URL, "https://", "https://own:word@", 1) }, ipa.Kind{}, ""},
	} {
		s := good
		test.change(&s)
		h.Settings = test.settings
		file, err := h.Download(t.Context(), s)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			_ = file.Close()
			continue
		}
		if file != nil || !test.kind.Is(err) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want %s with %q", test.name, err, test.kind.Type, test.want)
		}
	}
	if left := leftovers(t); len(left) > len(before) {
		t.Errorf("left behind: %q", left)
	}
}

// TestDownloadBounds: a server that does not tell how long it goes on, one that
// stands still, and a machine without memory.
func TestDownloadBounds(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			_, _ = w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "/long" {
			w.Header().Set("Content-Length", fmt.Sprint(1<<29))
		}
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	h := host()
	h.Settings = Settings{MaxDownload: 200 * time.Millisecond, ConnectTimeout: time.Minute}
	if _, err := h.Download(t.Context(), Source{URL: server.URL + "/slow", Checksum: sha(nil)}); !ipa.ImageDownloadTimeout.Is(err) {
		t.Errorf("longer than MaxDownload: %v", err)
	}
	h.Settings = Settings{}
	if _, err := h.Download(t.Context(), Source{URL: server.URL + "/endless", Checksum: sha(nil), MaxSize: 1 << 20}); !ipa.ImageDownload.Is(err) || !strings.Contains(err.Error(), "more than the 1048576") {
		t.Errorf("endless: %v", err)
	}
	h.Proc = t.TempDir()
	if err := os.WriteFile(filepath.Join(h.Proc, "meminfo"), []byte("MemTotal: 1048576 kB\nMemAvailable:     524288 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Download(t.Context(), Source{URL: server.URL + "/long", Checksum: sha(nil)}); !ipa.ImageDownloadOutOfSpace.Is(err) {
		t.Errorf("more than the memory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Download(ctx, Source{URL: server.URL + "/slow", Checksum: sha(nil)}); err == nil || ipa.ImageDownload.Is(err) {
		t.Errorf("cancelled: %v", err)
	}
}
