package generic

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"

	"github.com/u-root/u-root/pkg/ipmi"

	"ferric/hwmanager"
)

// bmcFacts are the addresses of the machine's BMC. Without an IPMI device
// they are nil, with one that has nothing configured they say so.
type bmcFacts struct {
	v4, v6 *string
	mac    string
}

// LAN configuration parameters of IPMI 2.0, table 23-4.
const (
	lanIPAddress   = 3
	lanMACAddress  = 5
	lanIPv6Static  = 56
	lanIPv6Dynamic = 59
)

// lastChannel is the highest number of a channel that can be a LAN (IPMI
// 2.0, table 6-1); the first is 1.
const lastChannel = 11

// Answers when there is an IPMI device but no address (agent contract,
// section "Inventory document").
const (
	noIPv4 = "0.0.0.0"
	noIPv6 = "::/0"
)

// readBMC asks the BMC for its LAN configuration over the kernel's device.
func readBMC(h *hwmanager.Host) (bmcFacts, error) {
	dev, err := ipmi.OpenPath(filepath.Join(h.Dev, "ipmi0"))
	if errors.Is(err, fs.ErrNotExist) {
		return bmcFacts{}, nil
	}
	if err != nil {
		return bmcFacts{}, fmt.Errorf("open IPMI device: %w", err)
	}
	defer dev.Close()
	if _, err := dev.GetDeviceID(); err != nil {
		return bmcFacts{}, fmt.Errorf("ask the BMC for its identity: %w", err)
	}
	v4, v6 := noIPv4, noIPv6
	facts := bmcFacts{v4: &v4, v6: &v6}
	for channel := byte(1); channel <= lastChannel; channel++ {
		if v4 == noIPv4 {
			if addr, ok := lanIPv4(dev, channel); ok {
				v4 = addr
				facts.mac = lanMAC(dev, channel)
			}
		}
		if v6 == noIPv6 {
			if addr, ok := lanIPv6(dev, channel); ok {
				v6 = addr
			}
		}
		if v4 != noIPv4 {
			break // further channels are other ports of the same BMC
		}
	}
	return facts, nil
}

// lanParameter is the data of a parameter, after completion code and revision.
func lanParameter(dev *ipmi.IPMI, channel, parameter byte) []byte {
	data, err := dev.GetLanConfig(channel, parameter)
	if err != nil || len(data) < 2 {
		return nil
	}
	return data[2:]
}

func lanIPv4(dev *ipmi.IPMI, channel byte) (string, bool) {
	addr, ok := netip.AddrFromSlice(lanParameter(dev, channel, lanIPAddress))
	if !ok || !addr.Is4() || addr.IsUnspecified() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return "", false
	}
	return addr.String(), true
}

func lanMAC(dev *ipmi.IPMI, channel byte) string {
	data := lanParameter(dev, channel, lanMACAddress)
	if len(data) != 6 || string(data) == "\x00\x00\x00\x00\x00\x00" {
		return ""
	}
	return net.HardwareAddr(data).String()
}

// lanIPv6 is the first static or dynamic address with its prefix length.
func lanIPv6(dev *ipmi.IPMI, channel byte) (string, bool) {
	for _, parameter := range []byte{lanIPv6Static, lanIPv6Dynamic} {
		// set selector, source, address (16), prefix length, status
		data := lanParameter(dev, channel, parameter)
		if len(data) < 19 {
			continue
		}
		addr, ok := netip.AddrFromSlice(data[2:18])
		if ok && !addr.IsUnspecified() {
			return fmt.Sprintf("%s/%d", addr, data[18]), true
		}
	}
	return "", false
}
