package generic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// raidConfig is a configuration of logical disks in JSON.
func raidConfig(t *testing.T, disks string) map[string]any {
	t.Helper()
	var config map[string]any
	if err := json.Unmarshal([]byte(`{"logical_disks": [`+disks+`]}`), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

// software is a logical disk with further members.
func software(level, size, more string) string {
	return fmt.Sprintf(`{"controller": "software", "raid_level": %q, "size_gb": %s%s}`, level, size, more)
}

func TestValidateRAID(t *testing.T) {
	mirror := software("1", "100", "")
	for _, c := range []struct {
		name, disks string
		count       int
		volumes     bool
		wrong       []string
	}{
		{"mirror", mirror, 2, false, nil},
		{"mirror of the whole disks", software("1", `"MAX"`, ""), 2, false, nil},
		{"two", mirror + "," + software("0", `"MAX"`, ""), 2, false, nil},
		{"MAX first", software("1", `"MAX"`, "") + "," + software("0", "10", ""), 2, false, nil},
		{"named", software("1", "100", `, "volume_name": "root", "is_root_volume": true`), 2, true, nil},
		{"one disk", mirror, 1, false, []string{"RAID level 1 of logical disk 0 needs 2 disks, there are 1"}},
		{"level 5 of two", mirror + "," + software("5", "1", ""), 2, false, []string{"RAID level 5 of logical disk 1 needs 3 disks, there are 2"}},
		{"level 5 of three", mirror + "," + software("5", "1", ""), 3, false, nil},
		{"level 6 of three", mirror + "," + software("6", "1", ""), 3, false, []string{"RAID level 6 of logical disk 1 needs 4 disks, there are 3"}},
		{"level 1+0", mirror + "," + software("1+0", "1", ""), 4, false, nil},
		{"first no mirror", software("0", "100", ""), 2, false, []string{`the first logical disk must have RAID level 1, not "0"`}},
		{"level 10", mirror + "," + software("10", "1", ""), 4, false, []string{`RAID level "10" of logical disk 1 is none of 0, 1, 1+0, 5 and 6`}},
		{"three", mirror + "," + mirror + "," + mirror, 2, false, []string{"3 logical disks are more than 2"}},
		{"none", "", 2, false, []string{"logical_disks must be a list of at least one object"}},
		{"both MAX", software("1", `"MAX"`, "") + "," + software("0", `"MAX"`, ""), 2, false, []string{"only one logical disk can have the size MAX"}},
		{"names twice", software("1", "1", `, "volume_name": "a"`) + "," + software("1", "1", `, "volume_name": "a"`), 2, false, []string{`the volume name "a" is not unique`}},
		{"the name that another gets", software("1", `"MAX"`, "") + "," + software("1", "1", `, "volume_name": "md1"`), 2, false, []string{`the volume name "md1" is not unique`}},
		{"two roots", software("1", "1", `, "is_root_volume": true`) + "," + software("1", "1", `, "is_root_volume": true`), 2, false, []string{"2 logical disks are root volumes"}},
		{"other controller", mirror + `,{"raid_level": "1", "size_gb": 1}`, 2, false, []string{`logical disk 1: controller must be "software"`}},
		{"no name with a skip list", mirror, 2, true, []string{"logical disk 0 needs a volume_name"}},
		{"size", software("1", "0", ""), 2, false, []string{"size_gb is 0 instead of"}},
		{"size in halves", software("1", "1.5", ""), 2, false, []string{"size_gb is 1.5 instead of"}},
		{"size too large", software("1", "1e18", ""), 2, false, []string{"size_gb is 1e+18 instead of"}},
		{"size as text", software("1", `"max"`, ""), 2, false, []string{`size_gb is "max" instead of`}},
		{"no size", `{"controller": "software", "raid_level": "1"}`, 2, false, []string{"size_gb must be a number of GiB or MAX"}},
		{"name with a path", software("1", "1", `, "volume_name": "../x"`), 2, false, []string{`volume_name "../x" is no name`}},
		{"name with an option", software("1", "1", `, "volume_name": "--force"`), 2, false, []string{`volume_name "--force" is no name`}},
		{"name of the ESP's mirror", software("1", "1", `, "volume_name": "esp"`), 2, false, []string{"volume_name esp is the name of the array that mirrors"}},
		{"name too long", software("1", "1", `, "volume_name": "`+strings.Repeat("x", 32)+`"`), 2, false, []string{"is no name of 1 to 31 letters"}},
		{"one physical disk", software("1", "1", `, "physical_disks": [{"name": "/dev/sda"}]`), 2, false, []string{"physical_disks must be a list of at least two objects", "needs 2 disks, there are 1"}},
		{"empty hint", software("1", "1", `, "physical_disks": [{"name": "/dev/sda"}, {}]`), 2, false, []string{"physical_disks: an empty object names no disk"}},
		{"unknown hint", software("1", "1", `, "physical_disks": [{"name": "/dev/sda"}, {"colour": "red"}]`), 2, false, []string{"physical_disks: "}},
		{"no object", `"x"`, 2, false, []string{"logical disk 0 is not an object"}},
		{
			"all at once", software("0", `"MAX"`, `, "volume_name": ""`) + "," + software("5", `"MAX"`, "") + "," + mirror, 2, false,
			[]string{"must have RAID level 1", "needs 3 disks", "3 logical disks", "only one logical disk", "is no name"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			logical, err := validateRAID(raidConfig(t, c.disks), c.count, c.volumes)
			if len(c.wrong) == 0 {
				if err != nil || len(logical) == 0 {
					t.Fatalf("%d logical disks, error = %v", len(logical), err)
				}
				return
			}
			if !ipa.SoftwareRAID.Is(err) {
				t.Fatalf("error = %v; want a SoftwareRAIDError", err)
			}
			for _, want := range c.wrong {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestLayoutOfArrays(t *testing.T) {
	const gib = int64(1) << 30
	twoDisks := func() []*raidDisk {
		var disks []*raidDisk
		for _, name := range []string{"/dev/sda", "/dev/nvme0n1"} {
			disks = append(disks, &raidDisk{device: ipa.BlockDevice{Name: name, Size: 100 * gib}, room: 100*gib - 17<<10})
		}
		return disks
	}
	for _, c := range []struct {
		name, label, mode string
		sizes             []int64
		used              int64 // by what stays
		want              []string
		wrong             string
	}{
		{"UEFI", "gpt", "uefi", []int64{10 * gib, 20 * gib}, 0, []string{"1: 551+9689 A19D880F-05FC-4D3B-A006-743F0F84911E", "2: 10240+20480 A19D880F-05FC-4D3B-A006-743F0F84911E"}, ""},
		{"UEFI, MAX", "gpt", "uefi", []int64{0}, 0, []string{"1: 551+101848 A19D880F-05FC-4D3B-A006-743F0F84911E"}, ""},
		{"BIOS with GPT", "gpt", "bios", []int64{10 * gib, 0}, 0, []string{"1: 8+10232 A19D880F-05FC-4D3B-A006-743F0F84911E", "2: 10240+92159 A19D880F-05FC-4D3B-A006-743F0F84911E"}, ""},
		{"BIOS with MBR", "msdos", "bios", []int64{10 * gib, 0}, 0, []string{"1: 1+10239 0xfd", "2: 10240+92159 0xfd"}, ""},
		{"beside others", "gpt", "uefi", []int64{10 * gib}, 20 * gib, []string{"4: 20480+10240 A19D880F-05FC-4D3B-A006-743F0F84911E"}, ""},
		{"too large", "gpt", "uefi", []int64{10 * gib, 90 * gib}, 0, nil, "does not fit on /dev/sda of 102400 MiB"},
		{"nothing left", "gpt", "uefi", []int64{0}, 100*gib - 17<<10, nil, "does not fit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &raidPlan{label: c.label, start: raidStart(c.label, c.mode), disks: twoDisks()}
			for _, d := range p.disks {
				if d.used = c.used; c.used > 0 {
					d.last = 3
				}
			}
			for i, size := range c.sizes {
				p.arrays = append(p.arrays, raidArray{logicalDisk: logicalDisk{level: "1", size: size}, volume: fmt.Sprint("v", i), disks: p.disks})
			}
			err := p.lay()
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error = %v; want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, w := range p.disks[0].parts {
				got = append(got, fmt.Sprintf("%d: %d+%d %s", p.arrays[i].numbers[0], w.Start>>20, w.Size>>20, w.Type))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("partitions (-want +got):\n%s", diff)
			}
			if want := fmt.Sprintf("/dev/nvme0n1p%d", p.arrays[0].numbers[1]); p.arrays[0].members()[1] != want {
				t.Errorf("second member %s, want %s", p.arrays[0].members()[1], want)
			}
		})
	}
}

// TestPickDisks: each hint takes the next match that its array does not use yet.
func TestPickDisks(t *testing.T) {
	disks := []ipa.BlockDevice{{Name: "/dev/sda", Size: 10 << 30}, {Name: "/dev/sdb", Size: 20 << 30}, {Name: "/dev/sdc", Size: 20 << 30}}
	sizes := func(n ...int) string {
		var hints []string
		for _, size := range n {
			hints = append(hints, fmt.Sprintf(`{"size": "== %d"}`, size))
		}
		return `, "physical_disks": [` + strings.Join(hints, ",") + `]`
	}
	for _, c := range []struct {
		name, disks string
		want        [][]string
		wrong       string
	}{
		{"all", software("1", "1", ""), [][]string{{"/dev/sda", "/dev/sdb", "/dev/sdc"}}, ""},
		{"next match", software("1", "1", sizes(20, 20)), [][]string{{"/dev/sdb", "/dev/sdc"}}, ""},
		{"shared", software("1", "1", sizes(20, 10)) + "," + software("0", "1", sizes(20, 20)), [][]string{{"/dev/sdb", "/dev/sda"}, {"/dev/sdb", "/dev/sdc"}}, ""},
		{"used up", software("1", "1", sizes(10, 10)), nil, "no disk is left that matches hint 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			logical, err := validateRAID(raidConfig(t, c.disks), len(disks), false)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := pickDisks(logical, disks)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error = %v; want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got [][]string
			for _, a := range plan.arrays {
				var names []string
				for _, d := range a.disks {
					names = append(names, d.device.Name)
				}
				got = append(got, names)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("disks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFates: what has disks in common with a volume to keep is wiped, and the EFI
// system partition's mirror beside it stays.
func TestFates(t *testing.T) {
	of := func(device, name string, holders ...string) array {
		return array{device: ipa.BlockDevice{Name: device}, name: name, holders: holders}
	}
	arrays := []array{
		of("/dev/md0", "host:root", "/dev/sda", "/dev/sdb"), of("/dev/md1", "host:data", "/dev/sda", "/dev/sdb"),
		of("/dev/md2", "esp", "/dev/sda", "/dev/sdb"), of("/dev/md3", "other", "/dev/sdc", "/dev/sdd"), of("/dev/md4", "host:esp", "/dev/sdc", "/dev/sdd"),
	}
	for _, c := range []struct {
		keep []string
		want map[string]fate
	}{
		{nil, map[string]fate{}},
		{[]string{"data"}, map[string]fate{"/dev/md0": fateWipe, "/dev/md1": fateKeep, "/dev/md2": fateKeep}},
		{[]string{"other"}, map[string]fate{"/dev/md3": fateKeep, "/dev/md4": fateKeep}},
	} {
		if diff := cmp.Diff(c.want, fates(arrays, c.keep)); diff != "" {
			t.Errorf("with %v kept (-want +got):\n%s", c.keep, diff)
		}
	}
}

// noPrograms runs none but tells which were asked for; one of them fails.
type noPrograms struct {
	ran   []string
	fails string
}

func (r *noPrograms) Run(_ context.Context, name string, args ...string) ([]byte, error) {
	command := strings.Join(append([]string{name}, args...), " ")
	r.ran = append(r.ran, command)
	if r.fails != "" && strings.Contains(command, r.fails) {
		return nil, errors.New("refused")
	}
	return nil, nil
}

// TestCreateChecksAllDisksFirst: nothing is written to any disk if one of them has
// partitions, is read-only or may not be written to.
func TestCreateChecksAllDisksFirst(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, h *hwmanager.Host)
		wrong string
	}{
		{"partitions", partitioned, "/dev/sdb has 1 partitions"},
		{"read-only", func(t *testing.T, h *hwmanager.Host) {
			if err := os.WriteFile(filepath.Join(h.Sys, "block/sdb/ro"), []byte("1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "/dev/sdb is read-only"},
		{"not allowed", func(t *testing.T, h *hwmanager.Host) {
			h.Guard.Allowed = []string{filepath.Join(h.Dev, "sda")}
		}, "not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lab(t)
			programs := &noPrograms{}
			h.Run = programs
			c.spoil(t, h)
			contents := func() string {
				return string(read(t, filepath.Join(h.Dev, "sda"), 0, mib)) + string(read(t, filepath.Join(h.Dev, "sdb"), 0, mib))
			}
			before := contents()
			step := call(nil)
			step.Node["target_raid_config"] = raidConfig(t, software("1", "1", `, "physical_disks": [{"name": "/dev/sda"}, {"name": "/dev/sdb"}]`))
			_, err := New().createConfiguration(t.Context(), h, step)
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Fatalf("error = %v; want %q", err, c.wrong)
			}
			if len(programs.ran) > 0 {
				t.Errorf("programs were run: %q", programs.ran)
			}
			if contents() != before {
				t.Error("a disk was written to")
			}
		})
	}
}

// TestNoSoftwareRAID: a configuration for another controller is not ours.
func TestNoSoftwareRAID(t *testing.T) {
	step := call(nil)
	step.Node["target_raid_config"] = raidConfig(t, `{"raid_level": "1", "size_gb": 1, "controller": "card"}`)
	result, err := New().createConfiguration(t.Context(), lab(t), step)
	if diff := cmp.Diff(map[string]any{}, result); diff != "" || err != nil {
		t.Errorf("result (-want +got), error %v:\n%s", err, diff)
	}
}

// TestSuperblocksThatWrite: an array whose members are written to when it is started
// is told apart.
func TestSuperblocksThatWrite(t *testing.T) {
	for features, want := range map[byte]bool{0: false, 0x1 | 0x2 | 0x8: false, 0x4: true, 0x4 | 0x1: true} {
		block := arrayMember("data")
		block[arrayFeaturesAt] = features
		for _, high := range []byte{0, 0x10, 0x1, 0x2, 0x4, 0x8} { // RAID0_LAYOUT, CLUSTERED, JOURNAL, PPL, MULTIPLE_PPLS
			block[arrayFeaturesAt+1] = high
			s, ok, err := readSuperblock(bytes.NewReader(block), int64(len(block)))
			if wants := want || high != 0 && high != 0x10; !ok || err != nil || s.writes != wants {
				t.Errorf("features %#x%02x: found %v, %v; writes %v, want %v", high, features, ok, err, s.writes, wants)
			}
		}
	}
}

// FuzzSuperblock: whatever is where a superblock would be, reading it ends, and
// what is told of it is what mdadm can be told.
func FuzzSuperblock(f *testing.F) {
	f.Add(arrayMember("host:data"), uint16(0))
	f.Add(arrayMember("data"), uint16(4096))
	f.Add([]byte{0xfc, 0x4e, 0x2b, 0xa9}, uint16(0xffff))
	f.Fuzz(func(t *testing.T, block []byte, at uint16) {
		device := make([]byte, int(at)+len(block))
		copy(device[at:], block)
		s, ok, err := readSuperblock(bytes.NewReader(device), int64(len(device)))
		if err != nil {
			t.Fatalf("%d bytes: %v", len(device), err)
		}
		if ok && (len(s.uuid) != 32 || len(s.name) > arrayNameSize || strings.ContainsRune(s.name, 0)) {
			t.Errorf("superblock %+v", s)
		}
		if has, err := hasSuperblock(bytes.NewReader(device), int64(len(device))); err != nil || ok && !has {
			t.Errorf("one reader finds a superblock: %v, the other %v, %v", ok, has, err)
		}
	})
}

// TestArraysKeepTheirNumbers: arrays are started in the order in which they were
// made, those of one second in that of their partitions.
func TestArraysKeepTheirNumbers(t *testing.T) {
	of := func(name, uuid string, created uint64) found {
		return found{superblock{uuid: uuid, created: created}, ipa.BlockDevice{Name: name}}
	}
	var got []string
	for _, g := range byArray([]found{
		of("/dev/sda1", "first", 7), of("/dev/sda2", "second", 7), of("/dev/sda3", "esp", 9),
		of("/dev/sdb1", "older", 5), of("/dev/sdc1", "first", 7), of("/dev/sdc2", "second", 7),
	}) {
		names := g[0].uuid
		for _, f := range g {
			names += " " + f.device.Name
		}
		got = append(got, names)
	}
	want := []string{"older /dev/sdb1", "first /dev/sda1 /dev/sdc1", "second /dev/sda2 /dev/sdc2", "esp /dev/sda3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("arrays (-want +got):\n%s", diff)
	}
}
