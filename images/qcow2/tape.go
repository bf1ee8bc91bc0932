package qcow2

import (
	"errors"
	"io"
)

// errPassed: the bytes asked for are no longer kept.
var errPassed = errors.New("already passed")

const (
	// tapeSize holds the largest compressed cluster (twice 2 MiB) and what
	// is kept behind.
	tapeSize = 8 << 20
	// keepBehind is how far a single pass can look back: QEMU writes a level 2
	// table behind the first one or two compressed clusters that it maps.
	keepBehind = 2<<20 + 512<<10
	// pieceSize is how much of a run is handed on at a time.
	pieceSize = 1 << 20
)

// tape is a stream of which the last bytes are kept.
type tape struct {
	r      io.Reader
	behind int64  // how much is kept before the place asked for
	buf    []byte // buf[0] is at base
	base   int64
	err    error // of r, sticky
}

func newTape(r io.Reader, behind int64) *tape {
	return &tape{r: r, behind: behind, buf: make([]byte, 0, tapeSize)}
}

// at returns the n bytes at off, fewer at the end of the file. They are valid
// until the next call. n is at most tapeSize-keepBehind.
func (t *tape) at(off, n int64) ([]byte, error) {
	if off < t.base {
		return nil, errPassed
	}
	for off+n > t.base+int64(len(t.buf)) && t.err == nil {
		t.advance(off, n)
	}
	start := min(off-t.base, int64(len(t.buf)))
	have := t.buf[start:min(off+n-t.base, int64(len(t.buf)))]
	if int64(len(have)) < n && t.err != io.EOF {
		return nil, t.err
	}
	return have, nil
}

// advance makes room, if it has to, and reads on.
func (t *tape) advance(off, n int64) {
	end := t.base + int64(len(t.buf))
	if len(t.buf) == cap(t.buf) || off+n > t.base+int64(cap(t.buf)) {
		drop := max(0, min(off-t.behind, end)-t.base)
		kept := copy(t.buf, t.buf[drop:])
		t.buf = t.buf[:kept]
		t.base += drop
	}
	room := t.buf[len(t.buf):cap(t.buf)]
	k, err := t.r.Read(room[:min(len(room), pieceSize)])
	t.buf = t.buf[:len(t.buf)+k]
	t.err = err
}

// readFull fills p from off.
func (t *tape) readFull(p []byte, off int64) error {
	for len(p) > 0 {
		b, err := t.at(off, min(int64(len(p)), pieceSize))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return io.ErrUnexpectedEOF
		}
		k := copy(p, b)
		p, off = p[k:], off+int64(k)
	}
	return nil
}
