package matrix

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOracles has the judges look at disks that are not as they should be.
func TestOracles(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("loop devices need root")
		}
		t.Skip("loop devices need root")
	}
	ctx := t.Context()
	for _, sector := range []int{512, 4096} {
		planted, file := filepath.Join(t.TempDir(), "planted.raw"), filepath.Join(t.TempDir(), "disk.raw")
		parts, err := plantTable(ctx, planted, sector)
		if err != nil {
			t.Fatal(err)
		}
		if err := copyDisk(ctx, planted, file); err != nil {
			t.Fatal(err)
		}
		disk := medium{file: file, sector: sector}
		before, err := fingerprint(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := judgeTable(ctx, disk, "gpt"); err != nil || len(got) != len(parts) {
			t.Errorf("sound table: %v, %v", got, err)
		}
		if c, err := judgeContents(ctx, disk.part(parts[3].span)); err != nil || c.kind != "ext4" || c.label != "stale" {
			t.Errorf("sound file system: %+v, %v", c, err)
		}
		if err := judgeErased(ctx, disk, nil); err == nil || !strings.Contains(err.Error(), "wipefs finds") {
			t.Errorf("a disk with everything is taken for an erased one: %v", err)
		}
		if now, err := fingerprint(file); err != nil || now != before {
			t.Errorf("a judge has written: %v", err)
		}

		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		zeros := make([]byte, mibBytes)
		if _, err := f.WriteAt(zeros, info.Size()-mibBytes); err != nil {
			t.Fatal(err)
		}
		if now, err := fingerprint(file); err != nil || now == before {
			t.Errorf("a write is not noticed: %v", err)
		}
		if _, err := judgeTable(ctx, disk, "gpt"); err == nil {
			t.Error("a table without its backup passes for sound")
		}
		if _, err := f.WriteAt(zeros, 0); err != nil {
			t.Fatal(err)
		}
		if err := judgeErased(ctx, disk, nil); err != nil {
			t.Errorf("an erased disk, its partitions aside: %v", err)
		}
		if err := judgeErased(ctx, disk, parts); err == nil || !strings.Contains(err.Error(), "LVM2_member") {
			t.Errorf("a volume group that is left is not found: %v", err)
		}
	}
}

// TestJudgeGRUB has a disk of an array with GRUB's code, and disks that lack
// something.
func TestJudgeGRUB(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("loop devices need root")
		}
		t.Skip("loop devices need root")
	}
	const (
		modules = "/usr/lib/grub/i386-pc/"
		name    = "bios-boot-part-0"
	)
	boot, err := os.ReadFile(modules + "boot.img")
	if err != nil {
		t.Fatal(err)
	}
	core, err := os.ReadFile(modules + "diskboot.img")
	if err != nil {
		t.Fatal(err)
	}
	gpt, mbr := "label: gpt\nstart=2048, size=4096, type="+typeBIOSBoot+", name="+name+"\n", "label: dos\nstart=2048, size=4096, type=fd\n"
	for what, tc := range map[string]struct {
		table   string
		at, sec int64 // where the code lies, and what the first sector says
		want    string
	}{
		"gpt":        {gpt, 2048, 2048, ""},
		"msdos":      {mbr, 1, 1, ""},
		"elsewhere":  {gpt, 2048, 1, "loads sector 1"},
		"no code":    {mbr, 2, 1, "none of GRUB's code"},
		"no place":   {strings.ReplaceAll(gpt, typeBIOSBoot, typeESP), 2048, 2048, "on a disk with a table gpt"},
		"wrong name": {strings.ReplaceAll(gpt, name, "bios"), 2048, 2048, "with the name " + name},
		"wrong size": {strings.ReplaceAll(gpt, "4096", "2048"), 2048, 2048, "want 2 MiB"},
	} {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := sparse(disk, 8); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sfdisk", disk)
		cmd.Stdin = strings.NewReader(tc.table)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: sfdisk: %v: %s", what, err, out)
		}
		f, err := os.OpenFile(disk, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		binary.LittleEndian.PutUint64(boot[0x5c:], uint64(tc.sec))
		if _, err := f.WriteAt(boot[:0x1b8], 0); err != nil { // the rest is the table's
			t.Fatal(err)
		}
		if _, err := f.WriteAt(core, tc.at*512); err != nil {
			t.Fatal(err)
		}
		label := "gpt"
		if strings.HasPrefix(tc.table, "label: dos") {
			label = "msdos"
		}
		err = judgeGRUB(t.Context(), medium{file: disk, sector: 512}, label, name)
		if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
}

// TestJudgeEntries has entries of every wrong kind beside the one that is right.
func TestJudgeEntries(t *testing.T) {
	const (
		guid   = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f02"
		entry  = `Boot0008* ironic1	HD(2,GPT,` + guid + `,0x1000,0x8000)/File(\EFI\BOOT\BOOTX64.EFI)`
		others = `Boot0007* EFI Internal Shell	FvVol(7cb8bdc9-f8eb-4f34-aaea-3ee4af6516a1)/FvFile(7c04a583-9e3e-4f1c-ad65-e05268d0b4d1)`
	)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := sparse(disk, 18); err != nil {
		t.Fatal(err)
	}
	esp := tablePart{2, span{2 * mibBytes, 16 * mibBytes}, typeESP, guid, "esp"}
	for _, command := range []string{
		"mkfs.vfat --offset 4096 " + disk + " 16384",
		"mmd -i " + disk + "@@2M ::/EFI ::/EFI/BOOT",
		"mcopy -i " + disk + "@@2M /proc/version ::/EFI/BOOT/BOOTX64.EFI",
	} {
		words := strings.Fields(command)
		if _, err := tool(t.Context(), words[0], words[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	moved := esp
	moved.start += mibBytes
	for name, tc := range map[string]struct {
		shown []string
		part  tablePart
		want  string
	}{
		"right":        {[]string{"BootCurrent: 0008", "BootOrder: 0008,0007", others, entry}, esp, ""},
		"none":         {[]string{"BootCurrent: 0007", "BootOrder: 0007", others}, esp, "no entry"},
		"two":          {[]string{"BootCurrent: 0008", "BootOrder: 0008", entry, strings.Replace(entry, "0008", "0009", 1)}, esp, "more than one"},
		"booted other": {[]string{"BootCurrent: 0007", "BootOrder: 0008,0007", others, entry}, esp, "booted by Boot0007"},
		"not first":    {[]string{"BootCurrent: 0008", "BootOrder: 0007,0008", others, entry}, esp, "does not begin with one of"},
		"elsewhere":    {[]string{"BootCurrent: 0008", "BootOrder: 0008", entry}, moved, "is not for the EFI system partition"},
		"no such file": {[]string{"BootCurrent: 0008", "BootOrder: 0008", strings.Replace(entry, "X64", "AA64", 1)}, esp, "the loader of entry"},
	} {
		err := judgeEntries(t.Context(), tc.shown, espsOf(medium{file: disk, sector: 512}, []tablePart{tc.part}))
		if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
