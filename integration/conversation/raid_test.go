package conversation_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ferric/integration/conversation"
	"ferric/integration/lab"
)

// raidStep is a step of the RAID interface.
func raidStep(name string) map[string]any {
	s := step(name)
	s["interface"], s["priority"] = "raid", 0
	return s
}

// logical is one logical disk of a configuration.
func logical(level string, size any, more map[string]any) map[string]any {
	l := map[string]any{"controller": "software", "raid_level": level, "size_gb": size}
	for k, v := range more {
		l[k] = v
	}
	return l
}

func bySerial(serials ...string) []any {
	var hints []any
	for _, s := range serials {
		hints = append(hints, map[string]any{"serial": s})
	}
	return hints
}

// TestSoftwareRAID has a machine with six disks, two of them with sectors of 4096 bytes, create arrays of several levels,
// find them after a reset, keep one of them, put others in their place, and delete them. What is on the disks is checked
// from outside.
func TestSoftwareRAID(t *testing.T) {
	disk := func(serial string, sector int) lab.Disk {
		return lab.Disk{Kind: lab.Virtio, SizeMiB: 4096, Serial: serial, Sector: sector}
	}
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic29(), Params: "ipa-debug=1",
		Node: lab.NodeConfig{MemoryMiB: 512, Disks: []lab.Disk{
			disk("a", 512), disk("b", 512), disk("c", 512), disk("d", 512), disk("e", 4096), disk("f", 4096),
		}},
	})
	boot(t, ctx, s)
	_, err := s.Steps(ctx, conversation.Clean)
	must(t, err)
	r := &raidMachine{t: t, ctx: ctx, Site: s}
	for _, c := range raidCases() {
		t.Logf("case %s", c.name)
		r.create(c)
		if c.reset && os.Getenv("FERRIC_FULL") != "" { // make test-full
			r.reset(c)
		}
		if c.erase {
			_, err := s.Step(ctx, conversation.Clean, step("erase_devices_metadata"))
			must(t, err)
			r.keeps(c)
		}
		if c.keep != "" {
			r.keepsVolume(c)
		}
		if c.stays {
			continue
		}
		_, err := s.Step(ctx, conversation.Clean, raidStep("delete_configuration"))
		must(t, err)
		r.gone(c)
	}
}

// raidCase is a configuration and what has to come of it.
type raidCase struct {
	name, mode string
	label      string // of the capability disk_label
	config     []any
	disks      []int    // used, of those of the machine
	sector     int      // of theirs
	parts      []string // of each disk as sfdisk lists them: MiB where they begin and how many, type
	arrays     []raidExpected
	erase      bool   // the metadata of all disks before, which leaves the arrays there
	reset      bool   // switch off and on, and find the arrays again
	keep       string // volume that skip_block_devices keeps from being deleted
	stays      bool   // for the next case to be in its place
	applied    bool   // by apply_configuration, in place of what the case before has left
	freed      []int  // disks of that which are not used any more
}

type raidExpected struct {
	device, level, name string
	members             []string
}

