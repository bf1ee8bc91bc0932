package qcow2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrOrder: the file cannot be written in one pass because its tables follow
// the data that they map, and parts of the file cannot be had beforehand.
var ErrOrder = fmt.Errorf("%w: its tables follow its data and the server does not support Range requests", ErrRefused)

// maxRuns bounds the runs that are known at one time (24 bytes each; scanning
// needs twice as many).
const maxRuns = 128 << 10

// Level 2 tables that are at most maxGap apart in the file are read in one
// request, of at most maxWindow bytes: to read over what is between them costs
// less than a request of its own.
const (
	maxGap    = 64 << 10
	maxWindow = 1 << 20
)

// maxRequests bounds the requests for level 2 tables, in all scans: eight
// scans of 8 TiB in clusters of 64 KiB. An image can be made to need 1 Mi
// requests in each of hundreds of scans, which would not end in days.
const maxRequests = 128 << 10

// maxEvents bounds what a single pass has to keep in mind.
const maxEvents = 512 << 10

// plan yields runs in the order of the file; ok is false after the last one.
type plan interface {
	next(ctx context.Context) (r run, ok bool, err error)
}

// scanned is the plan made from tables that can be read at any time. It knows
// the next maxRuns runs; when they are used up the tables are read again for
// the next ones, so that no image needs more memory than another.
type scanned struct {
	h     *Header
	l1    []byte
	table func(ctx context.Context, p []byte, off int64) error
	zero  func(off, n int64) error // for the first scan
	seen  *witness                 // of the tables
	limit int                      // maxRuns

	runs []run
	i    int
	last run  // the last one handed out by the scans before
	any  bool // whether last is set
	more bool // whether there are runs behind those in runs

	window   []byte // tables as they were last read, from windowAt
	windowAt int64
	requests int // that are still allowed
}

func newScanned(ctx context.Context, h *Header, table func(ctx context.Context, p []byte, off int64) error, zero func(off, n int64) error, seen *witness) (*scanned, error) {
	s := &scanned{h: h, table: table, zero: zero, seen: seen, limit: maxRuns, l1: make([]byte, h.l1Entries*8), more: true, requests: maxRequests}
	if err := table(ctx, s.l1, h.l1Offset); err != nil {
		return nil, fmt.Errorf("read level 1 table: %w", err)
	}
	var tables []int64
	for i := range h.l1Entries {
		off, err := s.l2Offset(i)
		if err != nil {
			return nil, err
		}
		if off != 0 {
			tables = append(tables, off)
		}
	}
	seen.expect(s.l1, h.l1Offset, slices.Clip(tables), h.clusterSize())
	return s, nil
}

// l2Offset is the place of the level 2 table number i, 0 for none.
func (s *scanned) l2Offset(i int64) (int64, error) {
	return s.h.l2Offset(binary.BigEndian.Uint64(s.l1[i*8:]))
}

func (s *scanned) next(ctx context.Context) (run, bool, error) {
	if s.i == len(s.runs) {
		if !s.more {
			return run{}, false, nil
		}
		if err := s.scan(ctx); err != nil {
			return run{}, false, err
		}
		if len(s.runs) == 0 {
			return run{}, false, nil
		}
	}
	r := s.runs[s.i]
	s.i++
	return r, true, nil
}

// level2 is the level 2 table number i, which is at off. It is valid until the
// next call.
func (s *scanned) level2(ctx context.Context, i, off int64) ([]byte, error) {
	size := s.h.clusterSize()
	if off < s.windowAt || off+size > s.windowAt+int64(len(s.window)) {
		if s.requests == 0 {
			return nil, fmt.Errorf("%w: it takes too many requests to read its tables", ErrRefused)
		}
		s.requests--
		n := s.ahead(i, off) - off
		if s.window == nil {
			s.window = make([]byte, 0, max(maxWindow, size))
		}
		s.window, s.windowAt = s.window[:n], off
		if err := s.table(ctx, s.window, off); err != nil {
			s.window = s.window[:0]
			return nil, err
		}
	}
	return s.window[off-s.windowAt:][:size], nil
}

