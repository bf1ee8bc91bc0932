package generic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// The superblock of a member of a Linux array, version 1 (linux,
// include/uapi/linux/raid/md_p.h: struct mdp_superblock_1).
const (
	arrayMagic      = 0xa92b4efc // little endian
	arrayMajor      = 1
	arrayNameAt     = 32
	arrayNameSize   = 32
	arraySuperblock = arrayNameAt + arrayNameSize
)

// arrayPlaces are where the superblock may be on a device of size bytes:
// versions 1.1, 1.2 and 1.0.
func arrayPlaces(size int64) []int64 {
	return []int64{0, 4 << 10, (size - 8<<10) &^ (4<<10 - 1)}
}

// volumeName is the name of the array that the device belongs to, "" if it
// belongs to none or to one without a name.
func volumeName(r io.ReaderAt, size int64) (string, error) {
	for _, at := range arrayPlaces(size) {
		if at < 0 || at+arraySuperblock > size {
			continue
		}
		block := make([]byte, arraySuperblock)
		if _, err := r.ReadAt(block, at); err != nil {
			return "", err
		}
		if binary.LittleEndian.Uint32(block) != arrayMagic || binary.LittleEndian.Uint32(block[4:]) != arrayMajor {
			continue
		}
		name, _, _ := bytes.Cut(block[arrayNameAt:], []byte{0})
		return string(name), nil
	}
	return "", nil
}

// holdsVolume reports whether the disk, a partition of it or, of an assembled
// array, a member of it belongs to an array with one of the names.
func holdsVolume(h *hwmanager.Host, disk ipa.BlockDevice, names []string) (bool, error) {
	if len(names) == 0 {
		return false, nil
	}
	dir := filepath.Join(h.Sys, "block", sysName(disk.Name))
	devices := append([]ipa.BlockDevice{disk}, partitionsOf(dir, disk)...)
	members, _ := os.ReadDir(filepath.Join(dir, "slaves"))
	for _, m := range members {
		devices = append(devices, ipa.BlockDevice{Name: "/dev/" + deviceName(m.Name()), Size: readSize(filepath.Join(h.Sys, "class/block", m.Name()))})
	}
	for _, d := range devices {
		name, err := volumeNameOf(h.DevicePath(d.Name), d.Size)
		if err != nil {
			return false, fmt.Errorf("whether %s belongs to a volume to keep: %w", d.Name, err)
		}
		// mdadm puts the name of the host in front: "host:name".
		_, plain, _ := strings.Cut(name, ":")
		if name != "" && (slices.Contains(names, name) || slices.Contains(names, plain)) {
			return true, nil
		}
	}
	return false, nil
}

func volumeNameOf(path string, size int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	name, err := volumeName(f, size)
	if errors.Is(err, io.EOF) {
		return "", nil // smaller than the kernel said
	}
	return name, err
}
