package scsi_test

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
	"ferric/hwmanager/scsi"
	"ferric/hwmanager/scsi/scsimodel"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
	"ferric/images/disk/disktest"
)

const diskSize = 4 << 20

// tenant is what the disks of these tests hold before they are erased.
func tenant() []byte { return bytes.Repeat([]byte("tenant's data.. "), diskSize/16) }

// model is a disk with all ways to sanitize, and the file that holds its content.
func model(t *testing.T) (*scsimodel.Disk, *disk.Device) {
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
	return &scsimodel.Disk{
		Content: dev, Size: dev.Size, Duration: time.Minute,
		Actions: []byte{scsimodel.Overwrite, scsimodel.BlockErase, scsimodel.CryptoErase},
	}, dev
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
	d, dev := model(t)
	reader, err := disk.OpenReadOnly(dev.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	_, err = scsi.Erase(t.Context(), reader, scsi.Options{Transport: d}, nil)
	if !errors.Is(err, os.ErrPermission) || errors.Is(err, erasure.ErrNotSupported) || len(d.Sanitizes()) != 0 {
		t.Errorf("%v, told to erase: %v", err, d.Sanitizes())
	}
}

// TestErase drives an erase through disks of all abilities and moods, with sense
// data of both formats.
func TestErase(t *testing.T) {
	// first answers the first count commands of an operation code.
	first := func(count int, opcode byte, answer func(d *scsimodel.Disk) (*sgio.Result, error)) func(*scsimodel.Disk) {
		return func(d *scsimodel.Disk) {
			left := count
			d.Answer = func(_ context.Context, c sgio.Command) (*sgio.Result, error) {
				if c.CDB[0] != opcode || left == 0 {
					return nil, nil
				}
				left--
				return answer(d)
			}
		}
	}
	check := func(key byte, code uint16) func(*scsimodel.Disk) (*sgio.Result, error) {
		return func(d *scsimodel.Disk) (*sgio.Result, error) {
			r := d.Check(key, code)
			return &r, nil
		}
	}
	deferred := func(key byte, code uint16) func(*scsimodel.Disk) (*sgio.Result, error) {
		return func(d *scsimodel.Disk) (*sgio.Result, error) {
			r := d.Check(key, code)
			r.Sense[0]++
			return &r, nil
		}
	}
	result := func(r sgio.Result, err error) func(*scsimodel.Disk) (*sgio.Result, error) {
		return func(*scsimodel.Disk) (*sgio.Result, error) { return &r, err }
	}
	const tur, sanitize, always = 0x00, 0x48, -1
	for name, tc := range map[string]struct {
		prepare func(*scsimodel.Disk)
		free    bool
		method  erasure.Method
		err     string // "" is success, "unsupported" erasure.ErrNotSupported
		keeps   bool
	}{
		"all":             {method: crypto},
		"block":           {prepare: func(d *scsimodel.Disk) { d.Actions = d.Actions[:2] }, method: block},
		"overwrite":       {prepare: func(d *scsimodel.Disk) { d.Actions = d.Actions[:1] }, method: overwrite},
		"none":            {prepare: func(d *scsimodel.Disk) { d.Actions = nil }, err: "unsupported", keeps: true},
		"none, no report": {prepare: func(d *scsimodel.Disk) { d.Actions, d.NoReport = nil, true }, err: "unsupported", keeps: true},
		"no report":       {prepare: func(d *scsimodel.Disk) { d.Actions, d.NoReport = d.Actions[:1], true }, method: overwrite},
		"no AUSE":         {prepare: func(d *scsimodel.Disk) { d.NoAUSE = true }, free: true, method: crypto},
		"AUSE":            {free: true, method: crypto},
		"short":           {prepare: func(d *scsimodel.Disk) { d.Short = true }, method: crypto},
		"no progress":     {prepare: func(d *scsimodel.Disk) { d.NoProgress = true }, method: crypto},
		"instant":         {prepare: func(d *scsimodel.Disk) { d.Duration = 0 }, method: crypto},

		"old":              {prepare: func(d *scsimodel.Disk) { d.Version = 4 }, err: "unsupported", keeps: true},
		"no pages":         {prepare: func(d *scsimodel.Disk) { d.NoPages = true }, err: "unsupported", keeps: true},
		"report is denied": {prepare: first(always, 0xa3, check(5, 0x2500)), method: crypto},
		"tape":             {prepare: func(d *scsimodel.Disk) { d.Type = 1 }, err: "unsupported", keeps: true},
		"part of a disk":   {prepare: func(d *scsimodel.Disk) { d.Size *= 2 }, err: "unsupported", keeps: true},
		"no SCSI":          {prepare: first(always, tur, result(sgio.Result{}, sgio.ErrNotSCSI)), err: "unsupported", keeps: true},

		"unit attentions":        {prepare: first(3, tur, check(6, 0x2900)), method: crypto},
		"attention at start":     {prepare: first(1, sanitize, check(6, 0x2a01)), method: crypto},
		"attentions without end": {prepare: first(always, tur, check(6, 0x2900)), err: "sense key 6h", keeps: true},
		"deferred error":         {prepare: first(1, sanitize, deferred(3, 0x0c00)), method: crypto},
		"deferred failure":       {prepare: first(1, sanitize, deferred(3, 0x3103)), method: crypto, err: "sanitize command failed", keeps: true},
		"becoming ready":         {prepare: first(20, tur, check(2, 0x0401)), method: crypto},
		"never ready":            {prepare: first(always, tur, check(2, 0x0401)), err: "becoming ready", keeps: true},
		"stopped":                {prepare: first(always, tur, check(2, 0x0402)), err: "is stopped", keeps: true},
		"busy":                   {prepare: first(10, sanitize, result(sgio.Result{Status: 0x08}, nil)), method: crypto},
		"always busy":            {prepare: first(always, sanitize, result(sgio.Result{Status: 0x28}, nil)), method: crypto, err: "SCSI status 28h", keeps: true},
		"bus reset":              {prepare: first(2, sanitize, result(sgio.Result{Host: sgio.HostReset}, nil)), method: crypto},
		"aborted":                {prepare: first(2, sanitize, check(0xb, 0x4b00)), method: crypto},
		"recovered":              {prepare: first(1, tur, check(1, 0x1700)), method: crypto},

		"write protected": {prepare: first(always, sanitize, check(7, 0x2700)), method: crypto, err: "write protected", keeps: true},
		"reserved":        {prepare: first(always, sanitize, result(sgio.Result{Status: 0x18}, nil)), method: crypto, err: "reservation conflict", keeps: true},
		"hardware error":  {prepare: first(always, sanitize, check(4, 0x4400)), method: crypto, err: "sense key 4h, code 44h/00h", keeps: true},
		"gone":            {prepare: first(always, sanitize, result(sgio.Result{Host: sgio.HostNoConnect}, nil)), method: crypto, err: "host adapter failed", keeps: true},
		"invalid opcode":  {prepare: first(always, sanitize, check(5, 0x2000)), err: "unsupported", keeps: true},
		"no such command": {prepare: func(d *scsimodel.Disk) {
			d.Answer = func(_ context.Context, c sgio.Command) (*sgio.Result, error) {
				r := d.Check(5, 0x2000)
				if c.Write && len(c.Data) > 0 { // as virtio-scsi of QEMU does
					r = sgio.Result{Host: sgio.HostError}
				}
				if c.CDB[0] == 0x48 || c.CDB[0] == 0xa3 {
					return &r, nil
				}
				return nil, nil
			}
		}, err: "unsupported", keeps: true},
		"invalid field": {prepare: first(always, sanitize, check(5, 0x2400)), err: "unsupported", keeps: true},
		"no sense":      {prepare: first(always, sanitize, result(sgio.Result{Status: 2}, nil)), method: crypto, err: "sense data make no sense", keeps: true},
		"garbage sense": {prepare: first(always, sanitize, result(sgio.Result{Status: 2, Sense: bytes.Repeat([]byte{0x55}, 40)}, nil)), method: crypto, err: "make no sense", keeps: true},

		"fails":             {prepare: func(d *scsimodel.Disk) { d.Fails = true }, method: crypto, err: "sanitize command failed", keeps: true},
		"hangs":             {prepare: func(d *scsimodel.Disk) { d.Hangs = true }, method: crypto, err: "still in progress, at 0.0 %, after 24h", keeps: true},
		"lies":              {prepare: func(d *scsimodel.Disk) { d.Lies = true }, method: crypto, keeps: true},
		"command hangs":     {prepare: func(d *scsimodel.Disk) { d.Answer = hangs(sanitize) }, method: crypto, err: "did not answer", keeps: true},
		"inquiry is denied": {prepare: first(always, 0x12, check(5, 0x2400)), err: "inquiry: sense key 5h, code 24h/00h: invalid field in CDB", keeps: true},
	} {
		for format, descriptors := range map[string]bool{"fixed": false, "descriptors": true} {
			t.Run(name+"/"+format, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					model, dev := model(t)
					model.Descriptors = descriptors
					if tc.prepare != nil {
						tc.prepare(model)
					}
					method, err := scsi.Erase(t.Context(), dev, scsi.Options{Transport: model, Unrestricted: tc.free}, nil)
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
					if tc.err != "unsupported" && method != tc.method {
						t.Errorf("method %+v, want %+v", method, tc.method)
					}
					if got := kept(t, dev); got != tc.keeps {
						t.Errorf("content kept: %v, want %v", got, tc.keeps)
					}
				})
			})
		}
	}
}

