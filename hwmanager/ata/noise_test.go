package ata_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/sgio"
	"ferric/images/disk/disktest"
)

// noise answers with what it is made of: a byte for status, one for the host,
// one for the length of the sense data, one for that of the data, then both.
type noise struct{ rest []byte }

func (n *noise) take(most int) []byte {
	most = min(most, len(n.rest))
	taken := n.rest[:most]
	n.rest = n.rest[most:]
	return taken
}

func (n *noise) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	if ctx.Err() != nil {
		return sgio.Result{}, context.Cause(ctx)
	}
	head := make([]byte, 4)
	if copy(head, n.take(4)) == 0 {
		return sgio.Result{Host: sgio.HostNoConnect}, nil
	}
	r := sgio.Result{Status: head[0], Host: uint16(head[1] & 0xf), Sense: n.take(int(head[2]))}
	if !c.Write {
		r.Residual = len(c.Data) - copy(c.Data, n.take(2*int(head[3])))
	}
	return r, nil
}

// FuzzErase: whatever a device answers, Erase comes to an end, and not to a good
// one unless the device has been asked to erase.
func FuzzErase(f *testing.F) {
	good := func(words map[int]uint16) []byte {
		return append([]byte{0, 0, 0, 255}, append(data(words)[:510], 0, 0)...)
	}
	f.Add([]byte{})
	f.Add([]byte{2, 0, 8, 0, 0x72, 5, 0x20, 0, 0, 0, 0, 0})
	f.Add(good(map[int]uint16{60: 8, 82: 2, 83: 0x4000, 128: 1}))
	f.Add(append(good(map[int]uint16{60: 8, 82: 2, 83: 0x4000, 128: 7}), 2, 0, 22, 0, 0x72, 11, 0, 0, 0, 0, 0, 14, 9, 12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x51))
	f.Fuzz(func(t *testing.T, answers []byte) {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
				t.Fatal(err)
			}
			device, err := disktest.Target(t, path).Open()
			if err != nil {
				t.Fatal(err)
			}
			defer device.Close()
			asked := false
			transport := watch{&noise{answers}, func(command byte) { asked = asked || command == eraseUnit }}
			if _, err := ata.Erase(t.Context(), device, ata.Options{Transport: transport}, nil); err == nil && !asked {
				t.Error("erased without SECURITY ERASE UNIT")
			}
		})
	})
}

// watch sees the commands that pass.
type watch struct {
	sgio.Transport
	saw func(command byte)
}

func (w watch) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	w.saw(c.CDB[14])
	return w.Transport.Do(ctx, c)
}
