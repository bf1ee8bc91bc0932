package ipmi

import (
	"context"
	"strings"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/types"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// Vendor asks the BMC who made it, in small letters; "" is one that is not known by name.
func (b *BMCs) Vendor(ctx context.Context, info Info) (string, error) {
	ctx, o, end, err := b.begin(ctx, info, "device id", b.commandLimit(1))
	if err != nil {
		return "", err
	}
	defer end()
	data, err := o.command(ctx, types.CommandGetDeviceID, nil)
	if err != nil {
		return "", err
	}
	var device app.GetDeviceIDResponse
	if err := device.Unpack(data); err != nil {
		return "", o.explain(err)
	}
	return vendorName(device.ManufacturerID), nil
}

// vendorName is that of a private enterprise number, of which 20 bits count.
func vendorName(id uint32) string {
	name := types.OEM(id & 0xfffff).String()
	if name == types.OEM(0).String() { // what all have that are not known
		return ""
	}
	return strings.ToLower(name)
}

// DetectVendor finds out who made the machine.
func (m *Management) DetectVendor(ctx context.Context, n *store.Node) (string, error) {
	info, err := nodeInfo(n)
	if err != nil {
		return "", err
	}
	return m.bmcs.Vendor(ctx, info)
}

var _ driver.VendorDetector = (*Management)(nil)
