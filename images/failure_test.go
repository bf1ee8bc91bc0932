package images_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/images"
	"ferric/images/disk/disktest"
)

// flaky serves content as servers and networks do that fail.
type flaky struct {
	content    func(request int) []byte // by number of the request
	etag       func(request int) string
	cut        int // bytes after which a body breaks off; 0 is never
	cuts       int // how often it does
	noRange    bool
	statuses   []int // answers before the first good one
	requests   atomic.Int32
	ranges     atomic.Int32
	bytesTotal atomic.Int64
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(f.requests.Add(1)) - 1
	if n < len(f.statuses) {
		http.Error(w, "no", f.statuses[n])
		return
	}
	content, start := f.content(n), 0
	tag := `"one"`
	if f.etag != nil {
		tag = f.etag(n)
	}
	end, status := len(content), http.StatusOK
	if span, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !f.noRange && r.Header.Get("If-Range") == tag {
		first, last, _ := strings.Cut(span, "-")
		start, _ = strconv.Atoi(first)
		if last != "" {
			end, _ = strconv.Atoi(last)
			end++
		}
		status = http.StatusPartialContent
		f.ranges.Add(1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(content)))
	}
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	body := content[start:end]
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if f.cut > 0 && n < f.cuts+len(f.statuses) && len(body) > f.cut {
		_, _ = w.Write(body[:f.cut])
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		panic(http.ErrAbortHandler)
	}
	k, _ := w.Write(body)
	f.bytesTotal.Add(int64(k))
}

func always(b []byte) func(int) []byte { return func(int) []byte { return b } }

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hasTable(t *testing.T, disk string) bool {
	t.Helper()
	b := readFile(t, disk)
	return !bytes.Equal(b[:mib], make([]byte, mib)) || !bytes.Equal(b[len(b)-mib:], make([]byte, mib))
}

