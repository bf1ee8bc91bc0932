package generic

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// devicePath is where a block device stands in the kernel's device tree: the
// names of its ancestors below /sys/devices, outermost first.
type devicePath struct {
	dir   string // absolute, of the block device
	names []string
}

// topology resolves a device's directory in sysfs.
func topology(sys, dir string) (devicePath, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return devicePath{}, err
	}
	sys, err = filepath.EvalSymlinks(sys)
	if err != nil {
		return devicePath{}, err
	}
	rest, below := strings.CutPrefix(resolved, filepath.Join(sys, "devices")+"/")
	if !below {
		return devicePath{}, fmt.Errorf("%s is not below %s/devices", resolved, sys)
	}
	return devicePath{dir: resolved, names: strings.Split(rest, "/")}, nil
}

// upTo is the directory of the ancestor with index i.
func (p devicePath) upTo(i int) string {
	dir := p.dir
	for range len(p.names) - 1 - i {
		dir = filepath.Dir(dir)
	}
	return dir
}

// find is the index of the innermost ancestor whose name matches, or -1.
func (p devicePath) find(pattern *regexp.Regexp) int {
	for i := len(p.names) - 1; i >= 0; i-- {
		if pattern.MatchString(p.names[i]) {
			return i
		}
	}
	return -1
}

// Names of devices in the kernel's tree.
var (
	pciName       = regexp.MustCompile(`^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	ataName       = regexp.MustCompile(`^ata\d+$`)
	usbName       = regexp.MustCompile(`^\d+-[\d.]+:\d+\.\d+$`)
	hostName      = regexp.MustCompile(`^host\d+$`)
	endDeviceName = regexp.MustCompile(`^end_device-[\d:]+$`)
	expanderName  = regexp.MustCompile(`^expander-[\d:]+$`)
	rportName     = regexp.MustCompile(`^rport-[\d:-]+$`)
	sessionName   = regexp.MustCompile(`^session\d+$`)
	nvmeName      = regexp.MustCompile(`^nvme\d+(c\d+)?n(\d+)$`)
	virtioName    = regexp.MustCompile(`^virtio\d+$`)
	mmcName       = regexp.MustCompile(`^mmc\d+$`)
)

// transport is how a disk is attached, in lsblk's words.
func transport(p devicePath) string {
	for _, kind := range []struct {
		name *regexp.Regexp
		tran string
	}{
		{nvmeName, "nvme"}, {usbName, "usb"}, {endDeviceName, "sas"}, {rportName, "fc"},
		{sessionName, "iscsi"}, {ataName, "sata"}, {mmcName, "mmc"},
	} {
		if p.find(kind.name) >= 0 {
			return kind.tran
		}
	}
	// A SCSI disk behind a virtio controller has no transport of its own.
	if p.find(hctlName) < 0 && p.find(virtioName) >= 0 {
		return "virtio"
	}
	return ""
}

// byPath is the name that udev's path_id gives the disk below
// /dev/disk/by-path, "" if the disk is not on a PCI bus.
func (p devicePath) byPath() string {
	pci := p.find(pciName)
	if pci < 0 {
		return ""
	}
	parts := []string{"pci-" + p.names[pci]}
	if usb := p.find(usbName); usb > pci {
		_, port, _ := strings.Cut(p.names[usb], "-")
		parts = append(parts, "usb-0:"+port)
	}
	if scsi := p.find(hctlName); scsi > pci {
		part := p.scsiPart(scsi)
		if part == "" {
			return ""
		}
		parts = append(parts, part)
	}
	if match := nvmeName.FindStringSubmatch(p.names[len(p.names)-1]); match != nil {
		nsid := readText(p.dir, "nsid")
		if nsid == "" {
			nsid = match[2]
		}
		parts = append(parts, "nvme-"+nsid)
	}
	return strings.Join(parts, "-")
}

// scsiPart names a SCSI device below its PCI function, as path_id does for
// each transport.
func (p devicePath) scsiPart(scsi int) string {
	hctl := strings.Split(p.names[scsi], ":")
	lun := hctl[3]
	if i := p.find(ataName); i >= 0 {
		port := readText(p.upTo(i), "ata_port", p.names[i], "port_no")
		if port == "" {
			return ""
		}
		return "ata-" + port
	}
	if i := p.find(rportName); i >= 0 {
		// The class device lies beside the tree; its host holds the link.
		port := readText(p.upTo(i), "fc_remote_ports", p.names[i], "port_name")
		if port == "" {
			return ""
		}
		return "fc-" + port + "-lun-" + lun
	}
	if i := p.find(endDeviceName); i >= 0 {
		return p.sasPart(i) + "-lun-" + lun
	}
	if p.find(sessionName) >= 0 {
		return "" // names of iSCSI disks hold no PCI address
	}
	return p.hostPart(hctl)
}

func (p devicePath) sasPart(end int) string {
	device := filepath.Join(p.upTo(end), "sas_device", p.names[end])
	phy := "phy" + readText(device, "phy_identifier")
	if i := p.find(expanderName); i >= 0 {
		return "sas-exp" + readText(p.upTo(i), "sas_device", p.names[i], "sas_address") + "-" + phy
	}
	return "sas-" + phy
}

// hostPart is for controllers without a transport class: hosts are counted
// from the controller's first one, for their numbers differ from boot to boot.
func (p devicePath) hostPart(hctl []string) string {
	i := p.find(hostName)
	if i < 1 {
		return ""
	}
	number := hostNumber(p.names[i])
	lowest := number
	siblings, err := os.ReadDir(p.upTo(i - 1))
	if err != nil {
		return ""
	}
	for _, s := range siblings {
		if hostName.MatchString(s.Name()) {
			lowest = min(lowest, hostNumber(s.Name()))
		}
	}
	return fmt.Sprintf("scsi-%d:%s:%s:%s", number-lowest, hctl[1], hctl[2], hctl[3])
}

func hostNumber(name string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(name, "host"))
	return n
}
