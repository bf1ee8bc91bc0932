package matrix

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// typeESP is that of an EFI system partition (UEFI 2.10, 5.3.3).
	typeESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	// typeBIOSBoot is that of GRUB's partition (grub 2.06, include/grub/gpt_partition.h).
	typeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	mibBytes     = 1 << 20
	noMessage    = "No problems found"
)

// tool runs a program of others and returns all that it prints.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text)
	}
	return text, nil
}

// span is a part of a disk, in bytes; a size of zero is all of it.
type span struct{ start, size int64 }

// medium is a disk, or what is one within: its file, the size of its sectors,
// and where it lies in the file.
type medium struct {
	file   string
	sector int
	span
}

// part is a part of the medium, or all of it.
func (m medium) part(s span) medium {
	if s.size > 0 {
		m.span = span{m.start + s.start, s.size}
	}
	return m
}

// onLoop calls f with a read-only loop device that shows a medium with its
// sectors. The machine has to be off.
func onLoop(ctx context.Context, m medium, f func(device string) error) error {
	return loop(ctx, m, unix.LO_FLAGS_READ_ONLY, f)
}

// loopTries is for others that take the device which the kernel said is free.
const loopTries = 20

// loop detaches the device when f returns, and the kernel does when the test is
// killed.
func loop(ctx context.Context, m medium, flags uint32, f func(device string) error) error {
	backing, err := os.OpenFile(m.file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd()), Size: uint32(m.sector), Info: unix.LoopInfo64{
		Offset: uint64(m.start), Sizelimit: uint64(m.size), Flags: flags | unix.LO_FLAGS_AUTOCLEAR,
	}}
	for range loopTries {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("find a free loop device: %w", err)
		}
		device := fmt.Sprintf("/dev/loop%d", number)
		node, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = unix.IoctlLoopConfigure(int(node.Fd()), &config)
		if err == nil {
			err = f(device)
			return errors.Join(err, node.Close())
		}
		node.Close()
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("attach %s to %s: %w", m.file, device, err)
		}
	}
	return fmt.Errorf("attach %s to a loop device: others take all: %w", m.file, ctx.Err())
}

// tablePart is a partition as sfdisk sees it.
type tablePart struct {
	number int
	span
	kind, uuid, name string
}

