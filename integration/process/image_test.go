package process_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ferric/api/ironic"
)

// Layout of the good image, in bytes: a GPT with one ext4 partition.
const (
	imageSize      = 32 << 20
	partitionStart = 1 << 20
	partitionSize  = 24 << 20
)

// library is a directory with images, made once. Those named bad are damaged
// in the way that the name says.
var library = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "ferric-images"); err != nil {
		return "", err
	}
	script := fmt.Sprintf(`set -e
mkdir root && head -c 8M /dev/urandom >root/noise && echo deployed >root/release
truncate -s %[1]d good.raw
sgdisk -n 1:%[2]d:+%[3]d good.raw
mkfs.ext4 -q -F -d root -E offset=%[4]d good.raw %[5]dk
qemu-img convert -f raw -O qcow2 good.raw good.qcow2
cp good.qcow2 truncated.qcow2 && truncate -s 5M truncated.qcow2
qemu-img create -q -f qcow2 -F raw -b good.raw backing.qcow2
qemu-img create -q -f qcow2 huge.qcow2 8G
xz -k -c -T1 --lzma2=preset=0,dict=128MiB good.raw >window.xz
`, imageSize, partitionStart/512, partitionSize/512-1, partitionStart, partitionSize>>10)
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make the images: %w\n%s", err, out)
	}
	return dir, nil
})

// imageFile is the path of an image.
func imageFile(t *testing.T, name string) string {
	t.Helper()
	for _, tool := range []string{"qemu-img", "sgdisk", "mkfs.ext4", "xz"} {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") != "true" {
			t.Skipf("%s is missing", tool)
		}
	}
	dir, err := library()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// shop serves the images, and badly where it is asked to: /short/NAME ends in
// the middle, /slow/NAME waits in the middle until it is opened.
type shop struct {
	*httptest.Server
	half chan struct{} // gets a value when a slow transfer waits
	gate chan struct{} // closed by open
	once sync.Once
}

func newShop(t *testing.T) *shop {
	s := &shop{half: make(chan struct{}, 16), gate: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("/short/{name}", func(w http.ResponseWriter, r *http.Request) { s.part(t, w, r) })
	mux.HandleFunc("/loop/{name}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
	mux.HandleFunc("/slow/{name}", func(w http.ResponseWriter, r *http.Request) { s.slow(t, w, r) })
	mux.HandleFunc("/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, imageFile(t, r.PathValue("name")))
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	t.Cleanup(s.open) // before Close, which waits for requests
	return s
}

// open lets slow transfers go on.
func (s *shop) open() { s.once.Do(func() { close(s.gate) }) }

// part declares the whole and sends half; the rest, when asked for it, it
// promises and does not send.
func (s *shop) part(t *testing.T, w http.ResponseWriter, r *http.Request) {
	data, err := os.ReadFile(imageFile(t, r.PathValue("name")))
	if err != nil {
		t.Error(err)
		return
	}
	var from int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	}
	if half := len(data) / 2; from < half {
		w.Write(data[from:half])
	}
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler) // cuts the connection
}

func (s *shop) slow(t *testing.T, w http.ResponseWriter, r *http.Request) {
	data, err := os.ReadFile(imageFile(t, r.PathValue("name")))
	if err != nil {
		t.Error(err)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data[:len(data)/2])
	w.(http.Flusher).Flush()
	s.half <- struct{}{}
	select {
	case <-s.gate:
	case <-r.Context().Done():
		return
	}
	w.Write(data[len(data)/2:])
}

// waits until a slow transfer is in its middle.
func (s *shop) waitHalf(t *testing.T) {
	t.Helper()
	select {
	case <-s.half:
	case <-time.After(patience):
		t.Fatal("nobody fetches the image")
	}
}

// setImage sets the image that the node is to be deployed with.
func (m *machine) setImage(t *testing.T, url, format, digest string) {
	t.Helper()
	patch := ironic.Patch{
		{Op: "add", Path: "/instance_info/image_source", Value: url},
		{Op: "add", Path: "/instance_info/image_os_hash_algo", Value: "sha256"},
		{Op: "add", Path: "/instance_info/image_os_hash_value", Value: digest},
		{Op: "add", Path: "/instance_info/image_disk_format", Value: format},
	}
	if _, err := m.c.api.UpdateNode(t.Context(), m.name, patch); err != nil {
		t.Fatal(err)
	}
}

// setGood is setImage with the good image.
func (m *machine) setGood(t *testing.T, s *shop) {
	t.Helper()
	m.setImage(t, s.URL+"/good.qcow2", "qcow2", digestOf(t, imageFile(t, "good.qcow2")))
}

// holds checks that the disk holds the good image: the partition is the same
// byte for byte, and sgdisk likes the table, whose backup is at the end.
func (m *machine) holds(t *testing.T) {
	t.Helper()
	want, err := os.ReadFile(imageFile(t, "good.raw"))
	if err != nil {
		t.Fatal(err)
	}
	got := m.read(t, partitionStart, partitionSize)
	if sha256.Sum256(got) != sha256.Sum256(want[partitionStart:partitionStart+partitionSize]) {
		t.Error("the partition on the disk is not that of the image")
	}
	if out := run(t, "sgdisk", "-v", m.disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
}

func (m *machine) read(t *testing.T, off, size int64) []byte {
	t.Helper()
	f, err := os.Open(m.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err := f.ReadAt(data, off); err != nil {
		t.Fatal(err)
	}
	return data
}

// Sectors that a GPT has at each end: header and 128 entries, and at the
// beginning the protective MBR.
const tableSectors = 34

// tables says at which ends of the disk there is a partition table.
func (m *machine) tables(t *testing.T) (head, tail bool) {
	t.Helper()
	info, err := os.Stat(m.disk)
	if err != nil {
		t.Fatal(err)
	}
	first, last := m.read(t, 0, tableSectors*512), m.read(t, info.Size()-tableSectors*512, tableSectors*512)
	return strings.Contains(string(first), "EFI PART") || strings.Contains(string(first[510:512]), "\x55\xaa"), strings.Contains(string(last), "EFI PART")
}

// format puts a partition table on the disk, as a former system has left it.
func (m *machine) format(t *testing.T) {
	t.Helper()
	run(t, "sgdisk", "-n", "1:0:+8M", "-c", "1:former", m.disk)
	if head, tail := m.tables(t); !head || !tail {
		t.Fatalf("tables at the ends: %v, %v; want both", head, tail)
	}
}
