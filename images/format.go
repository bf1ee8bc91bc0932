package images

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"ferric/images/decompress"
	"ferric/images/qcow2"
	"ferric/images/source"
	"ferric/images/sparse"
)

// sniffSize is how much of the beginning is looked at; the farthest mark is
// ISO 9660's, at 32 KiB.
const sniffSize = 64 << 10

// format is one image format. One without open is known to be refused.
type format struct {
	name  string
	match func(head []byte) bool
	open  func(in input) (content, error)
}

// input is what a format is opened on.
type input struct {
	body   *bufio.Reader // at the first byte of the image
	served *source.File  // the file behind body; nil if body is decompressed
	size   int64         // of the image file, -1 if unknown
}

// content is an opened image.
type content struct {
	size  int64 // on the disk, -1 if that shows only at its end
	write func(ctx context.Context, w *sparse.Writer) (size int64, err error)
}

func magic(at int, texts ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, t := range texts {
			if len(head) >= at+len(t) && string(head[at:at+len(t)]) == t {
				return true
			}
		}
		return false
	}
}

// formats lists the image formats by their marks; what has none is raw.
func formats() []format {
	return []format{
		{"qcow2", magic(0, qcow2.Magic), openQcow2},
		{"vmdk", magic(0, "KDMV", "COWD", "# Disk DescriptorFile"), nil},
		{"vhdx", magic(0, "vhdxfile"), nil},
		{"vhd", magic(0, "conectix"), nil},
		{"vdi", magic(0x40, "\x7f\x10\xda\xbe"), nil},
		{"qed", magic(0, "QED\x00"), nil},
		{"parallels", magic(0, "WithoutFreeSpace", "WithouFreSpacExt"), nil},
		{"luks", magic(0, "LUKS\xba\xbe"), nil},
		{"dmg", magic(0, "koly"), nil},
		{"raw", func([]byte) bool { return true }, openRaw},
	}
}

// rawNames are names under which raw content may be declared and permitted.
var rawNames = [...]string{"raw", "gpt", "iso"}

func defaultPermitted() []string { return []string{"raw", "gpt", "qcow2"} }

// sniffFormat names the format of what begins with head. What is of several
// formats at once is ErrInvalid: somebody else may take it for the other one.
func sniffFormat(head []byte) (format, error) {
	all := formats()
	found := all[len(all)-1] // raw, which everything matches
	var names []string
	for _, f := range all[:len(all)-1] {
		if f.match(head) {
			found, names = f, append(names, f.name)
		}
	}
	if len(names) > 0 && magic(isoMark, "CD001")(head) {
		names = append(names, "iso")
	}
	if len(names) > 1 {
		return format{}, fmt.Errorf("%w: it looks like %s at once", ErrInvalid, strings.Join(names, " and "))
	}
	return found, nil
}

// isoMark is where ISO 9660 has its mark (ECMA-119, 8.1.2).
const isoMark = 16*2048 + 1

// declaredFormat is the format that the image is declared as, if it is one
// that can be written.
func declaredFormat(name string) (format, bool) {
	if isRaw(name) {
		name = "raw"
	}
	all := formats()
	i := slices.IndexFunc(all, func(f format) bool { return f.name == name && f.open != nil })
	if i < 0 {
		return format{}, false
	}
	return all[i], true
}

func isRaw(name string) bool { return slices.Contains(rawNames[:], name) }

// realFormat finds out what an image that begins with head is.
func realFormat(head []byte, declared string, trust bool) (format, error) {
	declared = strings.ToLower(declared)
	if trust {
		if f, ok := declaredFormat(declared); ok {
			return f, nil
		}
	}
	real, err := sniffFormat(head)
	if err == nil && real.name == "luks" && isRaw(declared) {
		real, _ = declaredFormat(declared) // an encrypted volume is content like any other
	}
	return real, err
}