// partitionTable reads a partition table of the given kind, "gpt" or "msdos",
// by sfdisk. Its sizes are in sectors.
func partitionTable(ctx context.Context, device string, sector int, label string) ([]tablePart, error) {
	text, err := tool(ctx, "sfdisk", "--json", device)
	if err != nil {
		return nil, err
	}
	if complaint, _, _ := strings.Cut(text, "\n"); !strings.HasPrefix(complaint, "{") {
		return nil, fmt.Errorf("sfdisk --json: %s", complaint)
	}
	var answer struct {
		Table struct {
			Label      string
			SectorSize int `json:"sectorsize"`
			Partitions []struct {
				Node             string
				Start, Size      int64
				Type, UUID, Name string
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, fmt.Errorf("sfdisk --json %s: %w", device, err)
	}
	if label == "msdos" {
		label = "dos"
	}
	if answer.Table.Label != label || answer.Table.SectorSize != sector {
		return nil, fmt.Errorf("sfdisk: table %q with sectors of %d bytes, want %s with %d", answer.Table.Label, answer.Table.SectorSize, label, sector)
	}
	var parts []tablePart
	for _, p := range answer.Table.Partitions {
		number, err := strconv.Atoi(strings.TrimPrefix(p.Node, device+"p"))
		if err != nil {
			return nil, fmt.Errorf("sfdisk: partition %q of %s", p.Node, device)
		}
		parts = append(parts, tablePart{number, span{p.Start * int64(sector), p.Size * int64(sector)}, strings.ToUpper(p.Type), strings.ToLower(p.UUID), p.Name})
	}
	return parts, nil
}

// judgeTable has sfdisk verify a disk's partition table, and sgdisk a GPT.
func judgeTable(ctx context.Context, m medium, label string) (parts []tablePart, err error) {
	err = onLoop(ctx, m, func(device string) error {
		if label == "gpt" {
			text, err := tool(ctx, "sgdisk", "--verify", device)
			if err == nil && !strings.Contains(text, noMessage) {
				err = fmt.Errorf("sgdisk --verify: %s", text)
			}
			if err != nil {
				return err
			}
		}
		text, err := tool(ctx, "sfdisk", "--verify", device)
		if err == nil && !strings.Contains(text, "No errors detected") {
			err = fmt.Errorf("sfdisk --verify: %s", text)
		}
		if err != nil {
			return err
		}
		parts, err = partitionTable(ctx, device, m.sector, label)
		return err
	})
	return parts, err
}

// contents is what blkid finds on a device: its type, label and UUID.
type contents struct{ kind, label, uuid string }

// blkidNothing is the status with which blkid says that it found nothing.
const blkidNothing = 2

func probe(ctx context.Context, device string) (contents, error) {
	text, err := tool(ctx, "blkid", "--probe", "--output", "export", device)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == blkidNothing {
		return contents{}, nil
	}
	if err != nil {
		return contents{}, err
	}
	var c contents
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.ReplaceAll(value, `\ `, " ")
		switch key {
		case "TYPE":
			c.kind = value
		case "LABEL":
			c.label = strings.TrimSpace(value)
		case "UUID":
			c.uuid = value
		}
	}
	return c, nil
}

// judgeContents has blkid tell what is on a part of a disk, and the checker of
// that file system whether it is sound.
func judgeContents(ctx context.Context, m medium) (found contents, err error) {
	err = onLoop(ctx, m, func(device string) error {
		if found, err = probe(ctx, device); err != nil {
			return err
		}
		switch found.kind {
		case "ext4":
			_, err = tool(ctx, "e2fsck", "-f", "-n", device)
		case "vfat":
			_, err = tool(ctx, "fsck.vfat", "-n", device)
		}
		return err
	})
	return found, err
}

// judgeErased has wipefs, blkid and mdadm look for anything on a disk, and
// where its partitions were.
func judgeErased(ctx context.Context, m medium, before []tablePart) error {
	spans := []span{{}}
	for _, p := range before {
		spans = append(spans, p.span)
	}
	for _, s := range spans {
		err := onLoop(ctx, m.part(s), func(device string) error {
			left, err := tool(ctx, "wipefs", "--no-act", "--parsable", device)
			if err == nil && left != "" {
				err = fmt.Errorf("wipefs finds %q", left)
			}
			if err != nil {
				return err
			}
			found, err := probe(ctx, device)
			if err == nil && found != (contents{}) {
				err = fmt.Errorf("blkid finds %+v", found)
			}
			if err != nil {
				return err
			}
			if text, err := tool(ctx, "mdadm", "--examine", device); err == nil {
				return fmt.Errorf("mdadm finds: %s", text)
			} else if !strings.Contains(text, "No md superblock detected") {
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("from byte %d (%d bytes): %w", s.start, s.size, err)
		}
	}
	return nil
}

// fingerprint is a digest of where a sparse file has data, and of the data: a
// write of zeros to where nothing was shows, too. The file has to be one that
// copyDisk made: elsewhere may be space that is data as soon as it was read.
func fingerprint(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return "", err
	}
	h := sha256.New()
	for at := int64(0); ; {
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // the rest is a hole
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", fmt.Errorf("find data in %s: %w", path, err)
		}
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return "", fmt.Errorf("find a hole in %s: %w", path, err)
		}
		fmt.Fprintf(h, "%d-%d\n", start, end)
		if _, err := io.Copy(h, io.NewSectionReader(f, start, end-start)); err != nil {
			return "", err
		}
		at = end
	}
}

