package decompress

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/ulikunitz/xz/lzma"
)

// The container of .xz (The .xz File Format 1.1.0) is read here and only the
// LZMA2 data handed to the library, so that the dictionary size of every block
// is known before memory is taken for it.

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	filterLZMA2   = 0x21
)

// A dictionary of at least largeDict is given back before the next is made,
// and what the library leaves behind (a buffer of 32 KiB for every chunk that
// could not be compressed) after every collectEvery bytes: by itself the
// collector would let garbage of the dictionary's size pile up.
const (
	largeDict    = 4 << 20
	collectEvery = 8 << 20
)

// errXZ is wrapped in ErrCorrupt by the caller.
func errXZ(what string) error { return errors.New(what) }

type xzReader struct {
	r     *counting
	check byte      // id of the check of the current stream
	sum   hash.Hash // over the current block; nil if there is none
	block io.Reader // nil between blocks
	start int64     // of the block's compressed data, in r

	want    sizes // what the block's header declares; negative if nothing
	unread  int64 // header size of the block, part of its unpadded size
	out     int64 // bytes decoded from the block
	large   bool  // whether its dictionary is
	garbage int64 // bytes decoded since the last collection
	index   indexSum
	err     error
}

type sizes struct{ compressed, uncompressed int64 }

// indexSum stands for the list of blocks of a stream, so that the index can
// be compared with the blocks without keeping a list of unknown length.
type indexSum struct {
	blocks uint64
	sum    hash.Hash32
}

func (s *indexSum) add(unpadded, uncompressed int64) {
	if s.sum == nil {
		s.sum = crc32.NewIEEE()
	}
	s.blocks++
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(unpadded))
	binary.LittleEndian.PutUint64(b[8:], uint64(uncompressed))
	s.sum.Write(b[:])
}

func (s *indexSum) equal(o *indexSum) bool {
	if s.blocks != o.blocks {
		return false
	}
	return s.blocks == 0 || s.sum.Sum32() == o.sum.Sum32()
}

// newXZ reads the concatenated streams in r.
func newXZ(r io.Reader) (*xzReader, error) {
	x := &xzReader{r: newCounting(r)}
	if err := x.streamHeader(); err != nil {
		return nil, unexpected(err)
	}
	return x, nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		x.out += int64(n)
		if x.garbage += int64(n); x.large && x.garbage >= collectEvery {
			x.garbage = 0
			runtime.GC()
		}
		if x.sum != nil {
			x.sum.Write(p[:n])
		}
		switch {
		case err == io.EOF:
			x.err = unexpected(x.endBlock())
		case err != nil:
			x.err = err
		case x.want.uncompressed >= 0 && x.out > x.want.uncompressed:
			x.err = errXZ("a block is larger than it declares")
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next goes to the next block; io.EOF at the end of the last stream.
func (x *xzReader) next() error {
	size, err := x.r.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if size != 0 {
		return unexpected(x.blockHeader(size))
	}
	if err := x.endStream(); err != nil {
		return unexpected(err)
	}
	return x.nextStream()
}

// nextStream skips stream padding, zeros in groups of four bytes.
func (x *xzReader) nextStream() error {
	for {
		var word [4]byte
		if _, err := io.ReadFull(x.r, word[:]); err != nil {
			return err // io.EOF here is the regular end
		}
		if word == [4]byte{} {
			continue
		}
		rest := make([]byte, 8)
		if _, err := io.ReadFull(x.r, rest); err != nil {
			return unexpected(err)
		}
		return x.parseStreamHeader(append(word[:], rest...))
	}
}

func (x *xzReader) streamHeader() error {
	h := make([]byte, 12)
	if _, err := io.ReadFull(x.r, h); err != nil {
		return err
	}
	return x.parseStreamHeader(h)
}

func (x *xzReader) parseStreamHeader(h []byte) error {
	switch {
	case !bytes.Equal(h[:6], []byte(xzMagic)):
		return errXZ("no stream header")
	case crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]):
		return errXZ("wrong checksum of a stream header")
	case h[6] != 0 || h[7]&0xf0 != 0:
		return fmt.Errorf("%w: xz with unknown stream flags", ErrUnsupported)
	}
	x.check = h[7]
	if _, err := newCheck(x.check); err != nil {
		return err
	}
	x.index = indexSum{}
	return nil
}

