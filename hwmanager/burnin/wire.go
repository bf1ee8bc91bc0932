package burnin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The protocol between two nodes. The reader connects to the writer, some
// connections at a time, and introduces itself; the writer answers with the run:
//
//	reader → writer  hello:  magic "FerricNB", version, number of the connection, 0, 0
//	writer → reader  hello:  the same, with the run's random number and its length in ms
//	writer → reader  blocks of streamBlock bytes (see block): offset counts the bytes
//	                 of the connection, generation is its number
//	writer → reader  the last block: its offset is where the stream ends, plus streamEnd
//	reader → writer  hello:  the same, with the bytes that it has verified
//
// A hello is 40 bytes, little endian: magic 8, version 4, number 4, run 8, value 8,
// reserved 4 (0), CRC-32C of all before 4.
type hello struct {
	number uint32 // of the connection, from 0
	run    uint64
	value  uint64
}

const (
	helloMagic   = "FerricNB"
	helloVersion = 1
	helloLength  = 40

	streamBlock = 64 << 10
	streamEnd   = 1 << 62 // more than any stream has bytes
)

func (h hello) send(w io.Writer) error {
	p := make([]byte, helloLength)
	copy(p, helloMagic)
	binary.LittleEndian.PutUint32(p[8:], helloVersion)
	binary.LittleEndian.PutUint32(p[12:], h.number)
	binary.LittleEndian.PutUint64(p[16:], h.run)
	binary.LittleEndian.PutUint64(p[24:], h.value)
	binary.LittleEndian.PutUint32(p[36:], crc32.Checksum(p[:36], castagnoli))
	_, err := w.Write(p)
	return err
}

// errStranger: what answers is no burn-in of this kind.
var errStranger = errors.New("the partner does not speak the protocol of burnin_network")

func receiveHello(r io.Reader) (hello, error) {
	p := make([]byte, helloLength)
	if _, err := io.ReadFull(r, p); err != nil {
		return hello{}, err
	}
	return parseHello(p)
}

func parseHello(p []byte) (hello, error) {
	switch {
	case len(p) != helloLength || string(p[:8]) != helloMagic || binary.LittleEndian.Uint32(p[36:]) != crc32.Checksum(p[:36], castagnoli):
		return hello{}, errStranger
	case binary.LittleEndian.Uint32(p[8:]) != helloVersion:
		return hello{}, fmt.Errorf("%w: it has version %d of it, this is %d", errStranger, binary.LittleEndian.Uint32(p[8:]), helloVersion)
	}
	return hello{
		number: binary.LittleEndian.Uint32(p[12:]),
		run:    binary.LittleEndian.Uint64(p[16:]),
		value:  binary.LittleEndian.Uint64(p[24:]),
	}, nil
}
