// Package fat reads FAT file systems (12, 16 and 32 bits) without the kernel,
// to look into an EFI system partition, and makes them (16 and 32 bits): EFI
// system partitions, and config drives on disks whose sectors ISO 9660 does not
// fit.
//
// The format is Microsoft's "FAT: General Overview of On-Disk Format" 1.03.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

var (
	// ErrNotFAT: the volume holds no FAT file system.
	ErrNotFAT = errors.New("no FAT file system")
	// ErrCorrupt: the file system contradicts itself.
	ErrCorrupt = errors.New("corrupted FAT file system")
	// ErrNotFound: there is no such file or directory.
	ErrNotFound = errors.New("no such file")
	// ErrTooLarge: more than the reader is willing to take.
	ErrTooLarge = errors.New("too large")
)

// Bounds on what a hostile file system can make the reader do.
const (
	maxDir   = 2 << 20 // bytes of one directory; the format's own bound
	maxDepth = 8
	maxFiles = 64 << 10
	maxDirs  = 1 << 10
)

// FS is a FAT file system.
type FS struct {
	// Label of the volume, "" if it has none.
	Label string
	// ID is the volume's serial number, in the form of blkid ("ABCD-1234").
	ID string

	r           io.ReaderAt
	bits        int // of a FAT entry
	clusterSize int64
	clusters    uint32 // numbers run from 2 to clusters+1
	fat         int64  // byte offsets
	root        int64  // of the fixed root directory, FAT12 and FAT16
	rootSize    int64
	rootCluster uint32 // FAT32
	data        int64
}

// Entry is one file or directory.
type Entry struct {
	Name string
	Dir  bool
	Size int64

	cluster uint32
}

