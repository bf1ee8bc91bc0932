package images_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferric/api/ipa"
	"ferric/images"
	"ferric/images/disk"
	"ferric/images/disk/disktest"
	"ferric/images/fat"
	"ferric/images/partition"
)

const rootUUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"

// makeRoot makes a root file system of 16 MiB.
func makeRoot(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.raw")
	tool(t, "truncate", "-s", "16M", path)
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-U", rootUUID, path)
	return path
}

// extract copies a partition into a file, for tools that want one.
func extract(t *testing.T, device string, number int) string {
	t.Helper()
	table, err := partition.List(device)
	if err != nil {
		t.Fatal(err)
	}
	p := table.Partitions[number-1]
	in, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), "partition")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, io.NewSectionReader(in, p.Start, p.Size)); err != nil {
		t.Fatal(err)
	}
	return path
}

func blkid(t *testing.T, path, tag string) string {
	t.Helper()
	return strings.TrimSpace(tool(t, "blkid", "-p", "-o", "value", "-s", tag, path))
}

func TestDeployPartitions(t *testing.T) {
	root := makeRoot(t)
	qcow2 := filepath.Join(t.TempDir(), "root.qcow2")
	tool(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", root, qcow2)
	zst := filepath.Join(t.TempDir(), "root.raw.zst")
	tool(t, "zstd", "-q", "-o", zst, root)
	uefi := images.Layout{Label: partition.GPT, ESP: 64, Ephemeral: 8, Swap: 4, Root: 24}
	bios := images.Layout{Label: partition.MBR, Swap: 4, Ephemeral: 8, Root: 24}
	for _, c := range []struct {
		name, image, format string
		layout              images.Layout
		parts               map[string]int
	}{
		{"uefi", qcow2, "qcow2", uefi, map[string]int{"efi system partition": 1, "ephemeral": 2, "swap": 3, "configdrive": 4, "root": 5}},
		{"bios msdos", root, "raw", bios, map[string]int{"ephemeral": 1, "swap": 2, "configdrive": 3, "root": 4}},
		{"bios gpt", zst, "raw", images.Layout{Label: partition.GPT, BIOSBoot: 1, Root: 24}, map[string]int{"BIOS boot partition": 1, "configdrive": 2, "root": 3}},
		{"power gpt", root, "raw", images.Layout{Label: partition.GPT, PReP: 8, Swap: 4, Root: 24}, map[string]int{"PReP Boot partition": 1, "swap": 2, "configdrive": 3, "root": 4}},
		{"power msdos", root, "raw", images.Layout{Label: partition.MBR, PReP: 8, Ephemeral: 8, Root: 24}, map[string]int{"PReP Boot partition": 1, "ephemeral": 2, "configdrive": 3, "root": 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, 256*mib, func(t *testing.T, device string, sector int) {
				iso := makeISO(t)
				dirty(t, device)
				req := request(serve(t, c.image), c.format, sha256File(t, c.image))
				var last ipa.Progress
				d, err := images.DeployPartitions(context.Background(), disktest.Target(t, device), req, c.layout, encode(t, iso), func(p ipa.Progress) { last = p })
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.parts, d.Partitions); diff != "" {
					t.Errorf("partitions: %s", diff)
				}
				if d.RootUUID != rootUUID {
					t.Errorf("root UUID %s", d.RootUUID)
				}
				if last.Phase != ipa.PhasePartitioning || !last.Finished || last.Done == 0 {
					t.Errorf("last progress %+v", last)
				}
				agree(t, device, c.layout)
				checkParts(t, device, d, c.layout, sector)
				checkDrive(t, extract(t, device, d.Partitions["configdrive"]), iso, sector)
				tool(t, "e2fsck", "-fn", extract(t, device, d.Partitions["root"]))
				if strings.HasPrefix(device, "/dev/") {
					node := disk.Node(device, d.Partitions["root"])
					if got := blkid(t, node, "UUID"); got != rootUUID {
						t.Errorf("the kernel's root partition has UUID %s", got)
					}
					if sector == 512 { // or its blocks of 1024 bytes are smaller
						dir := t.TempDir()
						tool(t, "mount", "-o", "ro", node, dir)
						tool(t, "umount", dir)
					}
				}
			})
		})
	}
}

