package generic

import (
	"os"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/fat"
	"ferric/images/iso9660"
)

const (
	// vmediaLabel is that of the volume with the agent's configuration (agent
	// contract, section "Start-up order").
	vmediaLabel = "ir-vfd-dev"
	// maxVmedia bounds virtual media in bytes. Only small USB disks are looked
	// at: a label, which anybody can write, must not save a disk of the machine
	// from being erased.
	maxVmedia = 4 << 30
)

// isVirtualMedia reports whether the disk, or a partition of it, holds the
// agent's configuration.
func isVirtualMedia(h *hwmanager.Host, dir string, d ipa.BlockDevice) bool {
	if d.Tran == nil || *d.Tran != "usb" || d.Size >= maxVmedia {
		return false
	}
	for _, volume := range append([]ipa.BlockDevice{d}, partitionsOf(dir, d)...) {
		if strings.EqualFold(volumeLabel(h.DevicePath(volume.Name), volume.Size), vmediaLabel) {
			return true
		}
	}
	return false
}

// volumeLabel is the label of a FAT or ISO 9660 volume of size bytes; "" if it
// has none.
func volumeLabel(path string, size int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if volume, err := fat.Open(f, size); err == nil {
		return volume.Label
	}
	if volume, err := iso9660.Open(f, size); err == nil {
		return volume.Label
	}
	return ""
}