var (
	crypto    = erasure.Method{Name: "scsi-sanitize-crypto-erase", Unreadable: true}
	block     = erasure.Method{Name: "scsi-sanitize-block-erase"}
	overwrite = erasure.Method{Name: "scsi-sanitize-overwrite", Leaves: erasure.Zeros}
)

// hangs keeps commands of an operation code without an answer.
func hangs(opcode byte) func(context.Context, sgio.Command) (*sgio.Result, error) {
	return func(ctx context.Context, c sgio.Command) (*sgio.Result, error) {
		if c.CDB[0] != opcode {
			return nil, nil
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
}

// TestProgress: what the disk says is reported, from both formats of sense data
// and both commands that get them.
func TestProgress(t *testing.T) {
	for name, prepare := range map[string]func(*scsimodel.Disk){
		"fixed":                  func(*scsimodel.Disk) {},
		"descriptors":            func(d *scsimodel.Disk) { d.Descriptors = true },
		"fixed, request sense":   func(d *scsimodel.Disk) { d.NoProgress = true },
		"descriptors, requested": func(d *scsimodel.Disk) { d.Descriptors, d.NoProgress = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				model, dev := model(t)
				prepare(model)
				var seen []float64
				if _, err := scsi.Erase(t.Context(), dev, scsi.Options{Transport: model}, func(f float64) { seen = append(seen, f) }); err != nil {
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
		})
	}
}

// TestPowerLoss: a sanitize that lost power, or whose caller went away, is
// waited for before the next one is begun.
func TestPowerLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model, dev := model(t)
		model.Duration = time.Hour
		o := scsi.Options{Transport: model}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		if _, err := scsi.Erase(ctx, dev, o, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, erasure.ErrNotSupported) {
			t.Fatalf("erase cut short: %v", err)
		}
		model.PowerOff()
		time.Sleep(24 * time.Hour)
		model.PowerOn()
		began := time.Now()
		if err := scsi.Settle(t.Context(), dev, o, nil); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 39*time.Minute || waited > 41*time.Minute {
			t.Errorf("waited %v for the 40 minutes that remained", waited)
		}
		if kept(t, dev) {
			t.Error("content is there after the sanitize that went on")
		}
		if method, err := scsi.Erase(t.Context(), dev, o, nil); err != nil || method != crypto {
			t.Errorf("erase after power loss: %v, %v", method, err)
		}
		if n := len(model.Sanitizes()); n != 2 {
			t.Errorf("%d sanitizes", n)
		}
	})
}