func raidCases() []raidCase {
	const gptRAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"
	return []raidCase{
		{
			name: "1 and 0, sectors of 4096 bytes, BIOS", mode: "bios", disks: []int{4, 5}, sector: 4096,
			config: []any{
				logical("1", "MAX", map[string]any{"physical_disks": bySerial("f", "e")}),
				logical("0", 1.0, map[string]any{"physical_disks": bySerial("e", "f")}),
			},
			parts: []string{"1 1023 fd", "1024 3072 fd"},
			arrays: []raidExpected{
				{"/dev/md0", "raid0", "md0", []string{"vde1", "vdf1"}},
				{"/dev/md1", "raid1", "md1", []string{"vdf2", "vde2"}},
			},
		},
		{
			name: "1 and 1+0, UEFI", mode: "uefi", disks: []int{0, 1, 2, 3}, sector: 512, reset: true, keep: "data", stays: true,
			config: []any{
				logical("1", 1.0, map[string]any{"volume_name": "root", "is_root_volume": true, "physical_disks": bySerial("a", "b", "c", "d")}),
				logical("1+0", 1.0, map[string]any{"volume_name": "data", "physical_disks": bySerial("a", "b", "c", "d")}),
			},
			parts: []string{"551 473 " + gptRAID, "1024 1024 " + gptRAID},
			arrays: []raidExpected{
				{"/dev/md0", "raid1", "root", []string{"vda1", "vdb1", "vdc1", "vdd1"}},
				{"/dev/md1", "raid10", "data", []string{"vda2", "vdb2", "vdc2", "vdd2"}},
			},
		},
		{
			name: "1 and 5, BIOS with GPT", mode: "bios", label: "gpt", disks: []int{1, 2, 3}, sector: 512,
			config: []any{
				logical("1", 1.0, map[string]any{"physical_disks": bySerial("b", "c")}),
				logical("5", "MAX", map[string]any{"physical_disks": bySerial("b", "c", "d")}),
			},
			applied: true, freed: []int{0}, erase: true,
			arrays: []raidExpected{
				{"/dev/md0", "raid1", "md0", []string{"vdb1", "vdc1"}},
				{"/dev/md1", "raid5", "md1", []string{"vdb2", "vdc2", "vdd1"}},
			},
		},
	}
}

type raidMachine struct {
	t   *testing.T
	ctx context.Context
	*conversation.Site
}

func (r *raidMachine) shell(command string) string {
	r.t.Helper()
	out, err := conversation.Shell(r.ctx, r.Machine, command)
	must(r.t, err)
	return out
}

func (r *raidMachine) create(c raidCase) {
	t := r.t
	t.Helper()
	capabilities := "boot_mode:" + c.mode
	if c.label != "" {
		capabilities += ",disk_label:" + c.label
	}
	r.Node["properties"].(map[string]any)["capabilities"] = capabilities
	config := map[string]any{"logical_disks": c.config}
	phase, run := conversation.Clean, raidStep("create_configuration")
	if c.applied {
		phase, run = conversation.Deploy, raidStep("apply_configuration")
		run["args"] = map[string]any{"raid_config": config}
		r.refuses(c, run)
	} else {
		r.Node["target_raid_config"] = config
	}
	ended, err := r.Step(r.ctx, phase, run)
	must(t, err)
	var result map[string]map[string]any
	must(t, json.Unmarshal(ended.Result, &result))
	if got, want := fmt.Sprint(result[phase+"_result"]), fmt.Sprint(config); got != want {
		t.Errorf("%s_result %s, want %s", phase, got, want)
	}
	for _, d := range c.freed {
		r.empty(d, c.sector)
	}
	for _, a := range c.arrays {
		detail := r.shell("mdadm --detail " + a.device)
		for _, want := range []string{
			`Version : 1\.2`, `Raid Level : ` + a.level, fmt.Sprintf(`Raid Devices : %d`, len(a.members)), `Working Devices : ` + fmt.Sprint(len(a.members)),
			`Name : (\S+:)?` + a.name + `\b`,
		} {
			if !regexp.MustCompile(want).MatchString(detail) {
				t.Errorf("%s: no %q in\n%s", a.device, want, detail)
			}
		}
		for n, member := range a.members {
			if !regexp.MustCompile(fmt.Sprintf(`(?m)^\s+%d\s.*/dev/%s$`, n, member)).MatchString(detail) {
				t.Errorf("%s: member %d is not %s in\n%s", a.device, n, member, detail)
			}
		}
	}
	for _, d := range c.disks {
		r.table(c, r.file(d))
	}
}

// file is the disk with the number, as the machine has it.
func (r *raidMachine) file(n int) string { return r.Machine.Config.Disks[n].File }

