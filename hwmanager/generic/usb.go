package generic

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// usbDevice is the name of a device on a USB bus: bus and ports. Interfaces of
// devices have a colon in theirs, and root hubs are called usb1 and so on.
var usbDevice = regexp.MustCompile(`^\d+-[\d.]+$`)

// usbHub is the class of hubs (USB class codes, base class 09h).
const usbHub = "09"

// USBDevices implements hwmanager.USBLister: all but the hubs, in the order of
// their ports.
func (m *Manager) USBDevices(ctx context.Context, h *hwmanager.Host) ([]ipa.USBDevice, error) {
	root := filepath.Join(h.Sys, "bus/usb/devices")
	entries, err := os.ReadDir(root)
	if os.IsNotExist(err) {
		return []ipa.USBDevice{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list USB devices: %w", err)
	}
	sort.Slice(entries, func(i, j int) bool { return diskLess(entries[i].Name(), entries[j].Name()) })
	var devices []ipa.USBDevice
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if !usbDevice.MatchString(e.Name()) || readText(dir, "bDeviceClass") == usbHub {
			continue
		}
		devices = append(devices, ipa.USBDevice{
			Product: firstText(dir, "product", "idProduct"),
			Vendor:  firstText(dir, "manufacturer", "idVendor"),
			Handle:  "USB:" + readText(dir, "busnum") + ":" + readText(dir, "devnum"),
		})
	}
	return filtered(ctx, m, h, devices)
}
