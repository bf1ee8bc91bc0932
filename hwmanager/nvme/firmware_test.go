package nvme_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferric/hwmanager/nvme"
	"ferric/hwmanager/nvme/nvmemodel"
)

// old and new are versions of the model's firmware.
const (
	oldVersion = "FW10"
	newVersion = "FW20"
)

// flashable is a drive with three slots, of which the first is running.
func flashable() *nvmemodel.Drive {
	return &nvmemodel.Drive{Firmware: &nvmemodel.Firmware{
		FRMW: 3 << 1, Active: 1, Slots: [7]string{oldVersion}, MTFA: 20,
	}}
}

func commit(slot, action uint32) uint32 { return slot | action<<3 }

// TestUpdateFirmware brings firmware to drives of all abilities and moods.
func TestUpdateFirmware(t *testing.T) {
	refuse := func(opcode byte, err error) func(*nvmemodel.Drive) {
		return func(d *nvmemodel.Drive) {
			d.Refuse = func(_ context.Context, c *nvme.Command) error {
				if c.Opcode == opcode {
					return err
				}
				return nil
			}
		}
	}
	// after has the refusal come with the command number n of that opcode only.
	after := func(opcode byte, n int, err error) func(*nvmemodel.Drive) {
		return func(d *nvmemodel.Drive) {
			d.Refuse = func(_ context.Context, c *nvme.Command) error {
				if c.Opcode == opcode {
					if n--; n == 0 {
						return err
					}
				}
				return nil
			}
		}
	}
	firmware := func(change func(*nvmemodel.Firmware)) func(*nvmemodel.Drive) {
		return func(d *nvmemodel.Drive) { change(d.Firmware) }
	}
	for name, tc := range map[string]struct {
		prepare func(*nvmemodel.Drive)
		update  nvme.Update // over the usual one
		commits []uint32
		resets  int
		slot    int
		pending string
		err     string
		running string // after it, if not the new version
		changed bool   // an error that is not ErrUnchanged is due
	}{
		"by reset":                  {commits: []uint32{commit(2, 1)}, resets: 1, slot: 2},
		"at once":                   {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW |= 1 << 4 }), commits: []uint32{commit(2, 3)}, slot: 2},
		"at once, later":            {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW |= 1 << 4; f.Delay = 3 * time.Second }), commits: []uint32{commit(2, 3)}, slot: 2},
		"at once, is told to reset": {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW |= 1 << 4; f.Needs = nvme.NeedsControllerReset }), commits: []uint32{commit(2, 3)}, resets: 1, slot: 2},
		"at once takes too long":    {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW |= 1 << 4; f.Needs = nvme.ActivationTooLong }), commits: []uint32{commit(2, 3), commit(2, 1)}, resets: 1, slot: 2},
		"reset though at once":      {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW |= 1 << 4 }), update: nvme.Update{Activate: nvme.ActivateReset}, commits: []uint32{commit(2, 1)}, resets: 1, slot: 2},
		"immediate, cannot":         {update: nvme.Update{Activate: nvme.ActivateImmediate}, err: "cannot activate firmware without a reset", running: oldVersion, changed: true},
		"reboot":                    {update: nvme.Update{Activate: nvme.ActivateReboot}, commits: []uint32{commit(2, 1)}, slot: 2, pending: "reset of the controller", running: oldVersion},
		"conventional reset":        {prepare: firmware(func(f *nvmemodel.Firmware) { f.Needs = nvme.NeedsConventionalReset }), commits: []uint32{commit(2, 1)}, slot: 2, pending: "conventional reset", running: oldVersion},
		"subsystem reset":           {prepare: firmware(func(f *nvmemodel.Firmware) { f.Needs = nvme.NeedsSubsystemReset }), commits: []uint32{commit(2, 1)}, slot: 2, pending: "reset of the NVM subsystem", running: oldVersion},
		"forgets it":                {prepare: firmware(func(f *nvmemodel.Firmware) { f.Ignores = true }), commits: []uint32{commit(2, 1)}, resets: 1, slot: 2, pending: "reset of the machine", running: oldVersion},

		"first slot only reads":  {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW = 1 | 2<<1 }), commits: []uint32{commit(2, 1)}, resets: 1, slot: 2},
		"single slot":            {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW = 1 << 1 }), commits: []uint32{commit(1, 1)}, resets: 1, slot: 1},
		"single slot only reads": {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW = 1 | 1<<1 }), err: "the only firmware slot of the drive can only be read", running: oldVersion, changed: true},
		"empty slot first":       {prepare: firmware(func(f *nvmemodel.Firmware) { f.Slots = [7]string{oldVersion, "FW05"} }), commits: []uint32{commit(3, 1)}, resets: 1, slot: 3},
		"slot with it":           {prepare: firmware(func(f *nvmemodel.Firmware) { f.Slots = [7]string{oldVersion, "", newVersion} }), commits: []uint32{commit(3, 1)}, resets: 1, slot: 3},
		"other slots are full": {prepare: firmware(func(f *nvmemodel.Firmware) {
			f.FRMW, f.Active, f.Slots = 2<<1, 2, [7]string{"FW05", oldVersion}
		}), commits: []uint32{commit(1, 1)}, resets: 1, slot: 1},
		"chosen slot":             {update: nvme.Update{Slot: 3}, commits: []uint32{commit(3, 1)}, resets: 1, slot: 3},
		"chosen slot beyond":      {update: nvme.Update{Slot: 4}, err: "there is no firmware slot 4: the drive has 3", running: oldVersion, changed: true},
		"chosen slot only reads":  {prepare: firmware(func(f *nvmemodel.Firmware) { f.FRMW |= 1 }), update: nvme.Update{Slot: 1}, err: "slot 1 can only be read", running: oldVersion, changed: true},
		"there already":           {prepare: firmware(func(f *nvmemodel.Firmware) { f.Slots[0] = newVersion })},
		"granularity":             {prepare: firmware(func(f *nvmemodel.Firmware) { f.FWUG = 4 }), commits: []uint32{commit(2, 1)}, resets: 1, slot: 2},
		"no restriction":          {prepare: firmware(func(f *nvmemodel.Firmware) { f.FWUG, f.MDTS = 0xff, 1 }), commits: []uint32{commit(2, 1)}, resets: 1, slot: 2},
		"granularity contradicts": {prepare: firmware(func(f *nvmemodel.Firmware) { f.FWUG, f.MDTS = 4, 1 }), err: "in pieces of 16384 bytes and takes no more than 8192", running: oldVersion, changed: true},

		"not for it":           {update: nvme.Update{Image: bytes.NewReader(make([]byte, 64<<10))}, commits: []uint32{commit(2, 1)}, slot: 2, err: "damaged or for another model: firmware commit to slot 2: NVMe status type 1 code 0x07: invalid firmware image", running: oldVersion},
		"prohibited":           {prepare: firmware(func(f *nvmemodel.Firmware) { f.Prohibited = []string{newVersion} }), commits: []uint32{commit(2, 1)}, slot: 2, err: "does not allow this version", running: oldVersion},
		"another version":      {update: nvme.Update{Version: "FW30"}, commits: []uint32{commit(2, 1)}, resets: 1, slot: 2, err: "runs firmware FW20 now, not FW30", changed: true},
		"odd size":             {update: nvme.Update{Size: 4097}, err: "not whole double words", running: oldVersion, changed: true},
		"empty":                {update: nvme.Update{Size: -1}, err: "has -1 bytes", running: oldVersion, changed: true},
		"image cut short":      {update: nvme.Update{Size: 1 << 20}, slot: 2, err: "read the image", running: oldVersion},
		"identify fails":       {prepare: refuse(0x06, nvme.Status(0x006)), err: "identify controller: NVMe status type 0 code 0x06: internal error", running: oldVersion, changed: true},
		"no log page":          {prepare: refuse(0x02, nvme.InvalidLogPage), err: "firmware slot log page: NVMe status type 1 code 0x09", running: oldVersion, changed: true},
		"download refused":     {prepare: refuse(0x11, nvme.InvalidOpcode), slot: 2, err: "firmware image download, 4096 bytes at 0 of 65536: NVMe status type 0 code 0x01: invalid command opcode", running: oldVersion},
		"download fails later": {prepare: after(0x11, 9, nvme.Status(0x004)), slot: 2, err: "4096 bytes at 32768 of 65536: NVMe status type 0 code 0x04: data transfer error", running: oldVersion},
		"download interrupted": {prepare: after(0x11, 9, nvme.CommandInterrupted), commits: []uint32{commit(2, 1)}, resets: 1, slot: 2},
		"commit opcode":        {prepare: refuse(0x10, nvme.InvalidOpcode), slot: 2, err: "firmware commit to slot 2: NVMe status type 0 code 0x01", running: oldVersion},
		"commit slot":          {prepare: refuse(0x10, nvme.InvalidFirmwareSlot), slot: 2, err: "does not let slot 2 be written", running: oldVersion},
		"commit locked down":   {prepare: refuse(0x10, nvme.Status(0x023)), slot: 2, err: "prohibited by command and feature lockdown", running: oldVersion},
		"commit not answered":  {prepare: refuse(0x10, errors.New("the controller did not answer and was reset")), slot: 2, err: "did not answer", running: oldVersion},
		"dead after it": {prepare: func(d *nvmemodel.Drive) {
			dead := false
			d.Refuse = func(_ context.Context, c *nvme.Command) error {
				if dead {
					return errors.New("input/output error")
				}
				dead = c.Opcode == 0x10
				return nil
			}
		}, slot: 2, commits: []uint32{commit(2, 1)}, resets: 1, err: "does not answer since it was to activate its new firmware", changed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				drive := flashable()
				if tc.prepare != nil {
					tc.prepare(drive)
				}
				u := nvme.Update{
					Image: bytes.NewReader(nvmemodel.Image(newVersion, 64<<10)), Size: 64 << 10, Version: newVersion, Activate: nvme.ActivateBest,
					Reset: func(context.Context) error { drive.ResetController(); return nil },
				}
				if tc.update.Image != nil {
					u.Image = tc.update.Image
				}
				if tc.update.Size != 0 {
					u.Size = tc.update.Size
				}
				if tc.update.Version != "" {
					u.Version = tc.update.Version
				}
				if tc.update.Activate != "" {
					u.Activate = tc.update.Activate
				}
				u.Slot = tc.update.Slot
				last := 0.0
				done, err := u.Update(t.Context(), drive.Transport(0), func(f float64) {
					if f < last || f > 1 {
						t.Errorf("progress %v after %v", f, last)
					}
					last = f
				})
				switch {
				case tc.err == "" && err != nil:
					t.Error(err)
				case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
					t.Errorf("error %v, want %q", err, tc.err)
				case tc.err != "" && errors.Is(err, nvme.ErrUnchanged) == tc.changed:
					t.Errorf("error %v: unchanged is %v", err, !tc.changed)
				}
				if got := drive.Commits(); !slices.Equal(got, tc.commits) {
					t.Errorf("commits %#x, want %#x", got, tc.commits)
				}
				if got := drive.Resets(); got != tc.resets {
					t.Errorf("%d resets, want %d", got, tc.resets)
				}
				want := newVersion
				if tc.running != "" {
					want = tc.running
				}
				if got := drive.Running(); got != want {
					t.Errorf("it runs %s, want %s", got, want)
				}
				if done.Slot != tc.slot || done.Pending != tc.pending {
					t.Errorf("slot %d, pending %q", done.Slot, done.Pending)
				}
				if err == nil && tc.pending == "" && (done.After.Firmware != newVersion || last != 1 && len(tc.commits) > 0) {
					t.Errorf("reported %s, progress %v", done.After.Firmware, last)
				}
			})
		})
	}
}

