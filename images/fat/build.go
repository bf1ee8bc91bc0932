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

// Build makes a FAT file system of size bytes on a disk with sectors of
// sector bytes, holding files (path separated by "/" → content): FAT32 from
// 512 MiB, as mkfs.vfat does it, FAT16 below. id becomes the volume's serial
// number. What w held before does not matter.
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
	entries, err := b.placeRoot(w, root, label)
	if err != nil {
		return err
	}
	type part struct {
		at   int64
		data []byte
	}
	parts := []part{
		{0, b.bootSector(label, id)},
		{b.fatAt(0), b.encodeFAT()},
		{b.fatAt(1), b.encodeFAT()},
		{b.fatAt(2), entries},
	}
	if b.wide {
		parts = append(parts, part{backupSector * b.sector, parts[0].data}, part{b.sector, b.infoSector()}, part{(backupSector + 1) * b.sector, b.infoSector()})
	}
	for _, part := range parts {
		if _, err := w.WriteAt(part.data, part.at); err != nil {
			return fmt.Errorf("write FAT file system: %w", err)
		}
	}
	return nil
}

// Check tells whether Build can make a file system of size bytes in sectors of
// sector bytes.
func Check(size int64, sector int) error {
	_, err := newBuilder(size, int64(sector))
	return err
}

// placeRoot stores everything below the root directory and returns what goes
// where its place is, fatAt(2).
func (b *builder) placeRoot(w io.WriterAt, root *dir, label string) ([]byte, error) {
	room := int64(rootEntries * 32)
	if b.wide { // its clusters are the first ones, one behind the other
		n := root.size() - 32 // the label instead of "." and ".."
		if _, err := b.store(w, make([]byte, n)); err != nil {
			return nil, err
		}
		cluster := b.sector * b.perCluster
		room = (int64(n) + cluster - 1) / cluster * cluster
	}
	if err := b.place(w, root, 0, 0); err != nil {
		return nil, err
	}
	entries := append(shortEntry(padded(label, 11), attrLabel, 0, 0), root.encoded...)
	if int64(len(entries)) > room {
		return nil, fmt.Errorf("FAT root directory: %w", ErrTooLarge)
	}
	return append(entries, make([]byte, room-int64(len(entries)))...), nil
}

const (
	rootEntries = 512 // FAT16
	// Of FAT32: where the copy of the first sectors is.
	backupSector = 6
	// wideSize is from where on FAT32 is made (mkfs.fat(8)).
	wideSize = 512 << 20
)

type builder struct {
	wide                                    bool  // FAT32
	reserved                                int64 // sectors before the first FAT
	sector, perCluster, sectors, fatSectors int64
	clusters                                int64
	fat                                     []uint32 // from cluster 0
}

func newBuilder(size, sector int64) (*builder, error) {
	b := &builder{reserved: 1, sector: sector, perCluster: 1, sectors: size / sector, fat: []uint32{0xfff8, 0xffff}}
	width, least, most := int64(2), int64(4085), int64(65525)
	if size >= wideSize {
		b.wide, b.reserved, b.perCluster = true, 32, max(1, 4096/sector)
		b.fat = []uint32{0x0ffffff8, 0x0fffffff}
		width, least, most = 4, 65525, 0x0ffffff5
	}
	for ; b.perCluster <= 64; b.perCluster *= 2 {
		b.fatSectors = ((b.sectors/b.perCluster+2)*width + sector - 1) / sector
		b.clusters = (b.sectors - b.dataSector()) / b.perCluster
		// The whole table is in memory while it is made.
		if b.clusters < most && b.fatSectors*sector <= maxTable {
			break
		}
	}
	if b.perCluster > 64 || b.clusters < least || b.clusters >= most {
		return nil, fmt.Errorf("FAT file system of %d bytes in sectors of %d is not possible", size, sector)
	}
	return b, nil
}

// maxTable bounds the file allocation table in bytes: enough for nearly 32 GiB.
const maxTable = 4 << 20

func (b *builder) dataSector() int64 {
	data := b.reserved + 2*b.fatSectors
	if !b.wide {
		data += (rootEntries*32 + b.sector - 1) / b.sector
	}
	return data
}

// fatAt is the byte offset of copy i of the table; of the root directory for 2.
func (b *builder) fatAt(i int64) int64 { return (b.reserved + i*b.fatSectors) * b.sector }

