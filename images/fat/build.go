package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// Build makes a FAT16 file system of size bytes on a disk with sectors of
// sector bytes, holding files (path separated by "/" → content). w must
// read as zeros beforehand. id becomes the volume's serial number.
func Build(w io.WriterAt, size int64, sector int, label string, id uint32, files map[string][]byte) error {
	b, err := newBuilder(size, int64(sector))
	if err != nil {
		return err
	}
	root := &dir{}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := root.add(split(path), files[path]); err != nil {
			return fmt.Errorf("FAT file %s: %w", path, err)
		}
	}
	if err := b.place(w, root, 0, 0); err != nil {
		return err
	}
	entries := append(shortEntry(padded(label, 11), attrLabel, 0, 0), root.encoded...)
	if len(entries) > rootEntries*32 {
		return fmt.Errorf("FAT root directory: %w", ErrTooLarge)
	}
	for _, part := range []struct {
		at   int64
		data []byte
	}{
		{0, b.bootSector(label, id)},
		{b.fatAt(0), b.encodeFAT()},
		{b.fatAt(1), b.encodeFAT()},
		{b.fatAt(2), entries},
	} {
		if _, err := w.WriteAt(part.data, part.at); err != nil {
			return fmt.Errorf("write FAT file system: %w", err)
		}
	}
	return nil
}

const (
	rootEntries = 512
	reserved    = 1 // sectors before the first FAT
)

type builder struct {
	sector, perCluster, sectors, fatSectors int64
	clusters                                int64
	fat                                     []uint16 // from cluster 0
}

func newBuilder(size, sector int64) (*builder, error) {
	b := &builder{sector: sector, perCluster: 1, sectors: size / sector, fat: []uint16{0xfff8, 0xffff}}
	for ; b.perCluster <= 64; b.perCluster *= 2 {
		b.fatSectors = ((b.sectors/b.perCluster+2)*2 + sector - 1) / sector
		b.clusters = (b.sectors - b.dataSector()) / b.perCluster
		if b.clusters < 65525 {
			break
		}
	}
	if b.clusters < 4085 || b.clusters >= 65525 {
		return nil, fmt.Errorf("FAT16 file system of %d bytes in sectors of %d is not possible", size, sector)
	}
	return b, nil
}

func (b *builder) dataSector() int64 {
	return reserved + 2*b.fatSectors + (rootEntries*32+b.sector-1)/b.sector
}

// fatAt is the byte offset of copy i of the table; of the root directory for 2.
func (b *builder) fatAt(i int64) int64 { return (reserved + i*b.fatSectors) * b.sector }

func (b *builder) bootSector(label string, id uint32) []byte {
	s := make([]byte, 512)
	le := binary.LittleEndian
	copy(s, "\xeb\x3c\x90ferric  ")
	le.PutUint16(s[11:], uint16(b.sector))
	s[13] = byte(b.perCluster)
	le.PutUint16(s[14:], reserved)
	s[16] = 2
	le.PutUint16(s[17:], rootEntries)
	if b.sectors < 1<<16 {
		le.PutUint16(s[19:], uint16(b.sectors))
	} else {
		le.PutUint32(s[32:], uint32(b.sectors))
	}
	s[21] = 0xf8
	le.PutUint16(s[22:], uint16(b.fatSectors))
	le.PutUint16(s[24:], 32) // sectors a track, heads: not looked at
	le.PutUint16(s[26:], 64)
	s[36], s[38] = 0x80, 0x29
	le.PutUint32(s[39:], id)
	copy(s[43:], padded(label, 11))
	copy(s[54:], "FAT16   ")
	s[510], s[511] = 0x55, 0xaa
	return s
}

func (b *builder) encodeFAT() []byte {
	out := make([]byte, len(b.fat)*2)
	for i, v := range b.fat {
		binary.LittleEndian.PutUint16(out[2*i:], v)
	}
	return out
}

// store puts content into new clusters and returns the first, 0 for none.
func (b *builder) store(w io.WriterAt, content []byte) (uint16, error) {
	n := (int64(len(content)) + b.sector*b.perCluster - 1) / (b.sector * b.perCluster)
	if n == 0 {
		return 0, nil
	}
	first := int64(len(b.fat))
	if first+n > b.clusters+2 {
		return 0, fmt.Errorf("FAT file system: %w for its content", ErrTooLarge)
	}
	for i := range n {
		b.fat = append(b.fat, uint16(first+i+1))
	}
	b.fat[len(b.fat)-1] = 0xffff
	_, err := w.WriteAt(content, (b.dataSector()+(first-2)*b.perCluster)*b.sector)
	return uint16(first), err
}

