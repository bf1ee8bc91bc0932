package efi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"

	"ferric/images/partition"
)

// loadOption is an EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3).
type loadOption struct {
	label  string
	loader string
	data   []byte
}

const (
	optionActive = 1

	pathMedia     = 4
	mediaDisk     = 1
	mediaFile     = 4
	pathEnd       = 0x7f
	pathEndEntire = 0xff
)

// newLoadOption encodes an option that boots l from the partition esp, which
// is found by its number, place and signature, whatever disk it is then on.
func newLoadOption(l loader, esp partition.Partition, table *partition.Table, sector int64) (loadOption, error) {
	le := binary.LittleEndian
	// Hard drive media device path (UEFI 2.10, section 10.3.5.1).
	hd := make([]byte, 42)
	hd[0], hd[1] = pathMedia, mediaDisk
	le.PutUint16(hd[2:], uint16(len(hd)))
	le.PutUint32(hd[4:], uint32(esp.Number))
	le.PutUint64(hd[8:], uint64(esp.Start/sector))
	le.PutUint64(hd[16:], uint64(esp.Size/sector))
	if table.Label == partition.GPT {
		id, err := uuid.Parse(esp.UUID)
		if err != nil {
			return loadOption{}, fmt.Errorf("partition %d has no UUID: %w", esp.Number, err)
		}
		copy(hd[24:], guidBytes(id))
		hd[40], hd[41] = 2, 2
	} else {
		le.PutUint32(hd[24:], table.Signature)
		hd[40], hd[41] = 1, 1
	}
	backslashed := strings.ReplaceAll(l.path, "/", `\`)
	name := encodeUTF16(backslashed)
	if len(name) > 1<<15 || len(l.label) > 1<<12 {
		return loadOption{}, errors.New("name too long")
	}
	file := make([]byte, 4, 4+len(name))
	file[0], file[1] = pathMedia, mediaFile
	le.PutUint16(file[2:], uint16(4+len(name)))
	file = append(file, name...)
	devicePath := append(append(hd, file...), pathEnd, pathEndEntire, 4, 0)

	data := le.AppendUint32(nil, optionActive)
	data = le.AppendUint16(data, uint16(len(devicePath)))
	data = append(data, encodeUTF16(l.label)...)
	data = append(data, devicePath...)
	return loadOption{label: l.label, loader: backslashed, data: data}, nil
}

// labelOf reads the label (description) of an encoded load option.
func labelOf(data []byte) (string, bool) {
	if len(data) < 8 {
		return "", false
	}
	var u []uint16
	for b := data[6:]; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			return string(utf16.Decode(u)), true
		}
		u = append(u, c)
	}
	return "", false
}

// guidBytes is the mixed-endian form in which EFI stores a GUID.
func guidBytes(id uuid.UUID) []byte {
	b := id[:]
	return []byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// encodeUTF16 is s in little-endian UTF-16 with a NUL at the end.
func encodeUTF16(s string) []byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return append(b, 0, 0)
}

func decodeUTF16(b []byte) string {
	var order binary.ByteOrder = binary.LittleEndian
	if len(b) >= 2 && (b[0] == 0xff && b[1] == 0xfe || b[0] == 0xfe && b[1] == 0xff) {
		if b[0] == 0xfe {
			order = binary.BigEndian
		}
		b = b[2:]
	}
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		u = append(u, order.Uint16(b))
	}
	return strings.TrimRight(string(utf16.Decode(u)), "\x00")
}
