package atamodel

import (
	"encoding/binary"

	"ferric/hwmanager/sgio"
)

// Codes (ACS-4, SAT-4, SPC-5). They are written down here again, rather than
// taken from what is to be tested.
const (
	passThrough16           = 0x85
	identifyDevice          = 0xec
	securitySetPassword     = 0xf1
	securityUnlock          = 0xf2
	securityErasePrepare    = 0xf3
	securityEraseUnit       = 0xf4
	securityFreezeLock      = 0xf5
	securityDisablePassword = 0xf6

	master       = 1 << 0 // word 0 of the parameters: IDENTIFIER
	enhanced     = 1 << 1 // ERASE MODE
	maximumLevel = 1 << 0 // high byte of word 0: MASTER PASSWORD CAPABILITY

	unitAttention        = 0x6
	invalidOpcode        = 0x2000
	invalidField         = 0x2400
	powerOnOccurred      = 0x2900
	passThroughAvailable = 0x001d

	ready   = 0x50 // STATUS: DRDY, and the bit that was once DSC
	failed  = 0x01 // ERR
	failure = ready | failed
	faulty  = 0x71 // with DF
	aborted = 0x04 // ERROR: ABRT
)

// transfers is what each command transfers.
type transfer int

const (
	nothing transfer = iota
	toHost
	toDisk
)

func transferOf(code byte) transfer {
	switch code {
	case identifyDevice:
		return toHost
	case securityErasePrepare, securityFreezeLock:
		return nothing
	}
	return toDisk
}

// wellFormed says whether the fields of ATA PASS-THROUGH (16) fit together, the
// command and the transfer that the host has prepared.
func wellFormed(c sgio.Command) bool {
	protocol, extend := c.CDB[1]>>1&0xf, c.CDB[1]&1
	length, inBlocks, fromDisk, ownBlocks := c.CDB[2]&3, c.CDB[2]>>2&1, c.CDB[2]>>3&1, c.CDB[2]>>4&1
	if extend != 0 {
		return false // none of these commands is a 48-bit one
	}
	switch transferOf(c.CDB[14]) {
	case nothing:
		return protocol == 3 && length == 0 && len(c.Data) == 0
	case toHost:
		return protocol == 4 && length == 2 && inBlocks == 1 && ownBlocks == 0 && fromDisk == 1 && c.CDB[6] == 1 && len(c.Data) == 512 && !c.Write
	default:
		return protocol == 5 && length == 2 && inBlocks == 1 && ownBlocks == 0 && fromDisk == 0 && c.CDB[6] == 1 && len(c.Data) == 512 && c.Write
	}
}

func senseOf(key byte, code uint16) []byte {
	b := make([]byte, 8)
	b[0], b[1] = 0x72, key
	binary.BigEndian.PutUint16(b[2:], code)
	return b
}

func check(sense []byte) sgio.Result {
	return sgio.Result{Status: sgio.CheckCondition, Driver: 8, Sense: sense} // DRIVER_SENSE
}

// answer is sense data with the registers. Linux 6.1 tells of success in a
// descriptor, and of errors in the fixed format, in another place than SAT-4
// wants it.
func (d *Disk) answer(key byte, code uint16, status, err byte) sgio.Result {
	t := d.faults.Translation
	if t == Descriptors || t == Linux && status&failed == 0 {
		b := append(senseOf(key, code), 0x09, 0x0c, 0, err, 0, 0, 0, 0, 0, 0, 0, 0, 0, status)
		b[7] = 14
		return check(b)
	}
	b := make([]byte, 18)
	b[0], b[2], b[7] = 0x70, key, 10
	at := 3 // INFORMATION
	if t == Linux {
		at = 8
	}
	b[at], b[at+1] = err, status
	binary.BigEndian.PutUint16(b[12:], code)
	return check(b)
}

// success is the end of a command that has done what it should.
func (d *Disk) success(c sgio.Command) sgio.Result {
	const askedFor = 1 << 5 // CK_COND
	if c.CDB[2]&askedFor == 0 || d.faults.Translation == Silent {
		return sgio.Result{}
	}
	return d.answer(sgio.RecoveredError, passThroughAvailable, ready, 0)
}

func (d *Disk) abort() sgio.Result { return Aborted(d.faults.Translation) }
func (d *Disk) fault() sgio.Result {
	return d.answer(sgio.AbortedCommand, 0, faulty, aborted)
}

// Aborted is the answer to a command that the disk has aborted.
func Aborted(t Translation) sgio.Result {
	d := &Disk{faults: Faults{Translation: t}}
	return d.answer(sgio.AbortedCommand, 0, failure, aborted)
}

// identity is the disk's IDENTIFY DEVICE data, with a checksum.
func (d *Disk) identity() []byte {
	b := make([]byte, 512)
	set := func(word int, v uint16) { binary.LittleEndian.PutUint16(b[2*word:], v) }
	text := func(word, words int, s string) {
		for i := range 2 * words {
			c := byte(' ')
			if i < len(s) {
				c = s[i]
			}
			b[2*word+i^1] = c // the first character of a word is in its high byte
		}
	}
	text(10, 10, d.config.Serial)
	text(23, 4, d.config.Firmware)
	text(27, 20, d.config.Model)
	sectors := uint64(d.config.Size) / uint64(d.config.Sector)
	set(49, 1<<9|1<<8) // LBA and DMA
	set(60, uint16(min(sectors, 0xfffffff)))
	set(61, uint16(min(sectors, 0xfffffff)>>16))
	for i := range 4 {
		set(100+i, uint16(sectors>>(16*i)))
	}
	if d.config.Sector != 512 {
		set(106, 1<<14|1<<12)
		set(117, uint16(d.config.Sector/2))
	}
	set(83, 1<<14|1<<10)
	set(84, 1<<14)
	set(86, 1<<10)
	set(87, 1<<14)
	if !d.config.NoSecurity {
		d.security(set)
	}
	b[510] = 0xa5
	var sum byte
	for _, c := range b {
		sum += c
	}
	b[511] = -sum
	return b
}

func (d *Disk) security(set func(word int, v uint16)) {
	status := uint16(1)
	set(82, 1<<1)
	if d.user != nil {
		set(85, 1<<1)
		status |= 1 << 1
	}
	if d.locked {
		status |= 1 << 2
	}
	if d.frozen {
		status |= 1 << 3
	}
	if d.attempts == 0 {
		status |= 1 << 4
	}
	if !d.config.NoEnhanced {
		status |= 1 << 5
	}
	if d.maximum {
		status |= 1 << 8
	}
	set(89, d.config.EraseTime)
	set(90, d.config.EnhancedTime)
	set(92, 0xfffe) // the factory's master password
	set(128, status)
}
