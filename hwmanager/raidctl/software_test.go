package raidctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/generic"
	"ferric/hwmanager/hwmtest"
)

// mixedHost is a machine with disks of its own and a RAID controller, on which mdadm
// is a program that does nothing but is seen to be run.
func mixedHost(t *testing.T, others ...hwmanager.Manager) (*hwmanager.Host, *recorder, string) {
	t.Helper()
	h := hwmtest.Machine(t, "../generic/testdata/lab.machine")
	made, m, dir := modelHost(t, map[string]*modelState{"storcli64": {Controllers: []*modelController{megaCard(0)}}})
	r := &recorder{Runner: made.Run}
	h.Programs, h.Run = made.Programs, r
	if _, err := hwmanager.Load(t.Context(), h, append([]hwmanager.Manager{generic.New(), m}, others...)); err != nil {
		t.Fatal(err)
	}
	return h, r, dir
}

// recorder is a runner that notes what is run, and stands in for mdadm.
type recorder struct {
	hwmanager.Runner
	runs []string
}

func (r *recorder) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		r.runs = append(r.runs, name+" "+strings.Join(args, " "))
		return nil, nil
	}
	if slices.Contains(args, "delete") || slices.Contains(args, "add") {
		r.runs = append(r.runs, filepath.Base(name)+" "+strings.Join(args, " "))
	}
	return r.Runner.Run(ctx, name, args...)
}

// TestSoftwareGoesOn: what is for the operating system's RAID reaches the generic
// manager's steps, whatever controllers there are.
func TestSoftwareGoesOn(t *testing.T) {
	t.Parallel()
	h, r, dir := mixedHost(t)
	run := func(phase hwmanager.Phase, step string, config map[string]any, args map[string]any) error {
		c := call(hwmanager.Node{"target_raid_config": config})
		c.Args = args
		_, err := h.Set.RunStep(t.Context(), h, phase, step, c)
		return err
	}
	offered, err := h.Set.Steps(t.Context(), h, hwmanager.Clean, hwmanager.Node{})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(offered["RAIDControllerHardwareManager"]); got != 2 {
		t.Errorf("%d steps are offered: %v", got, offered)
	}
	software := configOf(t, `{"controller": "software", "raid_level": "0", "size_gb": 1}`)
	for _, c := range []struct {
		phase hwmanager.Phase
		step  string
		args  map[string]any
	}{
		{hwmanager.Clean, "create_configuration", nil},
		{hwmanager.Service, "create_configuration", map[string]any{"delete_existing": true}},
		{hwmanager.Deploy, "apply_configuration", map[string]any{"raid_config": software}},
	} {
		if err := run(c.phase, c.step, software, c.args); !ipa.SoftwareRAID.Is(err) || !strings.Contains(err.Error(), "the first logical disk must have RAID level 1") {
			t.Errorf("%s: %v", c.step, err)
		}
	}
	if err := run(hwmanager.Clean, "create_configuration", nil, nil); err != nil {
		t.Errorf("without a configuration: %v", err)
	}
	if err := run(hwmanager.Clean, "delete_configuration", software, nil); err != nil {
		t.Error(err)
	}
	// An error that only the generic manager's step has.
	c := call(hwmanager.Node{"target_raid_config": software, "properties": map[string]any{"skip_block_devices": []any{map[string]any{}}}})
	if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", c); !ipa.SoftwareRAID.Is(err) {
		t.Errorf("delete_configuration: %v", err)
	}
	if len(r.runs) > 0 {
		t.Errorf("programs were run: %q", r.runs)
	}
	if got := loadModel(t, dir, "storcli64"); got.Changes > 0 {
		t.Errorf("%d changes of the controller", got.Changes)
	}
}

