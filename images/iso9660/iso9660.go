// Package iso9660 reads ISO 9660 volumes without the kernel: config drives and
// virtual media, which are small and may be hostile. Names are those of Rock
// Ridge, else of Joliet, else the plain ones in lower case as Linux shows them.
//
// The formats are ECMA-119, IEEE P1281 (SUSP), IEEE P1282 (Rock Ridge) and
// Microsoft's Joliet specification.
package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf16"
)

var (
	// ErrNotISO: the volume holds no ISO 9660 file system.
	ErrNotISO = errors.New("no ISO 9660 file system")
	// ErrCorrupt: the file system contradicts itself.
	ErrCorrupt = errors.New("corrupted ISO 9660 file system")
	// ErrNotFound: there is no such file or directory.
	ErrNotFound = errors.New("no such file")
	// ErrTooLarge: more than the reader is willing to take.
	ErrTooLarge = errors.New("too large")
)

// Bounds on what a hostile file system can make the reader do.
const (
	maxDir         = 2 << 20 // bytes of one directory
	maxEntries     = 64 << 10
	maxDepth       = 8
	maxDirs        = 1 << 10 // that Walk enters
	maxDescriptors = 32
)

// sector is the unit of the volume descriptors (ECMA-119, 6.1.2).
const sector = 2048

// FS is an ISO 9660 file system.
type FS struct {
	// Label of the volume, "" if it has none.
	Label string

	r         io.ReaderAt
	size      int64
	block     int64 // bytes of a logical block
	root      Entry
	rockRidge bool
	skip      int // bytes before the SUSP entries of a record
	joliet    bool
}

// Entry is one file or directory.
type Entry struct {
	Name    string
	Dir     bool
	Regular bool // neither a directory nor a link or device
	Size    int64

	extent int64 // logical block
}

// Open reads the head of the file system of size bytes at the beginning of r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	fs := &FS{r: r, size: size}
	var joliet []byte
	found := false
	for i := range int64(maxDescriptors) {
		d := make([]byte, sector)
		if _, err := r.ReadAt(d, (16+i)*sector); err != nil {
			break
		}
		if string(d[1:6]) != "CD001" || d[0] == 255 {
			break
		}
		switch {
		case d[0] == 1 && !found:
			found = true
			if err := fs.primary(d); err != nil {
				return nil, err
			}
		case d[0] == 2 && joliet == nil && isJoliet(d):
			joliet = d
		}
	}
	if !found {
		return nil, ErrNotISO
	}
	if err := fs.findRockRidge(); err != nil {
		return nil, err
	}
	if !fs.rockRidge && joliet != nil {
		fs.joliet = true
		root, err := fs.record(joliet[156:190])
		if err != nil {
			return nil, err
		}
		fs.root = root
	}
	return fs, nil
}

// primary takes over the primary volume descriptor (ECMA-119, 8.4).
func (fs *FS) primary(d []byte) error {
	fs.Label = strings.TrimRight(strings.ToValidUTF8(string(d[40:72]), "?"), " \x00")
	fs.block = int64(binary.LittleEndian.Uint16(d[128:]))
	if fs.block != 512 && fs.block != 1024 && fs.block != 2048 {
		return fmt.Errorf("%w: blocks of %d bytes", ErrCorrupt, fs.block)
	}
	root, err := fs.record(d[156:190])
	if err != nil || !root.Dir {
		return fmt.Errorf("%w: root directory", ErrCorrupt)
	}
	fs.root = root
	return nil
}

// isJoliet: the escape sequences of UCS-2 in a supplementary descriptor.
func isJoliet(d []byte) bool {
	e := string(d[88:91])
	return e == "%/@" || e == "%/C" || e == "%/E"
}

// Flags of a directory record (ECMA-119, 9.1.6).
const (
	flagDir         = 0x02
	flagMultiExtent = 0x80
	headerSize      = 33
)

// record reads one directory record, whose length in its first byte has been
// checked.
func (fs *FS) record(b []byte) (Entry, error) {
	le := binary.LittleEndian
	if len(b) < headerSize || headerSize+int(b[32]) > len(b) {
		return Entry{}, fmt.Errorf("%w: directory record of %d bytes", ErrCorrupt, len(b))
	}
	flags := b[25]
	e := Entry{
		Dir:    flags&flagDir != 0,
		Size:   int64(le.Uint32(b[10:])),
		extent: int64(le.Uint32(b[2:])) + int64(b[1]),
	}
	e.Regular = !e.Dir && flags&flagMultiExtent == 0
	raw := b[headerSize : headerSize+int(b[32])]
	switch {
	case len(raw) == 1 && raw[0] == 0:
		e.Name = "."
		return e, nil
	case len(raw) == 1 && raw[0] == 1:
		e.Name = ".."
		return e, nil
	case fs.joliet:
		e.Name = withoutVersion(ucs2(raw))
	default:
		e.Name = strings.ToLower(withoutVersion(strings.ToValidUTF8(string(raw), "?")))
	}
	if !fs.rockRidge {
		return e, nil
	}
	begin := headerSize + len(raw) + (len(raw)+1)%2 // padded to an even length
	if begin+fs.skip > len(b) {
		return e, nil
	}
	return e, fs.applyRockRidge(&e, b[begin+fs.skip:])
}

