package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const sysBlock = "/sys/class/block"

// partition is a partition by its name and the disk that it lies on.
type partition struct {
	device string // /dev/vda3
	disk   string // /dev/vda
}

// waitRoot waits for the partition whose file system has the UUID in root=UUID=
// of the kernel's command line, or without one for the partition with the GPT
// name.
func waitRoot(cmdline, name string, limit time.Duration) (partition, error) {
	wanted, fits := "partition named "+name, func(block string) bool { return hasName(block, name) }
	for _, word := range strings.Fields(cmdline) {
		if uuid, ok := strings.CutPrefix(word, "root=UUID="); ok {
			wanted, fits = "file system "+uuid, func(block string) bool { return hasUUID("/dev/"+filepath.Base(block), uuid) }
		}
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if p, ok := findPartition(sysBlock, fits); ok {
			return p, nil
		}
		if time.Now().After(deadline) {
			return partition{}, fmt.Errorf("no %s after %v", wanted, limit)
		}
	}
}

func hasName(block, name string) bool {
	uevent, err := os.ReadFile(filepath.Join(block, "uevent"))
	return err == nil && slices.Contains(strings.Split(string(uevent), "\n"), "PARTNAME="+name)
}

// hasUUID reads the superblock of an ext file system, 1024 bytes in: its mark
// at 56, its UUID at 104 (linux, fs/ext4/ext4.h).
func hasUUID(device, uuid string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	super := make([]byte, 120)
	if _, err := f.ReadAt(super, 1024); err != nil || super[56] != 0x53 || super[57] != 0xef {
		return false
	}
	return fmt.Sprintf("%x", super[104:]) == strings.ReplaceAll(strings.ToLower(uuid), "-", "")
}

// findPartition finds the partition whose entry in sysfs fits.
func findPartition(sys string, fits func(block string) bool) (partition, bool) {
	paths, _ := filepath.Glob(filepath.Join(sys, "*", "partition")) // the pattern is well-formed
	for _, path := range paths {
		block := filepath.Dir(path)
		if !fits(block) {
			continue
		}
		// The entry of a partition links to a directory below its disk's.
		real, err := filepath.EvalSymlinks(block)
		if err != nil {
			continue
		}
		return partition{
			device: "/dev/" + filepath.Base(real),
			disk:   "/dev/" + filepath.Base(filepath.Dir(real)),
		}, true
	}
	return partition{}, false
}

// diskSerial reads the serial number where the disk's driver tells it: virtio,
// NVMe, SCSI and SATA in that order. Empty if there is none.
func diskSerial(disk string) string {
	dir := filepath.Join(sysBlock, filepath.Base(disk))
	for _, file := range []string{"serial", "device/serial"} {
		if text, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
			return clean(string(text))
		}
	}
	// Vital product data page 0x80: four bytes of header, then the number.
	if page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80")); err == nil && len(page) > 4 {
		return clean(string(bytes.TrimRight(page[4:], "\x00")))
	}
	return ""
}

// clean makes text from outside fit for one line of the console.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f {
			return r
		}
		return -1
	}, text)
}
