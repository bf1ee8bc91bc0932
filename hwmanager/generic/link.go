package generic

import (
	"bytes"
	"math/bits"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ferric/hwmanager"
)

// linkFacts are what sysfs does not tell of an interface.
type linkFacts struct {
	permanentMAC string // "" if unknown
	v4, v6       *string
	fastest      *int // Mbit/s
}

// live reports whether h is the running machine and not a fixture.
func live(h *hwmanager.Host) bool { return h.Sys == "/sys" }

// askKernel is empty for a fixture.
func askKernel(h *hwmanager.Host, name string) linkFacts {
	if !live(h) {
		return linkFacts{}
	}
	facts := linkFacts{fastest: fastestMode(name)}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return facts
	}
	if mac := link.Attrs().PermHWAddr; len(bytes.Trim(mac, "\x00")) > 0 {
		facts.permanentMAC = strings.ToLower(mac.String())
	}
	facts.v4 = firstAddress(link, netlink.FAMILY_V4)
	facts.v6 = firstAddress(link, netlink.FAMILY_V6)
	return facts
}

// firstAddress is the first one of the family; a link-local one of IPv6 is
// given with its zone.
func firstAddress(link netlink.Link, family int) *string {
	list, err := netlink.AddrList(link, family)
	if err != nil || len(list) == 0 {
		return nil
	}
	text := list[0].IP.String()
	if family == netlink.FAMILY_V6 && list[0].IP.IsLinkLocalUnicast() {
		text += "%" + link.Attrs().Name
	}
	return &text
}

// maxModeWords is more than any kernel has of link modes, in words of 32.
const maxModeWords = 16

// linkSettings is struct ethtool_link_settings (linux/ethtool.h) with room for
// three masks: of the modes that are supported, advertised, and the peer's.
type linkSettings struct {
	command uint32
	_       uint32
	_       [7]uint8
	words   int8 // of one mask
	_       [4]uint8
	_       [7]uint32
	masks   [3 * maxModeWords]uint32
}

// fastestMode is the highest speed that the interface supports in Mbit/s, nil
// if it does not tell. The kernel wants to be asked twice: its first answer is
// the size of a mask, negative.
func fastestMode(name string) *int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	asked := &linkSettings{}
	if err := ioctlLinkSettings(fd, name, asked); err != nil || asked.words >= 0 || asked.words < -maxModeWords {
		return nil
	}
	words := -asked.words
	settings := &linkSettings{words: words}
	if err := ioctlLinkSettings(fd, name, settings); err != nil || settings.words != words {
		return nil
	}
	best := 0
	for i, mask := range settings.masks[:words] {
		for ; mask != 0; mask &= mask - 1 {
			best = max(best, modeSpeed(32*i+bits.TrailingZeros32(mask)))
		}
	}
	if best == 0 {
		return nil
	}
	return &best
}

func ioctlLinkSettings(fd int, name string, settings *linkSettings) error {
	settings.command = unix.ETHTOOL_GLINKSETTINGS
	// struct ifreq (linux/if.h): the name, and a union of 24 bytes.
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: unsafe.Pointer(settings)}
	copy(request.name[:len(request.name)-1], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

// modeSpeed is the speed of a link mode in Mbit/s, by its bit in the kernel's
// list (linux/ethtool.h, ETHTOOL_LINK_MODE_…); 0 if the bit is no mode, but a
// port type, pause or error correction.
func modeSpeed(bit int) int {
	for _, modes := range [...]struct{ first, last, mbps int }{
		{0, 1, 10}, {2, 3, 100}, {4, 5, 1000}, {12, 12, 10000}, {15, 15, 2500}, {17, 17, 1000}, {18, 20, 10000},
		{21, 22, 20000}, {23, 26, 40000}, {27, 30, 56000}, {31, 33, 25000}, {34, 35, 50000}, {36, 39, 100000},
		{40, 40, 50000}, {41, 41, 1000}, {42, 46, 10000}, {47, 47, 2500}, {48, 48, 5000}, {52, 56, 50000},
		{57, 61, 100000}, {62, 66, 200000}, {67, 67, 100}, {68, 68, 1000}, {69, 73, 400000}, {75, 79, 100000},
		{80, 84, 200000}, {85, 89, 400000}, {90, 91, 100}, {92, 92, 10}, {93, 98, 800000}, {99, 101, 10},
	} {
		if bit >= modes.first && bit <= modes.last {
			return modes.mbps
		}
	}
	return 0
}