func (b *builder) bootSector(label string, id uint32) []byte {
	s := make([]byte, 512)
	le := binary.LittleEndian
	copy(s, "\xeb\x3c\x90ferric  ")
	le.PutUint16(s[11:], uint16(b.sector))
	s[13] = byte(b.perCluster)
	le.PutUint16(s[14:], uint16(b.reserved))
	s[16] = 2
	if b.sectors < 1<<16 && !b.wide {
		le.PutUint16(s[19:], uint16(b.sectors))
	} else {
		le.PutUint32(s[32:], uint32(b.sectors))
	}
	s[21] = 0xf8
	le.PutUint16(s[24:], 32) // sectors a track, heads: not looked at
	le.PutUint16(s[26:], 64)
	kind, more := "FAT16   ", s[36:]
	if b.wide {
		kind, more = "FAT32   ", s[64:]
		le.PutUint32(s[36:], uint32(b.fatSectors))
		le.PutUint32(s[44:], 2) // cluster of the root directory
		le.PutUint16(s[48:], 1) // sector of the hints
		le.PutUint16(s[50:], backupSector)
	} else {
		le.PutUint16(s[17:], rootEntries)
		le.PutUint16(s[22:], uint16(b.fatSectors))
	}
	more[0], more[2] = 0x80, 0x29
	le.PutUint32(more[3:], id)
	copy(more[7:], padded(label, 11))
	copy(more[18:], kind)
	s[510], s[511] = 0x55, 0xaa
	return s
}

// infoSector holds hints for the search of free clusters (FAT32).
func (b *builder) infoSector() []byte {
	s := make([]byte, 512)
	le := binary.LittleEndian
	copy(s, "RRaA")
	copy(s[484:], "rrAa")
	used := int64(len(b.fat)) - 2
	le.PutUint32(s[488:], uint32(b.clusters-used))
	le.PutUint32(s[492:], uint32(used+1)) // the last one taken
	le.PutUint32(s[508:], 0xaa550000)
	return s
}

// encodeFAT is the whole table: what it does not use must be zeros.
func (b *builder) encodeFAT() []byte {
	out := make([]byte, b.fatSectors*b.sector)
	for i, v := range b.fat {
		if b.wide {
			binary.LittleEndian.PutUint32(out[4*i:], v)
		} else {
			binary.LittleEndian.PutUint16(out[2*i:], uint16(v))
		}
	}
	return out
}

// store puts content into new clusters and returns the first, 0 for none.
func (b *builder) store(w io.WriterAt, content []byte) (uint32, error) {
	n := (int64(len(content)) + b.sector*b.perCluster - 1) / (b.sector * b.perCluster)
	if n == 0 {
		return 0, nil
	}
	first := int64(len(b.fat))
	if first+n > b.clusters+2 {
		return 0, fmt.Errorf("FAT file system: %w for its content", ErrTooLarge)
	}
	for i := range n {
		b.fat = append(b.fat, uint32(first+i+1))
	}
	b.fat[len(b.fat)-1] = b.fat[1] // the end of a chain
	at := (b.dataSector() + (first-2)*b.perCluster) * b.sector
	if _, err := w.WriteAt(content, at); err != nil {
		return 0, err
	}
	_, err := w.WriteAt(make([]byte, n*b.sector*b.perCluster-int64(len(content))), at+int64(len(content)))
	return uint32(first), err
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
func (b *builder) place(w io.WriterAt, d *dir, self, parent uint32) error {
	if parent != 0 || self != 0 {
		d.encoded = append(shortEntry(padded(".", 11), attrDir, self, 0), shortEntry(padded("..", 11), attrDir, parent, 0)...)
	}
	for i, name := range d.names {
		child := d.children[i]
		attr, cluster, err := byte(attrArchive), uint32(0), error(nil)
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

// eightDotThree is the name if it is one of eight and three characters, else one
// that is unique by its number. Firmware that knows no long names finds its
// loader by the former.
func eightDotThree(name string, number int) []byte {
	base, ext, _ := strings.Cut(strings.ToUpper(name), ".")
	plain := func(r rune) bool {
		return r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-~$", r)
	}
	strange := func(r rune) bool { return !plain(r) }
	if base == "" || len(base) > 8 || len(ext) > 3 || strings.ContainsFunc(base+ext, strange) || strings.HasPrefix(base, "FILE") || strings.HasSuffix(name, ".") {
		return padded(fmt.Sprintf("FILE%04d", number%10000), 11)
	}
	return append(padded(base, 8), padded(ext, 3)...)
}

// nameEntries are the entries of one file: its long name, backwards, and the
// short one.
func nameEntries(name string, number int, attr byte, cluster, size uint32) []byte {
	short := eightDotThree(name, number)
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

func shortEntry(name []byte, attr byte, cluster, size uint32) []byte {
	e := make([]byte, 32)
	copy(e, name)
	e[11] = attr
	// 1980-01-01, the first date there is: a build is the same every time.
	for _, at := range []int{16, 18, 24} {
		binary.LittleEndian.PutUint16(e[at:], 1<<5|1)
	}
	binary.LittleEndian.PutUint16(e[20:], uint16(cluster>>16))
	binary.LittleEndian.PutUint16(e[26:], uint16(cluster))
	binary.LittleEndian.PutUint32(e[28:], size)
	return e
}

func padded(s string, n int) []byte {
	b := []byte(strings.Repeat(" ", n))
	copy(b, s)
	return b
}
