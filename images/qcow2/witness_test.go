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
	const l2At, perTable = 64 << 10, 64
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
	const n, gap = 8, 1024
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
