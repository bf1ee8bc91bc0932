package nvme_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferric/hwmanager/erasure"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/nvme/nvmemodel"
	"ferric/images/disk"
	"ferric/images/disk/disktest"
)

const diskSize = 4 << 20

// tenant is what the disks of these tests hold before they are erased.
func tenant() []byte { return bytes.Repeat([]byte("tenant's data.. "), diskSize/16) }

// drive is a model and the file that holds its first namespace.
func drive(t *testing.T) (*nvmemodel.Drive, *disk.Device) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, tenant(), 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := disktest.Target(t, path).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return nvmemodel.New(dev, dev.Size), dev
}

// kept reports whether any sector reads as before.
func kept(t *testing.T, dev *disk.Device) bool {
	t.Helper()
	now := make([]byte, diskSize)
	if _, err := dev.ReadAt(now, 0); err != nil {
		t.Fatal(err)
	}
	for off, was := 0, tenant(); off < diskSize; off += 512 {
		if bytes.Equal(now[off:off+512], was[off:off+512]) {
			return true
		}
	}
	return false
}

// TestReadOnly: a disk that was opened for reading is not erased.
func TestReadOnly(t *testing.T) {
	d, dev := drive(t)
	reader, err := disk.OpenReadOnly(dev.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	options := nvme.Options{Transport: d.Transport(1)}
	for name, erase := range map[string]func(context.Context, *disk.Device, nvme.Options, func(float64)) (erasure.Method, error){
		"erase": nvme.Erase, "sanitize": nvme.Sanitize, "format": nvme.Format,
	} {
		if _, err := erase(t.Context(), reader, options, nil); !errors.Is(err, os.ErrPermission) || errors.Is(err, erasure.ErrNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(d.Sanitizes()) != 0 || d.Formats() != 0 {
		t.Errorf("it was told to erase: %v, %d formats", d.Sanitizes(), d.Formats())
	}
}

// TestErase drives the ladder through drives of all abilities and moods.
func TestErase(t *testing.T) {
	const all = nvme.SanitizeCryptoErase | nvme.SanitizeBlockErase | nvme.SanitizeOverwrite
	two := func(d *nvmemodel.Drive) {
		d.Namespaces[2] = &nvmemodel.Namespace{Content: d.Namespaces[1].Content, Size: diskSize}
	}
	refuse := func(opcode byte, status nvme.Status) func(*nvmemodel.Drive) {
		return func(d *nvmemodel.Drive) {
			d.Refuse = func(_ context.Context, c *nvme.Command) error {
				if c.Opcode == opcode {
					return status
				}
				return nil
			}
		}
	}
	for name, tc := range map[string]struct {
		sanicap uint32
		oacs    uint16
		fna     byte
		prepare func(*nvmemodel.Drive)
		options nvme.Options
		method  string
		err     string // "" is success, "unsupported" erasure.ErrNotSupported
		keeps   bool   // the content
	}{
		"nothing":           {err: "unsupported", keeps: true},
		"all":               {sanicap: all, oacs: 2, fna: 4, method: "nvme-sanitize-crypto-erase"},
		"block erase":       {sanicap: nvme.SanitizeBlockErase | nvme.SanitizeOverwrite, oacs: 2, method: "nvme-sanitize-block-erase"},
		"format, overwrite": {sanicap: nvme.SanitizeOverwrite, oacs: 2, method: "nvme-format-user-data-erase"},
		"overwrite":         {sanicap: nvme.SanitizeOverwrite, method: "nvme-sanitize-overwrite"},
		"format crypto":     {oacs: 2, fna: 4, method: "nvme-format-crypto-erase"},
		"format user data":  {oacs: 2, method: "nvme-format-user-data-erase"},

		"two namespaces":             {sanicap: all, prepare: two, err: "unsupported", keeps: true},
		"two namespaces, agreed":     {sanicap: all, prepare: two, options: nvme.Options{Agreed: []uint32{2}}, method: "nvme-sanitize-crypto-erase"},
		"two, format own":            {sanicap: all, oacs: 2, prepare: two, method: "nvme-format-user-data-erase"},
		"two, format takes all":      {oacs: 2, fna: nvme.FormatAll, prepare: two, err: "unsupported", keeps: true},
		"two, erase takes all":       {oacs: 2, fna: nvme.FormatEraseAll, prepare: two, err: "unsupported", keeps: true},
		"two, format all, agreed":    {oacs: 2, fna: nvme.FormatAll, prepare: two, options: nvme.Options{Agreed: []uint32{2}}, method: "nvme-format-user-data-erase"},
		"allocated, not active":      {sanicap: all, oacs: nvme.OACSNamespaceManagement, prepare: two, err: "unsupported", keeps: true},
		"other controllers":          {sanicap: all, prepare: func(d *nvmemodel.Drive) { d.CMIC = nvme.CMICControllers }, err: "unsupported", keeps: true},
		"other controllers, managed": {sanicap: all, oacs: nvme.OACSNamespaceManagement, prepare: func(d *nvmemodel.Drive) { d.CMIC = nvme.CMICControllers }, method: "nvme-sanitize-crypto-erase"},

		"part of a drive":  {sanicap: all, oacs: 2, prepare: func(d *nvmemodel.Drive) { d.Namespaces[1].Size *= 2 }, err: "unsupported", keeps: true},
		"sanitize opcode":  {sanicap: all, oacs: 2, prepare: refuse(0x84, nvme.InvalidOpcode), method: "nvme-format-user-data-erase"},
		"sanitize field":   {sanicap: all, prepare: refuse(0x84, nvme.InvalidField), err: "unsupported", keeps: true},
		"format opcode":    {oacs: 2, fna: 4, prepare: refuse(0x80, nvme.InvalidOpcode|0x4000), err: "unsupported", keeps: true},
		"no log page":      {sanicap: all, prepare: refuse(0x02, nvme.InvalidLogPage), err: "unsupported", keeps: true},
		"sanitize refused": {sanicap: all, oacs: 2, prepare: refuse(0x84, 0x015), method: "nvme-sanitize-crypto-erase", err: "operation denied", keeps: true},
		"memory region":    {sanicap: all, oacs: 2, prepare: refuse(0x84, 0x123), method: "nvme-sanitize-crypto-erase", err: "persistent memory region", keeps: true},
		"firmware pending": {sanicap: all, prepare: refuse(0x84, 0x10b), method: "nvme-sanitize-crypto-erase", err: "firmware activation requires a reset", keeps: true},
		"write protected":  {oacs: 2, prepare: refuse(0x80, 0x020), method: "nvme-format-user-data-erase", err: "write protected", keeps: true},
		"vendor status":    {oacs: 2, prepare: refuse(0x80, 0x7c1), method: "nvme-format-user-data-erase", err: "type 7 code 0xc1: vendor specific status", keeps: true},
		"path error":       {sanicap: all, prepare: refuse(0x84, 0x302), method: "nvme-sanitize-crypto-erase", err: "path related", keeps: true},
		"identify refused": {sanicap: all, prepare: refuse(0x06, 0x006), err: "identify controller: NVMe status type 0 code 0x06: internal error", keeps: true},
		"never ready":      {oacs: 2, prepare: refuse(0x80, nvme.NamespaceNotReady), method: "nvme-format-user-data-erase", err: "not ready", keeps: true},

		"sanitize fails": {sanicap: all, oacs: 2, prepare: func(d *nvmemodel.Drive) { d.Fails = true }, method: "nvme-sanitize-crypto-erase", err: "the drive reports that it failed", keeps: true},
		"format fails":   {oacs: 2, prepare: func(d *nvmemodel.Drive) { d.Fails = true }, method: "nvme-format-user-data-erase", err: "internal error", keeps: true},
		"sanitize hangs": {sanicap: all, prepare: func(d *nvmemodel.Drive) { d.Hangs = true }, method: "nvme-sanitize-crypto-erase", err: "still in progress, at 0.0 %, after 6h", keeps: true},
		"format hangs":   {oacs: 2, prepare: func(d *nvmemodel.Drive) { d.Hangs = true }, method: "nvme-format-user-data-erase", err: "did not answer", keeps: true},
		"lies":           {sanicap: all, prepare: func(d *nvmemodel.Drive) { d.Lies = true }, method: "nvme-sanitize-crypto-erase", keeps: true},
		"format lies":    {oacs: 2, prepare: func(d *nvmemodel.Drive) { d.Lies = true }, method: "nvme-format-user-data-erase", keeps: true},
		"another one's end": {sanicap: all, prepare: func(d *nvmemodel.Drive) {
			d.Garble = func(c *nvme.Command) {
				if c.Opcode == 0x02 {
					c.Data[4] = 2
				}
			}
		}, method: "nvme-sanitize-crypto-erase", err: "end of another sanitize"},
		"never sanitized": {sanicap: all, prepare: func(d *nvmemodel.Drive) {
			d.Garble = func(c *nvme.Command) {
				if c.Opcode == 0x02 {
					c.Data[2] = 0
				}
			}
		}, method: "nvme-sanitize-crypto-erase", err: "reports: never sanitized", keeps: true},
		"unknown state": {sanicap: all, prepare: func(d *nvmemodel.Drive) {
			d.Garble = func(c *nvme.Command) {
				if c.Opcode == 0x02 {
					c.Data[2] = 0xff
				}
			}
		}, method: "nvme-sanitize-crypto-erase", err: "reports: sanitize state 7", keeps: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				model, dev := drive(t)
				model.SANICAP, model.OACS, model.FNA, model.Duration = tc.sanicap, tc.oacs, tc.fna, 90*time.Second
				if tc.prepare != nil {
					tc.prepare(model)
				}
				tc.options.Transport = model.Transport(1)
				method, err := nvme.Erase(t.Context(), dev, tc.options, nil)
				switch {
				case tc.err == "unsupported":
					if !errors.Is(err, erasure.ErrNotSupported) {
						t.Errorf("error %v, want ErrNotSupported", err)
					}
				case tc.err != "":
					if err == nil || errors.Is(err, erasure.ErrNotSupported) || !strings.Contains(err.Error(), tc.err) {
						t.Errorf("error %v, want %q", err, tc.err)
					}
				case err != nil:
					t.Error(err)
				}
				if tc.err != "unsupported" && method.Name != tc.method {
					t.Errorf("method %q, want %q", method.Name, tc.method)
				}
				if got := kept(t, dev); got != tc.keeps {
					t.Errorf("content kept: %v, want %v", got, tc.keeps)
				}
			})
		})
	}
}