// oracle runs a program on a disk, through a loop device with sectors of that size.
func (r *raidMachine) oracle(file string, sector int, program string, args ...string) (string, error) {
	r.t.Helper()
	node, err := exec.Command("losetup", "--find", "--show", "--read-only", "--sector-size", fmt.Sprint(sector), file).Output()
	must(r.t, err)
	device := strings.TrimSpace(string(node))
	defer func() { must(r.t, exec.Command("losetup", "--detach", device).Run()) }()
	out, err := exec.Command(program, append(args, device)...).CombinedOutput()
	return string(out), err
}

// table checks the partition table, and that each partition has its superblock.
func (r *raidMachine) table(c raidCase, file string) {
	t := r.t
	t.Helper()
	out, err := r.oracle(file, c.sector, "sfdisk", "--json")
	if err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	var dump struct {
		Table struct {
			Label      string `json:"label"`
			Partitions []struct {
				Start, Size int64
				Type        string
			} `json:"partitions"`
		} `json:"partitiontable"`
	}
	must(t, json.Unmarshal([]byte(out[strings.IndexByte(out, '{'):]), &dump))
	if gpt := c.mode == "uefi" || c.label == "gpt"; gpt != (dump.Table.Label == "gpt") {
		t.Errorf("%s has a table %s", filepath.Base(file), dump.Table.Label)
	} else if gpt {
		if out, err := r.oracle(file, c.sector, "sgdisk", "--verify"); err != nil || !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk --verify: %v: %s", err, out)
		}
	}
	var parts []string
	for _, p := range dump.Table.Partitions {
		start := p.Start * int64(c.sector)
		parts = append(parts, fmt.Sprintf("%d %d %s", start>>20, p.Size*int64(c.sector)>>20, p.Type))
		if !superblockAt(t, file, start+4096) {
			t.Errorf("%s has no superblock at byte %d", filepath.Base(file), start+4096)
		}
	}
	if c.parts != nil && !slices.Equal(parts, c.parts) {
		t.Errorf("%s has partitions %q, want %q", filepath.Base(file), parts, c.parts)
	}
}

// magic is that of a superblock of an array (linux, include/uapi/linux/raid/md_p.h), as the bytes on the disk.
var magic = binary.LittleEndian.AppendUint32(nil, 0xa92b4efc)

func superblockAt(t *testing.T, file string, at int64) bool {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	b := make([]byte, 4)
	_, err = f.ReadAt(b, at)
	must(t, err)
	return bytes.Equal(b, magic)
}

// reset has the machine switched off and on again, which then has the arrays again, not written to.
func (r *raidMachine) reset(c raidCase) {
	t := r.t
	t.Helper()
	_, err := r.Command(r.ctx, "standby.power_off", nil, false)
	must(t, err)
	off(t, r.Site, powerOffLimit)
	r.Forget()
	boot(t, r.ctx, r.Site)
	stat := r.shell("cat /proc/mdstat")
	for _, a := range c.arrays {
		members := strings.Join(a.members, "|")
		if !regexp.MustCompile(`(?m)^` + a.device[len("/dev/"):] + ` : active \(auto-read-only\) ` + a.level + ` ((` + members + `)\[\d\] ?){` + fmt.Sprint(len(a.members)) + `}`).MatchString(stat) {
			t.Errorf("no %s of %s after the reset:\n%s", a.level, members, stat)
		}
	}
	_, err = r.Steps(r.ctx, conversation.Clean)
	must(t, err)
}

// keeps checks that the arrays are still there, with all members.
func (r *raidMachine) keeps(c raidCase) {
	r.t.Helper()
	for _, a := range c.arrays {
		detail := r.shell("mdadm --detail " + a.device)
		if want := fmt.Sprintf(`Working Devices : %d\b`, len(a.members)); !regexp.MustCompile(want).MatchString(detail) {
			r.t.Errorf("%s after erasing metadata: no %q in\n%s", a.device, want, detail)
		}
	}
}