// TestOverlap: what an attempt left in the drive that was cut off is forgotten by a
// reset, and the image sent whole.
func TestOverlap(t *testing.T) {
	drive := flashable()
	ctx, cancel := context.WithCancel(t.Context())
	u := nvme.Update{
		Image: bytes.NewReader(nvmemodel.Image(newVersion, 64<<10)), Size: 64 << 10, Version: newVersion, Activate: nvme.ActivateBest,
		Reset: func(context.Context) error { drive.ResetController(); return nil },
	}
	_, err := u.Update(ctx, aborted{drive.Transport(0), cancel}, nil)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, nvme.ErrUnchanged) || drive.Sent() == 0 || len(drive.Commits()) != 0 {
		t.Fatalf("cut off: %v, %d pieces, commits %v", err, drive.Sent(), drive.Commits())
	}
	done, err := u.Update(t.Context(), drive.Transport(0), nil)
	if err != nil || done.After.Firmware != newVersion || drive.Resets() != 2 {
		t.Errorf("again: %v, %s, %d resets", err, done.After.Firmware, drive.Resets())
	}
}

// aborted is a transport whose caller goes away with the third piece.
type aborted struct {
	nvme.Transport
	cancel func()
}

func (a aborted) Do(ctx context.Context, c *nvme.Command) error {
	if c.CDW11 == 2048 {
		a.cancel()
		return context.Cause(ctx)
	}
	return a.Transport.Do(ctx, c)
}