// checkDrive wants the config drive as it was given, but for disks whose sectors
// are larger than the blocks of ISO 9660: there it is a FAT file system.
func checkDrive(t *testing.T, path string, iso []byte, sector int) {
	t.Helper()
	drive := readFile(t, path)
	if sector == 512 {
		if !bytes.HasPrefix(drive, iso) || len(drive) != (len(iso)+mib-1)/mib*mib {
			t.Errorf("config drive of %d bytes has another content", len(drive))
		}
		return
	}
	tool(t, "fsck.vfat", "-n", path)
	if label := blkid(t, path, "LABEL"); label != "CONFIG-2" || len(drive) != 64*mib {
		t.Errorf("config drive of %d bytes labelled %q", len(drive), label)
	}
	fs, err := fat.Open(bytes.NewReader(drive), int64(len(drive)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fs.ReadFile("/openstack/latest/meta_data.json", mib); err != nil || string(got) != metadata {
		t.Errorf("the config drive holds %q (%v)", got, err)
	}
}

// agree has other programs look at the partition table. They ask a device for
// its sectors and take those of a file for 512 bytes.
func agree(t *testing.T, device string, l images.Layout) {
	t.Helper()
	if out := tool(t, "sfdisk", "--verify", device); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify: %s", out)
	}
	if l.Label == partition.GPT {
		if out := tool(t, "sgdisk", "-v", device); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v: %s", out)
		}
	}
	var theirs struct {
		Table struct {
			Label, ID  string
			SectorSize int64
			Partitions []struct {
				Node, Type, UUID, Name string
				Start, Size            int64
				Bootable               bool
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "-J", device)), &theirs); err != nil {
		t.Fatal(err)
	}
	ours, err := partition.List(device)
	if err != nil {
		t.Fatal(err)
	}
	got := partition.Table{Label: theirs.Table.Label, Signature: ours.Signature}
	if got.Label == "dos" {
		got.Label = partition.MBR
		if want := fmt.Sprintf("0x%08x", ours.Signature); theirs.Table.ID != want {
			t.Errorf("sfdisk has the signature %s, want %s", theirs.Table.ID, want)
		}
	}
	for i, p := range theirs.Table.Partitions {
		if want := disk.Node(device, i+1); p.Node != want && strings.HasPrefix(device, "/dev/") {
			t.Errorf("sfdisk calls partition %d %s, want %s", i+1, p.Node, want)
		}
		kind, uuid := strings.ToUpper(p.Type), strings.ToLower(p.UUID)
		if got.Label == partition.MBR {
			kind, uuid = "0x"+p.Type, fmt.Sprintf("%08x-%02x", ours.Signature, i+1)
		}
		got.Partitions = append(got.Partitions, partition.Partition{Number: i + 1, Start: p.Start * theirs.Table.SectorSize, Size: p.Size * theirs.Table.SectorSize, Type: kind, UUID: uuid, Name: p.Name, Boot: p.Bootable})
	}
	if diff := cmp.Diff(got, *ours, cmpopts.IgnoreUnexported(partition.Table{})); diff != "" {
		t.Errorf("sfdisk (-) and we (+): %s", diff)
	}
	for _, p := range ours.Partitions {
		if !strings.HasPrefix(device, "/dev/") {
			break // no node
		}
		if got := blkid(t, disk.Node(device, p.Number), "PART_ENTRY_UUID"); got != p.UUID {
			t.Errorf("blkid: partition %d is %s, want %s", p.Number, got, p.UUID)
		}
	}
}