// gone checks that nothing is left of arrays: neither in the machine nor anywhere on its disks.
func (r *raidMachine) gone(c raidCase) {
	t := r.t
	t.Helper()
	if stat := r.shell("cat /proc/mdstat"); strings.Contains(stat, "md0") || strings.Contains(stat, "md1") {
		t.Errorf("arrays after deleting:\n%s", stat)
	}
	for _, d := range c.disks {
		r.empty(d, c.sector)
	}
}

// empty checks that nothing is on the disk by which anybody would know it.
func (r *raidMachine) empty(d, sector int) {
	t := r.t
	t.Helper()
	if out, err := r.oracle(r.file(d), sector, "blkid", "-p", "-o", "export"); err == nil {
		t.Errorf("blkid finds on disk %d: %s", d, out)
	}
	if out, err := r.oracle(r.file(d), sector, "mdadm", "--examine"); err == nil {
		t.Errorf("mdadm --examine finds on disk %d: %s", d, out)
	}
	if at := findAligned(t, r.file(d), magic); at >= 0 {
		t.Errorf("disk %d has a superblock at byte %d", d, at)
	}
}

// refuses has a configuration that does not fit refused, which leaves the arrays there.
func (r *raidMachine) refuses(c raidCase, apply map[string]any) {
	t := r.t
	t.Helper()
	before := r.shell("cat /proc/mdstat | grep ^md")
	large := maps.Clone(apply)
	large["args"] = map[string]any{"raid_config": map[string]any{"logical_disks": []any{logical("1", 5.0, nil)}}}
	if _, err := r.Step(r.ctx, conversation.Deploy, large); err == nil || !strings.Contains(err.Error(), "does not fit on /dev/vda") {
		t.Errorf("a configuration that is too large: %v", err)
	}
	if after := r.shell("cat /proc/mdstat | grep ^md"); !strings.Contains(after, "raid10") || after != before {
		t.Errorf("arrays before:\n%s\nafter a configuration that was refused:\n%s", before, after)
	}
}

// keepsVolume has the configuration deleted but for a volume: what is in the others is gone, but not the arrays, which share
// its disks.
func (r *raidMachine) keepsVolume(c raidCase) {
	t := r.t
	t.Helper()
	for _, a := range c.arrays {
		r.shell("echo text-in-" + a.name + " > " + a.device + "; sync")
		if findAligned(t, r.file(c.disks[0]), []byte("text-in-"+a.name)) < 0 {
			t.Fatalf("what was written to %s is not on its first disk", a.device)
		}
	}
	properties := r.Node["properties"].(map[string]any)
	properties["skip_block_devices"] = []any{map[string]any{"volume_name": c.keep}}
	_, err := r.Step(r.ctx, conversation.Clean, raidStep("delete_configuration"))
	must(t, err)
	delete(properties, "skip_block_devices")
	stat := r.shell("cat /proc/mdstat")
	for _, a := range c.arrays {
		has := findAligned(t, r.file(c.disks[0]), []byte("text-in-"+a.name)) >= 0
		if has != (a.name == c.keep) || !strings.Contains(stat, a.device[len("/dev/"):]+" : active") {
			t.Errorf("%s (%s), with %s kept: has its content: %v, in\n%s", a.device, a.name, c.keep, has, stat)
		}
	}
	for _, d := range c.disks {
		r.table(c, r.file(d))
	}
}

// findAligned looks for the text at every 4096th byte of a sparse file; -1 if there is none.
func findAligned(t *testing.T, file string, text []byte) int64 {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		data, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return -1
		}
		must(t, err)
		at = data &^ (1<<20 - 1)
		n, err := f.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for off := 0; off < n; off += 4096 {
			if bytes.HasPrefix(buf[off:n], text) {
				return at + int64(off)
			}
		}
		at += int64(len(buf))
	}
}