// blockHeader parses the header of a block and prepares its decoder.
func (x *xzReader) blockHeader(first byte) error {
	h := make([]byte, (int(first)+1)*4)
	h[0] = first
	if _, err := io.ReadFull(x.r, h[1:]); err != nil {
		return err
	}
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return errXZ("wrong checksum of a block header")
	}
	flags := body[1]
	if flags&0x3c != 0 {
		return fmt.Errorf("%w: xz with unknown block flags", ErrUnsupported)
	}
	rest := bytes.NewReader(body[2:])
	x.want = sizes{-1, -1}
	var err error
	if flags&0x40 != 0 {
		if x.want.compressed, err = varint(rest); err != nil {
			return errXZ("unreadable block header")
		}
	}
	if flags&0x80 != 0 {
		if x.want.uncompressed, err = varint(rest); err != nil {
			return errXZ("unreadable block header")
		}
	}
	if flags&3 != 0 {
		return fmt.Errorf("%w: xz with a filter besides LZMA2", ErrUnsupported)
	}
	id, err1 := varint(rest)
	n, err2 := varint(rest)
	dict, err3 := rest.ReadByte()
	if err := errors.Join(err1, err2, err3); err != nil {
		return errXZ("unreadable block header")
	}
	if id != filterLZMA2 || n != 1 {
		return fmt.Errorf("%w: xz with filter %#x instead of LZMA2", ErrUnsupported, id)
	}
	for rest.Len() > 0 {
		if b, _ := rest.ReadByte(); b != 0 {
			return fmt.Errorf("%w: xz with unknown fields in a block header", ErrUnsupported)
		}
	}
	window, err := dictSize(dict)
	if err != nil {
		return err
	}
	if window > MaxWindow {
		return fmt.Errorf("%w: the xz stream declares %d MiB, the bound is %d MiB", ErrWindow, window>>20, MaxWindow>>20)
	}
	if x.sum, err = newCheck(x.check); err != nil {
		return err
	}
	x.unread, x.out, x.start = int64(len(h)), 0, x.r.n
	if x.large = window >= largeDict; x.large {
		// To the system: what another goroutine has put into the gap since would
		// keep the next dictionary from using it.
		debug.FreeOSMemory()
	}
	x.block, err = lzma.Reader2Config{DictCap: int(window)}.NewReader2(x.r)
	return err
}

// dictSize decodes the dictionary size of LZMA2 (section 5.3.1).
func dictSize(b byte) (int64, error) {
	if b > 40 {
		return 0, errXZ("unreadable dictionary size")
	}
	if b == 40 {
		return 1<<32 - 1, nil
	}
	return max(lzma.MinDictCap, (2|int64(b&1))<<(b/2+11)), nil
}

func (x *xzReader) endBlock() error {
	x.block = nil
	compressed := x.r.n - x.start
	if x.want.compressed >= 0 && x.want.compressed != compressed ||
		x.want.uncompressed >= 0 && x.want.uncompressed != x.out {
		return errXZ("the size of a block is not the declared one")
	}
	if err := x.padding(compressed); err != nil {
		return err
	}
	size := int64(0)
	if x.sum != nil {
		got := x.sum.Sum(nil)
		if x.check != checkSHA256 {
			reverse(got) // stored little-endian
		}
		stored := make([]byte, len(got))
		if _, err := io.ReadFull(x.r, stored); err != nil {
			return err
		}
		if !bytes.Equal(got, stored) {
			return errXZ("wrong checksum of a block")
		}
		size = int64(len(got))
	}
	x.index.add(x.unread+compressed+size, x.out)
	return nil
}

