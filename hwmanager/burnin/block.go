package burnin

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// A block is what is written to disks and sent over the network: it tells where
// it belongs, so that one that came to the wrong place, or an old one in the
// right place, is not taken for what was written. All numbers are little endian:
//
//	 0  magic, 8 bytes
//	 8  run: random, different for each disk, or direction of a network run
//	16  offset on the disk, or in the stream of a connection
//	24  generation: the loop, or the number of the connection
//	28  length of the block
//	32  content that follows from run, offset and generation
//	-4  CRC-32C of all before
type block struct {
	run        uint64
	offset     int64
	generation uint32
}

const (
	blockMagic  = "FerricBI"
	blockHeader = 32
	blockLeast  = blockHeader + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stamp fills p with the block.
func (b block) stamp(p []byte) {
	copy(p, blockMagic)
	binary.LittleEndian.PutUint64(p[8:], b.run)
	binary.LittleEndian.PutUint64(p[16:], uint64(b.offset))
	binary.LittleEndian.PutUint32(p[24:], b.generation)
	binary.LittleEndian.PutUint32(p[28:], uint32(len(p)))
	content := pattern{kind: random, seed: mix(b.run ^ uint64(b.offset)<<8 ^ uint64(b.generation)<<56)}
	body := p[blockHeader : len(p)-4]
	for i := uint64(0); len(body) > 0; i++ {
		if len(body) < 8 {
			body[0] = byte(i)
			body = body[1:]
			continue
		}
		binary.LittleEndian.PutUint64(body, content.word(i))
		body = body[8:]
	}
	binary.LittleEndian.PutUint32(p[len(p)-4:], crc32.Checksum(p[:len(p)-4], castagnoli))
}

// wrongBlock is what is wrong with a block that was read.
type wrongBlock struct {
	kind string // one of the kinds
	text string
}

// Kinds of wrong blocks.
const (
	kindCorrupt     = "corrupt"
	kindUnwritten   = "never written"
	kindMisdirected = "misdirected"
	kindStale       = "stale"
	kindForeign     = "foreign"
)

// check compares p, which was read, with the block; nil if it is that. A
// checksum that is right with other numbers is that of another block.
func (b block) check(p []byte) *wrongBlock {
	sum := crc32.Checksum(p[:len(p)-4], castagnoli)
	if sum != binary.LittleEndian.Uint32(p[len(p)-4:]) || string(p[:8]) != blockMagic || binary.LittleEndian.Uint32(p[28:]) != uint32(len(p)) {
		return b.damage(p)
	}
	found := block{
		run:        binary.LittleEndian.Uint64(p[8:]),
		offset:     int64(binary.LittleEndian.Uint64(p[16:])),
		generation: binary.LittleEndian.Uint32(p[24:]),
	}
	switch {
	case found.run != b.run:
		return &wrongBlock{kindForeign, fmt.Sprintf("the block of offset %d, generation %d, of run %#x stands here", found.offset, found.generation, found.run)}
	case found.offset != b.offset:
		return &wrongBlock{kindMisdirected, fmt.Sprintf("the block of offset %d, generation %d, stands here", found.offset, found.generation)}
	case found.generation != b.generation:
		return &wrongBlock{kindStale, fmt.Sprintf("generation %d stands here, not %d", found.generation, b.generation)}
	}
	return nil
}

// damage tells how p differs from the block.
func (b block) damage(p []byte) *wrongBlock {
	want := make([]byte, len(p))
	b.stamp(want)
	first, wrong, zero := -1, 0, true
	for i := range p {
		if p[i] != want[i] && first < 0 {
			first = i
		}
		wrong += bits.OnesCount8(p[i] ^ want[i])
		zero = zero && p[i] == 0
	}
	if zero {
		return &wrongBlock{kindUnwritten, "it is all zeros"}
	}
	if first < 0 { // cannot be: a block with every byte right has the right checksum
		return &wrongBlock{kindCorrupt, "its checksum is computed differently each time"}
	}
	return &wrongBlock{kindCorrupt, fmt.Sprintf("%d of %d bits are wrong, the first in byte %d", wrong, 8*len(p), first)}
}
