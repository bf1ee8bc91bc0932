package erasure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferric/integration/lab"
	"ferric/ramdisk"
)

// patience bounds the emulated machine on a busy host; a quiet one needs a fifth.
const patience = 4 * time.Minute

// machine is a machine with a disk of each kind: an NVMe drive, one with two
// namespaces of which the first has blocks of 4096 bytes, a SCSI disk, a SATA
// disk behind libata, and a paravirtual one. The kernel names them in that order.
func machine(t *testing.T, dir string) []string {
	t.Helper()
	args := []string{
		"-M", "q35", "-accel", "tcg", "-cpu", "max,la57=off", "-m", "256", "-smp", "1",
		"-nographic", "-nodefaults", "-no-reboot", "-monitor", "none", "-serial", "stdio",
		"-kernel", filepath.Join(dir, ramdisk.KernelFile), "-initrd", filepath.Join(dir, ramdisk.InitramfsFile),
		"-append", "console=ttyS0 no_timer_check panic=5 " + Consent,
	}
	// The ramdisk waits a minute for a network that is not there.
	args = append(args, "-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0")
	for i := range 6 {
		path := filepath.Join(dir, fmt.Sprintf("disk%d", i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 64<<20); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-drive", fmt.Sprintf("id=d%d,if=none,format=raw,cache=unsafe,file=%s", i, path))
	}
	for _, device := range []string{
		"nvme,drive=d0,serial=ONE",
		"nvme-subsys,id=subsystem,nqn=two",
		"nvme,id=two,serial=TWO,subsys=subsystem",
		"nvme-ns,drive=d1,bus=two,nsid=1,logical_block_size=4096,physical_block_size=4096",
		"nvme-ns,drive=d2,bus=two,nsid=2",
		"virtio-scsi-pci,id=scsi0",
		"scsi-hd,bus=scsi0.0,drive=d3,serial=THREE",
		"ide-hd,drive=d4,serial=FOUR",
		"virtio-blk-pci,drive=d5,serial=FIVE",
	} {
		args = append(args, "-device", device)
	}
	return args
}

// TestDisks erases the disks of a machine by their own commands.
func TestDisks(t *testing.T) {
	dir := t.TempDir()
	if _, err := ramdisk.Build(t.Context(), ramdisk.Options{Output: dir, Agent: "ferric/integration/erasure/guest"}); err != nil {
		t.Fatal(err)
	}
	args := machine(t, dir)
	lab.Alone(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var console bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Stdout, cmd.Stderr = &console, &console
	began := time.Now()
	err := cmd.Run()
	t.Logf("the machine was on for %.1f s", time.Since(began).Seconds())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console:\n%s", console.String())
		}
	})
	if err != nil {
		t.Fatalf("QEMU: %v", err)
	}
	check(t, parse(t, console.String()))
}

// parse reads the guest's report from the console.
func parse(t *testing.T, console string) map[string]Disk {
	t.Helper()
	disks := map[string]Disk{}
	done := false
	for line := range strings.Lines(console) {
		_, text, ours := strings.Cut(line, "agent: "+Line)
		if strings.HasPrefix(Line+text, Done) {
			done = true
			continue
		}
		if !ours {
			continue
		}
		var d Disk // the kernel may have put a message behind it
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&d); err != nil {
			t.Fatalf("the guest says %q", text)
		}
		if d.Method.Name != "" {
			t.Logf("%s: %s in %.3f s", d.Name, d.Method.Name, d.Seconds)
		}
		disks[d.Name] = d
	}
	if !done {
		t.Fatal("the guest did not come to its end")
	}
	return disks
}

func check(t *testing.T, disks map[string]Disk) {
	t.Helper()
	var names []string
	byKind := map[string][]Disk{}
	for name, d := range disks {
		names = append(names, name)
		kind := strings.TrimRight(name, "0123456789nabc")
		byKind[kind] = append(byKind[kind], d)
	}
	slices.Sort(names)
	if len(byKind["nvme"]) != 3 || len(byKind["sd"]) != 2 || len(byKind["vd"]) != 1 {
		t.Fatalf("disks %v", names)
	}
	for _, name := range names {
		d := disks[name]
		nvme := strings.HasPrefix(name, "nvme")
		for what, f := range map[string]*Failure{
			"erase of a partition by NVMe": d.PartitionNVMe, "erase of a partition by SCSI": d.PartitionSCSI,
			"NVMe sanitize": d.Sanitize, "SCSI sanitize": d.SCSIErase, "ATA security erase": d.ATAErase,
		} {
			if f == nil || !f.NotSupported {
				t.Errorf("%s: %s: %+v, want not supported", name, what, f)
			}
		}
		if !slices.Contains(d.Before, name) {
			t.Errorf("%s: content is gone after what is not supported: %v is there", name, d.Before)
		}
		if !nvme {
			if d.NVMe == nil || !d.NVMe.NotSupported || d.Erase == nil || !d.Erase.NotSupported || !slices.Equal(d.Before, d.After) {
				t.Errorf("%s: taken for an NVMe drive: %+v", name, d)
			}
			continue
		}
		if d.NVMe != nil || d.Namespace.Size() != d.Size || d.Controller.Model != "QEMU NVMe Ctrl" {
			t.Errorf("%s: identified as %+v, %+v, %v", name, d.Controller, d.Namespace, d.NVMe)
		}
		want := slices.DeleteFunc(slices.Clone(d.Before), func(n string) bool { return n == name })
		if d.Erase != nil || !strings.HasPrefix(d.Method.Name, "nvme-format-") || !slices.Equal(d.After, want) {
			t.Errorf("%s: erased by %+v, %v: content of %v is there, want of %v", name, d.Method, d.Erase, d.After, want)
		}
	}
	checkIdentity(t, byKind)
}

// checkIdentity: serial numbers and block sizes are those of the machine.
func checkIdentity(t *testing.T, byKind map[string][]Disk) {
	t.Helper()
	var serials []string
	blocks := map[int]int{}
	for _, d := range byKind["nvme"] {
		serials = append(serials, d.Controller.Serial)
		blocks[d.Namespace.BlockSize]++
	}
	for _, d := range byKind["sd"] {
		serials = append(serials, d.Inquiry.Serial)
		// The kernel answers for the disk behind libata; ATA commands are for it alone.
		if sata := d.Inquiry.Vendor == "ATA"; sata != (d.ATA == nil) || sata && d.Identity.Serial != d.Inquiry.Serial || !sata && !d.ATA.NotSupported {
			t.Errorf("%s: %+v, identified by ATA commands as %+v, %v", d.Name, d.Inquiry, d.Identity, d.ATA)
		}
		if d.SCSI != nil {
			t.Errorf("%s: %+v", d.Name, d.SCSI)
		}
	}
	slices.Sort(serials)
	if want := []string{"FOUR", "ONE", "THREE", "TWO", "TWO"}; !slices.Equal(serials, want) || blocks[4096] != 1 || blocks[512] != 2 {
		t.Errorf("serial numbers %q, block sizes %v", serials, blocks)
	}
	if d := byKind["vd"][0]; d.SCSI == nil || !d.SCSI.NotSupported {
		t.Errorf("%s: taken for a SCSI disk: %+v", d.Name, d.SCSI)
	}
}