// Open reads the head of the file system of at most size bytes at the
// beginning of r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	b := make([]byte, 512)
	if _, err := r.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFAT, err)
	}
	le := binary.LittleEndian
	sector, perCluster := int64(le.Uint16(b[11:])), int64(b[13])
	reserved, copies := int64(le.Uint16(b[14:])), int64(b[16])
	if b[510] != 0x55 || b[511] != 0xaa || sector < 512 || sector > 4096 || sector&(sector-1) != 0 ||
		perCluster == 0 || perCluster&(perCluster-1) != 0 || reserved == 0 || copies == 0 || copies > 8 {
		return nil, ErrNotFAT
	}
	total, fatSectors := int64(le.Uint16(b[19:])), int64(le.Uint16(b[22:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	ext := 36
	if fatSectors == 0 {
		fatSectors, ext = int64(le.Uint32(b[36:])), 64
	}
	f := &FS{r: r, clusterSize: sector * perCluster, fat: reserved * sector}
	f.root = f.fat + copies*fatSectors*sector
	f.rootSize = int64(le.Uint16(b[17:])) * 32
	f.data = f.root + (f.rootSize+sector-1)/sector*sector
	count := (total*sector - f.data) / f.clusterSize
	if count <= 0 || total*sector > size || fatSectors == 0 {
		return nil, ErrNotFAT
	}
	switch { // the count of clusters alone decides
	case count < 4085:
		f.bits = 12
	case count < 65525:
		f.bits = 16
	default:
		f.bits = 32
	}
	if ext == 64 {
		f.bits, f.rootCluster = 32, le.Uint32(b[44:])&0x0fffffff
	}
	if count > 0x0ffffff5 || (count+2)*int64(f.bits) > fatSectors*sector*8 {
		return nil, ErrNotFAT
	}
	f.clusters = uint32(count)
	if b[ext+2] == 0x29 {
		id := le.Uint32(b[ext+3:])
		f.ID = fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)
		f.Label = strings.TrimRight(string(b[ext+7:ext+18]), " ")
	}
	if f.Label == "NO NAME" {
		f.Label = ""
	}
	_ = f.readRoot(func(e []byte) {
		if e[11]&0x3f == attrLabel && e[0] != deleted {
			f.Label = strings.TrimRight(string(e[:11]), " ")
		}
	})
	return f, nil
}

const (
	attrLabel   = 0x08
	attrDir     = 0x10
	attrArchive = 0x20
	attrLong    = 0x0f
	deleted     = 0xe5
)

// next is the cluster that follows c; ok is false at the end of the chain.
func (f *FS) next(c uint32) (next uint32, ok bool, err error) {
	if c < 2 || c-2 >= f.clusters {
		return 0, false, fmt.Errorf("%w: cluster %d of %d", ErrCorrupt, c, f.clusters)
	}
	var b [4]byte
	var end uint32
	switch f.bits {
	case 12:
		if _, err := f.r.ReadAt(b[:2], f.fat+int64(c)*3/2); err != nil {
			return 0, false, err
		}
		next = uint32(binary.LittleEndian.Uint16(b[:]))
		if c&1 != 0 {
			next >>= 4
		}
		next, end = next&0xfff, 0xff8
	case 16:
		if _, err := f.r.ReadAt(b[:2], f.fat+int64(c)*2); err != nil {
			return 0, false, err
		}
		next, end = uint32(binary.LittleEndian.Uint16(b[:])), 0xfff8
	default:
		if _, err := f.r.ReadAt(b[:4], f.fat+int64(c)*4); err != nil {
			return 0, false, err
		}
		next, end = binary.LittleEndian.Uint32(b[:])&0x0fffffff, 0x0ffffff8
	}
	return next, next < end, nil
}

// chain calls fn with the content of the clusters from c, until it wants no more.
func (f *FS) chain(c uint32, limit int64, fn func([]byte) (more bool)) error {
	buf := make([]byte, f.clusterSize)
	seen, steps, lap := uint32(0), 0, 1 // Brent's way to notice a loop
	for n := int64(0); ; n += f.clusterSize {
		if c == seen {
			return fmt.Errorf("%w: a chain that comes back to cluster %d", ErrCorrupt, c)
		}
		if steps++; steps == lap {
			seen, steps, lap = c, 0, lap*2
		}
		if n >= limit {
			return fmt.Errorf("%w: a chain of more than %d bytes", ErrCorrupt, limit)
		}
		if c < 2 || c-2 >= f.clusters {
			return fmt.Errorf("%w: cluster %d of %d", ErrCorrupt, c, f.clusters)
		}
		if _, err := f.r.ReadAt(buf, f.data+int64(c-2)*f.clusterSize); err != nil {
			return fmt.Errorf("read FAT cluster %d: %w", c, err)
		}
		if !fn(buf) {
			return nil
		}
		next, ok, err := f.next(c)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		c = next
	}
}

func (f *FS) readRoot(fn func(entry []byte)) error {
	if f.bits == 32 {
		return f.readEntries(f.rootCluster, fn)
	}
	buf := make([]byte, min(f.rootSize, maxDir))
	if _, err := f.r.ReadAt(buf, f.root); err != nil {
		return fmt.Errorf("read FAT root directory: %w", err)
	}
	splitEntries(buf, fn)
	return nil
}

func (f *FS) readEntries(cluster uint32, fn func(entry []byte)) error {
	return f.chain(cluster, maxDir, func(b []byte) bool { return splitEntries(b, fn) })
}

func splitEntries(b []byte, fn func(entry []byte)) (more bool) {
	for ; len(b) >= 32; b = b[32:] {
		if b[0] == 0 {
			return false
		}
		fn(b[:32])
	}
	return true
}

// list reads the directory at cluster, the root directory if it is 0.
func (f *FS) list(cluster uint32) ([]Entry, error) {
	var entries []Entry
	var long [20][]uint16 // parts of a long name, by their number
	fn := func(e []byte) {
		switch {
		case e[0] == deleted:
			long = [20][]uint16{}
			return
		case e[11]&0x3f == attrLong:
			if e[0]&0x40 != 0 {
				long = [20][]uint16{}
			}
			if n := int(e[0] & 0x3f); n >= 1 && n <= len(long) {
				long[n-1] = longPart(e)
			}
			return
		case e[11]&attrLabel == 0:
			name := longName(long)
			if name == "" {
				name = shortName(e)
			}
			le := binary.LittleEndian
			entry := Entry{Name: name, Dir: e[11]&attrDir != 0, Size: int64(le.Uint32(e[28:])), cluster: uint32(le.Uint16(e[26:]))}
			if f.bits == 32 {
				entry.cluster |= uint32(le.Uint16(e[20:])) << 16
			}
			if name != "." && name != ".." && len(entries) < maxFiles {
				entries = append(entries, entry)
			}
		}
		long = [20][]uint16{}
	}
	if cluster == 0 {
		err := f.readRoot(fn)
		return entries, err
	}
	err := f.readEntries(cluster, fn)
	return entries, err
}

func longPart(e []byte) []uint16 {
	var u []uint16
	for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
		for i := span[0]; i < span[1]; i += 2 {
			c := binary.LittleEndian.Uint16(e[i:])
			if c == 0 {
				return u
			}
			u = append(u, c)
		}
	}
	return u
}

