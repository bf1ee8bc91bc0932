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

// waitPartition waits for the partition with the GPT name.
func waitPartition(name string, limit time.Duration) (partition, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if p, ok := findPartition(sysBlock, name); ok {
			return p, nil
		}
		if time.Now().After(deadline) {
			return partition{}, fmt.Errorf("no partition named %s after %v", name, limit)
		}
	}
}

func findPartition(sys, name string) (partition, bool) {
	paths, _ := filepath.Glob(filepath.Join(sys, "*", "partition")) // the pattern is well-formed
	for _, path := range paths {
		block := filepath.Dir(path)
		uevent, err := os.ReadFile(filepath.Join(block, "uevent"))
		if err != nil || !slices.Contains(strings.Split(string(uevent), "\n"), "PARTNAME="+name) {
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
