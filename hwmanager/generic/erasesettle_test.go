package generic

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/nvme/nvmemodel"
	"ferric/hwmanager/scsi/scsimodel"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// hide makes reading from a loop fail, as a disk that refuses does: what is behind
// it has no bytes any more. The function gives them back.
func hide(t *testing.T, backing string) (show func()) {
	t.Helper()
	content, err := os.ReadFile(backing)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(backing, 0); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := os.WriteFile(backing, content, 0o600); err != nil {
			t.Error(err)
		}
	})
}

// locking is a disk that can be read once it is not locked.
type locking struct {
	*atamodel.Disk
	show func()
}

func (l locking) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	result, err := l.Disk.Do(ctx, c)
	if l.State() != atamodel.SEC4 {
		l.show()
	}
	return result, err
}

// TestUnreadableBefore: what an erase that was cut off has left locked, or is
// still at, is settled, then checked as every other disk, and erased.
func TestUnreadableBefore(t *testing.T) {
	const size = 3 * mib
	lockedBy := func(password string) func(*testing.T, string) []rung {
		return func(t *testing.T, backing string) []rung {
			model := atamodel.New(atamodel.Config{Serial: "S", Size: size, Content: contentOf(t, backing)})
			model.SetPassword(password)
			model.PowerCycle()
			return []rung{ataErase(locking{model, hide(t, backing)})}
		}
	}
	sanitizingNVMe := func(t *testing.T, backing string) []rung {
		model := nvmemodel.New(contentOf(t, backing), size)
		model.SANICAP, model.Duration = nvme.SanitizeCryptoErase, 300*time.Millisecond
		must(t, model.Transport(1).Do(t.Context(), &nvme.Command{Opcode: 0x84, CDW10: 4}))
		hide(t, backing) // the model fills it at the end of the erase
		return []rung{nvmeErase(model.Transport(1))}
	}
	sanitizingSCSI := func(t *testing.T, backing string) []rung {
		model := &scsimodel.Disk{Content: contentOf(t, backing), Size: size, Actions: []byte{scsimodel.BlockErase}, Duration: 300 * time.Millisecond}
		result, err := model.Do(t.Context(), sgio.Command{CDB: []byte{0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0}})
		must(t, err)
		if result.Status != sgio.Good {
			t.Fatalf("sanitize: %+v", result)
		}
		hide(t, backing)
		return []rung{ataErase(model), scsiSanitize(model)}
	}
	dead := func(t *testing.T, backing string) []rung {
		hide(t, backing)
		return []rung{scsiSanitize(&scsimodel.Disk{Content: contentOf(t, backing), Size: size})}
	}
	keepsPassword := func(t *testing.T, backing string) []rung {
		model := atamodel.New(atamodel.Config{Serial: "S", Size: size, Content: contentOf(t, backing)})
		model.SetPassword("")
		model.PowerCycle()
		model.Fail(atamodel.Faults{Answer: func(command byte) (sgio.Result, error, bool) {
			return atamodel.Aborted(atamodel.Linux), nil, command == 0xf6 // SECURITY DISABLE PASSWORD
		}})
		return []rung{ataErase(locking{model, hide(t, backing)})}
	}
	vmfs := func(t *testing.T, disk string) {
		record := make([]byte, 66)
		record[4], record[8], record[64], record[65] = mbrVMFS, 8, 0x55, 0xaa
		write(t, disk, 446, record)
	}
	tests := []struct {
		name      string
		rungs     func(t *testing.T, backing string) []rung
		holds     func(t *testing.T, disk string)
		permitted bool
		want      string // of the report
		failure   string
		protected bool
	}{
		{name: "locked by an erase", rungs: lockedBy(""), want: "erased, " + ipa.MethodATA + " erased (" + ipa.ExpectGone + ")"},
		{name: "locked by an erase, with a cluster's file system", rungs: lockedBy("NULL"), holds: vmfs, failure: "protected VMware VMFS partition on /dev/sda", protected: true},
		{name: "locked by its owner", rungs: lockedBy("owner"), failure: "/dev/sda: nothing was erased: whether it is protected cannot be told"},
		{name: "locked by its owner, may be erased", rungs: lockedBy("owner"), permitted: true, want: "failed, " + ipa.MethodATA + " failed", failure: "/dev/sda: " + ipa.MethodATA + ": "},
		{name: "a sanitize of NVMe goes on", rungs: sanitizingNVMe, want: "erased, " + ipa.MethodNVMe + " erased (" + ipa.ExpectGone + ")"},
		{name: "a sanitize of SCSI goes on", rungs: sanitizingSCSI, want: "erased, " + ipa.MethodATA + " not supported, " + ipa.MethodSCSI + " erased (" + ipa.ExpectGone + ")"},
		{name: "locked by an erase, and keeps the password", rungs: keepsPassword, failure: "a user password is still set"},
		{name: "nobody knows why", rungs: dead, failure: "input/output error"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := loops(t, size, "", "")
			if test.holds != nil {
				test.holds(t, filepath.Join(h.Dev, "sda"))
			}
			other, err := os.ReadFile(filepath.Join(h.Dev, "sdb"))
			must(t, err)
			rungs := test.rungs(t, filepath.Join(filepath.Dir(h.Dev), "sda.backing"))
			tool(t, "blockdev", "--flushbufs", filepath.Join(h.Dev, "sda")) // what the kernel has read of it
			for i := range rungs {
				rungs[i].applies = func(d ipa.BlockDevice, _ *disk.Device) bool { return d.Name == "/dev/sda" }
			}
			if err := readable(h, ipa.BlockDevice{Name: "/dev/sda"}); !errors.Is(err, unix.EIO) {
				t.Fatalf("the disk can be read before: %v", err)
			}
			c := call(nil)
			c.Node["driver_info"] = map[string]any{"wipe_special_filesystems": test.permitted}
			_, err = managerWith(rungs...).eraseDevices(t.Context(), h, c)
			if (err == nil) != (test.failure == "") || err != nil && !strings.Contains(err.Error(), test.failure) || ipa.ProtectedDevice.Is(err) != test.protected {
				t.Fatalf("error %v; want %q", err, test.failure)
			}
			if got := outcomes(h)["/dev/sda"]; got != test.want {
				t.Errorf("report says %q; want %q", got, test.want)
			}
			if after, readErr := os.ReadFile(filepath.Join(h.Dev, "sdb")); readErr != nil || test.want == "" && string(after) != string(other) {
				t.Errorf("the other disk was touched (%v)", readErr)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
