package matrix

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ferric/integration/lab"
	"ferric/integration/osimage"
)

const (
	// diskMiB is what the agent takes a disk for that may get a system; it waits
	// half a minute for one.
	diskMiB    = 4096
	plantLimit = 5 * time.Minute
)

// planting is what a machine runs to leave superblocks of arrays behind, on
// the partitions of its second and third disk and on these disks themselves: a
// superblock of each place: near the beginning, at the end, and at the end in
// front of the backup GPT (md(4)). The last one hides the partitions.
func planting() []string {
	var commands []string
	for _, disk := range []string{"vdb", "vdc"} {
		for _, array := range []struct{ metadata, member string }{{"1.2", disk + "1"}, {"1.0", disk + "3"}, {"0.90", disk}} {
			commands = append(commands,
				"mdadm --create /dev/md9 --run --level=1 --raid-devices=2 --metadata="+array.metadata+" /dev/"+array.member+" missing",
				"mdadm --detail /dev/md9",
				"mdadm --stop /dev/md9")
		}
	}
	return append(commands, "mdadm --examine --scan")
}

// stale is a disk with what former users left on it, by sector size.
type stale struct {
	file  string
	parts []tablePart
}

// plantTable partitions an empty disk and puts a volume group on its second
// partition, and a file system on its fourth.
func plantTable(ctx context.Context, file string, sector int) ([]tablePart, error) {
	if err := sparse(file, diskMiB); err != nil {
		return nil, err
	}
	disk := medium{file: file, sector: sector}
	var parts []tablePart
	err := loop(ctx, disk, 0, func(device string) error {
		if _, err := tool(ctx, "sgdisk", "-n", "1:0:+64M", "-t", "1:fd00", "-n", "2:0:+64M", "-t", "2:8e00",
			"-n", "3:0:+64M", "-t", "3:fd00", "-n", "4:0:-64M", "-t", "4:8300", device); err != nil {
			return err
		}
		var err error
		parts, err = partitionTable(ctx, device, sector, "gpt")
		return err
	})
	if err != nil {
		return nil, err
	}
	err = loop(ctx, disk.part(parts[1].span), 0, func(device string) error {
		if _, err := tool(ctx, "pvcreate", "--quiet", "--devices", device, device); err != nil {
			return err
		}
		_, err := tool(ctx, "vgcreate", "--quiet", "--devices", device, fmt.Sprintf("stale%d", sector), device)
		return err
	})
	if err != nil {
		return nil, err
	}
	return parts, loop(ctx, disk.part(parts[3].span), 0, func(device string) error {
		_, err := tool(ctx, "mke2fs", "-q", "-t", "ext4", "-L", "stale", device)
		return err
	})
}

// plantArrays boots the planter, whose programs write the superblocks.
func plantArrays(ctx context.Context, node *lab.Node) error {
	ctx, cancel := context.WithTimeout(ctx, plantLimit)
	defer cancel()
	if err := node.SetSelector(lab.SelectDisk); err != nil {
		return err
	}
	if err := node.PowerOn(); err != nil {
		return err
	}
	defer node.PowerOff()
	if _, err := node.Console.WaitFor(ctx, 0, regexp.MustCompile(`ferric-os: up\s*$`)); err != nil {
		return fmt.Errorf("plant superblocks: %w", err)
	}
	for _, command := range planting() {
		shown, status := shownBy(node, 0, command)
		if status != "<nil>" {
			return fmt.Errorf("plant superblocks: %s: %s: %s", command, status, strings.Join(shown, "; "))
		}
	}
	return nil
}

// shownBy is what a command printed on the console in lines numbered since or
// higher, and how it ended.
func shownBy(node *lab.Node, since int, command string) (lines []string, status string) {
	begun := false
	for _, line := range node.Console.Lines(since) {
		_, text, ok := strings.Cut(line.Text, "ferric-os: ")
		if !ok {
			continue
		}
		switch {
		case strings.HasPrefix(text, "begin ") && strings.HasSuffix(text, command):
			begun, lines = true, nil
		case begun && strings.HasPrefix(text, "| "):
			lines = append(lines, strings.TrimPrefix(text, "| "))
		case begun && strings.HasPrefix(text, "end "):
			_, status, _ = strings.Cut(text, command+": ")
			return lines, strings.TrimSpace(status)
		}
	}
	return nil, "not shown"
}

// planter is the machine that plants: it boots from its first disk.
func planter(dir string, image *osimage.Image) lab.NodeConfig {
	return lab.NodeConfig{Name: "planter", Firmware: lab.BIOS, MemoryMiB: 256, Disks: []lab.Disk{
		{Kind: lab.Virtio, File: image.Raw.Path, SizeMiB: int(image.Raw.Size / mibBytes)},
		{Kind: lab.Virtio, File: staleFile(dir, 512), SizeMiB: diskMiB, Data: true},
		{Kind: lab.Virtio, File: staleFile(dir, 4096), SizeMiB: diskMiB, Sector: 4096, Data: true},
	}}
}

func staleFile(dir string, sector int) string {
	return filepath.Join(dir, fmt.Sprintf("stale-%d.raw", sector))
}

// plantDecoy makes a disk that nobody is to touch, of the same size as that
// which is deployed.
func plantDecoy(ctx context.Context, target string, sector int) error {
	file := target + ".new"
	if err := sparse(file, diskMiB); err != nil {
		return err
	}
	defer os.Remove(file)
	disk := medium{file: file, sector: sector}
	var parts []tablePart
	err := loop(ctx, disk, 0, func(device string) error {
		if _, err := tool(ctx, "sgdisk", "-n", "1:0:+32M", "-t", "1:ef00", "-n", "2:0:0", "-t", "2:8300", device); err != nil {
			return err
		}
		var err error
		parts, err = partitionTable(ctx, device, sector, "gpt")
		return err
	})
	if err != nil {
		return err
	}
	err = loop(ctx, disk.part(parts[0].span), 0, func(device string) error {
		_, err := tool(ctx, "mkfs.vfat", "-S", fmt.Sprint(sector), "-n", "TENANT", device)
		return err
	})
	if err != nil {
		return err
	}
	err = loop(ctx, disk.part(parts[1].span), 0, func(device string) error {
		_, err := tool(ctx, "mke2fs", "-q", "-t", "ext4", "-L", "tenant", device)
		return err
	})
	if err != nil {
		return err
	}
	return copyDisk(ctx, file, target)
}
