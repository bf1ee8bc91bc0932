package capsule

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is an identifier as UEFI has it in memory: the first three fields are
// little-endian (appendix A).
type GUID [16]byte

// String is the usual text, in lower case.
func (g GUID) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[0:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:16])
}

// ParseGUID reads the usual text, in whatever case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	s = strings.TrimSpace(s)
	for _, at := range []int{8, 13, 18, 23} {
		if len(s) != 36 || s[at] != '-' {
			return g, fmt.Errorf("%.64q is no GUID", s)
		}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return g, fmt.Errorf("%.64q is no GUID", s)
	}
	copy(g[:], b)
	for _, field := range [][2]int{{0, 4}, {4, 6}, {6, 8}} {
		for i, j := field[0], field[1]-1; i < j; i, j = i+1, j-1 {
			g[i], g[j] = g[j], g[i]
		}
	}
	return g, nil
}

// fmpCapsule is EFI_FIRMWARE_MANAGEMENT_CAPSULE_ID_GUID (section 23.3.1).
func fmpCapsule() GUID {
	return GUID{0xed, 0xd5, 0xcb, 0x6d, 0x2d, 0xe8, 0x44, 0x4c, 0xbd, 0xa1, 0x71, 0x94, 0x19, 0x9a, 0xd9, 0x2a}
}