// TestProgress: what the log page says is reported, and grows up to 1.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model, dev := drive(t)
		model.SANICAP, model.Duration = nvme.SanitizeBlockErase, time.Minute
		var seen []float64
		if _, err := nvme.Erase(t.Context(), dev, nvme.Options{Transport: model.Transport(1)}, func(f float64) { seen = append(seen, f) }); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(seen); i++ {
			if seen[i] < seen[i-1] {
				t.Errorf("progress goes back: %v", seen)
			}
		}
		if len(seen) < 10 || seen[len(seen)/2] <= 0 || seen[len(seen)/2] >= 1 || seen[len(seen)-1] != 1 {
			t.Errorf("progress %v", seen)
		}
	})
}

// TestPowerLoss: a sanitize that lost power, or whose caller went away, is
// waited for before the next one is begun.
func TestPowerLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model, dev := drive(t)
		model.SANICAP, model.OACS, model.Duration = nvme.SanitizeBlockErase, 2, time.Hour
		o := nvme.Options{Transport: model.Transport(1)}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		if _, err := nvme.Erase(ctx, dev, o, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, erasure.ErrNotSupported) {
			t.Fatalf("erase cut short: %v", err)
		}
		model.PowerOff()
		time.Sleep(24 * time.Hour)
		model.PowerOn()
		began := time.Now()
		if err := nvme.Settle(t.Context(), dev, o, nil); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 39*time.Minute || waited > 41*time.Minute {
			t.Errorf("waited %v for the 40 minutes that remained", waited)
		}
		if kept(t, dev) {
			t.Error("content is there after the sanitize that was resumed")
		}
		if method, err := nvme.Erase(t.Context(), dev, o, nil); err != nil || method.Name != "nvme-sanitize-block-erase" {
			t.Errorf("erase after power loss: %v, %v", method, err)
		}
		if n := len(model.Sanitizes()); n != 2 {
			t.Errorf("%d sanitizes", n)
		}
	})
}

