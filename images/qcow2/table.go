package qcow2

import (
	"encoding/binary"
	"fmt"
)

// run is a piece of the file that belongs to a piece of the disk: n bytes as
// they are, or if n is negative -n bytes that hold one compressed cluster.
type run struct {
	host, guest, n int64
}

func (r run) compare(o run) int {
	switch {
	case r.host != o.host && r.host < o.host, r.host == o.host && r.guest < o.guest:
		return -1
	case r == o:
		return 0
	}
	return 1
}

// Bits of level 1 and level 2 entries.
const (
	offsetMask     = 0x00fffffffffffe00
	flagCompressed = 1 << 62
	flagZero       = 1
)

// l2Offset is the place of the level 2 table that a level 1 entry names, 0 for
// none.
func (h *Header) l2Offset(entry uint64) (int64, error) {
	off := int64(entry & offsetMask)
	if off%h.clusterSize() != 0 {
		return 0, fmt.Errorf("%w: a level 2 table at %d, which is not the beginning of a cluster", ErrCorrupt, off)
	}
	return off, nil
}

// mapper turns the level 2 tables, given in any order, into runs and zeros.
// Runs that continue each other are joined within a series of tables.
type mapper struct {
	h    *Header
	run  func(run) error
	zero func(off, n int64) error // nil if zeros are not wanted (again)
	open run                      // not yet handed on
	hole struct{ off, n int64 }
}

// table maps the level 2 table number i, or its absence where t is nil.
func (m *mapper) table(i int64, t []byte) error {
	guest := i * m.h.l2Covers()
	if t == nil {
		return m.zeros(guest, m.h.l2Covers())
	}
	for ; len(t) > 0 && guest < m.h.Size; guest += m.h.clusterSize() {
		entry := binary.BigEndian.Uint64(t)
		var err error
		switch {
		case m.h.extended:
			err = m.extendedEntry(entry, binary.BigEndian.Uint64(t[8:]), guest)
		case entry&flagCompressed != 0:
			err = m.compressed(entry, guest)
		case m.h.Version >= 3 && entry&flagZero != 0, entry&offsetMask == 0:
			err = m.zeros(guest, m.h.clusterSize())
		default:
			err = m.data(int64(entry&offsetMask), guest, m.h.clusterSize())
		}
		if err != nil {
			return err
		}
		t = t[m.h.l2Entry():]
	}
	return nil
}

// extendedEntry maps a cluster of 32 subclusters: the lower half of the bitmap
// says which are allocated, the upper half which read as zeros.
func (m *mapper) extendedEntry(entry, bitmap uint64, guest int64) error {
	if entry&flagCompressed != 0 {
		return m.compressed(entry, guest)
	}
	host, sub := int64(entry&offsetMask), m.h.clusterSize()/32
	for i := range int64(32) {
		allocated, zero := bitmap>>i&1 != 0, bitmap>>(32+i)&1 != 0
		var err error
		switch {
		case allocated && (zero || host == 0):
			return fmt.Errorf("%w: contradicting subclusters at %d", ErrCorrupt, guest)
		case allocated:
			if host%m.h.clusterSize() != 0 {
				return fmt.Errorf("%w: the cluster for %d is not aligned", ErrCorrupt, guest)
			}
			err = m.piece(host+i*sub, guest+i*sub, sub)
		default:
			err = m.zeros(guest+i*sub, sub)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) data(host, guest, n int64) error {
	if host%m.h.clusterSize() != 0 {
		return fmt.Errorf("%w: the cluster for %d is not aligned", ErrCorrupt, guest)
	}
	return m.piece(host, guest, n)
}

func (m *mapper) piece(host, guest, n int64) error {
	n = min(n, m.h.Size-guest)
	if n <= 0 {
		return nil
	}
	if o := &m.open; o.n > 0 && o.host+o.n == host && o.guest+o.n == guest {
		o.n += n
		return nil
	}
	if err := m.flush(); err != nil {
		return err
	}
	m.open = run{host, guest, n}
	return nil
}

func (m *mapper) compressed(entry uint64, guest int64) error {
	if err := m.flush(); err != nil {
		return err
	}
	split := 62 - (m.h.clusterBits - 8)
	host := int64(entry & (1<<split - 1))
	sectors := int64(entry&(flagCompressed-1)>>split) + 1
	return m.run(run{host, guest, -(sectors*512 - host%512)})
}

func (m *mapper) zeros(guest, n int64) error {
	n = min(n, m.h.Size-guest)
	if n <= 0 || m.zero == nil {
		return nil
	}
	if m.hole.n > 0 && m.hole.off+m.hole.n == guest {
		m.hole.n += n
		return nil
	}
	if err := m.flushHole(); err != nil {
		return err
	}
	m.hole.off, m.hole.n = guest, n
	return nil
}

func (m *mapper) flushHole() error {
	off, n := m.hole.off, m.hole.n
	m.hole.n = 0
	if n == 0 {
		return nil
	}
	return m.zero(off, n)
}

func (m *mapper) flush() error {
	r := m.open
	m.open = run{}
	if r.n == 0 {
		return nil
	}
	return m.run(r)
}

// end hands on what is still open.
func (m *mapper) end() error {
	if err := m.flush(); err != nil {
		return err
	}
	return m.flushHole()
}
