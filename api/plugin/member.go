package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Sizes of the tar format (POSIX ustar).
const (
	blockSize = 512
	endBlocks = 2
	maxOctal  = 1<<33 - 1 // eleven octal digits
)

// Fields of a header.
const (
	nameAt, nameSize     = 0, 100
	modeAt, modeSize     = 100, 8
	uidAt, gidAt         = 108, 116
	sizeAt, sizeSize     = 124, 12
	mtimeAt              = 136
	sumAt, sumSize       = 148, 8
	typeAt               = 156
	magicAt              = 257
	majorAt, minorAt     = 329, 337
	prefixAt, prefixSize = 345, 155
)

const magic = "ustar\x0000"

// member is what one header of a bundle says. All else in it is fixed, so that
// there is one header for a member, and one bundle for a manifest.
type member struct {
	path string
	mode uint32
	size int64
}

// header is the block of m, which has been checked.
func (m member) header() (block [blockSize]byte) {
	prefix, name, _ := splitPath(m.path)
	copy(block[nameAt:], name)
	octal(block[modeAt:modeAt+modeSize], int64(m.mode))
	octal(block[uidAt:uidAt+modeSize], 0)
	octal(block[gidAt:gidAt+modeSize], 0)
	octal(block[sizeAt:sizeAt+sizeSize], m.size)
	octal(block[mtimeAt:mtimeAt+sizeSize], 0)
	block[typeAt] = '0'
	copy(block[magicAt:], magic)
	octal(block[majorAt:majorAt+modeSize], 0)
	octal(block[minorAt:minorAt+modeSize], 0)
	copy(block[prefixAt:], prefix)
	copy(block[sumAt:], fmt.Sprintf("%06o\x00 ", checksum(&block)))
	return block
}

// octal fills field with digits and a zero byte.
func octal(field []byte, n int64) {
	copy(field, fmt.Sprintf("%0*o", len(field)-1, n))
	field[len(field)-1] = 0
}

// checksum adds the bytes of a header, its own field counted as blanks.
func checksum(block *[blockSize]byte) int {
	sum := sumSize * int(' ')
	for i, b := range block {
		if i < sumAt || i >= sumAt+sumSize {
			sum += int(b)
		}
	}
	return sum
}

// splitPath divides a path into the two fields that hold it, at the last slash
// that leaves a prefix which fits.
func splitPath(p string) (prefix, name string, ok bool) {
	if len(p) <= nameSize {
		return "", p, true
	}
	at := strings.LastIndexByte(p[:min(len(p), prefixSize+1)], '/')
	if at <= 0 || len(p)-at-1 > nameSize {
		return "", "", false
	}
	return p[:at], p[at+1:], true
}

// padding is what follows a member of the given size.
func padding(size int64) int64 { return (blockSize - size%blockSize) % blockSize }

// bundleSize is what a bundle with the given members takes.
func bundleSize(members []member) int64 {
	total := int64(endBlocks * blockSize)
	for _, m := range members {
		total += blockSize + m.size + padding(m.size)
	}
	return total
}

// parseHeader reads a block that is to be one of ours. Which member it has to
// be is not looked at; all that a bundle never has is refused here.
func parseHeader(block *[blockSize]byte) (member, error) {
	if bytes.HasPrefix(block[:], []byte{0x1f, 0x8b}) || bytes.HasPrefix(block[:], []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return member{}, fmt.Errorf("%w: it is compressed", ErrFormat)
	}
	if string(block[magicAt:magicAt+len(magic)]) != magic {
		return member{}, fmt.Errorf("%w: no header of a ustar archive where one has to be", ErrFormat)
	}
	name := text(block[nameAt : nameAt+nameSize])
	if prefix := text(block[prefixAt : prefixAt+prefixSize]); prefix != "" {
		name = prefix + "/" + name
	}
	if kind := block[typeAt]; kind != '0' {
		return member{}, fmt.Errorf("%w: %.300q is %s; only plain files are allowed", ErrFormat, name, kindName(kind))
	}
	if name != ManifestFile && name != SignatureFile {
		if err := checkPath(name); err != nil {
			return member{}, err
		}
	}
	mode, err := strconv.ParseUint(text(block[modeAt:modeAt+modeSize]), 8, 32)
	if err != nil {
		return member{}, fmt.Errorf("%w: the mode of %q is not a number", ErrFormat, name)
	}
	if mode != modeFile && mode != modeExecutable {
		return member{}, fmt.Errorf("%w: %q has the mode %#o; only 0644 and 0755 are allowed", ErrFormat, name, mode)
	}
	size, err := strconv.ParseInt(text(block[sizeAt:sizeAt+sizeSize]), 8, 64)
	if err != nil || size < 0 || size > maxOctal {
		return member{}, fmt.Errorf("%w: the size of %q is not a number", ErrFormat, name)
	}
	m := member{path: name, mode: uint32(mode), size: size}
	if *block != m.header() {
		return member{}, fmt.Errorf("%w: the header of %q has more in it than a bundle's", ErrFormat, name)
	}
	return m, nil
}

// text of a field up to the first zero byte.
func text(field []byte) string {
	if at := bytes.IndexByte(field, 0); at >= 0 {
		field = field[:at]
	}
	return string(field)
}

// kindName is a type of member for people.
func kindName(kind byte) string {
	switch kind {
	case '1':
		return "a hard link"
	case '2':
		return "a symbolic link"
	case '3', '4':
		return "a device"
	case '5':
		return "a directory"
	case '6':
		return "a FIFO"
	case 'x', 'g':
		return "a PAX header"
	case 'L', 'K':
		return "a long name of GNU tar"
	case 'S':
		return "a sparse file"
	}
	return fmt.Sprintf("of the type %q", kind)
}

// ErrFormat: not a bundle.
var ErrFormat = errors.New("not a bundle")
