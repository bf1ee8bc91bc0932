package netboot

import (
	"bytes"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// TestOptionLayouts: options are read wherever and in whatever order they are, in
// parts and without an end.
func TestOptionLayouts(t *testing.T) {
	const header = 240
	plain, err := dhcpv4.New(dhcpv4.WithHwAddr(testMAC))
	if err != nil {
		t.Fatal(err)
	}
	packet := func(options string, file, name string) []byte {
		raw := append(bytes.Clone(plain.ToBytes()[:header]), options...)
		copy(raw[fieldBootFile:fieldEnd], file)
		copy(raw[fieldServerName:fieldBootFile], name)
		return raw
	}
	const (
		kind     = "\x35\x01\x01"
		class    = "\x3c\x20PXEClient:Arch:00007:UNDI:003000"
		arch     = "\x5d\x02\x00\x07"
		features = "\xaf\x03\x13\x01\x01"
		end      = "\xff"
	)
	for _, tc := range []struct {
		name string
		raw  []byte
		ipxe bool
	}{
		{"usual order", packet(kind+class+arch+end, "", ""), false},
		{"the type last", packet(arch+class+kind+end, "", ""), false},
		{"padding between", packet("\x00\x00"+class+"\x00"+kind+"\x00"+arch+end+"\x00\x00", "", ""), false},
		{"no end", packet(class+kind+arch, "", ""), false},
		{"an option in two parts", packet(kind+"\x3c\x09PXEClient"+arch+"\x3c\x17:Arch:00007:UNDI:003000"+end, "", ""), false},
		{"the class in the file field", packet("\x34\x01\x01"+kind+arch+end, class+end, "server"), false},
		{"options in both fields", packet("\x34\x01\x03"+kind+end, class+end, arch+end), false},
		{"the architecture in the class alone", packet(kind+class+end, "", ""), false},
		{"the architecture alone", packet(kind+arch+end, "", ""), false},
		{"half an architecture", packet(kind+class+"\x5d\x01\x07"+end, "", ""), false},
		{"iPXE by its features", packet(features+kind+class+arch+end, "", ""), true},
	} {
		req, err := parseDHCP(tc.raw)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		c, err := parseClient(req)
		if err != nil || req.MessageType() != dhcpv4.MessageTypeDiscover || !c.pxe || c.ipxe != tc.ipxe || c.arch.String() != "x86_64-uefi" {
			t.Errorf("%s: a %v by %s, %v", tc.name, req.MessageType(), c.kind(), err)
		}
	}
	for name, raw := range map[string][]byte{
		"short":                          packet(kind, "", "")[:200],
		"an option beyond the end":       packet(kind+"\x3c\x20PXE", "", ""),
		"one byte too few":               packet(kind+"\x3c\x0aPXEClient", "", ""),
		"an option beyond the file name": packet("\x34\x01\x01"+kind+end, "\x3c\xff", ""),
	} {
		if req, err := parseDHCP(raw); err == nil {
			t.Errorf("%s: read as %v", name, req)
		}
	}
}