// withoutVersion cuts the version number, and the dot of a name without
// extension (ECMA-119, 7.5.1).
func withoutVersion(name string) string {
	name, _, _ = strings.Cut(name, ";")
	return strings.TrimSuffix(name, ".")
}

func ucs2(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

// list reads a directory, without itself and its parent.
func (fs *FS) list(dir Entry) ([]Entry, error) {
	if dir.Size > maxDir {
		return nil, fmt.Errorf("%w: directory of %d bytes", ErrTooLarge, dir.Size)
	}
	data, err := fs.read(dir)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for at := int64(0); at < int64(len(data)); {
		n := int64(data[at])
		if n == 0 { // records do not cross blocks: the rest of this one is empty
			at = (at/fs.block + 1) * fs.block
			continue
		}
		if at+n > int64(len(data)) {
			return nil, fmt.Errorf("%w: a directory record crosses the end", ErrCorrupt)
		}
		e, err := fs.record(data[at : at+n])
		if err != nil {
			return nil, err
		}
		at += n
		if e.Name == "." || e.Name == ".." || e.Name == "" {
			continue
		}
		if len(entries) == maxEntries {
			return nil, fmt.Errorf("%w: more than %d files in a directory", ErrTooLarge, maxEntries)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// read is the content of an entry, whose size the caller has bounded.
func (fs *FS) read(e Entry) ([]byte, error) {
	at := e.extent * fs.block
	if at+e.Size > fs.size {
		return nil, fmt.Errorf("%w: %q lies behind the end of the volume", ErrCorrupt, e.Name)
	}
	data := make([]byte, e.Size)
	if _, err := fs.r.ReadAt(data, at); err != nil && !(errors.Is(err, io.EOF) && e.Size == 0) {
		return nil, fmt.Errorf("read %q from ISO 9660 volume: %w", e.Name, err)
	}
	return data, nil
}

// ReadDir lists the directory at name ("" or "/" is the root). Names are
// compared without case.
func (fs *FS) ReadDir(name string) ([]Entry, error) {
	e, err := fs.lookup(name)
	if err != nil {
		return nil, err
	}
	if !e.Dir {
		return nil, fmt.Errorf("%w: %s is not a directory", ErrNotFound, name)
	}
	entries, err := fs.list(e)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path.Join("/", name), err)
	}
	return entries, nil
}

// ReadFile reads the file at name, of at most limit bytes.
func (fs *FS) ReadFile(name string, limit int64) ([]byte, error) {
	e, err := fs.lookup(name)
	if err != nil {
		return nil, err
	}
	return fs.Content(e, limit)
}

// Content reads the file e, which Walk or ReadDir told of, of at most limit
// bytes.
func (fs *FS) Content(e Entry, limit int64) ([]byte, error) {
	switch {
	case !e.Regular:
		return nil, fmt.Errorf("%w: %s is not a regular file of one extent", ErrNotFound, e.Name)
	case e.Size > limit:
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrTooLarge, e.Name, e.Size)
	}
	return fs.read(e)
}

func (fs *FS) lookup(name string) (Entry, error) {
	here := fs.root
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '/' })
	if len(parts) > maxDepth {
		return Entry{}, fmt.Errorf("%w: path of %d names", ErrTooLarge, len(parts))
	}
	for _, part := range parts {
		if !here.Dir {
			return Entry{}, fmt.Errorf("%w: %s", ErrNotFound, name)
		}
		entries, err := fs.list(here)
		if err != nil {
			return Entry{}, err
		}
		i := slices.IndexFunc(entries, func(e Entry) bool { return strings.EqualFold(e.Name, part) })
		if i < 0 {
			return Entry{}, fmt.Errorf("%w: %s", ErrNotFound, name)
		}
		here = entries[i]
	}
	return here, nil
}

// Walk calls fn for every file and directory, parents first, with its path
// below the root ("a/b"). It does not go deeper than 8 directories.
func (fs *FS) Walk(fn func(path string, e Entry) error) error {
	count, walked := 0, map[int64]bool{fs.root.extent: true}
	var walk func(dir Entry, prefix string, depth int) error
	walk = func(dir Entry, prefix string, depth int) error {
		entries, err := fs.list(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if count++; count > maxEntries {
				return fmt.Errorf("%w: more than %d files", ErrTooLarge, maxEntries)
			}
			if err := fn(prefix+e.Name, e); err != nil {
				return err
			}
			if e.Dir && depth < maxDepth && !walked[e.extent] {
				if len(walked) == maxDirs {
					return fmt.Errorf("%w: more than %d directories", ErrTooLarge, maxDirs)
				}
				walked[e.extent] = true
				if err := walk(e, prefix+e.Name+"/", depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(fs.root, "", 1)
}
