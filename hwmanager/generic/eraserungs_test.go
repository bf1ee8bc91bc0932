package generic

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/nvme/nvmemodel"
	"ferric/hwmanager/scsi/scsimodel"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// contentOf is the medium below the disk of a machine of loops, for a model of
// the drive to work on.
func contentOf(t *testing.T, loop string) interface {
	io.ReaderAt
	io.WriterAt
} {
	t.Helper()
	f, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestSecureErases drives each way through the ladder, with a model of the drive
// behind the ioctls: one that erases, one that fails, one that has no such command, one
// that lies, and each of them with the option that is its own.
func TestSecureErases(t *testing.T) {
	const size = 3 * mib
	ways := []struct {
		rung   func(t *testing.T, medium string, fails, lies, able bool) rung
		method string
		option string
	}{
		{func(t *testing.T, medium string, fails, lies, able bool) rung {
			model := atamodel.New(atamodel.Config{Serial: "S", Size: size, Content: contentOf(t, medium), NoSecurity: !able})
			if lies {
				model.Fail(atamodel.Faults{Lies: true})
			}
			if fails {
				model.Freeze()
			}
			return ataErase(model)
		}, ipa.MethodATA, "agent_enable_ata_secure_erase"},
		{func(t *testing.T, medium string, fails, lies, able bool) rung {
			model := nvmemodel.New(contentOf(t, medium), size)
			model.Fails, model.Lies = fails, lies
			if able {
				model.SANICAP = nvme.SanitizeCryptoErase
			}
			return nvmeErase(model.Transport(1))
		}, ipa.MethodNVMe, "agent_enable_nvme_secure_erase"},
		{func(t *testing.T, medium string, fails, lies, able bool) rung {
			model := &scsimodel.Disk{Content: contentOf(t, medium), Size: size, Fails: fails, Lies: lies}
			if able {
				model.Actions = []byte{scsimodel.BlockErase}
			}
			return scsiSanitize(model)
		}, ipa.MethodSCSI, "agent_enable_scsi_sanitize"},
	}
	tests := []struct {
		name              string
		fails, lies, able bool
		disabled          bool
		want              string // METHOD is the way
		failure           string
	}{
		{"erases", false, false, true, false, "erased, METHOD erased (" + ipa.ExpectGone + ")", ""},
		{"fails", true, false, true, false, "failed, METHOD failed", "/dev/sda: METHOD"},
		{"lies", false, true, true, false, "failed, METHOD failed (" + ipa.ExpectGone + ")", "64 of 64 samples"},
		{"has no such command", false, false, false, false, "erased, METHOD not supported, overwrite erased (zeros)", ""},
		{"is not to be used", false, false, true, true, "erased, METHOD disabled, overwrite erased (zeros)", ""},
	}
	for _, way := range ways {
		for _, test := range tests {
			t.Run(way.method+" "+test.name, func(t *testing.T) {
				h := loops(t, size, "")
				medium := filepath.Join(filepath.Dir(h.Dev), "sda.backing")
				before, err := os.ReadFile(medium)
				if err != nil {
					t.Fatal(err)
				}
				r := way.rung(t, medium, test.fails, test.lies, test.able)
				r.applies = func(ipa.BlockDevice, *disk.Device) bool { return true }
				info := map[string]any{}
				if test.disabled {
					info[way.option] = false
				}
				_, err = managerWith(r).eraseDevices(t.Context(), h, call(info))
				if (err == nil) != (test.failure == "") || err != nil && !strings.Contains(err.Error(), strings.ReplaceAll(test.failure, "METHOD", way.method)) {
					t.Errorf("error %v; want %q", err, test.failure)
				}
				if got, want := outcomes(h)["/dev/sda"], strings.ReplaceAll(test.want, "METHOD", way.method); got != want {
					t.Errorf("report says %q; want %q", got, want)
				}
				after, readErr := os.ReadFile(medium)
				if readErr != nil {
					t.Fatal(readErr)
				}
				if n := commonSectors(before, after); err == nil && n > 0 {
					t.Errorf("%d sectors are what they were before", n)
				}
			})
		}
	}
}

// TestPasswordLeft: a disk that keeps the password of a failed erase is not made up
// for by overwriting: at its next start it would be locked.
func TestPasswordLeft(t *testing.T) {
	const eraseUnit, disablePassword = 0xf4, 0xf6
	for _, keeps := range []bool{false, true} {
		h := loops(t, 3*mib, "")
		model := atamodel.New(atamodel.Config{Serial: "S", Size: 3 * mib})
		model.Fail(atamodel.Faults{Answer: func(command byte) (sgio.Result, error, bool) {
			return atamodel.Aborted(atamodel.Linux), nil, command == eraseUnit || keeps && command == disablePassword
		}})
		r := ataErase(model)
		r.applies = func(ipa.BlockDevice, *disk.Device) bool { return true }
		_, err := managerWith(r).eraseDevices(t.Context(), h, call(map[string]any{fromNode: true}))
		if (err != nil) != keeps || keeps && !strings.Contains(err.Error(), ata.ErrPasswordLeft.Error()) {
			t.Errorf("a disk that keeps its password %v: error %v", keeps, err)
		}
		if _, set := model.Password(); set != keeps {
			t.Errorf("a password is set: %v; want %v", set, keeps)
		}
	}
}

// TestWaysThatApply: no disk is sent commands that it may take for others.
func TestWaysThatApply(t *testing.T) {
	h := loops(t, 3*mib, "")
	target, err := h.Fence(ipa.BlockDevice{Name: "/dev/sda"})
	if err != nil {
		t.Fatal(err)
	}
	block, err := target.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer block.Close()
	hctl := "0:0:0:0"
	for _, test := range []struct {
		device ipa.BlockDevice
		want   string
	}{
		{ipa.BlockDevice{Name: "/dev/sda", HCTL: &hctl}, ipa.MethodATA + ", " + ipa.MethodSCSI},
		{ipa.BlockDevice{Name: "/dev/nvme0n1"}, ipa.MethodNVMe},
		{ipa.BlockDevice{Name: "/dev/vda"}, ""},
		{ipa.BlockDevice{Name: "/dev/md127"}, ""},
		{ipa.BlockDevice{Name: "/dev/dm-0"}, ""},
	} {
		var names []string
		for _, r := range New().rungs {
			if r.applies(test.device, block) {
				names = append(names, r.method)
			}
		}
		if got := strings.Join(names, ", "); got != test.want {
			t.Errorf("%s: %q; want %q", test.device.Name, got, test.want)
		}
	}
}
