// Package sparse puts the extents of an image, runs of data and runs of zeros
// in any order, onto a disk: data gathered into large direct writes, zeros by
// the device's own command, while the caller already decodes what comes next.
// The beginning of the disk, with the partition table that makes all of it mean
// something, and the end, where firmware looks for the table's backup, are held
// back until the caller has verified the rest: whatever dies before that leaves
// a disk that nothing can boot from.
package sparse

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"ferric/images/disk"
	"ferric/images/stopwatch"
)

var (
	// ErrWrite: the disk refused to take the data.
	ErrWrite = errors.New("writing to the disk failed")
	// ErrFull: an extent reaches over the end of the disk.
	ErrFull = errors.New("larger than the disk")
)

const (
	bufferSize = 1 << 20
	buffers    = 6
	// A run of zeros shorter than this goes out as data: a command of its own
	// would cost more than it saves.
	shortZeros = 128 << 10
	// Zeros are asked for in pieces, so that a cancelled context is noticed.
	zeroPiece = 1 << 30
	// headSize covers the MBR and the primary GPT for all sector sizes.
	headSize = bufferSize
	// tailSize covers the backup GPT for all sector sizes.
	tailSize = bufferSize
)

// extent is a run of data, or of zeros where data is nil.
type extent struct {
	off, n int64
	data   []byte
}

// Writer writes extents. Its methods are for one goroutine.
type Writer struct {
	ctx     context.Context // of one transfer: bounds the writing goroutine
	dev     *disk.Device
	queue   chan extent
	free    chan []byte
	done    chan struct{}
	failed  chan struct{}
	err     error // read after failed or done is closed
	pending extent
	head    []byte // of the image, until Commit
	headEnd int64  // how much of it there is
	tail    []byte // of the disk, from tailAt, until Commit
	tailAt  int64
	data    span // of the tail: where there is data in it
	written atomic.Int64
	waited  stopwatch.Watch // for the disk
	closed  bool
}

// span is from one place to another; empty if from is not less.
type span struct{ from, to int64 }

// NewWriter starts writing to dev, whose ends have been wiped, until Close,
// which must be called.
func NewWriter(ctx context.Context, dev *disk.Device) *Writer {
	tailAt := max(headSize, dev.Size-tailSize)
	w := &Writer{
		ctx:    ctx,
		dev:    dev,
		queue:  make(chan extent, buffers),
		free:   make(chan []byte, buffers),
		done:   make(chan struct{}),
		failed: make(chan struct{}),
		head:   disk.Buffer(headSize),
		tailAt: tailAt,
		tail:   disk.Buffer(int(max(0, dev.Size-tailAt))),
	}
	for range buffers {
		w.free <- disk.Buffer(bufferSize)
	}
	go w.run()
	return w
}

// Written is the number of bytes of data that reached the device. It may be
// called from any goroutine.
func (w *Writer) Written() int64 { return w.written.Load() }

// Waited is how long WriteAt and Zero have waited for the disk. It may be
// called from any goroutine.
func (w *Writer) Waited() time.Duration { return w.waited.Total() }

