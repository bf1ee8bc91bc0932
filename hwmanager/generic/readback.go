package generic

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"ferric/api/ipa"
	"ferric/images/disk"
)

// Samples that are read back after erasing: how many places, and the bytes of
// each, which is a multiple of every sector size up to it.
const (
	sampleCount = 64
	sampleSize  = 4096
)

// samples are places of a disk, the first and the last and random ones between,
// with what has been written there. A device that says that it has erased
// itself, or that it has written, is believed if they bear it out.
type samples struct {
	device *disk.Device
	size   int      // bytes of each
	at     []int64  // ascending, without overlap
	holds  [][]byte // what was written last; nil before
}

// newSamples chooses the places. A device that knew them could do right by them
// only.
func newSamples(device *disk.Device) *samples {
	s := &samples{device: device, size: sampleSize}
	sector := int64(device.Sector)
	if device.Size < 2*sampleSize {
		s.size = device.Sector
	}
	if device.Size < sector {
		return s
	}
	size := int64(s.size)
	last := (device.Size - size) / sector * sector
	chosen := map[int64]bool{0: true, last: true}
	if last < size {
		chosen = map[int64]bool{0: true}
	}
	for blocks := last / size; int64(len(chosen)) < min(sampleCount, blocks+1); {
		var number [8]byte
		_, _ = crand.Read(number[:]) // never fails: it ends the program instead
		chosen[int64(binary.LittleEndian.Uint64(number[:])>>1)%blocks*size] = true
	}
	for place := range chosen {
		s.at = append(s.at, place)
	}
	slices.Sort(s.at)
	s.holds = make([][]byte, len(s.at))
	return s
}

// mark writes random blocks to the places and makes sure that the medium has
// them: if they are gone later, the device did it.
func (s *samples) mark(ctx context.Context) error {
	for i, at := range s.at {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		block := disk.Buffer(s.size)
		_, _ = crand.Read(block)
		if _, err := s.device.WriteAt(block, at); err != nil {
			return err
		}
		s.holds[i] = block
	}
	if err := s.device.Sync(); err != nil {
		return err
	}
	_, err := s.check(ctx, ipa.ExpectWritten, false)
	return err
}

// observe takes note of bytes that are written at off.
func (s *samples) observe(off int64, p []byte) {
	first, _ := slices.BinarySearch(s.at, off-int64(s.size)+1)
	for i := first; i < len(s.at) && s.at[i] < off+int64(len(p)); i++ {
		if s.holds[i] == nil {
			s.holds[i] = make([]byte, s.size)
		}
		// A sample may lie across two writes.
		from, to := max(s.at[i], off), min(s.at[i]+int64(s.size), off+int64(len(p)))
		copy(s.holds[i][from-s.at[i]:to-s.at[i]], p[from-off:to-off])
	}
}

// check reads the samples back from the medium and compares them with what is
// expected (a constant of package ipa). The error names the first place that is
// wrong. If unreadable is set, a place that cannot be read counts as gone.
func (s *samples) check(ctx context.Context, expected string, unreadable bool) (*ipa.EraseCheck, error) {
	result := &ipa.EraseCheck{Samples: len(s.at), SampleBytes: s.size, Expected: expected, Direct: true}
	if len(s.at) == 0 {
		return nil, fmt.Errorf("the device has %d bytes: nothing can be read back", s.device.Size)
	}
	zeros := make([]byte, s.size)
	firstWrong := int64(-1)
	for i, at := range s.at {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		got, direct, err := s.device.ReadMedium(at, s.size)
		if err != nil && unreadable && expected == ipa.ExpectGone {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read back: %w", err)
		}
		result.Direct = result.Direct && direct
		var right bool
		switch expected {
		case ipa.ExpectZeros:
			right = bytes.Equal(got, zeros)
		case ipa.ExpectWritten:
			right = bytes.Equal(got, s.holds[i])
		case ipa.ExpectGone:
			right = !survives(got, s.holds[i])
		}
		if !right {
			result.Wrong++
			if firstWrong < 0 {
				firstWrong = at
			}
		}
	}
	if result.Wrong > 0 {
		return result, fmt.Errorf("%w: %d of %d samples are not %s, the first one at %d", errLiar, result.Wrong, result.Samples, expected, firstWrong)
	}
	return result, nil
}

// errLiar: the device says that it has done what it has not.
var errLiar = fmt.Errorf("the content read back is not what the device claims")

// survives reports whether a piece of what was written is still there. It is
// looked for by sectors of 512 bytes: random ones do not come back by chance.
func survives(got, written []byte) bool {
	for off := 0; off+512 <= len(written); off += 512 {
		if bytes.Equal(got[off:off+512], written[off:off+512]) {
			return true
		}
	}
	return false
}
