package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Target is the disk that the image goes to.
type Target interface {
	io.WriterAt
	// Zero makes n bytes from off read as zeros.
	Zero(off, n int64) error
}

// Write puts the image that h heads onto dst. It reads file, which begins with
// the header, once and in order. readAt reads parts of the same file beforehand:
// then file is read to its end, and must have the same tables (else: ErrChanged).
// readAt may be nil: then file is left behind the last cluster, and the tables
// have to come before the data (else: ErrOrder).
func Write(ctx context.Context, h *Header, file io.Reader, readAt func(ctx context.Context, p []byte, off int64) error, dst Target) error {
	w := &writer{h: h, dst: dst}
	defer w.close()
	if readAt == nil {
		w.tape = newTape(file, keepBehind)
		return w.write(ctx, newPassing(h, w.tape, dst.Zero), false)
	}
	seen := newWitness(file)
	w.tape = newTape(seen, 0)
	p, err := newScanned(ctx, h, readAt, dst.Zero, seen)
	if err != nil {
		return err
	}
	err = w.write(ctx, p, true)
	if err == nil {
		return seen.compare()
	}
	// Tables that contradict the file may be others than the file's.
	if seen.scanned && errors.Is(err, ErrCorrupt) && errors.Is(seen.compare(), ErrChanged) {
		return fmt.Errorf("%w (%v)", ErrChanged, err)
	}
	return err
}

type writer struct {
	h    *Header
	tape *tape
	dst  Target

	cluster []byte // a cluster, decompressed
	inflate io.ReadCloser
	unzstd  *zstd.Decoder
}

func (w *writer) write(ctx context.Context, p plan, planned bool) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r, ok, err := p.next(ctx)
		if err != nil || !ok {
			return err
		}
		if r.n > 0 {
			err = w.copyRun(ctx, r)
		} else {
			err = w.unpack(r)
		}
		switch {
		case errors.Is(err, errPassed) && planned:
			return fmt.Errorf("%w: the bytes at %d of the file are mapped twice", ErrCorrupt, r.host)
		case errors.Is(err, errPassed):
			return ErrOrder
		case err != nil:
			return err
		}
	}
}

// copyRun copies a run of clusters as they are.
func (w *writer) copyRun(ctx context.Context, r run) error {
	for r.n > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b, err := w.tape.at(r.host, min(r.n, pieceSize))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return fmt.Errorf("%w: the file ends before the cluster at %d", io.ErrUnexpectedEOF, r.host)
		}
		if _, err := w.dst.WriteAt(b, r.guest); err != nil {
			return err
		}
		k := int64(len(b))
		r = run{r.host + k, r.guest + k, r.n - k}
	}
	return nil
}

// unpack writes a compressed cluster. Its length is known in sectors only: the
// file may end before, and other bytes may follow within.
func (w *writer) unpack(r run) error {
	b, err := w.tape.at(r.host, -r.n)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return fmt.Errorf("%w: the file ends before the cluster at %d", io.ErrUnexpectedEOF, r.host)
	}
	if w.cluster == nil {
		w.cluster = make([]byte, w.h.clusterSize())
	}
	if err := w.decode(b); err != nil {
		return fmt.Errorf("%w: the compressed cluster at %d: %w", ErrCorrupt, r.host, err)
	}
	_, err = w.dst.WriteAt(w.cluster[:min(int64(len(w.cluster)), w.h.Size-r.guest)], r.guest)
	return err
}

func (w *writer) decode(b []byte) error {
	src := bytes.NewReader(b)
	if w.h.zstd {
		if w.unzstd == nil {
			// QEMU does not declare the content's size, so that the window is
			// the default one of the level, larger than the cluster.
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
			if err != nil {
				return err
			}
			w.unzstd = d
		}
		if err := w.unzstd.Reset(src); err != nil {
			return err
		}
		_, err := io.ReadFull(w.unzstd, w.cluster)
		return err
	}
	if w.inflate == nil {
		w.inflate = flate.NewReader(src)
	} else if err := w.inflate.(flate.Resetter).Reset(src, nil); err != nil {
		return err
	}
	_, err := io.ReadFull(w.inflate, w.cluster)
	return err
}

func (w *writer) close() {
	if w.unzstd != nil {
		w.unzstd.Close()
	}
}