// dir is a directory being built.
type dir struct {
	names    []string
	children []*dir
	content  []byte // of a file
	file     bool
	encoded  []byte
}

func (d *dir) add(parts []string, content []byte) error {
	if len(parts) == 0 || len(parts) > maxDepth {
		return fmt.Errorf("%w: unusable path", ErrNotFound)
	}
	if len(utf16.Encode([]rune(parts[0]))) > 255 {
		return fmt.Errorf("%w: name", ErrTooLarge)
	}
	i := slices.IndexFunc(d.names, func(n string) bool { return strings.EqualFold(n, parts[0]) })
	if i < 0 {
		i = len(d.names)
		d.names, d.children = append(d.names, parts[0]), append(d.children, &dir{})
	}
	child := d.children[i]
	if len(parts) == 1 {
		child.file, child.content = true, content
		return nil
	}
	return child.add(parts[1:], content)
}

// place stores what is in d and encodes its entries. A directory is stored
// before its place is known to its children, so its clusters are taken first.
func (b *builder) place(w io.WriterAt, d *dir, self, parent uint16) error {
	if parent != 0 || self != 0 {
		d.encoded = append(shortEntry(padded(".", 11), attrDir, self, 0), shortEntry(padded("..", 11), attrDir, parent, 0)...)
	}
	for i, name := range d.names {
		child := d.children[i]
		attr, cluster, err := byte(attrArchive), uint16(0), error(nil)
		if child.file {
			cluster, err = b.store(w, child.content)
		} else {
			attr = attrDir
			if cluster, err = b.store(w, make([]byte, child.size())); err == nil {
				err = b.place(w, child, cluster, self)
			}
			if err == nil {
				_, err = w.WriteAt(child.encoded, (b.dataSector()+(int64(cluster)-2)*b.perCluster)*b.sector)
			}
		}
		if err != nil {
			return err
		}
		d.encoded = append(d.encoded, nameEntries(name, i, attr, cluster, uint32(len(child.content)))...)
	}
	return nil
}

// size is what the entries of a subdirectory take.
func (d *dir) size() int {
	n := 64
	for i, name := range d.names {
		n += len(nameEntries(name, i, 0, 0, 0))
	}
	return n
}

// nameEntries are the entries of one file: its long name, backwards, and a
// short name that is unique by its number.
func nameEntries(name string, number int, attr byte, cluster uint16, size uint32) []byte {
	short := padded(fmt.Sprintf("FILE%04d", number%10000), 11)
	u := utf16.Encode([]rune(name))
	parts := (len(u) + 12) / 13
	var out []byte
	for n := parts; n >= 1; n-- {
		e := make([]byte, 32)
		e[0] = byte(n)
		if n == parts {
			e[0] |= 0x40
		}
		e[11], e[13] = attrLong, sumOf(short)
		i := (n - 1) * 13
		for _, span := range [][2]int{{1, 11}, {14, 26}, {28, 32}} {
			for at := span[0]; at < span[1]; at, i = at+2, i+1 {
				c := uint16(0xffff)
				if i < len(u) {
					c = u[i]
				} else if i == len(u) {
					c = 0
				}
				binary.LittleEndian.PutUint16(e[at:], c)
			}
		}
		out = append(out, e...)
	}
	return append(out, shortEntry(short, attr, cluster, size)...)
}

func sumOf(short []byte) byte {
	var s byte
	for _, c := range short {
		s = s<<7 | s>>1
		s += c
	}
	return s
}

func shortEntry(name []byte, attr byte, cluster uint16, size uint32) []byte {
	e := make([]byte, 32)
	copy(e, name)
	e[11] = attr
	// 1980-01-01, the first date there is: a build is the same every time.
	for _, at := range []int{16, 18, 24} {
		binary.LittleEndian.PutUint16(e[at:], 1<<5|1)
	}
	binary.LittleEndian.PutUint16(e[26:], cluster)
	binary.LittleEndian.PutUint32(e[28:], size)
	return e
}

func padded(s string, n int) []byte {
	b := []byte(strings.Repeat(" ", n))
	copy(b, s)
	return b
}
