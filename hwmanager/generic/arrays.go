package generic

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
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

// The superblock of a member of a Linux array (linux,
// include/uapi/linux/raid/md_p.h: struct mdp_superblock_1, and of version 0.90
// mdp_super_t, which has its words in the byte order of the machine).
const (
	arrayMagic      = 0xa92b4efc // little endian
	arrayMajor      = 1
	arrayFeaturesAt = 8 // 32 bits: feature_map
	arrayUUIDAt     = 16
	arrayUUIDSize   = 16
	arrayNameAt     = 32
	arrayNameSize   = 32
	arrayCreatedAt  = 64 // 64 bits, of which the lower 40 are seconds
	arrayDisksAt    = 92 // 32 bits
	arraySuperblock = 96

	// Features with which the kernel or mdadm write to the members as soon as the
	// array is started, or ask other machines: MD_FEATURE_RESHAPE_ACTIVE, _CLUSTERED,
	// _JOURNAL, _PPL and _MULTIPLE_PPLS.
	arrayStartWrites = 0x4 | 0x100 | 0x200 | 0x400 | 0x800

	oldSuperblockAt = 64 << 10 // version 0.90: at the last multiple that leaves as much behind it
)

// arrayPlaces are where the superblock may be on a device of size bytes:
// versions 1.1, 1.2 and 1.0.
func arrayPlaces(size int64) []int64 {
	return []int64{0, 4 << 10, (size - 8<<10) &^ (4<<10 - 1)}
}

// superblock is what the member of an array tells of it. Whoever owned the
// disk has written it.
type superblock struct {
	uuid    string // in hexadecimal digits
	name    string // "host:name" or "name", "" for none
	created uint64 // seconds
	disks   int    // that the array has when it is complete
	writes  bool   // starting it writes to its members
}

// readSuperblock reads the superblock of version 1 on a device of size bytes;
// ok is false if there is none.
func readSuperblock(r io.ReaderAt, size int64) (s superblock, ok bool, err error) {
	for _, at := range arrayPlaces(size) {
		if at < 0 || at+arraySuperblock > size {
			continue
		}
		block := make([]byte, arraySuperblock)
		if _, err := r.ReadAt(block, at); err != nil {
			return s, false, err
		}
		if binary.LittleEndian.Uint32(block) != arrayMagic || binary.LittleEndian.Uint32(block[4:]) != arrayMajor {
			continue
		}
		name, _, _ := bytes.Cut(block[arrayNameAt:arrayNameAt+arrayNameSize], []byte{0})
		return superblock{
			uuid:    hex.EncodeToString(block[arrayUUIDAt : arrayUUIDAt+arrayUUIDSize]),
			name:    string(name),
			created: binary.LittleEndian.Uint64(block[arrayCreatedAt:]) & (1<<40 - 1),
			disks:   int(binary.LittleEndian.Uint32(block[arrayDisksAt:])),
			writes:  binary.LittleEndian.Uint32(block[arrayFeaturesAt:])&arrayStartWrites != 0,
		}, true, nil
	}
	return s, false, nil
}

// hasSuperblock reports whether there is a superblock of any version.
func hasSuperblock(r io.ReaderAt, size int64) (bool, error) {
	if at := size&^(oldSuperblockAt-1) - oldSuperblockAt; at >= 0 {
		magic := make([]byte, 4)
		if _, err := r.ReadAt(magic, at); err != nil {
			return false, err
		}
		if binary.LittleEndian.Uint32(magic) == arrayMagic || binary.BigEndian.Uint32(magic) == arrayMagic {
			return true, nil
		}
	}
	_, ok, err := readSuperblock(r, size)
	return ok, err
}

// volumeName is the name of the array that the device belongs to, "" if it
// belongs to none or to one without a name.
func volumeName(r io.ReaderAt, size int64) (string, error) {
	s, _, err := readSuperblock(r, size)
	return s.name, err
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
		if isVolume(name, names) {
			return true, nil
		}
	}
	return false, nil
}

// isVolume reports whether the name in a superblock is one of the names. mdadm
// puts the name of the host in front: "host:name".
func isVolume(name string, names []string) bool {
	_, plain, _ := strings.Cut(name, ":")
	return name != "" && (slices.Contains(names, name) || slices.Contains(names, plain))
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