// TestRootDevice: the generic manager finds the root volume by the hint of the
// result.
func TestRootDevice(t *testing.T) {
	t.Parallel()
	h, _, _ := mixedHost(t)
	c := call(hwmanager.Node{"target_raid_config": configOf(t, `{"raid_level": "1", "size_gb": 5}, {"raid_level": "1", "size_gb": 5, "is_root_volume": true}`)})
	result, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "create_configuration", c)
	if err != nil {
		t.Fatal(err)
	}
	hints := map[string]any{}
	for i, disk := range []string{"sda", "sdb"} {
		l := result.(map[string]any)["logical_disks"].([]any)[i].(map[string]any)
		hint := l["root_device_hint"].(map[string]any)
		wwn := hint["wwn"].(string)
		for _, name := range []string{"wwid", "device/wwid"} {
			file := filepath.Join(h.Sys, "block", disk, name)
			if _, err := os.Stat(file); err == nil || name == "device/wwid" {
				if err := os.WriteFile(file, []byte("naa."+strings.TrimPrefix(wwn, "0x")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		if l["is_root_volume"] == true {
			hints = hint
		}
	}
	device, err := hwmanager.First(h.Set, "get_os_install_device", func(p hwmanager.RootPicker) (ipa.BlockDevice, error) {
		return p.InstallDevice(t.Context(), h, hwmanager.Node{"properties": map[string]any{"root_device": hints}})
	})
	if err != nil || device.Name != "/dev/sdb" {
		t.Errorf("root device %s, error %v", device.Name, err)
	}
}

// arrays is a manager for software RAID that makes what it is told.
type arrays struct {
	fail error
	seen []string
}

func (*arrays) Name() string      { return "arrays" }
func (*arrays) ClassName() string { return "Arrays" }
func (*arrays) Version() string   { return "1" }
func (*arrays) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Mainline, nil
}

func (a *arrays) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	step := func(name string) hwmanager.Step {
		return hwmanager.Step{Declaration: ipa.Step{Step: name, Interface: "raid"}, Run: func(_ context.Context, _ *hwmanager.Host, call hwmanager.StepCall) (any, error) {
			config, _ := call.Node["target_raid_config"].(map[string]any)
			hardware, software := split(config)
			a.seen = append(a.seen, fmt.Sprintf("%s of %d hardware, %d software", name, len(hardware), len(software)))
			return config, a.fail
		}}
	}
	return []hwmanager.Step{step("create_configuration"), step("delete_configuration")}, nil
}

func (a *arrays) ServiceSteps(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) ([]hwmanager.Step, error) {
	return a.CleanSteps(ctx, h, node)
}

// TestMixed: of a configuration of both kinds the hardware volumes are made first,
// and deleted last; if the rest fails, they go again.
func TestMixed(t *testing.T) {
	t.Parallel()
	const config = `{"raid_level": "1", "size_gb": 5, "volume_name": "data"}, {"controller": "software", "raid_level": "1", "size_gb": "MAX", "physical_disks": [{"name": "/dev/nvme0n1"}, {"name": "/dev/nvme1n1"}]}`
	for _, fails := range []error{nil, errors.New("mdadm is gone")} {
		t.Run(fmt.Sprint(fails), func(t *testing.T) {
			t.Parallel()
			soft := &arrays{fail: fails}
			h, r, dir := mixedHost(t, soft)
			node := hwmanager.Node{"target_raid_config": configOf(t, config)}
			result, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "create_configuration", call(node))
			if fails != nil {
				if err == nil || !strings.Contains(err.Error(), "software RAID: mdadm is gone; what was made before is removed again") {
					t.Errorf("error = %v", err)
				}
				if left := loadModel(t, dir, "storcli64").summary(); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if disks := result.(map[string]any)["logical_disks"].([]any); len(disks) != 2 || !isSoftware(disks[1]) || isSoftware(disks[0]) {
				t.Errorf("result: %v", result)
			}
			if diff := cmp.Diff([]string{"create_configuration of 0 hardware, 1 software"}, soft.seen); diff != "" {
				t.Errorf("passed on (-want +got):\n%s", diff)
			}
			soft.seen, r.runs = nil, nil
			if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", call(node)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"delete_configuration of 0 hardware, 1 software"}, soft.seen); diff != "" {
				t.Errorf("passed on (-want +got):\n%s", diff)
			}
			// The one step of a deployment does both.
			soft.seen = nil
			deploy := call(hwmanager.Node{})
			deploy.Args = map[string]any{"raid_config": configOf(t, config)}
			if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Deploy, "apply_configuration", deploy); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"delete_configuration of 0 hardware, 1 software", "create_configuration of 0 hardware, 1 software"}, soft.seen); diff != "" {
				t.Errorf("passed on (-want +got):\n%s", diff)
			}
			if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", call(node)); err != nil {
				t.Fatal(err)
			}
			// Arrays that fail to go keep the volumes.
			if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "create_configuration", call(node)); err != nil {
				t.Fatal(err)
			}
			soft.fail = errors.New("busy array")
			if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", call(node)); err == nil || !strings.Contains(err.Error(), "busy array") {
				t.Errorf("error = %v", err)
			}
			if left := loadModel(t, dir, "storcli64").summary(); len(left) != 1 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestInUse: a volume that is mounted stays, and so do all others.
