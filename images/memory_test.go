package images_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"ferric/images"
	"ferric/images/disk"
)

// childEnv holds the arguments of the process that TestMemory measures.
const childEnv = "FERRIC_IMAGES_CHILD"

type childArgs struct{ URL, Device, Format, Sum string }

type childResult struct {
	Go, RSS int64 // bytes: most that the Go runtime held, most that was resident
}

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		child(args)
		return
	}
	os.Exit(m.Run())
}

// child writes one image and prints what memory that took.
func child(text string) {
	var args childArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var res childResult
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(samples)
			res.Go = max(res.Go, int64(samples[0].Value.Uint64()-samples[1].Value.Uint64()))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	if args.URL != "" {
		if _, err := images.Write(context.Background(), disk.Fence(args.Device, func(*os.File) error { return nil }), request(args.URL, args.Format, args.Sum), nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	close(stop)
	<-stopped
	// Not getrusage: its maximum counts the parent's memory at the fork.
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(rest, &res.RSS); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	res.RSS <<= 10
	_ = json.NewEncoder(os.Stdout).Encode(res)
}

func runChild(t *testing.T, args childArgs) childResult {
	t.Helper()
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	// The bound has to hold without the collector being told of it.
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GOMEMLIMIT=off", "GOGC=100")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child: %v: %s", err, stderr.String())
	}
	var res childResult
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatal(err)
	}
	return res
}

// TestMemory: whatever the image, writing it takes at most 64 MiB more than
// the process that does nothing.
func TestMemory(t *testing.T) {
	const bound = 64 * mib
	dir := t.TempDir()
	raw := filepath.Join(dir, "big.raw")
	// Text, noise and zeros in MB, in all twice the bound; xz takes long for noise.
	text, noise, zeros, pieces := 60, 10, 70, 150_000
	if os.Getenv("FERRIC_FULL") != "" {
		text, noise, zeros, pieces = 120, 64, 300, 300_000
	}
	tool(t, "sh", "-c", "(yes ferric | head -c $1MB; head -c $2MB /dev/urandom; head -c $3MB /dev/zero) > $0", raw, fmt.Sprint(text), fmt.Sprint(noise), fmt.Sprint(zeros))
	size := fileSize(t, raw)
	shell := func(name, command string) string {
		tool(t, "sh", "-c", command+" "+raw+" > "+filepath.Join(dir, name))
		return name
	}
	qcow := func(name string, args ...string) string {
		tool(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, filepath.Join(dir, name))...)
		return name
	}
	// A disk of 2 TiB whose clusters are almost all holes.
	huge := filepath.Join(dir, "huge.qcow2")
	tool(t, "qemu-img", "create", "-f", "qcow2", huge, "2T")
	writes := []string{"-f", "qcow2"}
	for i := range 40 {
		writes = append(writes, "-c", fmt.Sprintf("write -P %d %dG 1M", i+1, i*51))
	}
	tool(t, "qemu-io", append(writes, huge)...)
	fragmented := filepath.Join(dir, "fragmented.qcow2")
	makeFragmented(t, fragmented, pieces)

	base := runChild(t, childArgs{})
	t.Logf("idle: %d MiB, resident %d MiB", base.Go/mib, base.RSS/mib)
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer srv.Close()
	for _, c := range []struct {
		name, file, format string
		size               int64
	}{
		{"raw", "big.raw", "raw", size},
		{"gzip", shell("big.gz", "gzip -1 -c"), "raw", size},
		{"zstd with a window of 32 MiB", shell("big.zst", "zstd -1 --long=25 -c"), "raw", size},
		{"xz with dictionaries of 32 MiB", shell("big.xz", "xz -T2 --block-size=50MiB --lzma2=preset=0,dict=32MiB -c"), "raw", size},
		{"qcow2, zstd, clusters of 2 MiB", qcow("big.qcow2", "-c", "-o", "compression_type=zstd,cluster_size=2M"), "qcow2", size},
		{"qcow2 of 2 TiB", "huge.qcow2", "qcow2", 2 << 40},
		{"qcow2 of many pieces", "fragmented.qcow2", "qcow2", int64((pieces+63)/64*64) * 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			device := filepath.Join(t.TempDir(), "target")
			tool(t, "truncate", "-s", fmt.Sprint(c.size+4095), device)
			res := runChild(t, childArgs{URL: srv.URL + "/" + c.file, Device: device, Format: c.format, Sum: strings.Fields(tool(t, "sha256sum", path))[0]})
			t.Logf("%d MiB, resident %d MiB", res.Go/mib, res.RSS/mib)
			if res.Go-base.Go > bound || res.RSS-base.RSS > bound {
				t.Errorf("it took %d MiB, resident %d MiB", res.Go/mib, res.RSS/mib)
			}
			if c.format == "qcow2" && c.size < 1<<40 {
				if err := os.Truncate(device, c.size&^511); err != nil {
					t.Fatal(err)
				}
				tool(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, device)
			}
		})
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// makeFragmented makes a qcow2 image of n clusters of 512 bytes that lie in
// the file in another order than on the disk: no two of them can be joined.
func makeFragmented(t *testing.T, path string, n int) {
	t.Helper()
	const cluster, perTable = 512, 64
	tables := (n + perTable - 1) / perTable
	l1At := cluster
	refcountsAt := l1At + (tables*8+cluster-1)/cluster*cluster // empty
	l2At := refcountsAt + cluster
	dataAt := l2At + tables*cluster
	file := make([]byte, dataAt+n*cluster)
	be := binary.BigEndian
	copy(file, "QFI\xfb")
	be.PutUint32(file[4:], 2)
	be.PutUint32(file[20:], 9)
	be.PutUint64(file[24:], uint64(tables*perTable*cluster))
	be.PutUint32(file[36:], uint32(tables))
	be.PutUint64(file[40:], uint64(l1At))
	be.PutUint64(file[48:], uint64(refcountsAt))
	be.PutUint32(file[56:], 1)
	for i := range tables {
		be.PutUint64(file[l1At+8*i:], uint64(l2At+i*cluster)|1<<63)
	}
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		be.PutUint64(file[l2At+8*i:], uint64(dataAt+at*cluster)|1<<63)
		content := file[dataAt+at*cluster:][:cluster]
		for j := 0; j < cluster; j += 8 {
			be.PutUint64(content[j:], uint64(i)*0x9e3779b97f4a7c15+uint64(j))
		}
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}
