package generic

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
	"ferric/images/partition"
)

// faultyArrays stands in for mdadm where it has to fail: it shows in sysfs what an
// array would, but makes none.
type faultyArrays struct {
	t      *testing.T
	h      *hwmanager.Host
	ran    []string
	fails  string // part of the command that fails
	drops  string // member that a new array lacks
	addsAt int    // attempt at which it is added; 0 is never
	adds   int
}

func (f *faultyArrays) Run(_ context.Context, name string, args ...string) ([]byte, error) {
	command := strings.ReplaceAll(strings.Join(append([]string{name}, args...), " "), f.h.Dev, "/dev")
	f.ran = append(f.ran, command)
	if f.fails != "" && strings.Contains(command, f.fails) {
		return nil, errors.New("exit status 1: it is on fire")
	}
	if name != "mdadm" || len(args) < 2 {
		return nil, nil
	}
	array := filepath.Join(f.h.Sys, "block", filepath.Base(args[1]))
	switch args[0] {
	case "--create":
		at := slices.Index(args, "--raid-devices")
		for _, member := range args[at+2:] {
			name := filepath.Base(member)
			part := filepath.Join(f.h.Sys, "block", name[:len(name)-1], name)
			f.must(os.MkdirAll(part, 0o755))
			f.must(os.WriteFile(filepath.Join(part, "partition"), []byte(name[len(name)-1:]), 0o644))
			if name != f.drops {
				f.must(os.MkdirAll(filepath.Join(array, "slaves", name), 0o755))
				f.must(os.MkdirAll(filepath.Join(part, "holders", filepath.Base(array)), 0o755))
			}
		}
		f.must(os.WriteFile(filepath.Join(array, "size"), []byte("131072\n"), 0o644))
		f.must(os.WriteFile(filepath.Join(f.h.Dev, filepath.Base(array)), nil, 0o644))
		f.must(os.Truncate(filepath.Join(f.h.Dev, filepath.Base(array)), 64*mib))
	case "--add":
		if f.adds++; f.adds == f.addsAt {
			f.must(os.MkdirAll(filepath.Join(array, "slaves", filepath.Base(args[2])), 0o755))
		}
	case "--stop":
		f.must(os.RemoveAll(array))
		held, err := filepath.Glob(filepath.Join(f.h.Sys, "block/*/*/holders", filepath.Base(array)))
		f.must(err)
		for _, link := range held {
			f.must(os.Remove(link))
		}
	}
	return nil, nil
}

func (f *faultyArrays) must(err error) {
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestArraysThatCannotBeMade: whatever fails in the middle, nothing is left of it.
func TestArraysThatCannotBeMade(t *testing.T) {
	create := func(device, level, name, parts string) string {
		return "mdadm --create " + device + " --force --run --metadata=1 --level " + level + " --name " + name + " --raid-devices 2 " + parts
	}
	first := create("/dev/md0", "1", "root", "/dev/sda1 /dev/sdb1")
	second := create("/dev/md1", "10", "md1", "/dev/sda2 /dev/sdb2")
	for _, c := range []struct {
		name   string
		faults faultyArrays
		want   []string
		wrong  string
	}{
		{"nothing fails", faultyArrays{}, []string{"mdadm --version", "modprobe md_mod", first, second}, ""},
		{"no mdadm", faultyArrays{fails: "--version"}, []string{"mdadm --version"}, "arrays need mdadm in the ramdisk"},
		{"no first array", faultyArrays{fails: "--name root"}, []string{"mdadm --version", "modprobe md_mod", first}, "array root: exit status 1: it is on fire; what was made is removed again"},
		{"no second array", faultyArrays{fails: "--name md1"}, []string{"mdadm --version", "modprobe md_mod", first, second, "mdadm --stop /dev/md0"}, "array md1: exit status 1: it is on fire; what was made is removed again"},
		{"a member is lost", faultyArrays{drops: "sdb1", addsAt: 2}, []string{"mdadm --version", "modprobe md_mod", first, "mdadm --add /dev/md0 /dev/sdb1", "mdadm --add /dev/md0 /dev/sdb1", second}, ""},
		{
			"a member stays away", faultyArrays{drops: "sdb1"},
			[]string{"mdadm --version", "modprobe md_mod", first, "mdadm --add /dev/md0 /dev/sdb1", "mdadm --add /dev/md0 /dev/sdb1", "mdadm --add /dev/md0 /dev/sdb1", "mdadm --stop /dev/md0"},
			"/dev/md0 lacks its member /dev/sdb1 after adding it 3 times",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := lab(t)
			memberNodes(t, h)
			faults := c.faults
			faults.t, faults.h, h.Run = t, h, &faults
			step := call(nil)
			step.Node["properties"] = map[string]any{"capabilities": "boot_mode:uefi"}
			config := raidConfig(t, software("1", "2", `, "volume_name": "root", "is_root_volume": true`+onTwoDisks)+","+software("1+0", `"MAX"`, onTwoDisks))
			step.Node["target_raid_config"] = config
			m := New()
			result, err := m.createConfiguration(t.Context(), h, step)
			if diff := cmp.Diff(c.want, faults.ran); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error = %v; want %q", err, c.wrong)
				}
				for _, name := range []string{"sda", "sdb"} {
					if _, err := partition.List(filepath.Join(h.Dev, name)); !errors.Is(err, partition.ErrNoTable) {
						t.Errorf("%s: %v; want no table", name, err)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(config, result); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			for _, name := range []string{"sda", "sdb"} {
				path := filepath.Join(h.Dev, name)
				if out, err := exec.CommandContext(t.Context(), "sgdisk", "--verify", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
					t.Errorf("sgdisk --verify: %v: %s", err, out)
				}
			}
			root, err := m.InstallDevice(t.Context(), h, step.Node)
			if err != nil || root.Name != "/dev/md0" {
				t.Errorf("root device %s, error %v; want the root volume", root.Name, err)
			}
			m.raid.remember("/dev/md0", false)
			for _, hint := range []string{"", "/dev/md0", "/dev/sda", "/dev/sdb"} {
				step.Node["properties"] = map[string]any{"root_device": map[string]any{}}
				if hint != "" {
					step.Node["properties"] = map[string]any{"root_device": map[string]any{"name": hint}}
				}
				root, err := m.InstallDevice(t.Context(), h, step.Node)
				if hint != "" && err == nil || slices.Contains([]string{"/dev/md0", "/dev/sda", "/dev/sdb"}, root.Name) {
					t.Errorf("root device with hint %q is %s, which belongs to a volume that is not the root", hint, root.Name)
				}
			}
		})
	}
}
