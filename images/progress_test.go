package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/images/disk/disktest"
)

func TestBottleneck(t *testing.T) {
	begin := time.Now()
	for _, c := range []struct {
		name         string
		source, disk time.Duration // of a second
		want         string
	}{
		{"source", 600 * time.Millisecond, 300 * time.Millisecond, ipa.BottleneckSource},
		{"disk", 300 * time.Millisecond, 600 * time.Millisecond, ipa.BottleneckDisk},
		{"decode", 200 * time.Millisecond, 200 * time.Millisecond, ipa.BottleneckDecode},
		{"read ahead by a decoder of its own", 900 * time.Millisecond, 300 * time.Millisecond, ipa.BottleneckSource},
		{"started over", -time.Second, 0, ""},
	} {
		before := sample{at: begin, source: 5 * time.Second, disk: 5 * time.Second}
		now := sample{at: begin.Add(time.Second), source: before.source + c.source, disk: before.disk + c.disk}
		if got := now.bottleneck(before); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := (sample{at: begin}).bottleneck(sample{at: begin}); got != "" {
		t.Errorf("no time: %q", got)
	}
}

// TestProgressOfASlowSource follows a transfer from a server that takes its
// time.
func TestProgressOfASlowSource(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 4<<20/8)
	proceed := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "4194304")
		_, _ = w.Write(content[:2<<20])
		w.(http.Flusher).Flush()
		select {
		case <-proceed:
		case <-r.Context().Done():
		}
		_, _ = w.Write(content[2<<20:])
	}))
	defer server.Close()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 8<<20); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	var once sync.Once
	var last ipa.Progress
	_, err := Write(context.Background(), disktest.Target(t, disk), Request{URLs: []string{server.URL}, Digest: Digest{Checksum: hex.EncodeToString(sum[:])}}, func(p ipa.Progress) {
		if p.Bottleneck == ipa.BottleneckSource && p.Phase == ipa.PhaseWriting && p.Done >= 2<<20 && p.Total == 4<<20 {
			once.Do(func() { close(proceed) })
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Phase != ipa.PhaseVerifying || !last.Finished || last.Bottleneck != "" || last.Done != 4<<20 || last.Written != 4<<20 || last.BytesPerSec <= 0 {
		t.Errorf("last progress %+v", last)
	}
}
