package capsule

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	class = "12345678-1234-1234-1234-123456789abc"
	other = "87654321-4321-4321-4321-cba987654321"
)

func guid(t testing.TB, text string) GUID {
	t.Helper()
	g, err := ParseGUID(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEDK2 reads capsules that EDK II's GenerateCapsule.py made: "plain" with the
// arguments --capflag PersistAcrossReset --capflag InitiateReset --capoemflag 0x0102
// --hardware-instance 7 --fw-version 0x20003 --lsv 0x10000 --update-image-index 3 and
// an embedded driver; "signed" of a JSON file with that driver and two payloads, the
// first of them signed by OpenSSL and with the dependencies
// "OTHER >= 5 && CLASS < 0x30000".
func TestEDK2(t *testing.T) {
	for name, want := range map[string]Capsule{
		"plain": {Flags: 0x50102, Size: 632, Drivers: 1, Payloads: []Payload{
			{Type: guid(t, class), Index: 3, Instance: 7, Size: 272, Known: true, Version: 0x20003, Lowest: 0x10000},
		}},
		"signed": {Flags: 0x10000, Size: 3215, Drivers: 1, Payloads: []Payload{
			{Type: guid(t, class), Index: 1, Size: 0x9df, Signed: true, Known: true, Version: 0x20003, Lowest: 0x10000},
			{Type: guid(t, other), Index: 2, Instance: 2, Size: 272, Known: true, Version: 9, Lowest: 2},
		}},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".cap"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want.GUID = guid(t, "6dcbd5ed-e82d-4c44-bda1-7194199ad92a")
		depends := got.Payloads[0].Depends
		got.Payloads[0].Depends = nil
		if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if name != "signed" {
			continue
		}
		for _, tc := range []struct {
			class, other uint32
			satisfied    bool
		}{{0x20000, 5, true}, {0x20000, 4, false}, {0x2ffff, 6, true}, {0x30000, 6, false}} {
			ok, err := Satisfied(depends, map[GUID]uint32{guid(t, class): tc.class, guid(t, other): tc.other})
			if err != nil || ok != tc.satisfied {
				t.Errorf("dependencies with %#x and %d: %v, %v", tc.class, tc.other, ok, err)
			}
		}
		if ok, err := Satisfied(depends, map[GUID]uint32{guid(t, class): 0x20000}); ok || err != nil {
			t.Errorf("dependencies without the other: %v, %v", ok, err)
		}
	}
}

// TestMkeficapsule reads what U-Boot's tool makes, with and without a signature.
func TestMkeficapsule(t *testing.T) {
	for _, tool := range []string{"mkeficapsule", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "image"), bytes.Repeat([]byte("fw"), 500), 0o600); err != nil {
		t.Fatal(err)
	}
	run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=test")
	run("mkeficapsule", "-g", class, "-i", "2", "-I", "4", "image", "plain")
	run("mkeficapsule", "-g", class, "-i", "2", "-p", "key", "-c", "cert", "-m", "1", "image", "signed")
	for name, want := range map[string]Payload{
		"plain":  {Type: guid(t, class), Index: 2, Instance: 4, Size: 1000},
		"signed": {Type: guid(t, class), Index: 2, Signed: true},
	} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want.Signed {
			want.Size = c.Payloads[0].Size
		}
		if diff := cmp.Diff([]Payload{want}, c.Payloads); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// header is an EFI_CAPSULE_HEADER with what follows it.
func header(id GUID, flags uint32, body []byte) []byte {
	le := binary.LittleEndian
	b := append([]byte(nil), id[:]...)
	b = le.AppendUint32(b, headerSize)
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, uint32(headerSize+len(body)))
	return append(b, body...)
}

// TestRefused: what does not fit together is no capsule.
func TestRefused(t *testing.T) {
	plain, err := os.ReadFile("testdata/plain.cap")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile("testdata/signed.cap")
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	with := func(b []byte, change func(b []byte)) []byte {
		b = bytes.Clone(b)
		change(b)
		return b
	}
	// Offsets: header 0, management header 32, items 48 and 304, image header of 48.
	for name, tc := range map[string]struct {
		b   []byte
		err string
	}{
		"empty":             {nil, "it ends after 0 bytes"},
		"cabinet":           {append([]byte("MSCF"), make([]byte, 60)...), "it is a cabinet archive"},
		"zip":               {append([]byte("PK\x03\x04"), make([]byte, 60)...), "it is a zip archive"},
		"page":              {[]byte("<!DOCTYPE html><title>Not found</title>"), "it is a web page"},
		"longer":            {append(bytes.Clone(plain), 0), "tells of 632 bytes, and it has 633"},
		"shorter":           {plain[:600], "tells of 632 bytes, and it has 600"},
		"small header":      {with(plain, func(b []byte) { le.PutUint32(b[16:], 27) }), "header is said to have 27"},
		"all header":        {with(plain, func(b []byte) { le.PutUint32(b[16:], 632) }), "header is said to have 632"},
		"reserved flag":     {with(plain, func(b []byte) { b[23] = 1 }), "0x1000000 are reserved"},
		"reset, lost":       {with(plain, func(b []byte) { b[22] = 4 }), "go only with 0x10000"},
		"management":        {with(plain, func(b []byte) { b[32] = 2 }), "management header has version 2"},
		"no payload":        {with(plain, func(b []byte) { b[38] = 0 }), "it holds no firmware"},
		"many items":        {with(plain, func(b []byte) { b[39] = 0xff }), "lists 65282 items"},
		"list too long":     {with(plain, func(b []byte) { b[38] = 200 }), "it ends after 600 bytes"},
		"item in the list":  {with(plain, func(b []byte) { le.PutUint64(b[40:], 8) }), "item 1 of 2 is said to be at 8"},
		"items backwards":   {with(plain, func(b []byte) { le.PutUint64(b[48:], 20) }), "item 2 of 2 is said to be at 20"},
		"item far away":     {with(plain, func(b []byte) { le.PutUint64(b[48:], 1<<63) }), "item 2 of 2 is said to be at"},
		"no driver":         {with(plain, func(b []byte) { b[56] = 0 }), "item 1 is no EFI driver"},
		"image header":      {with(plain, func(b []byte) { b[312] = 4 }), "image header has version 4"},
		"size":              {with(plain, func(b []byte) { b[336]++ }), "273 bytes of firmware and 0 of the vendor's code are not the 320"},
		"vendor code":       {with(plain, func(b []byte) { b[343] = 0xff }), "of the vendor's code"},
		"payload header":    {with(plain, func(b []byte) { b[364] = 0; b[365] = 2 }), "payload header is said to have 512 of 272"},
		"signature":         {with(signed, func(b []byte) { le.PutUint32(b[320+48+8:], 1<<20) }), "signature is said to have 1048576 of"},
		"no signature":      {with(signed, func(b []byte) { b[320+48+13] = 0 }), "said to be signed, and has no signature"},
		"dependency":        {with(signed, func(b []byte) { b[320+48+8+0x897] = 0x0f; b[320+48+8+0x898] = 0x0f }), "dependency expression is damaged: operator 0x0f"},
		"nothing but start": {header(fmpCapsule(), FlagPersist, make([]byte, 4)), "it ends after 4 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse(bytes.NewReader(tc.b), int64(len(tc.b)))
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%+v, %v; want %q", c, err, tc.err)
			}
		})
	}
}