func longName(parts [20][]uint16) string {
	var u []uint16
	for _, p := range parts {
		u = append(u, p...)
	}
	return string(utf16.Decode(u))
}

func shortName(e []byte) string {
	name, ext := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if e[0] == 0x05 {
		name = "\xe5" + name[1:]
	}
	// Windows NT keeps names of one case in two bits instead of a long name.
	if e[12]&0x08 != 0 {
		name = strings.ToLower(name)
	}
	if e[12]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		name += "." + ext
	}
	return name
}

// ReadDir lists the directory at path ("" or "/" is the root). Names are
// compared without case.
func (f *FS) ReadDir(path string) ([]Entry, error) {
	cluster := uint32(0)
	if parts := split(path); len(parts) > 0 {
		e, err := f.lookup(parts)
		if err != nil {
			return nil, err
		}
		if !e.Dir {
			return nil, fmt.Errorf("%w: %s is not a directory", ErrNotFound, path)
		}
		cluster = e.cluster
	}
	entries, err := f.list(cluster)
	if err != nil {
		return nil, fmt.Errorf("read directory /%s: %w", strings.Trim(path, "/"), err)
	}
	return entries, nil
}

// ReadFile reads the file at path, of at most limit bytes.
func (f *FS) ReadFile(path string, limit int64) ([]byte, error) {
	e, err := f.lookup(split(path))
	if err != nil {
		return nil, err
	}
	if e.Dir || e.Size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrTooLarge, path, e.Size)
	}
	content := make([]byte, 0, e.Size)
	if e.Size == 0 {
		return content, nil
	}
	err = f.chain(e.cluster, limit+f.clusterSize, func(b []byte) bool {
		content = append(content, b[:min(int64(len(b)), e.Size-int64(len(content)))]...)
		return int64(len(content)) < e.Size
	})
	if err == nil && int64(len(content)) < e.Size {
		err = fmt.Errorf("%w: %s ends early", ErrCorrupt, path)
	}
	return content, err
}

// Walk calls fn for every file and directory, parents first, with the path as
// it is spelled on disk, separated by "/".
func (f *FS) Walk(fn func(path string, e Entry) error) error {
	count, walked := 0, map[uint32]bool{}
	var walk func(path string, cluster uint32, depth int) error
	walk = func(path string, cluster uint32, depth int) error {
		entries, err := f.list(cluster)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if count++; count > maxFiles {
				return fmt.Errorf("%w: more than %d files", ErrTooLarge, maxFiles)
			}
			sub := path + "/" + e.Name
			if err := fn(sub, e); err != nil {
				return err
			}
			if e.Dir && e.cluster != 0 && depth < maxDepth && !walked[e.cluster] {
				walked[e.cluster] = true
				if len(walked) > maxDirs {
					return fmt.Errorf("%w: more than %d directories", ErrTooLarge, maxDirs)
				}
				if err := walk(sub, e.cluster, depth+1); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk("", 0, 0)
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
}

func (f *FS) lookup(parts []string) (Entry, error) {
	here := Entry{Dir: true}
	if len(parts) > maxDepth {
		return here, fmt.Errorf("%w: path of %d names", ErrTooLarge, len(parts))
	}
search:
	for _, name := range parts {
		entries, err := f.list(here.cluster)
		if err != nil {
			return Entry{}, err
		}
		for _, e := range entries {
			if here.Dir && strings.EqualFold(e.Name, name) {
				here = e
				continue search
			}
		}
		return Entry{}, fmt.Errorf("%w: /%s", ErrNotFound, strings.Join(parts, "/"))
	}
	return here, nil
}