// dirty puts remains of a former life on the disk.
func dirty(t *testing.T, device string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte("old content "), 12*mib/12), 0); err != nil {
		t.Fatal(err)
	}
}

func checkParts(t *testing.T, device string, d images.Deployment, l images.Layout, sector int) {
	t.Helper()
	table, err := partition.List(device)
	if err != nil {
		t.Fatal(err)
	}
	types := map[string][2]string{ // on a GPT, on an MBR
		"efi system partition": {partition.TypeESP, ""}, "BIOS boot partition": {partition.TypeBIOSBoot, ""},
		"PReP Boot partition": {partition.TypePReP, "0x41"},
		"swap":                {partition.TypeSwap, "0x82"}, "ephemeral": {partition.TypeLinux, "0x83"}, "configdrive": {partition.TypeLinux, "0x83"}, "root": {partition.TypeLinux, "0x83"},
	}
	start := int64(mib)
	for _, p := range table.Partitions {
		name, kind := p.Name, types[p.Name][0]
		if l.Label == partition.MBR {
			for n, number := range d.Partitions {
				if number == p.Number {
					name, kind = n, types[n][1]
				}
			}
			if boot := map[bool]string{true: "PReP Boot partition", false: "root"}[l.PReP > 0]; p.Boot != (name == boot) {
				t.Errorf("%s: boot flag %v", name, p.Boot)
			}
		}
		if d.Partitions[name] != p.Number || p.Type != kind || p.Start != start {
			t.Errorf("%s: %+v, want it from %d as %s", name, p, start, kind)
		}
		start += p.Size
	}
	if n := d.Partitions["root"]; table.Partitions[n-1].Size != l.Root*mib {
		t.Errorf("root has %d bytes", table.Partitions[n-1].Size)
	}
	if n := d.Partitions["swap"]; n > 0 {
		if out := tool(t, "swaplabel", extract(t, device, n)); !strings.Contains(out, "swap1") {
			t.Errorf("swaplabel: %s", out)
		}
	}
	n := d.Partitions["efi system partition"]
	if n == 0 {
		if d.ESPUUID != "" {
			t.Errorf("EFI system partition %s", d.ESPUUID)
		}
		return
	}
	esp := extract(t, device, n)
	if id, label := blkid(t, esp, "UUID"), blkid(t, esp, "LABEL"); id != d.ESPUUID || label != "efi-part" {
		t.Errorf("EFI system partition %s labelled %s, want %s", id, label, d.ESPUUID)
	}
	tool(t, "fsck.vfat", "-n", esp)
}

