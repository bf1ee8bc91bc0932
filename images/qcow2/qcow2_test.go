package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// memory is a disk in memory that remembers what was never written.
type memory struct {
	data    []byte
	written []bool // by 512 bytes
}

func newMemory(size int64) *memory {
	m := &memory{data: bytes.Repeat([]byte{0xa5}, int(size)), written: make([]bool, (size+511)/512)}
	return m
}

func (m *memory) mark(off, n int64) {
	for i := off / 512; i < (off+n+511)/512; i++ {
		m.written[i] = true
	}
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return 0, fmt.Errorf("write at %d beyond the disk", off)
	}
	m.mark(off, int64(len(p)))
	return copy(m.data[off:], p), nil
}

func (m *memory) Zero(off, n int64) error {
	if off < 0 || n < 0 || off+n > int64(len(m.data)) {
		return fmt.Errorf("zeros at %d beyond the disk", off)
	}
	m.mark(off, n)
	clear(m.data[off : off+n])
	return nil
}

func reader(file []byte) func(context.Context, []byte, int64) error {
	return func(_ context.Context, p []byte, off int64) error {
		if off < 0 || off > int64(len(file)) {
			return io.ErrUnexpectedEOF
		}
		if copy(p, file[off:]) < len(p) {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
}

// TestScansInPieces: with a bound of few runs the tables are read many times
// over, and the outcome is the same.
func TestScansInPieces(t *testing.T) {
	dir := t.TempDir()
	content := make([]byte, 3<<20)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < len(content); i += 4096 {
		if rng.IntN(3) > 0 {
			for j := range 4096 {
				content[i+j] = byte(rng.IntN(7))
			}
		}
	}
	raw := filepath.Join(dir, "raw")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-o", "cluster_size=512"}, {"-o", "cluster_size=4k", "-W"}, {"-c", "-o", "cluster_size=1k"},
		{"-c", "-o", "cluster_size=4k,compression_type=zstd"}, {"-o", "extended_l2=on,cluster_size=16k"},
	} {
		path := filepath.Join(dir, "qcow2")
		if out, err := exec.Command("qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, path)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		h, err := ParseHeader(file[:HeaderSize])
		if err != nil {
			t.Fatal(err)
		}
		disk := newMemory(h.Size)
		seen := newWitness(bytes.NewReader(file))
		p, err := newScanned(context.Background(), h, reader(file), disk.Zero, seen)
		if err != nil {
			t.Fatal(err)
		}
		p.limit = 7
		w := &writer{h: h, dst: disk, tape: newTape(seen, 0)}
		if err := errors.Join(w.write(context.Background(), p, true), seen.compare()); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		if !bytes.Equal(disk.data, content) {
			t.Errorf("%v: wrong content", args)
		}
	}
}

func TestMappedTwiceIsRefused(t *testing.T) {
	file := tiny()
	be := binary.BigEndian
	be.PutUint64(file[3*512+8:], be.Uint64(file[3*512:])) // second cluster = first
	h, err := ParseHeader(file)
	if err != nil {
		t.Fatal(err)
	}
	disk := newMemory(h.Size)
	// The first and the last cluster are far apart: by then it has passed.
	file = append(file, make([]byte, tapeSize)...)
	be.PutUint64(file[3*512+16:], uint64(len(file)-512))
	err = Write(context.Background(), h, bytes.NewReader(file), reader(file), disk)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if err == nil && !bytes.Equal(disk.data[:512], disk.data[512:1024]) {
		t.Error("wrong content")
	}
}

// tiny is an image of four clusters of 512 bytes, three of them mapped.
func tiny() []byte {
	be := binary.BigEndian
	file := make([]byte, 8*512)
	copy(file, Magic)
	be.PutUint32(file[4:], 3)
	be.PutUint32(file[20:], 9)
	be.PutUint64(file[24:], 4*512)
	be.PutUint32(file[36:], 1)
	be.PutUint64(file[40:], 2*512)
	be.PutUint32(file[100:], 112)
	be.PutUint64(file[2*512:], 3*512)
	be.PutUint64(file[3*512:], 5*512)
	be.PutUint64(file[3*512+8:], 4*512)
	be.PutUint64(file[3*512+16:], 6*512)
	for i := 4 * 512; i < len(file); i++ {
		file[i] = byte(i / 512)
	}
	return file
}

// FuzzWrite: whatever the file says, every byte of the disk is written or the
// image is refused, and both ways of reading it agree.
func FuzzWrite(f *testing.F) {
	f.Add(tiny())
	dir := f.TempDir()
	for i, args := range [][]string{{"-c"}, {"-o", "extended_l2=on,cluster_size=16k"}, {"-c", "-o", "compression_type=zstd,cluster_size=512"}} {
		raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(raw, bytes.Repeat([]byte("ferric "), 1000), 0o600); err != nil {
			f.Fatal(err)
		}
		if out, err := exec.Command("qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, path)...).CombinedOutput(); err != nil {
			f.Fatalf("%v: %s", err, out)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := ParseHeader(file[:min(len(file), HeaderSize)])
		if err != nil || h.Size > 1<<20 {
			return
		}
		ctx := context.Background()
		one, two := newMemory(h.Size), newMemory(h.Size)
		errPlanned := Write(ctx, h, bytes.NewReader(file), reader(file), one)
		errPassing := Write(ctx, h, bytes.NewReader(file), nil, two)
		for _, w := range []struct {
			disk *memory
			err  error
		}{{one, errPlanned}, {two, errPassing}} {
			if w.err != nil {
				continue
			}
			for i, ok := range w.disk.written {
				if !ok {
					t.Fatalf("sector %d was not written", i)
				}
			}
		}
		if errPlanned == nil && errPassing == nil && !bytes.Equal(one.data, two.data) {
			t.Fatal("the two ways differ")
		}
	})
}
