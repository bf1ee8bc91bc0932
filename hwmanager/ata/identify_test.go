package ata_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
)

// data makes IDENTIFY DEVICE data of some words.
func data(words map[int]uint16) []byte {
	b := make([]byte, 512)
	for at, word := range words {
		binary.LittleEndian.PutUint16(b[2*at:], word)
	}
	return b
}

func TestParseIdentity(t *testing.T) {
	named := data(map[int]uint16{83: 1 << 14, 60: 0x5678, 61: 0x0012})
	// As they come from a disk: the characters of each word are swapped.
	copy(named[2*10:], "MQ0000 1            ")
	copy(named[2*23:], "5.+2    ")
	copy(named[2*27:], "EQUMH RADDSI K                          ")
	odd := bytes.Clone(named)
	copy(odd[2*10:], "\x00\x00\x1b[\xff\x00    ")
	for name, test := range map[string]struct {
		data  []byte
		want  ata.Identity
		error error
	}{
		"nothing said": {data: data(nil)},
		"names":        {data: named, want: ata.Identity{Serial: "QM00001", Firmware: ".52+", Model: "QEMU HARDDISK", Size: 0x125678 * 512}},
		"names that are none": {
			data: odd,
			want: ata.Identity{Serial: "[? ?", Firmware: ".52+", Model: "QEMU HARDDISK", Size: 0x125678 * 512},
		},
		"48 bits": {
			data: data(map[int]uint16{60: 0xffff, 61: 0x0fff, 83: 1<<14 | 1<<10, 100: 0x6030, 101: 0x3a38, 102: 1}),
			want: ata.Identity{Size: 0x13a386030 * 512},
		},
		"48 bits that are not valid": {
			data: data(map[int]uint16{60: 2, 83: 1<<15 | 1<<14 | 1<<10, 100: 8}),
			want: ata.Identity{Size: 2 * 512},
		},
		"extended number of sectors": {
			data: data(map[int]uint16{69: 1 << 3, 83: 1<<14 | 1<<10, 100: 0xffff, 230: 5, 231: 1}),
			want: ata.Identity{Size: 0x10005 * 512},
		},
		"sectors of 4096 bytes": {
			data: data(map[int]uint16{60: 10, 106: 1<<14 | 1<<12, 117: 2048}),
			want: ata.Identity{Size: 40960},
		},
		"a size that does not fit": {
			data: data(map[int]uint16{83: 1<<14 | 1<<10, 100: 0xffff, 101: 0xffff, 102: 0xffff, 103: 0xffff}),
		},
		"a size of more than 64 bits": {
			data: data(map[int]uint16{83: 1<<14 | 1<<10, 103: 0x8000, 106: 1<<14 | 1<<12, 118: 0x8000}),
		},
		"security": {
			data: data(map[int]uint16{82: 1 << 1, 83: 1 << 14, 89: 3, 90: 1, 128: 0x0021}),
			want: ata.Identity{Security: ata.Security{
				Supported: true, Enhanced: true,
				EraseTime: ata.EraseTime{Announced: 6 * time.Minute}, EnhancedEraseTime: ata.EraseTime{Announced: 2 * time.Minute},
			}},
		},
		"all states": {
			data: data(map[int]uint16{82: 1 << 1, 83: 1 << 14, 85: 1 << 1, 87: 1 << 14, 128: 0x011f}),
			want: ata.Identity{Security: ata.Security{Supported: true, Enabled: true, Locked: true, Frozen: true, Expired: true, Maximum: true}},
		},
		"enabled by one word only": {
			data: data(map[int]uint16{82: 1 << 1, 83: 1 << 14, 85: 1 << 1, 87: 1 << 14, 128: 1}),
			want: ata.Identity{Security: ata.Security{Supported: true, Enabled: true}},
		},
		"supported by one word only":  {data: data(map[int]uint16{82: 1 << 1, 83: 1 << 14})},
		"supported by the other only": {data: data(map[int]uint16{83: 1 << 14, 128: 0x21})},
		"supported by words that are not valid": {
			data: data(map[int]uint16{82: 0xffff, 83: 0xffff, 128: 0x7fff}),
		},
		"too short":                      {data: named[:511], error: ata.ErrIdentify},
		"a checksum that does not match": {data: data(map[int]uint16{255: 0x00a5}), error: ata.ErrIdentify},
		"a checksum that does":           {data: data(map[int]uint16{255: 0x5ba5})},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ata.ParseIdentity(test.data)
			if !errors.Is(err, test.error) {
				t.Fatalf("%v, want %v", err, test.error)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEraseTime(t *testing.T) {
	for word, want := range map[uint16]ata.EraseTime{
		0:      {},
		1:      {Announced: 2 * time.Minute},
		254:    {Announced: 508 * time.Minute},
		255:    {Announced: 508 * time.Minute, More: true},
		0x0102: {Announced: 4 * time.Minute}, // the high byte was reserved
		0x8000: {},
		0x80ff: {Announced: 510 * time.Minute},
		0xfffe: {Announced: 65532 * time.Minute},
		0xffff: {Announced: 65532 * time.Minute, More: true},
	} {
		got, err := ata.ParseIdentity(data(map[int]uint16{82: 1 << 1, 83: 1 << 14, 89: word, 128: 1}))
		if err != nil || got.Security.EraseTime != want {
			t.Errorf("%04x: %v, %v, want %v", word, got.Security.EraseTime, err, want)
		}
	}
}

// TestIdentifyModel: the model says what it is, and so does Identify.
func TestIdentifyModel(t *testing.T) {
	b := newBench(t, atamodel.Config{Serial: "S-1", Firmware: "1.0", Model: "A model of a disk", EraseTime: 10, EnhancedTime: 20})
	got, err := ata.Identify(t.Context(), b.device, ata.Options{Transport: b.model})
	want := ata.Identity{Serial: "S-1", Firmware: "1.0", Model: "A model of a disk", Size: size, Security: ata.Security{
		Supported: true, Enhanced: true,
		EraseTime: ata.EraseTime{Announced: 20 * time.Minute}, EnhancedEraseTime: ata.EraseTime{Announced: 40 * time.Minute},
	}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestNoSCSI: Linux refuses SG_IO on what is no SCSI disk.
func TestNoSCSI(t *testing.T) {
	b := newBench(t, atamodel.Config{})
	if _, err := ata.Identify(t.Context(), b.device, ata.Options{}); !errors.Is(err, erasure.ErrNotSupported) || !errors.Is(err, sgio.ErrNotSCSI) {
		t.Errorf("identify: %v", err)
	}
	if _, err := ata.Erase(t.Context(), b.device, ata.Options{}, nil); !errors.Is(err, erasure.ErrNotSupported) {
		t.Errorf("erase: %v", err)
	}
	if left := b.secrets(t); left != size {
		t.Errorf("%d of %d bytes are left", left, size)
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add(data(nil))
	f.Add(data(map[int]uint16{59: 0xf000, 69: 8, 82: 2, 83: 0x4400, 85: 2, 87: 0x4000, 89: 0xffff, 90: 255, 106: 0x5000, 117: 2048, 128: 0x13f, 255: 0xa5}))
	f.Add(bytes.Repeat([]byte{0xff}, 512))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := ata.ParseIdentity(b)
		if err != nil {
			return
		}
		for _, s := range []string{id.Serial, id.Firmware, id.Model} {
			if len(s) > 40 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("text %q", s)
			}
		}
		if id.Size < 0 || id.Security.EraseTime.Announced > math.MaxInt16*2*time.Minute || !id.Security.Supported && id.Security != (ata.Security{}) {
			t.Errorf("%+v", id)
		}
	})
}