// TestFormatWaits: a drive that is not to be sanitized is formatted after a
// sanitize that others began.
func TestFormatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model, dev := drive(t)
		model.SANICAP, model.OACS, model.Duration = nvme.SanitizeBlockErase, 2, time.Minute
		if err := model.Transport(1).Do(t.Context(), &nvme.Command{Opcode: 0x84, CDW10: 2}); err != nil {
			t.Fatal(err)
		}
		if _, err := nvme.Format(t.Context(), dev, nvme.Options{Transport: model.Transport(1)}, nil); err != nil || model.Formats() != 1 {
			t.Errorf("format: %v", err)
		}
	})
}

// TestFailureMode: in which mode a sanitize runs, and what it leaves when it
// fails.
func TestFailureMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model, dev := drive(t)
		model.SANICAP, model.OACS, model.Fails = nvme.SanitizeBlockErase, 2, true
		free := nvme.Options{Transport: model.Transport(1), Unrestricted: true}
		if _, err := nvme.Erase(t.Context(), dev, free, nil); err == nil {
			t.Fatal("no error")
		}
		// The failure mode was left: the drive takes commands again.
		model.Fails = false
		if _, err := nvme.Format(t.Context(), dev, free, nil); err != nil {
			t.Errorf("format after a failure in unrestricted mode: %v", err)
		}
		model.Fails = true
		if _, err := nvme.Erase(t.Context(), dev, nvme.Options{Transport: model.Transport(1)}, nil); err == nil {
			t.Fatal("no error")
		}
		model.Fails = false
		if _, err := nvme.Format(t.Context(), dev, free, nil); !errors.Is(err, nvme.SanitizeFailed) {
			t.Errorf("format after a failure in restricted mode: %v", err)
		}
		// Only another restricted sanitize gets out of it.
		if _, err := nvme.Erase(t.Context(), dev, free, nil); err != nil {
			t.Errorf("sanitize after a failure in restricted mode: %v", err)
		}
		if got := model.Sanitizes(); len(got) != 3 || got[0] != 10 || got[1] != 2 || got[2] != 2 {
			t.Errorf("command dwords 10: %#x", got)
		}
	})
}