// checkFormat refuses an image whose real format is not the declared one or
// not a permitted one.
func checkFormat(declared string, real format, compression string, permitted []string) error {
	declared = strings.ToLower(declared)
	packed := ""
	if compression != "" {
		packed = compression + "-compressed "
	}
	switch {
	case declared == "" || declared == "unknown":
	case isRaw(declared) && real.name == "raw":
	case declared == real.name && compression == "":
	default:
		return fmt.Errorf("%w: declared as %s, but it is %s%s", ErrInvalid, clip(declared), packed, real.name)
	}
	if real.open == nil {
		return fmt.Errorf("%w: format %s is not supported", ErrInvalid, real.name)
	}
	if compression != "" && real.name != "raw" {
		return fmt.Errorf("%w: it is %s%s; only raw images may be compressed as a whole", ErrInvalid, packed, real.name)
	}
	if len(permitted) == 0 {
		permitted = defaultPermitted()
	}
	for _, p := range permitted {
		if p == real.name || real.name == "raw" && isRaw(p) {
			return nil
		}
	}
	return fmt.Errorf("%w: format %s is not permitted (permitted: %s)", ErrInvalid, real.name, strings.Join(permitted, ", "))
}

// identify finds out what served holds: reader is served with its digest
// taken on the way.
func identify(served *source.File, reader *bufio.Reader, req Request) (c content, format, compression string, err error) {
	in := input{body: reader, served: served, size: served.Size()}
	head, err := peek(in.body)
	if err != nil {
		return content{}, "", "", err
	}
	if compression = decompress.Sniff(head); compression != "" {
		plain, err := decompress.NewReader(compression, in.body)
		if err != nil {
			return content{}, "", "", err
		}
		in = input{body: bufio.NewReaderSize(plain, sniffSize), size: -1}
		if head, err = peek(in.body); err != nil {
			return content{}, "", "", err
		}
	}
	real, err := realFormat(head, req.DiskFormat, req.TrustFormat)
	if err != nil {
		return content{}, "", "", err
	}
	permitted := req.Permitted
	if req.TrustFormat {
		permitted = []string{real.name}
	}
	if err := checkFormat(req.DiskFormat, real, compression, permitted); err != nil {
		return content{}, "", "", err
	}
	c, err = real.open(in)
	return c, real.name, compression, err
}

// peek returns the beginning of r, at most sniffSize bytes.
func peek(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(sniffSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(head) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrTruncated)
	}
	return head, nil
}

func openQcow2(in input) (content, error) {
	head, err := in.body.Peek(qcow2.HeaderSize)
	if err != nil && err != io.EOF {
		return content{}, err
	}
	h, err := qcow2.ParseHeader(head)
	if err != nil {
		return content{}, err
	}
	return content{size: h.Size, write: func(ctx context.Context, w *sparse.Writer) (int64, error) {
		if in.served == nil || !in.served.Ranges(ctx) {
			return h.Size, qcow2.Write(ctx, h, in.body, nil, w)
		}
		return h.Size, qcow2.Write(ctx, h, in.body, in.served.ReadRange, w)
	}}, nil
}

func openRaw(in input) (content, error) {
	return content{size: in.size, write: func(ctx context.Context, w *sparse.Writer) (int64, error) {
		return copyRaw(ctx, in.body, w)
	}}, nil
}

// rawGrain is the size of the pieces of a raw image that are written as zeros
// if they are zeros.
const rawGrain = 64 << 10

func copyRaw(ctx context.Context, r io.Reader, w *sparse.Writer) (int64, error) {
	buf := make([]byte, 1<<20)
	zeros := make([]byte, rawGrain)
	var off int64
	for {
		if ctx.Err() != nil {
			return off, context.Cause(ctx)
		}
		n, err := io.ReadFull(r, buf)
		for p := buf[:n]; len(p) > 0; {
			k := min(len(p), rawGrain)
			var werr error
			if bytes.Equal(p[:k], zeros[:k]) {
				werr = w.Zero(off, int64(k))
			} else {
				_, werr = w.WriteAt(p[:k], off)
			}
			if werr != nil {
				return off, werr
			}
			p, off = p[k:], off+int64(k)
		}
		// ReadFull's own word for a short last piece is bare; a decoder that
		// was cut off wraps it.
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return off, nil
		}
		if err != nil {
			return off, err
		}
	}
}