// endStream reads the index, whose first byte is read, and the footer.
func (x *xzReader) endStream() error {
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	begin := x.r.n - 1
	in := &hashed{r: x.r, sum: sum}
	count, err := varint(in)
	if err != nil {
		return err
	}
	if uint64(count) != x.index.blocks {
		return errXZ("the index does not list the blocks")
	}
	var listed indexSum
	for range count {
		unpadded, err := varint(in)
		if err != nil {
			return err
		}
		uncompressed, err := varint(in)
		if err != nil {
			return err
		}
		listed.add(unpadded, uncompressed)
	}
	if !listed.equal(&x.index) {
		return errXZ("the index does not list the blocks")
	}
	for (x.r.n-begin)%4 != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return cmpErr(err, "wrong padding of the index")
		}
	}
	size := x.r.n - begin + 4
	tail := make([]byte, 16) // CRC32 of the index, then the footer
	if _, err := io.ReadFull(x.r, tail); err != nil {
		return err
	}
	switch footer := tail[4:]; {
	case binary.LittleEndian.Uint32(tail) != sum.Sum32():
		return errXZ("wrong checksum of the index")
	case string(footer[10:]) != xzFooterMagic:
		return errXZ("no stream footer")
	case binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(footer[4:10]):
		return errXZ("wrong checksum of the stream footer")
	case (int64(binary.LittleEndian.Uint32(footer[4:]))+1)*4 != size, footer[8] != 0, footer[9] != x.check:
		return errXZ("the stream footer contradicts the stream")
	}
	return nil
}

func (x *xzReader) padding(n int64) error {
	for ; n%4 != 0; n++ {
		if b, err := x.r.ReadByte(); err != nil || b != 0 {
			return cmpErr(err, "wrong padding of a block")
		}
	}
	return nil
}

func cmpErr(err error, what string) error {
	if err != nil {
		return err
	}
	return errXZ(what)
}

// Checks of a block (section 2.1.1.2).
const (
	checkNone   = 0
	checkCRC32  = 1
	checkCRC64  = 4
	checkSHA256 = 10
)

func newCheck(id byte) (hash.Hash, error) {
	switch id {
	case checkNone:
		return nil, nil
	case checkCRC32:
		return crc32.NewIEEE(), nil
	case checkCRC64:
		return crc64.New(crc64.MakeTable(crc64.ECMA)), nil
	case checkSHA256:
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("%w: xz with unknown check %d", ErrUnsupported, id)
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

// varint reads a number of at most 63 bits (section 1.2).
func varint(r io.ByteReader) (int64, error) {
	var v int64
	for i := 0; i < 9; i++ {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= int64(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			if b == 0 && i > 0 {
				break
			}
			return v, nil
		}
	}
	return 0, errXZ("unreadable number")
}

// hashed sums the bytes that pass.
type hashed struct {
	r   io.ByteReader
	sum hash.Hash32
}

func (h *hashed) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err == nil {
		h.sum.Write([]byte{b})
	}
	return b, err
}

// counting counts the bytes handed out and reads from its source in blocks.
type counting struct {
	r    io.Reader
	buf  []byte
	have []byte
	n    int64
}

func newCounting(r io.Reader) *counting {
	return &counting{r: r, buf: make([]byte, 64<<10)}
}

func (c *counting) fill() error {
	for range 100 {
		n, err := c.r.Read(c.buf)
		c.have = c.buf[:n]
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (c *counting) Read(p []byte) (int, error) {
	if len(c.have) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.have)
	c.have = c.have[n:]
	c.n += int64(n)
	return n, nil
}

func (c *counting) ReadByte() (byte, error) {
	if len(c.have) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	b := c.have[0]
	c.have = c.have[1:]
	c.n++
	return b, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