// entryLine is a boot entry as efibootmgr -v shows it for a loader on a
// partition of a GPT disk (UEFI 2.10, 10.3.5.1: number, signature, start, size).
var entryLine = regexp.MustCompile(`^Boot([0-9A-F]{4})\* (.*?)\s+HD\((\d+),GPT,([0-9a-f-]+),0x([0-9a-f]+),0x([0-9a-f]+)\)/File\((\\[^)]*)\)`)

// judgeEntries compares the boot entries that efibootmgr shows in the deployed
// system with the disks: one for a loader on each of the EFI system partitions,
// all in the order and one of them at its head, and by one of them the machine
// was booted. QEMU has OVMF sort entries by disk, its own ones among them.
func judgeEntries(ctx context.Context, shown []string, esps []systemPartition) error {
	var current, order string
	ours := map[string]string{} // entry by UUID of the partition
	for _, line := range shown {
		if text, ok := strings.CutPrefix(line, "BootCurrent: "); ok {
			current = text
		}
		if text, ok := strings.CutPrefix(line, "BootOrder: "); ok {
			order = text
		}
		match := entryLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		at := slices.IndexFunc(esps, func(e systemPartition) bool { return e.uuid == match[4] })
		if at < 0 {
			return fmt.Errorf("efibootmgr: entry %q is not for an EFI system partition of %+v", line, esps)
		}
		esp := esps[at]
		if ours[esp.uuid] != "" {
			return fmt.Errorf("efibootmgr shows more than one entry for a loader on a disk: Boot%s and Boot%s", ours[esp.uuid], match[1])
		}
		ours[esp.uuid] = match[1]
		number, _ := strconv.Atoi(match[3])
		start, _ := strconv.ParseInt(match[5], 16, 64)
		size, _ := strconv.ParseInt(match[6], 16, 64)
		if esp.number != number || esp.tablePart.start != start*int64(esp.sector) || esp.tablePart.size != size*int64(esp.sector) {
			return fmt.Errorf("efibootmgr: entry %q is not for the EFI system partition %+v", line, esp)
		}
		if err := hasFile(ctx, esp.medium.part(esp.tablePart.span), strings.ReplaceAll(match[7], `\`, "/")); err != nil {
			return fmt.Errorf("efibootmgr: the loader of entry %q: %w", line, err)
		}
	}
	first, booted := false, false
	for _, esp := range esps {
		entry := ours[esp.uuid]
		if entry == "" {
			return fmt.Errorf("efibootmgr shows no entry for a loader on %+v:\n%s", esp, strings.Join(shown, "\n"))
		}
		if !strings.Contains(order, entry) {
			return fmt.Errorf("efibootmgr: order %s lacks %s", order, entry)
		}
		first = first || strings.HasPrefix(order, entry)
		booted = booted || current == entry
	}
	if !first {
		return fmt.Errorf("efibootmgr: order %s does not begin with one of %v", order, ours)
	}
	if !booted {
		return fmt.Errorf("efibootmgr: booted by Boot%s, want one of %v", current, ours)
	}
	return nil
}

// systemPartition is an EFI system partition and the disk that it is on.
type systemPartition struct {
	medium
	tablePart
}

// espsOf are those of a disk.
func espsOf(m medium, parts []tablePart) []systemPartition {
	var esps []systemPartition
	for _, p := range parts {
		if p.kind == typeESP {
			esps = append(esps, systemPartition{m, p})
		}
	}
	return esps
}

// hasFile looks a file up on a FAT file system by mtools.
func hasFile(ctx context.Context, m medium, path string) error {
	_, err := tool(ctx, "mdir", "-b", "-i", fmt.Sprintf("%s@@%d", m.file, m.start), "::"+path)
	return err
}

// copyDisk copies a sparse file, of which it leaves out all zeros.
func copyDisk(ctx context.Context, from, to string) error {
	_, err := tool(ctx, "cp", "--sparse=always", from, to)
	return err
}

// sparse makes an empty disk.
func sparse(path string, mib int) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(mib)*mibBytes), f.Close())
}