// WriteAt queues p, which the caller may change afterwards, for off.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > w.dev.Size-off {
		return 0, fmt.Errorf("%w: data at %d of %s, which has %d bytes", ErrFull, off+int64(len(p)), w.dev.Path, w.dev.Size)
	}
	total := len(p)
	if off < headSize {
		k := copy(w.head[off:], p)
		w.headEnd = max(w.headEnd, off+int64(k))
		off, p = off+int64(k), p[k:]
	}
	if end := off + int64(len(p)); len(p) > 0 && end > w.tailAt {
		from := max(off, w.tailAt)
		copy(w.tail[from-w.tailAt:], p[from-off:])
		if w.data.to == 0 {
			w.data.from = from
		}
		w.data = span{min(w.data.from, from), max(w.data.to, end)}
		p = p[:from-off]
	}
	for len(p) > 0 {
		if err := w.room(off); err != nil {
			return total - len(p), err
		}
		// Buffers end where 1 MiB blocks of the disk end, so that the next
		// one begins aligned.
		used := w.pending.n
		until := min(bufferSize, bufferSize-off%bufferSize+used)
		k := copy(w.pending.data[used:until], p)
		w.pending.n += int64(k)
		off, p = off+int64(k), p[k:]
		if w.pending.n == until {
			if err := w.flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// room makes the pending extent one of data that goes on at off.
func (w *Writer) room(off int64) error {
	p := &w.pending
	if p.n > 0 && p.data != nil && p.off+p.n == off {
		return nil
	}
	if p.n > 0 && p.data == nil && p.n < shortZeros && p.off+p.n == off {
		return w.zerosAsData(off)
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.take(off)
}

// take makes the pending extent an empty one of data at off.
func (w *Writer) take(off int64) error {
	defer w.waited.Start()()
	select {
	case b := <-w.free:
		w.pending = extent{off: off, data: b}
		return nil
	case <-w.failed:
		return w.err
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// zerosAsData turns the short run of zeros that is pending into data, if it
// does not reach over the end of a block.
func (w *Writer) zerosAsData(off int64) error {
	zeros := w.pending
	if zeros.off/bufferSize != off/bufferSize {
		if err := w.flush(); err != nil {
			return err
		}
		return w.take(off)
	}
	if err := w.take(zeros.off); err != nil {
		return err
	}
	clear(w.pending.data[:zeros.n])
	w.pending.n = zeros.n
	return nil
}

// Zero queues n zeros for off.
func (w *Writer) Zero(off, n int64) error {
	if off < 0 || n < 0 || n > w.dev.Size-off {
		return fmt.Errorf("%w: zeros at %d of %s, which has %d bytes", ErrFull, off+n, w.dev.Path, w.dev.Size)
	}
	if off < headSize {
		k := min(n, headSize-off)
		clear(w.head[off : off+k])
		w.headEnd = max(w.headEnd, off+k)
		off, n = off+k, n-k
	}
	if end := off + n; n > 0 && end > w.tailAt {
		from := max(off, w.tailAt)
		clear(w.tail[from-w.tailAt : end-w.tailAt]) // the disk has zeros there
		n = from - off
	}
	if n == 0 {
		return nil
	}
	p := &w.pending
	if p.n > 0 && p.data == nil && p.off+p.n == off {
		p.n += n
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.pending = extent{off: off, n: n}
	return nil
}

func (w *Writer) flush() error {
	e := w.pending
	w.pending = extent{}
	if e.n == 0 {
		if e.data != nil {
			w.free <- e.data
		}
		return nil
	}
	defer w.waited.Start()()
	select {
	case w.queue <- e:
		return nil
	case <-w.failed:
		return w.err
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	}
}

// Commit writes the end and then the beginning of the disk, after Close and
// when all is known to be right. What is at the beginning is on the medium
// last.
func (w *Writer) Commit() error {
	if d := w.data; d.from < d.to {
		if err := w.finish(w.tail[d.from-w.tailAt:d.to-w.tailAt], d.from); err != nil {
			return err
		}
	}
	return w.finish(w.head[:w.headEnd], 0)
}

func (w *Writer) finish(p []byte, off int64) error {
	if _, err := w.dev.WriteAt(p, off); err != nil {
		return fmt.Errorf("%w: %w", ErrWrite, err)
	}
	w.written.Add(int64(len(p)))
	if err := w.dev.Sync(); err != nil {
		return fmt.Errorf("%w: %w", ErrWrite, err)
	}
	return nil
}

// Close waits until everything queued is on the medium. The ends of the disk
// are not: see Commit.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	err := w.flush()
	close(w.queue)
	<-w.done
	if w.err != nil {
		return w.err
	}
	if err != nil {
		return err
	}
	if err := w.dev.Sync(); err != nil {
		w.err = fmt.Errorf("%w: %w", ErrWrite, err)
	}
	return w.err
}

func (w *Writer) run() {
	defer close(w.done)
	for e := range w.queue {
		if w.err != nil {
			continue
		}
		if err := w.put(e); err != nil {
			w.err = err
			close(w.failed)
		}
	}
}

func (w *Writer) put(e extent) error {
	if e.data != nil {
		_, err := w.dev.WriteAt(e.data[:e.n], e.off)
		w.written.Add(e.n)
		w.free <- e.data
		if err != nil {
			return fmt.Errorf("%w: %w", ErrWrite, err)
		}
		return nil
	}
	for e.n > 0 {
		if err := w.ctx.Err(); err != nil {
			return context.Cause(w.ctx)
		}
		n := min(e.n, zeroPiece)
		if err := w.dev.Zero(e.off, n); err != nil {
			return fmt.Errorf("%w: %w", ErrWrite, err)
		}
		e.off, e.n = e.off+n, e.n-n
	}
	return nil
}
