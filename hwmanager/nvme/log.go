package nvme

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// Get Log Page (section 5.16) of the Sanitize Status log page (5.16.1.25).
const (
	opGetLogPage  = 0x02
	logSanitize   = 0x81
	logSize       = 512
	retainEvent   = 1 << 15    // RAE: events are the driver's
	allNamespaces = 0xffffffff // NSID of a log page that is not one namespace's
)

// SanitizeState is the status of the most recent sanitize (SSTAT bits 2:0).
type SanitizeState byte

// States of a sanitize.
const (
	NeverSanitized       SanitizeState = 0
	Sanitized            SanitizeState = 1
	Sanitizing           SanitizeState = 2
	SanitizeHasFailed    SanitizeState = 3
	SanitizedDeallocated SanitizeState = 4 // although it was asked not to deallocate
)

func (s SanitizeState) String() string {
	switch s {
	case NeverSanitized:
		return "never sanitized"
	case Sanitized, SanitizedDeallocated:
		return "sanitized"
	case Sanitizing:
		return "sanitize in progress"
	case SanitizeHasFailed:
		return "sanitize failed"
	}
	return fmt.Sprintf("sanitize state %d", byte(s))
}

// SanitizeLog is the Sanitize Status log page.
type SanitizeLog struct {
	Progress uint16 // of 65536, while a sanitize is in progress
	State    SanitizeState
	Passes   int    // completed passes of an overwrite
	CDW10    uint32 // of the command that started the most recent sanitize
	// Estimated times of an overwrite with a single pass, a block erase and a
	// crypto erase.
	Overwrite, BlockErase, CryptoErase Estimate
}

// Estimate is an estimated time in seconds.
type Estimate uint32

// noEstimate: no time is reported.
const noEstimate Estimate = 0xffffffff

// ParseSanitizeLog reads a Sanitize Status log page.
func ParseSanitizeLog(b []byte) (SanitizeLog, error) {
	if len(b) < 20 {
		return SanitizeLog{}, fmt.Errorf("sanitize status log page: %d bytes", len(b))
	}
	status := binary.LittleEndian.Uint16(b[2:])
	return SanitizeLog{
		Progress:    binary.LittleEndian.Uint16(b[0:]),
		State:       SanitizeState(status & 7),
		Passes:      int(status >> 3 & 0x1f),
		CDW10:       binary.LittleEndian.Uint32(b[4:]),
		Overwrite:   Estimate(binary.LittleEndian.Uint32(b[8:])),
		BlockErase:  Estimate(binary.LittleEndian.Uint32(b[12:])),
		CryptoErase: Estimate(binary.LittleEndian.Uint32(b[16:])),
	}, nil
}

// fraction is how much of a sanitize in progress is done, from 0 to 1.
func (l SanitizeLog) fraction() float64 { return float64(l.Progress) / (1 << 16) }

// Bounds of the wait for a sanitize: what is added to twice the estimate, what
// is waited where none is reported, and the longest ever.
const (
	slack         = 10 * time.Minute
	unreported    = 6 * time.Hour
	longest       = 14 * 24 * time.Hour
	slowestMedium = 20 << 20 // bytes a second that an overwrite achieves at least
)

// patience is how long the sanitize that was started by cdw10 may take on a
// drive of size bytes.
func (l SanitizeLog) patience(cdw10 uint32, size int64) time.Duration {
	estimate, passes := noEstimate, time.Duration(1)
	switch cdw10 & actionMask {
	case actionBlockErase:
		estimate = l.BlockErase
	case actionCryptoErase:
		estimate = l.CryptoErase
	case actionOverwrite:
		estimate = l.Overwrite
		if passes = time.Duration(cdw10 >> passesShift & 0xf); passes == 0 {
			passes = 16 // OWPASS 0h
		}
	}
	if estimate != noEstimate {
		once := min(time.Duration(estimate)*time.Second, longest)
		return min(2*passes*once+slack, longest)
	}
	limit := unreported
	if cdw10&actionMask == actionOverwrite {
		limit += passes * writeTime(size)
	}
	return min(limit, longest)
}

// writeTime is how long a slow drive needs to write all of size bytes once.
func writeTime(size int64) time.Duration {
	return min(time.Duration(size/slowestMedium)*time.Second, longest)
}

// sanitizeLog reads the Sanitize Status log page.
func (d *drive) sanitizeLog(ctx context.Context) (SanitizeLog, error) {
	c := &Command{
		Opcode: opGetLogPage, Namespace: allNamespaces,
		CDW10: logSanitize | retainEvent | (logSize/4-1)<<16, // number of dwords, zero-based
		Data:  make([]byte, logSize), Timeout: commandTime,
	}
	if err := d.do(ctx, c); err != nil {
		return SanitizeLog{}, fmt.Errorf("read sanitize status log page: %w", err)
	}
	return ParseSanitizeLog(c.Data)
}
