package qcow2

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"slices"
)

// ErrChanged: the tables that were read beforehand are not those that the file
// had when it flowed by. Only the latter are covered by the image's digest.
var ErrChanged = errors.New("the qcow2 tables read by Range are not those of the file")

// keyed is a checksum that nobody can foresee: SHA-256 over a key of this
// transfer, the place in the file and the bytes there.
type keyed struct {
	key [sha256.Size]byte
	h   hash.Hash
}

func (k *keyed) begin(off int64) {
	k.h.Reset()
	k.h.Write(binary.BigEndian.AppendUint64(k.key[:len(k.key):len(k.key)], uint64(off)))
}

func (k *keyed) end() uint64 {
	var sum [sha256.Size]byte
	return binary.BigEndian.Uint64(k.h.Sum(sum[:0]))
}

// of is the checksum of the bytes p at off.
func (k *keyed) of(p []byte, off int64) uint64 {
	k.begin(off)
	k.h.Write(p)
	return k.end()
}

// areas adds up the checksums of areas of the file, all of the same size, as
// they pass: memory does not grow with their content.
type areas struct {
	keyed
	left []int64 // where those not passed begin; sorted, one may be there repeatedly
	size int64
	got  int64 // bytes of the first one
	sum  uint64
}

// pass takes in b, the bytes of the file at at.
func (a *areas) pass(b []byte, at int64) {
	for len(a.left) > 0 {
		off := a.left[0]
		skip := off + a.got - at
		if skip >= int64(len(b)) {
			return
		}
		if a.got == 0 {
			a.begin(off)
		}
		b, at = b[skip:], at+skip
		k := min(int64(len(b)), a.size-a.got)
		a.h.Write(b[:k])
		a.got += k
		if a.got < a.size {
			return
		}
		for sum := a.end(); len(a.left) > 0 && a.left[0] == off; a.left = a.left[1:] {
			a.sum += sum
		}
		b, at, a.got = b[k:], at+k, 0
	}
}

// witness is the file on its way to the tape. It remembers what the tables
// read beforehand were, and compares them with those that flow by.
type witness struct {
	file   io.Reader
	at     int64
	hash   keyed
	l1, l2 areas
	// What was read beforehand; all level 2 tables are added up.
	l1Sum, l2Sum uint64
	scanned      bool // whether l2Sum is set
}

func newWitness(file io.Reader) *witness {
	w := &witness{file: file}
	rand.Read(w.hash.key[:]) // never fails
	for _, k := range []*keyed{&w.hash, &w.l1.keyed, &w.l2.keyed} {
		k.key, k.h = w.hash.key, sha256.New()
	}
	return w
}

// expect sets out which tables will be compared: the level 1 table as it was
// read, and the level 2 tables at the places tables. None has passed yet.
func (w *witness) expect(l1 []byte, off int64, tables []int64, size int64) {
	w.l1.left, w.l1.size = []int64{off}, int64(len(l1))
	w.l1Sum = w.hash.of(l1, off)
	slices.Sort(tables)
	w.l2.left, w.l2.size = tables, size
}

// scan takes in the sum of the level 2 tables, as they were read one more time.
func (w *witness) scan(sum uint64) error {
	if w.scanned && sum != w.l2Sum {
		return ErrChanged
	}
	w.l2Sum, w.scanned = sum, true
	return nil
}

func (w *witness) Read(p []byte) (int, error) {
	n, err := w.file.Read(p)
	w.l1.pass(p[:n], w.at)
	w.l2.pass(p[:n], w.at)
	w.at += int64(n)
	return n, err
}

// compare reads the file to its end and compares all tables.
func (w *witness) compare() error {
	if _, err := io.Copy(io.Discard, w); err != nil {
		return err
	}
	if len(w.l1.left) > 0 || len(w.l2.left) > 0 || w.l1.sum != w.l1Sum || w.l2.sum != w.l2Sum {
		return ErrChanged
	}
	return nil
}
