package images_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/images"
	"ferric/images/disk/disktest"
	"ferric/images/source"
)

// tool runs a program and returns its standard output; the test fails if it
// fails. A tool that is missing is a failure too: make test installs them all.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return string(out)
}

const mib = 1 << 20

// makeRaw makes a raw disk of size bytes with data (some of it compressible)
// in every other stretch, and returns its path.
func makeRaw(t testing.TB, dir string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{1, 2, 3})
	buf := make([]byte, 192<<10)
	for off := int64(0); off+int64(len(buf)) < size; off += 2*int64(len(buf)) + 4096*(off/mib%7) {
		_, _ = rng.Read(buf)
		if off/mib%2 == 0 {
			copy(buf, bytes.Repeat([]byte("ferric "), len(buf)/8))
		}
		if _, err := f.WriteAt(buf, off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func makeDisk(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "target.raw")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xa5}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sha256File(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// withoutRange serves a file as a server does that knows no ranges.
func withoutRange(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		r.Header.Del("If-Range")
		next.ServeHTTP(w, r)
	})
}

func request(url, format, sum string) images.Request {
	return images.Request{
		URLs:       []string{url},
		DiskFormat: format,
		Digest:     images.Digest{Algorithm: "sha256", Value: sum},
		Retry:      source.Retry{Retries: 3, Interval: time.Millisecond, Idle: 5 * time.Second},
	}
}