func TestWriteSurvives(t *testing.T) {
	dir := t.TempDir()
	raw := makeRaw(t, dir, 12*mib)
	qcow := filepath.Join(dir, "x.qcow2")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
	for _, c := range []struct {
		name     string
		path     string
		server   *flaky
		requests int32 // at least
	}{
		{"cut and resumed", raw, &flaky{cut: 5 * mib, cuts: 2}, 3},
		{"cut without ranges", raw, &flaky{cut: 5 * mib, cuts: 2, noRange: true}, 3},
		{"qcow2, cut and resumed", qcow, &flaky{cut: 3 * mib, cuts: 2}, 4},
		{"server errors", raw, &flaky{statuses: []int{503, 500}}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.server.content = always(readFile(t, c.path))
			srv := httptest.NewServer(c.server)
			defer srv.Close()
			disk := makeDisk(t, 12*mib)
			if _, err := images.Write(context.Background(), disktest.Target(t, disk), request(srv.URL+"/x", "", sha256File(t, c.path)), nil); err != nil {
				t.Fatal(err)
			}
			tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, disk)
			if n := c.server.requests.Load(); n < c.requests {
				t.Errorf("%d requests", n)
			}
			if c.name == "cut and resumed" && c.server.bytesTotal.Load() >= 12*mib {
				t.Error("it began from the beginning")
			}
		})
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	raw := makeRaw(t, dir, 12*mib)
	pack := func(args ...string) []byte { return []byte(tool(t, args[0], append(args[1:], "-c", raw)...)) }
	qcowPath := filepath.Join(dir, "x.qcow2")
	tool(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, qcowPath)
	qcow, plain, zst := readFile(t, qcowPath), readFile(t, raw), pack("zstd")
	damaged := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 0x10
		b[len(b)/2+1] ^= 0xff
		return b
	}
	sum := func(b []byte) string { return fmt.Sprintf("%x", sha256sum(b)) }
	zeros, err := exec.Command("sh", "-c", "head -c 20000000 /dev/zero | gzip -c").Output()
	if err != nil {
		t.Fatal(err)
	}
	changing := func(n int) []byte { return append(bytes.Clone(plain), byte(n)) }
	for _, c := range []struct {
		name   string
		server *flaky
		sum    string
		is     error
		want   string
	}{
		{"truncated for ever", &flaky{content: always(plain), cut: 2 * mib, cuts: 1 << 30, noRange: true}, sum(plain), images.ErrTruncated, "ended after 2097152 of 12582912 bytes"},
		{"wrong digest", &flaky{content: always(plain)}, sum(zst), images.ErrChecksum, "wrong digest: sha256 is"},
		{"damaged zstd", &flaky{content: always(damaged(zst))}, sum(zst), images.ErrChecksum, "wrong digest"},
		{"zstd that was made wrong", &flaky{content: always(damaged(zst))}, sum(damaged(zst)), images.ErrCorrupt, "the digest is right"},
		{"zstd that was cut off when made", &flaky{content: always(zst[:len(zst)/2])}, sum(zst[:len(zst)/2]), images.ErrTruncated, "ends early"},
		{"xz that was cut off when made", &flaky{content: always(pack("xz", "-0")[:mib])}, sum(pack("xz", "-0")[:mib]), images.ErrTruncated, "ends early"},
		{"gzip, damaged", &flaky{content: always(damaged(pack("gzip")))}, sum(damaged(pack("gzip"))), images.ErrCorrupt, "gzip"},
		{"qcow2 cut off when made", &flaky{content: always(qcow[:len(qcow)/2])}, sum(qcow[:len(qcow)/2]), images.ErrTruncated, "ends before the cluster"},
		{"larger than the disk, seen only on the way", &flaky{content: always(zeros)}, sum(zeros), images.ErrTooLarge, "larger than the disk"},
		{"weak tag changes", &flaky{content: always(plain), cut: 3 * mib, cuts: 1 << 30, noRange: true, etag: func(n int) string { return fmt.Sprintf("W/%q", fmt.Sprint(n)) }}, sum(plain), images.ErrChanged, "file changed on the server"},
		{"changes with every request", &flaky{content: changing, cut: 3 * mib, cuts: 1 << 30, etag: func(n int) string { return fmt.Sprintf("%q", fmt.Sprint(n)) }}, sum(plain), images.ErrChanged, "file changed on the server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(c.server)
			defer srv.Close()
			disk := makeDisk(t, 12*mib+4096)
			req := request(srv.URL+"/image?secret=1", "", c.sum)
			req.Header = http.Header{"Authorization": {"Bearer geheim"}}
			_, err := images.Write(context.Background(), disktest.Target(t, disk), req, nil)
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("got error %v, want %v with %q", err, c.is, c.want)
			}
			if strings.Contains(fmt.Sprint(err), "secret") || strings.Contains(fmt.Sprint(err), "geheim") {
				t.Errorf("a secret is in the message: %v", err)
			}
			if hasTable(t, disk) {
				t.Error("the ends of the disk were not wiped")
			}
			if errors.Is(err, images.ErrChecksum) && c.server.requests.Load() < 2 {
				t.Error("it was not fetched once more")
			}
		})
	}
}

func TestWriteStartsOverWhenTheFileChanges(t *testing.T) {
	dir := t.TempDir()
	raw := makeRaw(t, dir, 12*mib)
	qcow := filepath.Join(dir, "x.qcow2")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow)
	content := readFile(t, qcow)
	// The first request sees the old file; the tables come from the new one.
	server := &flaky{
		content: func(n int) []byte {
			if n == 0 {
				return append(bytes.Clone(content), 0)
			}
			return content
		},
		etag: func(n int) string { return fmt.Sprintf("%q", fmt.Sprint(min(n, 1))) },
	}
	srv := httptest.NewServer(server)
	defer srv.Close()
	disk := makeDisk(t, 12*mib)
	if _, err := images.Write(context.Background(), disktest.Target(t, disk), request(srv.URL+"/x", "qcow2", sha256File(t, qcow)), nil); err != nil {
		t.Fatal(err)
	}
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, disk)
}

func TestWriteTriesURLsInOrder(t *testing.T) {
	raw := makeRaw(t, t.TempDir(), 4*mib)
	srv := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(raw))))
	defer srv.Close()
	req := request("", "raw", sha256File(t, raw))
	req.URLs = []string{srv.URL + "/absent", srv.URL + "/disk.raw"}
	res, err := images.Write(context.Background(), disktest.Target(t, makeDisk(t, 4*mib)), req, nil)
	if err != nil || res.URL != srv.URL+"/disk.raw" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestWriteStopsWithItsContext(t *testing.T) {
	raw := makeRaw(t, t.TempDir(), 4*mib)
	content := readFile(t, raw)
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:mib])
		w.(http.Flusher).Flush()
		<-hang
	}))
	defer srv.Close()
	defer close(hang)
	req := request(srv.URL, "raw", sha256File(t, raw))
	req.MaxDuration = 300 * time.Millisecond
	disk := makeDisk(t, 4*mib)
	if _, err := images.Write(context.Background(), disktest.Target(t, disk), req, nil); !errors.Is(err, images.ErrTimeout) || images.Kind(err) != ipa.ImageDownloadTimeout {
		t.Errorf("got %v", err)
	}
	if hasTable(t, disk) {
		t.Error("the ends of the disk were not wiped")
	}
	req.MaxDuration, req.Retry.Idle = 0, 100*time.Millisecond
	if _, err := images.Write(context.Background(), disktest.Target(t, disk), req, nil); !strings.Contains(fmt.Sprint(err), "ended after 1048576") {
		t.Errorf("idle server: %v", err)
	}
}

