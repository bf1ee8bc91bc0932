package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// scattered is an image of n level 2 tables, gap bytes apart, each of which
// maps the first of its clusters of 512 bytes.
func scattered(n, gap int) []byte {
	const l2At, perTable = 64 << 10, 64 // level 1 is before, of at most 8000 entries
	be := binary.BigEndian
	dataAt := l2At + n*(512+gap)
	file := make([]byte, dataAt+n*512)
	copy(file, Magic)
	be.PutUint32(file[4:], 2)
	be.PutUint32(file[20:], 9)
	be.PutUint64(file[24:], uint64(n*perTable*512))
	be.PutUint32(file[36:], uint32(n))
	be.PutUint64(file[40:], 512)
	for i := range n {
		l2 := l2At + i*(512+gap)
		be.PutUint64(file[512+8*i:], uint64(l2))
		be.PutUint64(file[l2:], uint64(dataAt+i*512))
		copy(file[dataAt+i*512:], bytes.Repeat([]byte{byte(i + 1)}, 512))
	}
	return file
}

// TestOtherTables: the tables that decide where the bytes go are those that
// the digest covers, whatever a server answers to Range requests.
func TestOtherTables(t *testing.T) {
	const n, gap = 8, maxGap + 512 // each table is a request
	l2 := func(i int) int { return 64<<10 + i*(512+gap) }
	swap := func(b []byte, i, j int) {
		for k := range 8 {
			b[i+k], b[j+k] = b[j+k], b[i+k]
		}
	}
	for _, c := range []struct {
		name  string
		limit int
		other func(b []byte, request int)
		want  error
	}{
		{"the same", maxRuns, func([]byte, int) {}, nil},
		{"the same, many scans", 2, func([]byte, int) {}, nil},
		{"level 2 entries swapped", maxRuns, func(b []byte, _ int) { swap(b, l2(1), l2(2)) }, ErrChanged},
		{"level 1 entries swapped", maxRuns, func(b []byte, _ int) { swap(b, 512, 520) }, ErrChanged},
		{"an entry taken away", maxRuns, func(b []byte, _ int) { clear(b[l2(5):][:8]) }, ErrChanged},
		{"a table taken away", maxRuns, func(b []byte, _ int) { clear(b[512+8:][:8]) }, ErrChanged},
		{"mapped twice", maxRuns, func(b []byte, _ int) { copy(b[l2(5):][:8], b[l2(4):][:8]) }, ErrChanged},
		{"another one when read again", 2, func(b []byte, request int) {
			if request > n+2 {
				swap(b, l2(6), l2(7))
			}
		}, ErrChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := scattered(n, gap)
			h, err := ParseHeader(file[:HeaderSize])
			if err != nil {
				t.Fatal(err)
			}
			requests := 0
			readAt := func(ctx context.Context, p []byte, off int64) error {
				requests++
				other := bytes.Clone(file)
				c.other(other, requests)
				return reader(other)(ctx, p, off)
			}
			disk := newMemory(h.Size)
			ctx := context.Background()
			seen := newWitness(iotest.OneByteReader(bytes.NewReader(file)))
			p, err := newScanned(ctx, h, readAt, disk.Zero, seen)
			if err != nil {
				t.Fatal(err)
			}
			p.limit = c.limit
			w := &writer{h: h, dst: disk, tape: newTape(seen, 0)}
			if err = w.write(ctx, p, true); err == nil {
				err = seen.compare()
			}
			if c.limit == maxRuns { // and all of it together
				err = Write(ctx, h, bytes.NewReader(file), readAt, newMemory(h.Size))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			for i := range n {
				if got := disk.data[i*64*512]; c.want == nil && got != byte(i+1) {
					t.Errorf("cluster %d begins with %d", i, got)
				}
			}
		})
	}
}

// TestRequests: however small the clusters are, the tables take a bounded
// number of requests.
func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name   string
		n, gap int
		most   int
	}{
		{"next to each other", 4000, 0, 4},
		{"between their data", 2000, 64 * 512, 80},
		{"far apart", 40, maxGap + 512, 42},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := scattered(c.n, c.gap)
			h, err := ParseHeader(file[:HeaderSize])
			if err != nil {
				t.Fatal(err)
			}
			requests := 0
			disk := newMemory(h.Size)
			err = Write(context.Background(), h, bytes.NewReader(file), func(ctx context.Context, p []byte, off int64) error {
				requests++
				return reader(file)(ctx, p, off)
			}, disk)
			if err != nil {
				t.Fatal(err)
			}
			if requests > c.most {
				t.Errorf("%d requests, want at most %d", requests, c.most)
			}
			for i := range c.n {
				if got := disk.data[i*64*512]; got != byte(i+1) {
					t.Fatalf("cluster %d begins with %d", i, got)
				}
			}
		})
	}
	t.Run("a million far apart", func(t *testing.T) {
		h := &Header{Version: 3, Size: 1 << 35, clusterBits: 9, l1Offset: 512, l1Entries: 1 << 20}
		requests := 0
		err := Write(context.Background(), h, bytes.NewReader(nil), func(_ context.Context, p []byte, off int64) error {
			requests++
			for i := 0; off == h.l1Offset && i < len(p); i += 8 {
				binary.BigEndian.PutUint64(p[i:], uint64(i/8+100)<<18)
			}
			return nil
		}, nothing{})
		if !errors.Is(err, ErrRefused) || requests > maxRequests+1 {
			t.Errorf("after %d requests: %v", requests, err)
		}
	})
}

// nothing is a disk that takes everything.
type nothing struct{}

func (nothing) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nothing) Zero(_, _ int64) error                  { return nil }

// TestAreas: however the file is cut into reads, the sum is that of the areas.
func TestAreas(t *testing.T) {
	file := make([]byte, 100<<9)
	for i := range file {
		file[i] = byte(rand.IntN(256))
	}
	w := newWitness(nil)
	var want uint64
	left := []int64{512, 1024, 1024, 50 << 9, 99 << 9}
	for _, off := range left {
		want += w.hash.of(file[off:off+512], off)
	}
	w.l2.left, w.l2.size = left, 512
	for at := 0; at < len(file); {
		k := min(rand.IntN(1500), len(file)-at)
		w.l2.pass(file[at:at+k], int64(at))
		at += k
	}
	if w.l2.sum != want || len(w.l2.left) != 0 {
		t.Errorf("sum %x, want %x; left %v", w.l2.sum, want, w.l2.left)
	}
}
