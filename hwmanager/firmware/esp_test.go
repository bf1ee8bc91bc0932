package firmware

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/capsule"
)

// lister is a manager that only lists disks.
type lister struct{ names []string }

func (lister) Name() string      { return "lister" }
func (lister) ClassName() string { return "Lister" }
func (lister) Version() string   { return "1" }
func (lister) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}

func (l lister) BlockDevices(context.Context, *hwmanager.Host, bool) ([]ipa.BlockDevice, error) {
	var all []ipa.BlockDevice
	for _, name := range l.names {
		all = append(all, ipa.BlockDevice{Name: name})
	}
	return all, nil
}

// bootEntry is a variable BootXXXX as efivarfs shows it, with the device path of a
// partition of a GPT.
func bootEntry(label string, partition capsule.GUID) string {
	le := binary.LittleEndian
	path := append([]byte{4, 1, 42, 0, 1, 0, 0, 0}, make([]byte, 16)...)
	path = append(append(path, partition[:]...), 2, 2, 0x7f, 0xff, 4, 0)
	b := le.AppendUint32(nil, 7)
	b = le.AppendUint16(le.AppendUint32(b, 1), uint16(len(path)))
	for _, c := range append(utf16.Encode([]rune(label)), 0) {
		b = le.AppendUint16(b, c)
	}
	return string(append(b, path...))
}

// TestFindESP: capsules go on disk where the firmware looks there, onto the
// partition that one of its boot entries leads to.
func TestFindESP(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sgdisk"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	const variables = "sys/firmware/efi/efivars/"
	const global = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	const wanted, unlisted = "aaaaaaaa-1111-2222-3333-444444444444", "bbbbbbbb-1111-2222-3333-444444444444"
	id, err := capsule.ParseGUID(wanted)
	if err != nil {
		t.Fatal(err)
	}
	supports := func(bits string) string { return "\x06\x00\x00\x00" + bits + "\x00\x00\x00\x00\x00\x00\x00" }
	disks := t.TempDir()
	for disk, uuid := range map[string]string{"sda": unlisted, "sdb": wanted} {
		path := filepath.Join(disks, disk)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 64<<20)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sgdisk", "-n", "1:0:+8M", "-t", "1:8300", "-n", "2:0:+32M", "-t", "2:ef00", "-u", "2:"+uuid, path).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for name, tc := range map[string]struct {
		supported string
		entries   []string
		err       string
	}{
		"found":            {supported: "\x0c", entries: []string{bootEntry("network", capsule.GUID{9}), bootEntry("system", id)}},
		"no file capsules": {supported: "\x08", entries: []string{bootEntry("system", id)}, err: "the firmware does not look for capsules on disk"},
		"no entry":         {supported: "\x04", entries: []string{bootEntry("other", capsule.GUID{9})}, err: "none of 1 boot entries leads to an EFI system partition of 2 disks"},
		"damaged entry":    {supported: "\x04", entries: []string{"\x07\x00\x00\x00\x01", bootEntry("system", id)}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, disk := range []string{"sda", "sdb"} {
				if err := os.Link(filepath.Join(disks, disk), filepath.Join(r.host.Dev, disk)); err != nil {
					t.Fatal(err)
				}
			}
			r.set(variables+"OsIndicationsSupported"+global, supports(tc.supported))
			for i, entry := range tc.entries {
				r.set(variables+"Boot000"+string(rune('0'+i))+global, entry)
			}
			if _, err := hwmanager.Load(t.Context(), r.host, []hwmanager.Manager{lister{[]string{"/dev/sda", "/dev/sdb"}}}); err != nil {
				t.Fatal(err)
			}
			found, err := findESP(t.Context(), r.host)
			if tc.err != "" {
				fails(t, err, tc.err)
				return
			}
			if err != nil || found.disk.Name != "/dev/sdb" || found.partition.Number != 2 {
				t.Fatalf("%+v, %v", found, err)
			}
			// The component then goes there, and needs no driver of the kernel.
			os.Remove(filepath.Join(r.host.Dev, "efi_capsule_loader"))
			task := &capsuleTask{delivery: deliverBest, capsule: &capsule.Capsule{}}
			if err := task.ways(t.Context(), r.host); err != nil || task.delivery != deliverDisk {
				t.Errorf("%s, %v", task.delivery, err)
			}
		})
	}
}