// TestPreserveEphemeral writes a second image beside content that has to stay.
func TestPreserveEphemeral(t *testing.T) {
	root, device := makeRoot(t), makeDisk(t, 160*mib)
	req := request(serve(t, root), "raw", sha256File(t, root))
	l := images.Layout{Label: partition.GPT, ESP: 64, Ephemeral: 8, Swap: 4, Root: 24}
	deploy := func(l images.Layout, drive string) (images.Deployment, error) {
		return images.DeployPartitions(context.Background(), disktest.Target(t, device), req, l, drive, nil)
	}
	l.PreserveEphemeral = true
	if _, err := deploy(l, ""); !errors.Is(err, partition.ErrNoTable) {
		t.Errorf("nothing to preserve: %v", err)
	}
	l.PreserveEphemeral = false
	if _, err := deploy(l, ""); err != nil {
		t.Fatal(err)
	}
	before, err := partition.List(device)
	if err != nil {
		t.Fatal(err)
	}
	mark := func(write bool) string {
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		at, b := before.Partitions[1].Start, []byte("keep this")
		if write {
			_, err = f.WriteAt(b, at)
		} else {
			_, err = f.ReadAt(b, at)
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	mark(true)
	putAt(t, device, 0, "the code of a boot loader whose rest is not preserved")
	l.PreserveEphemeral = true
	d, err := deploy(l, encode(t, makeISO(t))) // the root moves: there was no config drive
	if err != nil || d.Partitions["ephemeral"] != 2 || d.Partitions["root"] != 5 {
		t.Fatalf("%v, %v", d.Partitions, err)
	}
	if head := readHead(t, device); !bytes.Equal(head[:partition.BootCode], make([]byte, partition.BootCode)) {
		t.Error("the code in the first sector is still there")
	}
	after, err := partition.List(device)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Partitions[:3], after.Partitions[:3]); diff != "" {
		t.Error(diff)
	}
	l.Ephemeral = 9
	if _, err := deploy(l, ""); !errors.Is(err, partition.ErrBadTable) || !strings.Contains(fmt.Sprint(err), "partition 2 of 9 MiB from 65 MiB") {
		t.Errorf("another size: %v", err)
	}
	other := images.Layout{Label: partition.MBR, Swap: 4, Root: 24, PreserveEphemeral: true}
	if _, err := deploy(other, ""); !errors.Is(err, partition.ErrBadTable) || !strings.Contains(fmt.Sprint(err), "kind gpt") {
		t.Errorf("another kind of table: %v", err)
	}
	l.Ephemeral, req.Digest.Value = 8, strings.Repeat("0", 64)
	if _, err := deploy(l, ""); !errors.Is(err, images.ErrChecksum) {
		t.Errorf("wrong digest: %v", err)
	}
	if got := mark(false); got != "keep this" {
		t.Errorf("ephemeral partition begins with %q", got)
	}
	if table, err := partition.List(device); err != nil || len(table.Partitions) != 5 {
		t.Errorf("after a failure: %v", err)
	}
}

func putAt(t *testing.T, path string, at int64, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(content), at); err != nil {
		t.Fatal(err)
	}
}

func TestDeployPartitionsRefuses(t *testing.T) {
	root := makeRoot(t)
	right := sha256File(t, root)
	fits := images.Layout{Label: partition.GPT, ESP: 32, Root: 24}
	for _, c := range []struct {
		name   string
		layout images.Layout
		sum    string
		drive  string
		want   error
		kind   ipa.Kind
		wiped  bool
	}{
		{"image larger than root", images.Layout{Label: partition.GPT, ESP: 32, Root: 8}, right, "", images.ErrRequest, ipa.InvalidCommandParams, false},
		{"disk too small", images.Layout{Label: partition.GPT, ESP: 32, Root: 32}, right, "", partition.ErrNoRoom, ipa.Deployment, false},
		{"no root", images.Layout{Label: partition.GPT, ESP: 32}, right, "", images.ErrRequest, ipa.InvalidCommandParams, false},
		{"negative swap", images.Layout{Label: partition.GPT, Swap: -1, Root: 32}, right, "", images.ErrRequest, ipa.InvalidCommandParams, false},
		{"EFI system partition too small for FAT16", images.Layout{Label: partition.GPT, ESP: 1, Root: 24}, right, "", images.ErrRequest, ipa.InvalidCommandParams, false},
		{"absurd swap", images.Layout{Label: partition.GPT, Swap: 1 << 62, Root: 32}, right, "", images.ErrRequest, ipa.InvalidCommandParams, false},
		{"broken config drive", fits, right, "!", nil, ipa.Deployment, false},
		{"wrong digest", fits, strings.Repeat("0", 64), "", images.ErrChecksum, ipa.ImageChecksum, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			device := makeDisk(t, 64*mib)
			dirty(t, device)
			_, err := images.DeployPartitions(context.Background(), disktest.Target(t, device), request(serve(t, root), "raw", c.sum), c.layout, c.drive, nil)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || images.Kind(err) != c.kind {
				t.Errorf("got %v (%s), want %v (%s)", err, images.Kind(err).Type, c.want, c.kind.Type)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("more than a line: %v", err)
			}
			if wiped := !strings.HasPrefix(string(readHead(t, device)), "old content"); wiped != c.wiped {
				t.Errorf("wiped: %v", wiped)
			}
		})
	}
}