func TestWriteFormats(t *testing.T) {
	const size = 20*mib + 512
	dir := t.TempDir()
	raw := makeRaw(t, dir, size)
	convert := func(name string, args ...string) string {
		out := filepath.Join(dir, name)
		tool(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, out)...)
		return out
	}
	compress := func(name string, args ...string) string {
		out := filepath.Join(dir, name)
		b := tool(t, args[0], append(args[1:], "-c", raw)...)
		if err := os.WriteFile(out, []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		name, declared, path, compression string
	}{
		{"raw", "raw", raw, ""},
		{"raw, undeclared", "", raw, ""},
		{"gzip", "raw", compress("raw.gz", "gzip"), "gzip"},
		{"zstd", "raw", compress("raw.zst", "zstd", "-3"), "zstd"},
		{"zstd, 32 MiB window", "raw", compress("raw20.zst", "zstd", "--long=25", "-3"), "zstd"},
		{"xz", "raw", compress("raw.xz", "xz", "-1"), "xz"},
		{"xz, blocks and sha256", "raw", compress("raw2.xz", "xz", "-0", "--block-size=5MiB", "--check=sha256"), "xz"},
		{"xz, 32 MiB dictionary, threads", "raw", compress("raw3.xz", "xz", "-T2", "--lzma2=preset=0,dict=32MiB"), "xz"},
		{"qcow2 v2", "qcow2", convert("v2.qcow2", "-o", "compat=0.10"), ""},
		{"qcow2 v3", "qcow2", convert("v3.qcow2"), ""},
		{"qcow2 zlib", "qcow2", convert("zlib.qcow2", "-c"), ""},
		{"qcow2 zstd", "qcow2", convert("zstd.qcow2", "-c", "-o", "compression_type=zstd"), ""},
		{"qcow2 zstd, clusters of 2 MiB", "", convert("zstd2m.qcow2", "-c", "-o", "compression_type=zstd,cluster_size=2M"), ""},
		{"qcow2 clusters of 512 bytes", "qcow2", convert("small.qcow2", "-o", "cluster_size=512"), ""},
		{"qcow2 extended L2", "qcow2", convert("ext.qcow2", "-o", "extended_l2=on,cluster_size=128k"), ""},
		{"qcow2 extended L2, compressed", "qcow2", convert("extc.qcow2", "-c", "-o", "extended_l2=on"), ""},
		{"qcow2 preallocated", "qcow2", convert("pre.qcow2", "-o", "preallocation=metadata"), ""},
		{"qcow2 out of order", "qcow2", convert("ooo.qcow2", "-W", "-m", "8"), ""},
		{"qcow2 out of order, compressed", "qcow2", convert("oooc.qcow2", "-W", "-m", "8", "-c"), ""},
	} {
		files := http.StripPrefix("/", http.FileServer(http.Dir(dir)))
		for _, server := range []struct {
			name    string
			handler http.Handler
		}{{"range", files}, {"no range", withoutRange(files)}} {
			t.Run(c.name+"/"+server.name, func(t *testing.T) {
				t.Parallel()
				srv := httptest.NewServer(server.handler)
				defer srv.Close()
				disk := makeDisk(t, size+3*mib)
				req := request(srv.URL+"/"+filepath.Base(c.path), c.declared, sha256File(t, c.path))
				var last ipa.Progress
				res, err := images.Write(context.Background(), disktest.Target(t, disk), req, func(p ipa.Progress) { last = p })
				if errors.Is(err, images.ErrInvalid) && strings.Contains(err.Error(), "Range") && strings.Contains(c.name, "out of order") {
					return // refused by name, as documented
				}
				if err != nil {
					t.Fatal(err)
				}
				if res.Size != size || res.Compression != c.compression || res.Served == 0 {
					t.Errorf("result %+v", res)
				}
				if !last.Finished || last.Done != res.Served {
					t.Errorf("last progress %+v, result %+v", last, res)
				}
				if err := os.Truncate(disk, size); err != nil {
					t.Fatal(err)
				}
				tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", raw, disk)
			})
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	raw := makeRaw(t, dir, 4*mib)
	make := func(name string, args ...string) string {
		tool(t, args[0], args[1:]...)
		return name
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	pack := func(name string, args ...string) string {
		if err := os.WriteFile(in(name), []byte(tool(t, args[0], args[1:]...)), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write := func(name string, b []byte) string {
		if err := os.WriteFile(in(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	convert := func(name, format string, args ...string) string {
		return make(name, append(append([]string{"qemu-img", "convert", "-f", "raw", "-O", format}, args...), raw, in(name))...)
	}
	whole := convert("whole.qcow2", "qcow2")
	header, err := os.ReadFile(in(whole))
	if err != nil {
		t.Fatal(err)
	}
	unknown := bytes.Clone(header)
	unknown[72+1] = 0x80
	both := bytes.Clone(header)
	copy(both[32769:], "CD001")
	luks := append([]byte("LUKS\xba\xbe\x00\x01"), bytes.Repeat([]byte{0}, mib)...)
	for _, c := range []struct {
		name, file, declared, want string
		is                         error
	}{
		{"qcow2 as raw", whole, "raw", "declared as raw, but it is qcow2", images.ErrInvalid},
		{"vmdk as raw", convert("x.vmdk", "vmdk"), "raw", "it is vmdk", images.ErrInvalid},
		{"vmdk", "x.vmdk", "vmdk", "format vmdk is not supported", images.ErrInvalid},
		{"vhdx as raw", convert("x.vhdx", "vhdx"), "raw", "it is vhdx", images.ErrInvalid},
		{"vdi as raw", convert("x.vdi", "vdi"), "raw", "it is vdi", images.ErrInvalid},
		{"qed as raw", convert("x.qed", "qed"), "raw", "it is qed", images.ErrInvalid},
		{"vhd undeclared", convert("x.vpc", "vpc"), "", "format vhd is not supported", images.ErrInvalid},
		{"raw as qcow2", "disk.raw", "qcow2", "declared as qcow2, but it is raw", images.ErrInvalid},
		{"qcow2 in gzip", pack("w.gz", "gzip", "-c", in(whole)), "qcow2", "gzip-compressed qcow2", images.ErrInvalid},
		{"qcow2 in gzip as raw", "w.gz", "raw", "gzip-compressed qcow2", images.ErrInvalid},
		{"backing file", make("b.qcow2", "qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b", raw, in("b.qcow2")), "qcow2", "backing file", images.ErrInvalid},
		{"data file", make("d.qcow2", "qemu-img", "create", "-f", "qcow2", "-o", "data_file="+in("d.data"), in("d.qcow2"), "1M"), "qcow2", "external data file", images.ErrInvalid},
		{"encrypted", make("e.qcow2", "qemu-img", "create", "-f", "qcow2", "--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s", in("e.qcow2"), "1M"), "qcow2", "encrypted", images.ErrInvalid},
		{"unknown feature", write("u.qcow2", unknown), "qcow2", "unknown incompatible features", images.ErrInvalid},
		{"too large, raw", write("large.raw", bytes.Repeat([]byte{1}, 9*mib)), "raw", "larger than the disk", images.ErrTooLarge},
		{"too large, qcow2", make("l.qcow2", "qemu-img", "create", "-f", "qcow2", in("l.qcow2"), "1G"), "qcow2", "larger than the disk", images.ErrTooLarge},
		{"zstd window", pack("w.zst", "sh", "-c", "head -c 80000000 /dev/zero | zstd --long=27 -c"), "raw", "declares more than 32 MiB", images.ErrInvalid},
		{"xz window", pack("w.xz", "xz", "-9", "-c", raw), "raw", "declares 64 MiB", images.ErrInvalid},
		{"bzip2", write("b.bz2", []byte("BZh91AY&SY")), "raw", "bzip2", images.ErrInvalid},
		{"not found", "absent.raw", "raw", "/absent.raw: status 404", images.ErrDownload},
		{"two formats", write("both.qcow2", both), "qcow2", "looks like qcow2 and iso at once", images.ErrInvalid},
		{"luks", write("x.luks", luks), "", "format luks is not supported", images.ErrInvalid},
		{"empty", write("empty.raw", nil), "raw", "empty", images.ErrTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked atomic.Int32
			files := http.FileServer(http.Dir(dir))
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				files.ServeHTTP(w, r)
			}))
			defer srv.Close()
			disk := makeDisk(t, 8*mib)
			before := sha256File(t, disk)
			sum := strings.Repeat("0", 64)
			if _, err := os.Stat(in(c.file)); err == nil {
				sum = sha256File(t, in(c.file))
			}
			_, err := images.Write(context.Background(), disktest.Target(t, disk), request(srv.URL+"/"+c.file, c.declared, sum), nil)
			if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("got error %v, want %v with %q", err, c.is, c.want)
			}
			if strings.ContainsRune(fmt.Sprint(err), '\n') {
				t.Errorf("error of several lines: %v", err)
			}
			if sha256File(t, disk) != before {
				t.Error("the disk was changed")
			}
			if c.name == "not found" && asked.Load() != 1 {
				t.Errorf("%d requests for a file that is not there", asked.Load())
			}
		})
	}
}

// TestWriteTrusts wants what is declared to be taken for granted where the
// contract says so.
func TestWriteTrusts(t *testing.T) {
	dir := t.TempDir()
	raw := makeRaw(t, dir, 4*mib)
	qcow2 := filepath.Join(dir, "x.qcow2")
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-f", "raw", raw, qcow2)
	luks := filepath.Join(dir, "x.luks")
	if err := os.WriteFile(luks, append([]byte("LUKS\xba\xbe\x00\x01"), make([]byte, mib)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, declared string
		trust                bool
		format               string
		refused              bool
	}{
		{"luks is content", luks, "raw", false, "raw", false},
		{"qcow2 as raw", qcow2, "raw", true, "raw", false},
		{"qcow2", qcow2, "qcow2", true, "qcow2", false},
		{"qcow2 that is not permitted", qcow2, "qcow2", false, "", true},
		{"undeclared", qcow2, "", true, "qcow2", false},
		{"raw as qcow2", raw, "qcow2", true, "qcow2", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := request(serve(t, c.file), c.declared, sha256File(t, c.file))
			req.TrustFormat, req.Permitted = c.trust, []string{"raw"}
			res, err := images.Write(context.Background(), disktest.Target(t, makeDisk(t, 8*mib)), req, nil)
			if (err != nil) != c.refused || res.Format != c.format {
				t.Errorf("format %s, %v", res.Format, err)
			}
		})
	}
}
