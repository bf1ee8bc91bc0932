package images_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/images"
	"ferric/images/disk/disktest"
)

// TestNothingBootsBeforeTheEnd looks at the disk while the last byte of the
// image is missing, as a machine that loses its power then would leave it.
func TestNothingBootsBeforeTheEnd(t *testing.T) {
	dir := t.TempDir()
	raw := makeRaw(t, dir, 32<<20)
	content, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	disk := makeDisk(t, 64<<20)
	// What stood there before must not come back either.
	if err := os.WriteFile(disk, bytes.Repeat([]byte("old table"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if r.Method == http.MethodHead {
			return
		}
		_, _ = w.Write(content[:len(content)-1]) // the client's end shows there
		w.(http.Flusher).Flush()
		<-release
		_, _ = w.Write(content[len(content)-1:])
	}))
	defer server.Close()
	var written int64
	done := make(chan error, 1)
	progress := make(chan ipa.Progress, 64)
	go func() {
		_, err := images.Write(t.Context(), disktest.Target(t, disk), request(server.URL, "raw", sha256File(t, raw)), func(p ipa.Progress) { progress <- p })
		done <- err
	}()
	deadline := time.After(30 * time.Second)
	for written < 16<<20 {
		select {
		case p := <-progress:
			written = p.Written
		case <-deadline:
			t.Fatalf("only %d bytes were written", written)
		}
	}
	if head := readHead(t, disk); !bytes.Equal(head, make([]byte, len(head))) {
		t.Error("there is something at the beginning of the disk before the image is verified")
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if head := readHead(t, disk); !bytes.Equal(head, content[:len(head)]) {
		t.Error("the beginning of the image is not on the disk")
	}
}

func readHead(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, head); err != nil {
		t.Fatal(err)
	}
	return head
}
