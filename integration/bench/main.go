// Command bench measures how an image of 2 GiB, half of it holes, gets from an
// HTTP server on loopback to a block device: by ferric's images package, by
// curl | dd, and by curl, qemu-img convert and dd (what a deployment agent does
// that has no stream of its own). It prints medians of wall time and peak
// memory, and their ratios to ferric's.
//
// It needs root for the loop device, which stands for the disk, and room for
// about three images in the temporary directory.
//
//	go run ./integration/bench [-runs 5] [-size 2048]
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"ferric/images"
	"ferric/images/disk"
)

func main() {
	runs := flag.Int("runs", 5, "measurements of each way; the median counts")
	size := flag.Int64("size", 2048, "size of the image in MiB")
	write := flag.String("write", "", "write the image at this URL to the device instead (used by the benchmark itself)")
	format := flag.String("format", "raw", "with -write: format of the image")
	sum := flag.String("sha256", "", "with -write: digest of the image")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *write != "" {
		err = writeImage(ctx, *write, *format, *sum, flag.Arg(0))
	} else {
		err = bench(ctx, *runs, *size<<20)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func writeImage(ctx context.Context, url, format, sum, device string) error {
	if device == "" {
		return errors.New("no device given")
	}
	_, err := images.Write(ctx, disk.Fence(device, loopOnly), images.Request{
		URLs:       []string{url},
		DiskFormat: format,
		Digest:     images.Digest{Algorithm: "sha256", Value: sum},
	}, nil)
	return err
}

// loopOnly keeps the benchmark from everything but its own disks.
func loopOnly(f *os.File) error {
	if !strings.HasPrefix(f.Name(), "/dev/loop") {
		return fmt.Errorf("%s is no loop device", f.Name())
	}
	return nil
}

// lab is what the measurements share.
type lab struct {
	dir    string
	url    string // of the directory
	device string
	size   int64
	sums   map[string]string
}

func bench(ctx context.Context, runs int, size int64) (err error) {
	if os.Getuid() != 0 {
		return errors.New("needs root for a loop device")
	}
	dir, err := os.MkdirTemp("", "ferric-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l := &lab{dir: dir, size: size, sums: map[string]string{}}
	fmt.Fprintf(os.Stderr, "making an image of %d MiB, half of it holes\n", size>>20)
	if err := l.makeImages(ctx); err != nil {
		return err
	}
	closeServer, err := l.serve()
	if err != nil {
		return err
	}
	defer closeServer()
	closeDevice, err := l.attach(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDevice()) }()

	ways := l.ways()
	results := make([][]measurement, len(ways))
	for run := range runs {
		for i, w := range ways { // in turns, so that all see the same weather
			m, err := l.measure(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			fmt.Fprintf(os.Stderr, "%d/%d %-34s %6.2f s %5d MiB\n", run+1, runs, w.name, m.wall.Seconds(), m.memory>>20)
			results[i] = append(results[i], m)
		}
	}
	return printTable(os.Stdout, ways, results, size, runs)
}

// makeImages makes disk.raw, every other MiB random data, and disk.qcow2.
func (l *lab) makeImages(ctx context.Context) error {
	raw := filepath.Join(l.dir, "disk.raw")
	f, err := os.Create(raw)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(l.size); err != nil {
		return err
	}
	rng, buf := rand.NewChaCha8([32]byte{}), make([]byte, 1<<20)
	for off := int64(0); off < l.size; off += 2 << 20 {
		_, _ = rng.Read(buf)
		if _, err := f.WriteAt(buf, off); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, filepath.Join(l.dir, "disk.qcow2")); err != nil {
		return err
	}
	for _, name := range []string{"disk.raw", "disk.qcow2"} {
		f, err := os.Open(filepath.Join(l.dir, name))
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			return err
		}
		l.sums[name] = hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

func (l *lab) serve() (close func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(l.dir)), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	l.url = "http://" + listener.Addr().String()
	return func() { _ = server.Close() }, nil
}

// attach makes the disk: a loop device over a new file.
func (l *lab) attach(ctx context.Context) (detach func() error, err error) {
	backing := filepath.Join(l.dir, "backing")
	if err := os.WriteFile(backing, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(backing, l.size); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, "losetup", "-f", "--show", backing).Output()
	if err != nil {
		return nil, fmt.Errorf("losetup: %w", err)
	}
	l.device = strings.TrimSpace(string(out))
	return func() error { return run(context.Background(), "losetup", "-d", l.device) }, nil
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