// TestOpaque: a capsule of a class of its own is the vendor's, unless it wraps a
// managed one.
func TestOpaque(t *testing.T) {
	own := guid(t, class)
	b := header(own, FlagPersist|FlagReset|0x8001, make([]byte, 100))
	c, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil || c.Managed() || len(c.Payloads) != 1 || c.Payloads[0].Type != own || c.Payloads[0].Known || c.Payloads[0].Size != 100 {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := c.Deferred(bytes.NewReader(b)); !errors.Is(err, ErrResets) {
		t.Errorf("it would reset the machine: %v", err)
	}
	plain, err := os.ReadFile("testdata/plain.cap")
	if err != nil {
		t.Fatal(err)
	}
	b = header(own, FlagPersist, plain)
	c, err = Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil || c.Managed() || len(c.Payloads) != 1 || c.Payloads[0].Type != own || c.Payloads[0].Version != 0x20003 || c.Drivers != 1 {
		t.Errorf("nested: %+v, %v", c, err)
	}
}

// TestLoad: the driver gets the capsule whole, but for the order to reset.
func TestLoad(t *testing.T) {
	plain, err := os.ReadFile("testdata/plain.cap")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(bytes.NewReader(plain), int64(len(plain)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Deferred(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "efi_capsule_loader")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Load(t.Context(), path, r); err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(plain)
	want[22] = 1
	if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
		t.Errorf("%x\nwant %x", got, want)
	}
	// /dev/full is a device that has no room, as a firmware is that finds it too large.
	if err := Load(t.Context(), "/dev/full", bytes.NewReader(plain)); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "larger than it takes") {
		t.Errorf("too large: %v", err)
	}
	if err := Load(t.Context(), path+"-none", bytes.NewReader(plain)); !errors.Is(err, ErrRefused) {
		t.Errorf("without the driver: %v", err)
	}
}

// TestResources reads the table as the kernel shows it.
func TestResources(t *testing.T) {
	sys := t.TempDir()
	if all, err := Resources(sys); all != nil || err != nil {
		t.Errorf("none: %v, %v", all, err)
	}
	entry := func(name string, values map[string]string) {
		dir := filepath.Join(sys, "firmware/efi/esrt/entries", name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, text := range values {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	entry("entry0", map[string]string{
		"fw_class": other, "fw_type": "2", "fw_version": "131075", "lowest_supported_fw_version": "65536", "capsule_flags": "0x8001",
		"last_attempt_version": "131076", "last_attempt_status": "5",
	})
	entry("entry1", map[string]string{
		"fw_class": class, "fw_type": "1", "fw_version": "7", "lowest_supported_fw_version": "0", "capsule_flags": "0x0",
		"last_attempt_version": "0", "last_attempt_status": "0",
	})
	entry("entry2", map[string]string{"fw_class": "rubbish"})
	all, err := Resources(sys)
	if err == nil || !strings.Contains(err.Error(), `ESRT entry2: "rubbish" is no GUID`) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]Resource{
		{Class: guid(t, class), Kind: 1, Version: 7},
		{Class: guid(t, other), Kind: 2, Version: 0x20003, Lowest: 0x10000, Flags: 0x8001, LastVersion: 0x20004, LastStatus: 5},
	}, all); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r, found := Find(all, guid(t, other)); !found || !strings.Contains(r.LastStatus.String(), "authentication error") || r.Kind.String() != "device firmware" {
		t.Errorf("%+v, %v", r, found)
	}
	if text := Attempt(0x1234).String(); !strings.Contains(text, "vendor's reason 0x1234") {
		t.Error(text)
	}
}

// TestResults reads variables as firmware leaves them.
func TestResults(t *testing.T) {
	dir := t.TempDir()
	le := binary.LittleEndian
	variable := func(name string, capsule GUID, hour byte, status uint64, rest []byte) {
		b := le.AppendUint32(nil, 7)
		b = le.AppendUint32(b, uint32(resultHeader+len(rest)))
		b = append(le.AppendUint32(b, 0), capsule[:]...)
		b = append(le.AppendUint16(b, 2026), 11, 23, hour, 59, 58, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		b = append(le.AppendUint64(b, status), rest...)
		if err := os.WriteFile(filepath.Join(dir, name+"-39b68c46-f7fb-441b-b6ec-16b0f69821f3"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own := guid(t, class)
	variable("Capsule0001", own, 4, 1<<63|26, nil)
	variable("Capsule0000", fmpCapsule(), 5, 0, append([]byte{1, 0, 0, 1}, own[:]...))
	variable("CapsuleLast", own, 6, 0, nil)
	variable("Capsule0002", fmpCapsule(), 6, 0, []byte{1})
	got := Results(dir)
	if len(got) != 2 || got[0].Name != "Capsule0001" || got[0].Status.String() != "security violation" || got[1].Name != "Capsule0000" || got[1].Status.String() != "success" ||
		!got[0].For(own) || !got[1].For(own) || got[1].For(guid(t, other)) || !got[1].Processed.Equal(time.Date(2026, 11, 23, 5, 59, 58, 0, time.UTC)) {
		t.Errorf("%+v", got)
	}
}

// TestGUID: texts as the world writes them.
func TestGUID(t *testing.T) {
	g := guid(t, "6DCBD5ED-E82D-4C44-BDA1-7194199AD92A")
	if g != fmpCapsule() || g.String() != "6dcbd5ed-e82d-4c44-bda1-7194199ad92a" {
		t.Errorf("%v", g)
	}
	for _, bad := range []string{"", "6dcbd5ed", "6dcbd5ed-e82d-4c44-bda1-7194199ad92", "6dcbd5ed-e82d-4c44-bda1-7194199ad92g", "6dcbd5ed+e82d-4c44-bda1-7194199ad92a", "6dcb-5ed-e82d-4c44-bda1-7194199ad92a"} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"plain", "signed"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".cap"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize {
			binary.LittleEndian.PutUint32(b[24:], uint32(len(b)))
		}
		c, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if len(c.Payloads) == 0 || c.Size != int64(len(b)) {
			t.Errorf("%+v", c)
		}
		for _, p := range c.Payloads {
			if p.Size > c.Size || len(p.Depends) > int(p.Size) {
				t.Errorf("%+v", p)
			}
			if p.Depends != nil {
				Satisfied(p.Depends, map[GUID]uint32{p.Type: p.Version})
			}
		}
		if r, err := c.Deferred(bytes.NewReader(b)); err == nil {
			if n, err := io.Copy(io.Discard, r); err != nil || n != c.Size {
				t.Errorf("%d of %d bytes: %v", n, c.Size, err)
			}
		}
	})
}

func FuzzParseResult(f *testing.F) {
	f.Add(make([]byte, resultHeader+resultFMP))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseResult(b); err == nil && fmt.Sprint(r.Status) == "" {
			t.Errorf("%+v", r)
		}
		if n, err := dependencyLength(b); err == nil && (n > len(b) || n < 1) {
			t.Errorf("%d of %d bytes", n, len(b))
		}
		Satisfied(b, nil)
	})
}
