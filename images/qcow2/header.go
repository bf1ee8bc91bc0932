// Package qcow2 writes a qcow2 image onto a disk while the file flows by once,
// in the order of its bytes, whatever the order of its clusters. Memory is
// bounded for images of any size.
//
// The format is docs/interop/qcow2.txt of QEMU; versions 2 and 3, clusters
// compressed with zlib or zstd, and extended L2 entries are read.
package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var (
	// ErrRefused: an image that is not written, whatever its content.
	ErrRefused = errors.New("qcow2 image refused")
	// ErrCorrupt: the image contradicts itself.
	ErrCorrupt = errors.New("corrupted qcow2 image")
)

const (
	// Magic begins every qcow2 file.
	Magic = "QFI\xfb"
	// HeaderSize is how many bytes ParseHeader wants to see, if there are so many.
	HeaderSize = 112

	maxL1 = 8 << 20 // bytes; 512 TiB with clusters of 64 KiB
)

// Bits of incompatible_features.
const (
	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
	featuresKnown      = featureDirty | featureCorrupt | featureDataFile | featureCompression | featureExtendedL2
)

// Header is what has to be known of an image before its clusters.
type Header struct {
	Version int
	Size    int64 // of the disk inside, in bytes

	clusterBits uint
	l1Offset    int64
	l1Entries   int64 // those that map the disk
	zstd        bool
	extended    bool
}

// ParseHeader reads the header in b, the beginning of the file, and refuses
// what must not or cannot be written: backing files, external data files,
// encryption, unknown features.
func ParseHeader(b []byte) (*Header, error) {
	be := binary.BigEndian
	if len(b) < 72 || string(b[:4]) != Magic {
		return nil, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	h := &Header{Version: int(be.Uint32(b[4:])), clusterBits: uint(be.Uint32(b[20:]))}
	if h.Version != 2 && h.Version != 3 {
		return nil, fmt.Errorf("%w: version %d is not supported", ErrRefused, h.Version)
	}
	if be.Uint64(b[8:]) != 0 {
		return nil, fmt.Errorf("%w: it has a backing file", ErrRefused)
	}
	if be.Uint32(b[32:]) != 0 {
		return nil, fmt.Errorf("%w: it is encrypted", ErrRefused)
	}
	if h.Version == 3 {
		if err := h.parseFeatures(b); err != nil {
			return nil, err
		}
	}
	lowest := uint(9)
	if h.extended {
		lowest = 14
	}
	if h.clusterBits < lowest || h.clusterBits > 21 {
		return nil, fmt.Errorf("%w: clusters of 2^%d bytes", ErrCorrupt, h.clusterBits)
	}
	size := be.Uint64(b[24:])
	if size == 0 || size > math.MaxInt64-uint64(h.l2Covers()) || size%512 != 0 {
		return nil, fmt.Errorf("%w: disk of %d bytes", ErrCorrupt, size)
	}
	h.Size = int64(size)
	h.l1Entries = (h.Size + h.l2Covers() - 1) / h.l2Covers()
	if h.l1Entries*8 > maxL1 {
		return nil, fmt.Errorf("%w: a disk of %d bytes in clusters of %d needs a level 1 table of %d MiB, the bound is %d MiB",
			ErrRefused, h.Size, h.clusterSize(), h.l1Entries*8>>20, maxL1>>20)
	}
	if int64(be.Uint32(b[36:])) < h.l1Entries {
		return nil, fmt.Errorf("%w: the level 1 table is too short for the disk", ErrCorrupt)
	}
	offset := be.Uint64(b[40:])
	if offset == 0 || offset > math.MaxInt64-maxL1 || offset%uint64(h.clusterSize()) != 0 {
		return nil, fmt.Errorf("%w: level 1 table at %d", ErrCorrupt, offset)
	}
	h.l1Offset = int64(offset)
	return h, nil
}

func (h *Header) parseFeatures(b []byte) error {
	be := binary.BigEndian
	if len(b) < 104 {
		return fmt.Errorf("%w: the header is cut off", ErrCorrupt)
	}
	features := be.Uint64(b[72:])
	if unknown := features &^ featuresKnown; unknown != 0 {
		return fmt.Errorf("%w: unknown incompatible features %#x", ErrRefused, unknown)
	}
	if features&featureDataFile != 0 {
		return fmt.Errorf("%w: it has an external data file", ErrRefused)
	}
	h.extended = features&featureExtendedL2 != 0
	if features&featureCompression == 0 {
		return nil
	}
	if length := be.Uint32(b[100:]); length <= 104 || len(b) < 105 {
		return fmt.Errorf("%w: the header is too short for a compression type", ErrCorrupt)
	}
	switch b[104] {
	case 0:
	case 1:
		h.zstd = true
	default:
		return fmt.Errorf("%w: unknown compression type %d", ErrRefused, b[104])
	}
	return nil
}

func (h *Header) clusterSize() int64 { return 1 << h.clusterBits }

// l2Entry is the size of a level 2 entry in bytes.
func (h *Header) l2Entry() int64 {
	if h.extended {
		return 16
	}
	return 8
}

// l2Covers is how much of the disk one level 2 table maps.
func (h *Header) l2Covers() int64 { return h.clusterSize() / h.l2Entry() << h.clusterBits }