// TestBlind: a controller that is reset in the middle is asked again.
func TestBlind(t *testing.T) {
	for name, tc := range map[string]struct {
		from, to time.Duration
		fails    bool
	}{"a minute": {10 * time.Second, 70 * time.Second, false}, "ten": {10 * time.Second, 10 * time.Minute, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				model, dev := drive(t)
				model.SANICAP, model.Duration = nvme.SanitizeCryptoErase, 20*time.Minute
				gone := errors.New("no such device")
				began := time.Now()
				model.Refuse = func(context.Context, *nvme.Command) error {
					if now := time.Since(began); now > tc.from && now < tc.to {
						return gone
					}
					return nil
				}
				_, err := nvme.Erase(t.Context(), dev, nvme.Options{Transport: model.Transport(1)}, nil)
				if tc.fails != errors.Is(err, gone) || !tc.fails && err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestFormatKeeps: the format of the blocks, metadata and protection
// information are the ones that there were.
func TestFormatKeeps(t *testing.T) {
	for _, tc := range []struct{ flbas, dps byte }{{0, 0}, {3, 0}, {0x10, 1}, {0x25, 0x0b}, {0x7f, 2}} {
		model, dev := drive(t)
		model.OACS = 2
		model.Namespaces[1].FLBAS, model.Namespaces[1].DPS = tc.flbas, tc.dps
		method, err := nvme.Format(t.Context(), dev, nvme.Options{Transport: model.Transport(1)}, nil)
		if err != nil || method.Unreadable != (tc.dps != 0) {
			t.Errorf("FLBAS %#x, DPS %#x: %+v, %v", tc.flbas, tc.dps, method, err)
		}
	}
}

// TestFileIsNoDrive: a regular file has no commands.
func TestFileIsNoDrive(t *testing.T) {
	_, dev := drive(t)
	if _, err := nvme.Erase(t.Context(), dev, nvme.Options{}, nil); !errors.Is(err, erasure.ErrNotSupported) {
		t.Errorf("erase: %v", err)
	}
	if err := nvme.Settle(t.Context(), dev, nvme.Options{}, nil); err != nil {
		t.Errorf("settle: %v", err)
	}
}