func TestInUse(t *testing.T) {
	t.Parallel()
	h, _, dir := mixedHost(t)
	state := loadModel(t, dir, "storcli64")
	for i, disks := range [][]string{{"252:0", "252:1"}, {"252:2", "252:3"}} {
		if wrong := state.Controllers[0].add(state, "1", fmt.Sprint("v", i), disks, 1, 1<<21); wrong != "" {
			t.Fatal(wrong)
		}
	}
	state.Controllers[0].Volumes[1].Device = "/dev/sda"
	saveModel(t, dir, "storcli64", state)
	if err := os.MkdirAll(filepath.Join(h.Proc, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.Proc, "self/mounts"), []byte("rootfs / rootfs rw 0 0\n/dev/sda2 /mnt ext4 rw 0 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", call(hwmanager.Node{}))
	if err == nil || !strings.Contains(err.Error(), "is in use: /dev/sda is mounted at /mnt") {
		t.Errorf("error = %v", err)
	}
	// A disk that several machines share (GFS2, by the magic of its superblock).
	if err := os.WriteFile(filepath.Join(h.Proc, "self/mounts"), []byte("rootfs / rootfs rw 0 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	disk, err := os.OpenFile(filepath.Join(h.Dev, "sda"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	wwid := "naa." + state.Controllers[0].Volumes[1].NAA + "\n"
	if err := os.WriteFile(filepath.Join(h.Sys, "block/sda/device/wwid"), []byte(wwid), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt([]byte{0x01, 0x16, 0x19, 0x70}, 64<<10); err != nil {
		t.Fatal(err)
	}
	_, err = h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", call(hwmanager.Node{}))
	if !ipa.ProtectedDevice.Is(err) || !strings.Contains(err.Error(), "volume 1 (v1, RAID 1, 1 GiB)") {
		t.Errorf("error = %v", err)
	}
	if got := len(loadModel(t, dir, "storcli64").Controllers[0].Volumes); got != 2 {
		t.Errorf("%d volumes are left", got)
	}
}

// TestSeenDisks: a disk that the operating system sees as it is becomes part of no
// volume where it is mounted, holds what several machines share, or is kept, though
// it is free to the controller or the configuration names it.
func TestSeenDisks(t *testing.T) {
	t.Parallel()
	mount := func(t *testing.T, h *hwmanager.Host) {
		if err := os.MkdirAll(filepath.Join(h.Proc, "self"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.Proc, "self/mounts"), []byte("rootfs / rootfs rw 0 0\n/dev/sda2 /mnt ext4 rw 0 0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	share := func(t *testing.T, h *hwmanager.Host) {
		disk, err := os.OpenFile(filepath.Join(h.Dev, "sda"), os.O_WRONLY, 0)
		if err == nil {
			_, err = disk.WriteAt([]byte{0x01, 0x16, 0x19, 0x70}, 64<<10)
			err = errors.Join(err, disk.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(*testing.T, *hwmanager.Host) {}
	keep := hwmanager.Node{"properties": map[string]any{"skip_block_devices": []any{map[string]any{"wwn": "0x5000c50015ea71aa"}}}}
	for _, c := range []struct {
		name  string
		spoil func(*testing.T, *hwmanager.Host)
		node  hwmanager.Node
		wrong string
	}{
		{"mounted", mount, hwmanager.Node{}, "/dev/sda is mounted at /mnt"},
		{"shared", share, hwmanager.Node{}, "must stay as it is: protected"},
		{"kept", nothing, keep, "must stay as it is: skip_block_devices matches /dev/sda"},
		{"not needed", nothing, hwmanager.Node{}, ""},
	} {
		for tool, card := range map[string]func() *modelController{"storcli64": func() *modelController { return megaCard(0) }, "ssacli": smartCard} {
			t.Run(c.name+"/"+tool, func(t *testing.T) {
				t.Parallel()
				controller := card()
				d := controller.Disks[0]
				d.WWN, d.Serial = "5000C50015EA71AA", "LAB-SCSI-1"
				disks := `["252:0", "252:1"]`
				if d.State = "JBOD"; tool == "ssacli" {
					d.State, d.Device, disks = "UGood", "/dev/sda", `["1I:1:1", "1I:1:2"]`
					d.WWN = "5000C50015EA71A8" // of its port
				}
				h := hwmtest.Machine(t, "../generic/testdata/lab.machine")
				made, m, dir := modelHost(t, map[string]*modelState{tool: {Controllers: []*modelController{controller}}})
				h.Programs, h.Run = made.Programs, made.Run
				h.Guard = hwmanager.DeviceGuard{Allowed: []string{filepath.Join(h.Dev, "*")}}
				if _, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{generic.New(), m}); err != nil {
					t.Fatal(err)
				}
				c.spoil(t, h)
				step := call(hwmanager.Node{"properties": c.node["properties"], "target_raid_config": configOf(t,
					`{"raid_level": "1", "size_gb": 1, "controller": "0", "physical_disks": `+disks+`}`)})
				step.Args = map[string]any{"delete_existing": true}
				_, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "create_configuration", step)
				if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
					t.Errorf("error = %v; want %q", err, c.wrong)
				}
				if n := loadModel(t, dir, tool).Changes; (n == 0) != (c.wrong != "") {
					t.Errorf("%d changes", n)
				}
			})
		}
	}
}

// TestNameOfKernel: the hint for a disk that is shown as it is has the name by which
// the kernel knows it, and the disk is known again by that when it is taken back.
func TestNameOfKernel(t *testing.T) {
	t.Parallel()
	controller := megaCard(0)
	controller.Disks[0].WWN, controller.Disks[0].Serial = "5000C50015EA71A8", "LAB-SCSI-1"
	h := hwmtest.Machine(t, "../generic/testdata/lab.machine")
	made, m, dir := modelHost(t, map[string]*modelState{"storcli64": {Controllers: []*modelController{controller}}})
	h.Programs, h.Run = made.Programs, made.Run
	h.Guard = hwmanager.DeviceGuard{Allowed: []string{filepath.Join(h.Dev, "*")}}
	if _, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{generic.New(), m}); err != nil {
		t.Fatal(err)
	}
	config := configOf(t, `{"raid_level": "JBOD", "size_gb": "MAX", "controller": "0", "physical_disks": ["252:0"], "is_root_volume": true}`)
	result, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "create_configuration", call(hwmanager.Node{"target_raid_config": config}))
	if err != nil {
		t.Fatal(err)
	}
	raid := result.(map[string]any)
	entry := raid["logical_disks"].([]any)[0].(map[string]any)
	if diff := cmp.Diff(any(map[string]any{"wwn": "0x5000c50015ea71aa"}), entry["root_device_hint"]); diff != "" {
		t.Errorf("hint (-want +got):\n%s", diff)
	}
	if _, err := h.Set.RunStep(t.Context(), h, hwmanager.Clean, "delete_configuration", call(hwmanager.Node{"raid_config": raid})); err != nil {
		t.Error(err)
	}
	if left := loadModel(t, dir, "storcli64").summary(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestMountedAt: what lies on a disk is in use with it.
func TestMountedAt(t *testing.T) {
	dir := t.TempDir()
	h := &hwmanager.Host{Sys: filepath.Join(dir, "sys"), Proc: filepath.Join(dir, "proc")}
	for file, text := range map[string]string{
		"sys/block/sda/sda2/holders/dm-0":   "",
		"sys/block/dm-0/dm/name":            "luks\n",
		"sys/block/dm-0/holders/dm-1":       "",
		"sys/block/dm-1/dm/name":            "vg-root\n",
		"sys/block/sdb/holders/md127":       "",
		"sys/block/md127/holders/md127":     "", // nonsense ends
		"sys/block/cciss!c0d0/cciss!c0d0p1": "",
		"proc/self/mounts":                  "proc /proc proc rw 0 0\n/dev/mapper/vg-root /data ext4 rw 0 0\n/dev/md127p1 /array xfs rw 0 0\n/dev/cciss/c0d0p1 /old ext3 rw 0 0\n/dev/sdee /other ext4 rw 0 0\n",
		"proc/swaps":                        "Filename Type Size Used Priority\n/dev/sdd3 partition 1 0 -2\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for device, want := range map[string]string{
		"/dev/sda": "/data", "/dev/sdb": "/array", "/dev/cciss/c0d0": "/old", "/dev/sdd": "swap", "/dev/sde": "", "/dev/sdc": "", "": "", "/dev/": "", "sda": "",
	} {
		if got := mountedAt(h, device); got != want {
			t.Errorf("%q is mounted at %q; want %q", device, got, want)
		}
	}
}