func TestDigestSelection(t *testing.T) {
	raw := makeRaw(t, t.TempDir(), mib)
	dir := filepath.Dir(raw)
	md5 := strings.Fields(tool(t, "md5sum", raw))[0]
	sha512 := strings.Fields(tool(t, "sha512sum", raw))[0]
	sha := sha256File(t, raw)
	for name, text := range map[string]string{
		"alone":  sha + "\n",
		"gnu":    "# comment disk.raw\n" + strings.Repeat("0", 64) + "  other.raw\n" + sha + " *disk.raw\n",
		"bsd":    "SHA256 (disk.raw) = " + sha + "\n",
		"absent": sha + "  other.raw\n" + sha + "  another.raw\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer srv.Close()
	openssl := func(algorithm string) images.Digest {
		fields := strings.Fields(tool(t, "openssl", "dgst", "-"+strings.NewReplacer("_", "-", "blake2b", "blake2b512", "blake2s", "blake2s256").Replace(algorithm), raw))
		return images.Digest{Algorithm: algorithm, Value: fields[len(fields)-1]}
	}
	for _, c := range []struct {
		name   string
		digest images.Digest
		md5    bool
		is     error
	}{
		{"sha256 by length", images.Digest{Checksum: sha}, false, nil},
		{"sha512 by length", images.Digest{Checksum: strings.ToUpper(sha512)}, false, nil},
		{"pair wins", images.Digest{Checksum: "junk", Algorithm: "sha512", Value: sha512}, false, nil},
		{"md5 allowed", images.Digest{Checksum: md5}, true, nil},
		{"md5 not allowed", images.Digest{Checksum: md5}, false, images.ErrRequest},
		{"md5 not allowed as a pair", images.Digest{Algorithm: "md5", Value: md5}, false, images.ErrRequest},
		{"none", images.Digest{}, false, images.ErrRequest},
		{"half a pair", images.Digest{Algorithm: "sha256"}, false, images.ErrRequest},
		{"unknown", images.Digest{Algorithm: "crc32", Value: sha}, false, images.ErrRequest},
		{"unknown beside a checksum", images.Digest{Algorithm: "crc32", Value: "1", Checksum: sha}, false, nil},
		{"sha1", openssl("sha1"), false, nil},
		{"sha224", openssl("sha224"), false, nil},
		{"sha384", openssl("sha384"), false, nil},
		{"sha3", openssl("sha3_256"), false, nil},
		{"blake2b", openssl("blake2b"), false, nil},
		{"blake2s", openssl("blake2s"), false, nil},
		{"file, alone", images.Digest{Checksum: srv.URL + "/alone"}, false, nil},
		{"file, GNU", images.Digest{Algorithm: "sha256", Value: srv.URL + "/gnu"}, false, nil},
		{"file, BSD", images.Digest{Checksum: srv.URL + "/bsd"}, false, nil},
		{"file without it", images.Digest{Checksum: srv.URL + "/absent"}, false, images.ErrDownload},
		{"file that is not there", images.Digest{Checksum: srv.URL + "/404"}, false, images.ErrDownload},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := request(srv.URL+"/disk.raw", "raw", "")
			req.Digest, req.AllowMD5 = c.digest, c.md5
			_, err := images.Write(context.Background(), disktest.Target(t, makeDisk(t, mib)), req, nil)
			if !errors.Is(err, c.is) {
				t.Errorf("got %v, want %v", err, c.is)
			}
		})
	}
}

func sha256sum(b []byte) []byte {
	cmd := exec.Command("sha256sum")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		panic(err)
	}
	var sum []byte
	_, _ = fmt.Sscanf(string(out[:64]), "%x", &sum)
	return sum
}