// TestMixed: a drive that saw pieces of two images says so.
func TestMixed(t *testing.T) {
	drive := flashable()
	drive.Garble = func(c *nvme.Command) {
		if c.Opcode == 0x10 {
			c.Result = 1
		}
	}
	u := nvme.Update{
		Image: bytes.NewReader(nvmemodel.Image(newVersion, 8<<10)), Size: 8 << 10, Version: newVersion, Activate: nvme.ActivateBest,
		Reset: func(context.Context) error { drive.ResetController(); return nil },
	}
	if done, err := u.Update(t.Context(), drive.Transport(0), nil); err != nil || !done.Mixed {
		t.Errorf("%v, mixed %v", err, done.Mixed)
	}
}

// TestReset: the kernel's file is written, and the controller waited for.
func TestReset(t *testing.T) {
	for name, tc := range map[string]struct{ state, err string }{
		"live":     {state: "live\n"},
		"dead":     {state: "dead\n", err: "given it up (dead)"},
		"deleting": {state: "deleting (no IO)\n", err: "given it up"},
		"gone":     {err: "given it up"},
		"stays":    {state: "resetting\n", err: "which is resetting: it is not back after 5m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"reset_controller": "", "state": tc.state} {
				if text == "" && file == "state" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				err := nvme.Reset(t.Context(), dir)
				if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
					t.Errorf("%v, want %q", err, tc.err)
				}
			})
			if text, _ := os.ReadFile(filepath.Join(dir, "reset_controller")); string(text) != "1" {
				t.Errorf("written %q", text)
			}
		})
	}
}

// TestControllers: those of the whole drive, where it may have several.
func TestControllers(t *testing.T) {
	drive := flashable()
	drive.Controllers = []uint16{7, 9}
	if ids, err := nvme.Controllers(t.Context(), drive.Transport(0)); err != nil || !slices.Equal(ids, []uint16{7}) {
		t.Errorf("one: %v, %v", ids, err)
	}
	drive.CMIC = nvme.CMICControllers
	if ids, err := nvme.Controllers(t.Context(), drive.Transport(0)); err != nil || !slices.Equal(ids, []uint16{7, 9}) {
		t.Errorf("two: %v, %v", ids, err)
	}
	drive.Controllers = nil
	if ids, err := nvme.Controllers(t.Context(), drive.Transport(0)); !errors.Is(err, nvme.InvalidField) {
		t.Errorf("not told: %v, %v", ids, err)
	}
}