// TestFailureMode: in which mode a sanitize runs, and what it leaves when it
// fails.
func TestFailureMode(t *testing.T) {
	ready := sgio.Command{CDB: make([]byte, 6)}
	synctest.Test(t, func(t *testing.T) {
		model, dev := model(t)
		model.Fails = true
		if _, err := scsi.Erase(t.Context(), dev, scsi.Options{Transport: model, Unrestricted: true}, nil); err == nil {
			t.Fatal("no error")
		}
		if r, _ := model.Do(t.Context(), ready); r.Status != sgio.Good {
			t.Errorf("after a failure in unrestricted mode the disk says %+v", r)
		}
		if _, err := scsi.Erase(t.Context(), dev, scsi.Options{Transport: model}, nil); err == nil {
			t.Fatal("no error")
		}
		if r, _ := model.Do(t.Context(), ready); r.Status == sgio.Good {
			t.Error("after a failure in restricted mode the disk is ready")
		}
		// Only another restricted sanitize gets out of it.
		model.Fails = false
		if _, err := scsi.Erase(t.Context(), dev, scsi.Options{Transport: model, Unrestricted: true}, nil); err != nil {
			t.Errorf("sanitize after a failure in restricted mode: %v", err)
		}
		for i, want := range []byte{0xa3, 0x83, 0x83} {
			if got := model.Sanitizes(); len(got) != 3 || got[i][1] != want {
				t.Errorf("commands % x, want byte 1 of number %d to be %#x", got, i, want)
			}
		}
	})
}

// TestReset: a disk that says nothing for a while is asked again.
func TestReset(t *testing.T) {
	for name, tc := range map[string]struct {
		away  time.Duration
		fails bool
	}{"two minutes": {2 * time.Minute, false}, "an hour": {time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				model, dev := model(t)
				model.Duration = 2 * time.Hour
				began := time.Now()
				model.Answer = func(context.Context, sgio.Command) (*sgio.Result, error) {
					if now := time.Since(began); now > 10*time.Second && now < tc.away {
						return &sgio.Result{Host: sgio.HostTimeOut}, nil
					}
					return nil, nil
				}
				if _, err := scsi.Erase(t.Context(), dev, scsi.Options{Transport: model}, nil); (err != nil) != tc.fails {
					t.Error(err)
				}
			})
		})
	}
}

// TestFileIsNoDisk: a regular file takes no commands.
func TestFileIsNoDisk(t *testing.T) {
	_, dev := model(t)
	if _, err := scsi.Erase(t.Context(), dev, scsi.Options{}, nil); !errors.Is(err, erasure.ErrNotSupported) {
		t.Errorf("erase: %v", err)
	}
	if err := scsi.Settle(t.Context(), dev, scsi.Options{}, nil); err != nil {
		t.Errorf("settle: %v", err)
	}
}
