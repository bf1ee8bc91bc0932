package ata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"
)

// Identity is what a disk says of itself (ACS-4, section "IDENTIFY DEVICE").
type Identity struct {
	Serial, Firmware, Model string
	Size                    int64 // bytes; 0 where the disk does not say
	Security                Security
}

// Security is the state of the Security feature set.
type Security struct {
	Supported bool
	Enabled   bool // a user password is set
	Locked    bool // nothing can be read or written without it
	Frozen    bool // no SECURITY command is accepted until the next power cycle
	Expired   bool // too many wrong passwords: none is accepted until the next power cycle
	Enhanced  bool // has the enhanced erase
	Maximum   bool // the master password can erase, but not unlock

	EraseTime, EnhancedEraseTime EraseTime
}

// EraseTime is how long an erase takes as the disk announces it. The zero value
// says nothing.
type EraseTime struct {
	Announced time.Duration
	More      bool // it takes longer than Announced
}

// Words of IDENTIFY DEVICE data (ACS-4, table "IDENTIFY DEVICE data").
const (
	wordGeneral      = 0 // bit 15: not an ATA device
	wordSerial       = 10
	wordSerialEnd    = 20
	wordFirmware     = 23
	wordFirmwareEnd  = 27
	wordModel        = 27
	wordModelEnd     = 47
	wordSectors28    = 60 // and 61
	wordAdditional   = 69 // bit 3: the extended number of sectors is valid
	wordSupported    = 82 // bit 1: Security feature set
	wordSupported2   = 83 // bits 15:14: 01 where 82 and 83 are valid; bit 10: 48 bits
	wordEnabled      = 85 // bit 1: Security is enabled
	wordEnabled3     = 87 // bits 15:14: 01 where 85 to 87 are valid
	wordEraseTime    = 89
	wordEnhancedTime = 90
	wordSectors48    = 100 // to 103
	wordSectorSize   = 106 // bits 15:14: 01 where valid; bit 12: words 117 and 118 are
	wordSectorWords  = 117 // and 118: logical sector size in words
	wordSecurity     = 128
	wordSectorsExt   = 230 // to 233
	wordIntegrity    = 255 // 7:0 A5h where 15:8 is a checksum
)

// Bits of word 128, "Security status".
const (
	securitySupported = 1 << 0
	securityEnabled   = 1 << 1
	securityLocked    = 1 << 2
	securityFrozen    = 1 << 3
	securityExpired   = 1 << 4
	securityEnhanced  = 1 << 5
	securityMaximum   = 1 << 8
)

// integritySignature says that the data have a checksum.
const integritySignature = 0xa5

// ErrIdentify: the IDENTIFY DEVICE data are damaged.
var ErrIdentify = errors.New("damaged IDENTIFY DEVICE data")

// errNoDisk: IDENTIFY DEVICE data, but not those of an ATA disk.
var errNoDisk = errors.New("not an ATA disk")

// ParseIdentity reads IDENTIFY DEVICE data, 512 bytes. The error is
// ErrIdentify, or says that this is no ATA disk.
func ParseIdentity(b []byte) (Identity, error) {
	if len(b) != blockSize {
		return Identity{}, fmt.Errorf("%w: %d bytes", ErrIdentify, len(b))
	}
	if b[2*wordIntegrity] == integritySignature {
		var sum byte
		for _, c := range b {
			sum += c
		}
		if sum != 0 {
			return Identity{}, fmt.Errorf("%w: the checksum does not match", ErrIdentify)
		}
	}
	w := words(b)
	if w.at(wordGeneral)>>15 != 0 {
		return Identity{}, errNoDisk
	}
	return Identity{
		Serial:   w.text(wordSerial, wordSerialEnd),
		Firmware: w.text(wordFirmware, wordFirmwareEnd),
		Model:    w.text(wordModel, wordModelEnd),
		Size:     w.size(),
		Security: w.security(),
	}, nil
}

// words are the data as words, each of which comes with its low byte first.
type words []byte

func (w words) at(i int) uint16 { return binary.LittleEndian.Uint16(w[2*i:]) }

// number is a number in n words, the least significant one first.
func (w words) number(i, n int) uint64 {
	var v uint64
	for k := range n {
		v |= uint64(w.at(i+k)) << (16 * k)
	}
	return v
}

// valid says whether a word is more than a former use of its place: bit 15 is
// clear and bit 14 set.
func (w words) valid(i int) bool { return w.at(i)>>14 == 0b01 }

// text is a string, whose words have their first character in the high byte
// (ACS-4, section "ATA string convention").
func (w words) text(from, to int) string {
	var s strings.Builder
	for i := from; i < to; i++ {
		for _, c := range []byte{byte(w.at(i) >> 8), byte(w.at(i))} {
			switch {
			case c == 0:
				c = ' '
			case c < 0x20 || c > 0x7e:
				c = '?'
			}
			s.WriteByte(c)
		}
	}
	return strings.TrimSpace(s.String())
}

// size is what can be addressed, in bytes (ACS-4, section "Capacity
// reporting"); 0 where this is not said or makes no sense.
func (w words) size() int64 {
	sectors := w.number(wordSectors28, 2)
	if w.valid(wordSupported2) && w.at(wordSupported2)>>10&1 != 0 {
		sectors = w.number(wordSectors48, 4)
	}
	if w.at(wordAdditional)>>3&1 != 0 {
		sectors = w.number(wordSectorsExt, 4)
	}
	sector := uint64(512)
	if w.valid(wordSectorSize) && w.at(wordSectorSize)>>12&1 != 0 {
		sector = 2 * w.number(wordSectorWords, 2)
	}
	high, size := bits.Mul64(sectors, sector)
	if high != 0 || size > math.MaxInt64 {
		return 0
	}
	return int64(size)
}

// security reads the Security feature set. Word 128 has copies of the bits in
// words 82 and 85; a disk that does not have both does not support it.
func (w words) security() Security {
	status := w.at(wordSecurity)
	if !w.valid(wordSupported2) || w.at(wordSupported)>>1&1 == 0 || status&securitySupported == 0 {
		return Security{}
	}
	return Security{
		Supported: true,
		// Either of the two says that there is a password: better to believe it.
		Enabled:  status&securityEnabled != 0 || w.valid(wordEnabled3) && w.at(wordEnabled)>>1&1 != 0,
		Locked:   status&securityLocked != 0,
		Frozen:   status&securityFrozen != 0,
		Expired:  status&securityExpired != 0,
		Enhanced: status&securityEnhanced != 0,
		Maximum:  status&securityMaximum != 0,

		EraseTime: eraseTime(w.at(wordEraseTime)), EnhancedEraseTime: eraseTime(w.at(wordEnhancedTime)),
	}
}

// eraseTime reads word 89 or 90: units of two minutes in bits 7:0, or in 14:0
// where bit 15 says so. 0 says nothing, and the greatest value "more than the
// value before it".
func eraseTime(word uint16) EraseTime {
	value, most := word&0xff, uint16(0xff)
	if word>>15 != 0 {
		value, most = word&0x7fff, 0x7fff
	}
	if value == most {
		return EraseTime{Announced: time.Duration(most-1) * 2 * time.Minute, More: true}
	}
	return EraseTime{Announced: time.Duration(value) * 2 * time.Minute}
}
