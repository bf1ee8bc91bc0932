package iso9660

import (
	"encoding/binary"
	"fmt"
)

// Bounds on the system use areas of one record.
const (
	maxContinuations = 8
	maxContinuation  = sector
	maxName          = 255
)

// findRockRidge looks into the record of the root directory for itself: SUSP
// begins with an entry SP there, and Rock Ridge has PX in every record.
func (fs *FS) findRockRidge() error {
	if fs.root.Size < headerSize {
		return fmt.Errorf("%w: root directory of %d bytes", ErrCorrupt, fs.root.Size)
	}
	first := fs.root
	first.Size = min(first.Size, 255)
	data, err := fs.read(first)
	if err != nil {
		return err
	}
	n := int(data[0])
	if n < headerSize+1 || n > len(data) {
		return nil
	}
	area := data[headerSize+1 : n] // the name is one byte, which needs no padding
	if len(area) < 7 || string(area[:2]) != "SP" || area[4] != 0xbe || area[5] != 0xef {
		return nil
	}
	fs.skip = int(area[6])
	return fs.systemUse(area, func(signature string, _ []byte) {
		if signature == "PX" {
			fs.rockRidge = true
		}
	})
}

// File types in the mode of PX, as in POSIX.
const (
	modeType = 0o170000
	modeFile = 0o100000
	modeDir  = 0o040000
)

// applyRockRidge gives the entry the name and type of its system use area.
func (fs *FS) applyRockRidge(e *Entry, area []byte) error {
	var name []byte
	more, named := true, false
	err := fs.systemUse(area, func(signature string, data []byte) {
		switch signature {
		case "NM":
			// Flags: 1 the name goes on in the next entry, 2 and 4 are "." and "..".
			if len(data) < 1 || data[0]&6 != 0 || !more || len(name)+len(data)-1 > maxName {
				return
			}
			name, named, more = append(name, data[1:]...), true, data[0]&1 != 0
		case "PX":
			if len(data) >= 4 {
				kind := binary.LittleEndian.Uint32(data) & modeType
				e.Regular = e.Regular && kind == modeFile
				e.Dir = e.Dir && kind == modeDir
			}
		}
	})
	if named {
		e.Name = string(name)
	}
	return err
}

// systemUse calls fn for the SUSP entries of an area and its continuations.
func (fs *FS) systemUse(area []byte, fn func(signature string, data []byte)) error {
	le := binary.LittleEndian
	for range maxContinuations {
		var next []byte
		for len(area) >= 4 {
			n := int(area[2])
			if n < 4 || n > len(area) {
				break
			}
			signature, data := string(area[:2]), area[4:n]
			area = area[n:]
			if signature == "ST" {
				break
			}
			if signature == "CE" && len(data) >= 24 && next == nil { // one of an area
				length := int64(le.Uint32(data[16:]))
				at := int64(le.Uint32(data))*fs.block + int64(le.Uint32(data[8:]))
				if length > maxContinuation || at+length > fs.size {
					return fmt.Errorf("%w: continuation of %d bytes", ErrCorrupt, length)
				}
				next = make([]byte, length)
				if _, err := fs.r.ReadAt(next, at); err != nil {
					return fmt.Errorf("read continuation: %w", err)
				}
				continue
			}
			fn(signature, data)
		}
		if next == nil {
			return nil
		}
		area = next
	}
	return fmt.Errorf("%w: more than %d continuations", ErrCorrupt, maxContinuations)
}
