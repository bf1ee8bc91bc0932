// Package decompress undoes the compression of an image as it flows by, with a
// bound on the memory that the compressed stream may ask for.
package decompress

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// MaxWindow is the largest window (dictionary) in bytes that a stream may
// declare; xz -8 and zstd -20 need this much.
const MaxWindow = 32 << 20

var (
	// ErrWindow: the stream wants a larger window than MaxWindow.
	ErrWindow = errors.New("window too large")
	// ErrUnsupported: a compression, or a variant of one, that is not read.
	ErrUnsupported = errors.New("unsupported compression")
	// ErrCorrupt: the stream contradicts itself.
	ErrCorrupt = errors.New("corrupted compressed data")
)

// kind is one compression. A kind without open is known only to be refused.
type kind struct {
	name  string
	magic string
	open  func(io.Reader) (io.Reader, error)
}

func kinds() []kind {
	return []kind{
		{"gzip", "\x1f\x8b\x08", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"zstd", "\x28\xb5\x2f\xfd", openZstd},
		{"xz", xzMagic, func(r io.Reader) (io.Reader, error) { return newXZ(r) }},
		{"bzip2", "BZh", nil},
		{"lz4", "\x04\x22\x4d\x18", nil},
		{"lzip", "LZIP", nil},
	}
}

// Sniff names the compression that begins with head, "" for none.
func Sniff(head []byte) string {
	for _, k := range kinds() {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.name
		}
	}
	return ""
}

// NewReader reads what is compressed in r in the way that Sniff named.
func NewReader(name string, r io.Reader) (io.Reader, error) {
	for _, k := range kinds() {
		if k.name != name {
			continue
		}
		if k.open == nil {
			return nil, fmt.Errorf("%w: %s", ErrUnsupported, name)
		}
		src := &watched{r: r}
		dec, err := k.open(src)
		if err != nil {
			return nil, src.explain(name, err)
		}
		return &reader{name: name, src: src, dec: dec}, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrUnsupported, name)
}

// openZstd decodes in the caller's goroutine: further ones would each keep
// blocks of their own.
func openZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxWindow))
}

// reader sorts the errors of a decoder: those of the source pass through as
// they are, the decoder's own become the ones of this package.
type reader struct {
	name string
	src  *watched
	dec  io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.dec.Read(p)
	if err != nil && err != io.EOF {
		err = r.src.explain(r.name, err)
	}
	return n, err
}

// watched remembers why its source failed.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

func (w *watched) explain(name string, err error) error {
	switch {
	case w.err != nil && w.err != io.EOF:
		return w.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: the %s stream declares more than %d MiB", ErrWindow, name, MaxWindow>>20)
	case errors.Is(err, ErrWindow), errors.Is(err, ErrUnsupported):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return fmt.Errorf("%w: the %s stream ends early", io.ErrUnexpectedEOF, name)
	}
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, name, err)
}
