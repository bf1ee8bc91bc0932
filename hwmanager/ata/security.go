package ata

import (
	"context"
	"encoding/binary"
	"time"
)

// Parameters of the SECURITY commands (ACS-4, sections "SECURITY SET PASSWORD"
// to "SECURITY DISABLE PASSWORD"): word 0 says what is meant, words 1 to 16 are
// the password. A user password is meant where bit 0 of word 0 is clear. SET
// PASSWORD leaves the master password the power to unlock (bit 8 clear: High),
// so that its owner can help out.
const (
	passwordSize  = 32
	enhancedErase = 1 << 1 // word 0 of SECURITY ERASE UNIT
)

// userPassword is what disks are locked with while they are erased: what the
// agent contract (section "ATA") calls NULL and hdparm, when it is told NULL,
// sends as the empty password. So each of them can unlock what another left.
const userPassword = ""

// userPasswords are those that an interrupted erase may have left behind; old
// versions of hdparm sent the letters.
func userPasswords() []string { return []string{userPassword, "NULL"} }

func parameters(control uint16, password string) []byte {
	b := make([]byte, blockSize)
	binary.LittleEndian.PutUint16(b, control)
	copy(b[2:2+passwordSize], password)
	return b
}

func (d *drive) setPassword(ctx context.Context, password string) error {
	return d.do(ctx, request{
		name: "SECURITY SET PASSWORD", code: cmdSecuritySetPassword,
		data: parameters(0, password), write: true, timeout: answerTime,
	})
}

func (d *drive) unlock(ctx context.Context, password string) error {
	return d.do(ctx, request{
		name: "SECURITY UNLOCK", code: cmdSecurityUnlock,
		data: parameters(0, password), write: true, timeout: answerTime,
	})
}

func (d *drive) disablePassword(ctx context.Context, password string) error {
	return d.do(ctx, request{
		name: "SECURITY DISABLE PASSWORD", code: cmdSecurityDisablePassword,
		data: parameters(0, password), write: true, timeout: answerTime,
	})
}

// eraseUnit erases the disk: SECURITY ERASE UNIT is accepted right after
// SECURITY ERASE PREPARE only.
func (d *drive) eraseUnit(ctx context.Context, password string, enhanced bool, timeout time.Duration) error {
	err := d.do(ctx, request{name: "SECURITY ERASE PREPARE", code: cmdSecurityErasePrepare, timeout: answerTime})
	if err != nil {
		return err
	}
	var control uint16
	if enhanced {
		control = enhancedErase
	}
	return d.do(ctx, request{
		name: "SECURITY ERASE UNIT", code: cmdSecurityEraseUnit,
		data: parameters(control, password), write: true, timeout: timeout,
	})
}

// Bounds of how long an erase may take.
const (
	// slowest is what a disk erases in a second at least.
	slowest = 50 << 20
	// spare is added to every time: some disks announce two minutes and take many.
	spare = 90 * time.Minute
	// longestErase bounds what a disk may announce, and Linux's timeouts.
	longestErase = 14 * 24 * time.Hour
)

// expected is how long an erase of a disk of so many bytes may be expected to
// take, and how long to wait for it. An announced time is an estimate of the
// manufacturer's, so half as much again is granted; giving up too early would
// cut off an erase that goes well.
func (t EraseTime) expected(size int64) (expected, timeout time.Duration) {
	expected = t.Announced
	if expected == 0 || t.More {
		expected = max(expected, time.Duration(size/slowest)*time.Second)
	}
	return expected, min(expected+expected/2+spare, longestErase)
}
