package sgio_test

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/hwmanager/sgio"
)

// testUnitReady is a command that every SCSI device has (SPC-5).
var testUnitReady = sgio.Command{CDB: make([]byte, 6), Timeout: 10 * time.Second}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// loop makes a loop device on a file of its own.
func loop(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	backing := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(backing, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-f", "--show", backing).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v: %s", device, err, out)
		}
	})
	return device
}

// TestNotSCSI: Linux itself refuses.
func TestNotSCSI(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("file", func(t *testing.T) {
		_, err := sgio.New(open(t, file)).Do(t.Context(), testUnitReady)
		if !errors.Is(err, sgio.ErrNotSCSI) {
			t.Errorf("%v, want %v", err, sgio.ErrNotSCSI)
		}
	})
	t.Run("loop", func(t *testing.T) {
		_, err := sgio.New(open(t, loop(t))).Do(t.Context(), testUnitReady)
		if !errors.Is(err, sgio.ErrNotSCSI) {
			t.Errorf("%v, want %v", err, sgio.ErrNotSCSI)
		}
	})
}

func TestNotSent(t *testing.T) {
	f := open(t, os.DevNull)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sgio.New(f).Do(over, testUnitReady); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is done: %v", err)
	}
	if _, err := sgio.New(f).Do(t.Context(), sgio.Command{CDB: make([]byte, 17)}); err == nil || errors.Is(err, sgio.ErrNotSCSI) {
		t.Errorf("a command of 17 bytes: %v", err)
	}
	f.Close()
	if _, err := sgio.New(f).Do(t.Context(), testUnitReady); err == nil || errors.Is(err, sgio.ErrNotSCSI) {
		t.Errorf("on a closed file: %v", err)
	}
}

func TestParseSense(t *testing.T) {
	for name, test := range map[string]struct {
		sense      string
		key        byte
		code       uint16
		deferred   bool
		descriptor string // of type 9
		fails      bool
	}{
		"descriptors":          {sense: "72010 01d 000000 0e 090c00000001000000000000 0050", key: 1, code: 0x1d, descriptor: "090c000000010000000000000050"},
		"second descriptor":    {sense: "72050 000 000000 12 000200ff 090c00000001000000000000 0050", key: 5, descriptor: "090c000000010000000000000050"},
		"longer than it says":  {sense: "72010 01d 000000 02 090c00000001000000000000 0050", key: 1, code: 0x1d},
		"shorter than it says": {sense: "72010 01d 000000 ff 090c0000", key: 1, code: 0x1d},
		"deferred":             {sense: "73030 c00 000000 00", key: 3, code: 0xc00, deferred: true},
		"four bytes":           {sense: "72060 229", key: 6, code: 0x229},
		"fixed":                {sense: "f0000 b04500000 0a 00000000 1a02 00000000", key: 0xb, code: 0x1a02},
		"fixed, short":         {sense: "70000 500", key: 5},
		"nothing":              {sense: "", fails: true},
		"three bytes":          {sense: "720101", fails: true},
		"zeros":                {sense: "00000000000000000000", fails: true},
		"of the vendor's":      {sense: "7f000000000000000000", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := hex.DecodeString(strings.ReplaceAll(test.sense, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			s, err := sgio.ParseSense(raw)
			if test.fails {
				if !errors.Is(err, sgio.ErrSense) {
					t.Errorf("%v, want %v", err, sgio.ErrSense)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Key != test.key || s.Code != test.code || s.Deferred != test.deferred {
				t.Errorf("key %x, code %04x, deferred %v", s.Key, s.Code, s.Deferred)
			}
			if got := hex.EncodeToString(s.Descriptor(9)); got != test.descriptor {
				t.Errorf("descriptor %q, want %q", got, test.descriptor)
			}
		})
	}
}

func FuzzParseSense(f *testing.F) {
	f.Add([]byte{0x72, 1, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x50}, byte(9))
	f.Add([]byte{0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0}, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, kind byte) {
		s, err := sgio.ParseSense(b)
		if err != nil {
			return
		}
		if d := s.Descriptor(kind); d != nil && (d[0] != kind || len(d) != 2+int(d[1])) {
			t.Errorf("descriptor %x", d)
		}
		if s.Key > 0xf || !strings.HasPrefix(s.String(), "sense key ") {
			t.Errorf("%v", s)
		}
	})
}
