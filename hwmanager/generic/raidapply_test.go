package generic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/partition"
)

const onTwoDisks = `, "physical_disks": [{"name": "/dev/sda"}, {"name": "/dev/sdb"}]`

// TestApplyConfiguration: what there is of arrays goes only after everything is
// known to be right with the new ones.
func TestApplyConfiguration(t *testing.T) {
	nothing := func(*testing.T, *hwmanager.Host) {}
	mirror := software("1", "1", onTwoDisks)
	for _, c := range []struct {
		name    string
		disks   string
		args    map[string]any
		spoil   func(t *testing.T, h *hwmanager.Host)
		fails   string // part of the command that fails
		replace bool
		wrong   string
	}{
		{"in place of another", mirror, nil, nothing, "", true, ""},
		{"in place of another, said", mirror, map[string]any{"delete_existing": true}, nothing, "", true, ""},
		{"too large", software("1", "1000000", onTwoDisks), nil, nothing, "", false, "does not fit on /dev/sda"},
		{"invalid", software("0", "1", onTwoDisks), nil, nothing, "", false, "the first logical disk must have RAID level 1"},
		{"no such disk", software("1", "1", `, "physical_disks": [{"name": "/dev/sda"}, {"name": "/dev/sdx"}]`), nil, nothing, "", false, "no disk is left that matches hint 1"},
		{"a disk with other partitions", mirror, nil, partitioned, "", false, "/dev/sdb has 1 partitions"},
		{"a disk that is read-only", mirror, nil, func(t *testing.T, h *hwmanager.Host) {
			if err := os.WriteFile(filepath.Join(h.Sys, "block/sdb/ro"), []byte("1\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "", false, "/dev/sdb is read-only"},
		{"a disk that is not ours", mirror, nil, func(_ *testing.T, h *hwmanager.Host) {
			h.Guard.Allowed = []string{filepath.Join(h.Dev, "sda")}
		}, "", false, "not allowed"},
		{"no mdadm", mirror, nil, nothing, "--version", false, "arrays need mdadm in the ramdisk"},
		{"the other array stays", mirror, map[string]any{"delete_existing": false}, nothing, "", false, "/dev/sda has 1 partitions: delete the configuration"},
		{"for another controller", `{"raid_level": "1", "size_gb": 1, "controller": "card"}`, nil, nothing, "", false, ""},
		{"no boolean", mirror, map[string]any{"delete_existing": "yes"}, nothing, "", false, "delete_existing must be a boolean"},
		{"unknown argument", mirror, map[string]any{"force": true}, nothing, "", false, "unexpected argument force"},
		{"no configuration", mirror, map[string]any{"raid_config": nil}, nothing, "", false, "raid_config must be an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lab(t)
			// sda is left over from an array: its superblock was damaged, nothing assembles it.
			partitionDisk(t, h, "sda")
			memberNodes(t, h)
			old := bytes.Repeat(arrayMember("old"), 2)
			write(t, filepath.Join(h.Dev, "sda1"), 4096, old)
			sys := filepath.Join(h.Sys, "block/sda/sda1")
			must(t, errors.Join(os.MkdirAll(sys, 0o755), os.WriteFile(filepath.Join(sys, "partition"), []byte("1"), 0o644),
				os.WriteFile(filepath.Join(sys, "size"), []byte(fmt.Sprint(64*mib/512)), 0o644),
				os.MkdirAll(filepath.Join(h.Sys, "class/block"), 0o755), os.Symlink("../../block/sda/sda1", filepath.Join(h.Sys, "class/block/sda1"))))
			c.spoil(t, h)
			table := read(t, filepath.Join(h.Dev, "sda"), 0, mib)

			programs := &faultyArrays{t: t, h: h, fails: c.fails}
			h.Run = programs
			step := call(nil)
			step.Node["properties"] = map[string]any{"capabilities": "boot_mode:bios,disk_label:gpt"}
			config := raidConfig(t, c.disks)
			step.Args = map[string]any{"raid_config": config}
			for name, value := range c.args {
				step.Args[name] = value
			}
			result, err := New().applyConfiguration(t.Context(), h, step)
			if (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Fatalf("error = %v; want %q", err, c.wrong)
			}
			zeroed := slices.Contains(programs.ran, "mdadm --zero-superblock /dev/sda1")
			kept := bytes.Equal(read(t, filepath.Join(h.Dev, "sda1"), 4096, len(old)), old) && bytes.Equal(read(t, filepath.Join(h.Dev, "sda"), 0, mib), table)
			if zeroed != c.replace || kept == c.replace {
				t.Fatalf("superblock zeroed: %v, what there was is kept: %v; ran %q", zeroed, kept, programs.ran)
			}
			if !c.replace {
				return
			}
			if diff := cmp.Diff(config, result); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			for _, name := range []string{"sda", "sdb"} {
				table, err := partition.List(filepath.Join(h.Dev, name))
				if err != nil || len(table.Partitions) != 1 || table.Partitions[0].Type != typeLinuxRAID {
					t.Errorf("%s: %+v, error %v; want one partition for an array", name, table, err)
				}
			}
		})
	}
}

// partitioned gives sdb a partition that is of no array.
func partitioned(t *testing.T, h *hwmanager.Host) {
	t.Helper()
	partitionDisk(t, h, "sdb")
}

func partitionDisk(t *testing.T, h *hwmanager.Host, name string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sfdisk", "-q", filepath.Join(h.Dev, name))
	cmd.Stdin = strings.NewReader("2048,131072,83\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
}

// memberNodes makes files that stand for partitions.
func memberNodes(t *testing.T, h *hwmanager.Host) {
	t.Helper()
	for _, node := range []string{"sda1", "sda2", "sdb1", "sdb2"} {
		path := filepath.Join(h.Dev, node)
		must(t, errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 64*mib)))
	}
}

// TestCreateSomeVolumes: the arguments of create_configuration choose what of the
// node's configuration is made.
func TestCreateSomeVolumes(t *testing.T) {
	const both = `{"size_gb": 1, "is_root_volume": true}, {"size_gb": 2}`
	for _, c := range []struct {
		root, others bool
		want         string
	}{
		{true, true, `{"logical_disks": [{"size_gb": 1, "is_root_volume": true}, {"size_gb": 2}]}`},
		{true, false, `{"logical_disks": [{"size_gb": 1, "is_root_volume": true}]}`},
		{false, true, `{"logical_disks": [{"size_gb": 2}]}`},
		{false, false, ""},
	} {
		config := raidConfig(t, both)
		got, err := onlyVolumes(config, c.root, c.others)
		if c.want == "" {
			if !ipa.SoftwareRAID.Is(err) {
				t.Errorf("neither: %v, error %v", got, err)
			}
			continue
		}
		var want map[string]any
		must(t, json.Unmarshal([]byte(c.want), &want))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("root %v, others %v: error %v, configuration (-want +got):\n%s", c.root, c.others, err, diff)
		}
		if diff := cmp.Diff(raidConfig(t, both), config); diff != "" {
			t.Errorf("the node's configuration was changed (-want +got):\n%s", diff)
		}
	}
	step := call(nil)
	step.Node["target_raid_config"] = raidConfig(t, software("1", "1", onTwoDisks+`, "is_root_volume": true`))
	for _, c := range []struct {
		args  map[string]any
		wrong string
	}{
		{map[string]any{"create_root_volume": false}, "no logical disk is left to create"},
		{map[string]any{"create_nonroot_volumes": 1.0}, "create_nonroot_volumes must be a boolean"},
		{map[string]any{"raid_config": map[string]any{}}, "unexpected argument raid_config"},
	} {
		step.Args = c.args
		h := lab(t)
		programs := &noPrograms{}
		h.Run = programs
		if _, err := New().createConfiguration(t.Context(), h, step); err == nil || !strings.Contains(err.Error(), c.wrong) || len(programs.ran) > 0 {
			t.Errorf("%v: error %v, ran %q; want %q", c.args, err, programs.ran, c.wrong)
		}
	}
}