// ahead is where a request ends that begins with table i, at off, and takes the
// tables with it that follow it in the file as they do in the level 1 table.
func (s *scanned) ahead(i, off int64) int64 {
	size := s.h.clusterSize()
	end := off + size
	for i++; i < s.h.l1Entries; i++ {
		next, err := s.l2Offset(i)
		if err != nil || next != 0 && (next < off || next > end+maxGap || next+size > off+maxWindow) {
			break
		}
		if next != 0 {
			end = max(end, next+size)
		}
	}
	return end
}

// scan reads all level 2 tables and keeps the first runs behind s.last.
func (s *scanned) scan(ctx context.Context) error {
	s.runs, s.i, s.more = s.runs[:0], 0, false
	cutoff, bounded := run{}, false
	trim := func() {
		slices.SortFunc(s.runs, run.compare)
		if len(s.runs) > s.limit {
			s.runs = s.runs[:s.limit]
			cutoff, bounded, s.more = s.runs[s.limit-1], true, true
		}
	}
	m := &mapper{h: s.h, zero: s.zero, run: func(r run) error {
		if s.any && r.compare(s.last) <= 0 {
			return nil
		}
		if bounded && r.compare(cutoff) > 0 {
			s.more = true
			return nil
		}
		s.runs = append(s.runs, r)
		if len(s.runs) == 2*s.limit {
			trim()
		}
		return nil
	}}
	s.zero = nil
	var sum uint64
	for i := range s.h.l1Entries {
		off, err := s.l2Offset(i)
		if err != nil {
			return err
		}
		var t []byte
		if off != 0 {
			if t, err = s.level2(ctx, i, off); err != nil {
				return fmt.Errorf("read level 2 table %d: %w", i, err)
			}
			sum += s.seen.hash.of(t, off)
		}
		if err := m.table(i, t); err != nil {
			return err
		}
	}
	if err := errors.Join(m.end(), s.seen.scan(sum)); err != nil {
		return err
	}
	trim()
	if len(s.runs) > 0 {
		s.last, s.any = s.runs[len(s.runs)-1], true
	}
	return nil
}

// passing is the plan made from tables as they come by in the file.
type passing struct {
	h      *Header
	tape   *tape
	zero   func(off, n int64) error
	events events // runs, and tables as runs of no length
	l2     []byte
	begun  bool
}

func newPassing(h *Header, t *tape, zero func(off, n int64) error) *passing {
	return &passing{h: h, tape: t, zero: zero, l2: make([]byte, h.clusterSize())}
}

func (p *passing) next(ctx context.Context) (run, bool, error) {
	if !p.begun {
		p.begun = true
		if err := p.begin(); err != nil {
			return run{}, false, err
		}
	}
	for {
		e, ok := p.events.pop()
		if !ok || e.n != 0 {
			return e, ok, nil
		}
		if err := ctx.Err(); err != nil {
			return run{}, false, context.Cause(ctx)
		}
		if err := p.tape.readFull(p.l2, e.host); err != nil {
			return run{}, false, tableError(err)
		}
		m := &mapper{h: p.h, zero: p.zero, run: p.push}
		if err := errors.Join(m.table(e.guest, p.l2), m.end()); err != nil {
			return run{}, false, err
		}
	}
}

// begin reads the level 1 table and expects the tables that it names.
func (p *passing) begin() error {
	l1 := make([]byte, p.h.l1Entries*8)
	if err := p.tape.readFull(l1, p.h.l1Offset); err != nil {
		return tableError(err)
	}
	m := &mapper{h: p.h, zero: p.zero, run: p.push}
	for i := range p.h.l1Entries {
		off, err := p.h.l2Offset(binary.BigEndian.Uint64(l1[i*8:]))
		if err != nil {
			return err
		}
		if off == 0 {
			err = m.table(i, nil)
		} else {
			err = p.push(run{host: off, guest: i})
		}
		if err != nil {
			return err
		}
	}
	return m.end()
}

func tableError(err error) error {
	if errors.Is(err, errPassed) {
		return ErrOrder
	}
	return err
}

func (p *passing) push(r run) error {
	if len(p.events) >= maxEvents {
		return fmt.Errorf("%w: it is too fragmented for a server that does not support Range requests", ErrRefused)
	}
	p.events.push(r)
	return nil
}
