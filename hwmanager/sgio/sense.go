package sgio

import (
	"errors"
	"fmt"
)

// Sense keys (SPC-5, table "Sense key descriptions").
const (
	NoSense        = 0x0
	RecoveredError = 0x1
	NotReady       = 0x2
	IllegalRequest = 0x5
	AbortedCommand = 0xb
)

// ErrSense: the device's sense data are too short or of no known format.
var ErrSense = errors.New("sense data make no sense")

// Sense is what a device says of the end of a command (SPC-5, section "Sense
// data").
type Sense struct {
	Key       byte
	Code      uint16 // additional sense code and qualifier: 0x2000 is "invalid command operation code"
	Fixed     bool   // in the fixed format, without descriptors
	Deferred  bool   // of an earlier command
	Info      [4]byte
	Specific  [4]byte // COMMAND-SPECIFIC INFORMATION, of the fixed format
	remaining []byte
}

// String tells key and code as the standards write them.
func (s Sense) String() string {
	return fmt.Sprintf("sense key %Xh, code %02Xh/%02Xh", s.Key, s.Code>>8, s.Code&0xff)
}

// ParseSense reads sense data of either format. It keeps b.
func ParseSense(b []byte) (Sense, error) {
	if len(b) < 4 {
		return Sense{}, fmt.Errorf("%d bytes: %w", len(b), ErrSense)
	}
	switch response := b[0] & 0x7f; response {
	case 0x72, 0x73: // descriptor format
		s := Sense{Key: b[1] & 0xf, Code: uint16(b[2])<<8 | uint16(b[3]), Deferred: response == 0x73}
		if len(b) >= 8 {
			s.remaining = b[8:min(len(b), 8+int(b[7]))]
		}
		return s, nil
	case 0x70, 0x71: // fixed format
		s := Sense{Key: b[2] & 0xf, Fixed: true, Deferred: response == 0x71}
		if len(b) >= 14 {
			copy(s.Info[:], b[3:7])
			copy(s.Specific[:], b[8:12])
			s.Code = uint16(b[12])<<8 | uint16(b[13])
		}
		return s, nil
	default:
		return Sense{}, fmt.Errorf("response code %02Xh: %w", b[0], ErrSense)
	}
}

// Descriptor is the first descriptor of that type, with its two bytes of header;
// nil where there is none that is whole.
func (s Sense) Descriptor(kind byte) []byte {
	for rest := s.remaining; len(rest) >= 2; {
		size := 2 + int(rest[1])
		if size > len(rest) {
			return nil
		}
		if rest[0] == kind {
			return rest[:size]
		}
		rest = rest[size:]
	}
	return nil
}
