package generic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ferric/hwmanager"
)

// bmcFacts are the addresses of the machine's BMC. Without an IPMI device
// they are nil, with one that has nothing configured they say so.
type bmcFacts struct {
	v4, v6 *string
	mac    string
}

// Answers when there is an IPMI device but no address (agent contract,
// section "Inventory document").
const (
	noIPv4 = "0.0.0.0"
	noIPv6 = "::/0"
)

// bmcRetry is how long a BMC that failed is left alone.
const bmcRetry = time.Minute

// The kernel's device appears a moment after its module was loaded, which may
// be just now.
const (
	bmcPatience = 5 * time.Second
	bmcPoll     = 50 * time.Millisecond
)

// bmcCache asks the BMC until it has answered once.
type bmcCache struct {
	mu     sync.Mutex
	waited bool // for the device
	facts  bmcFacts
	err    error
	asked  time.Time
}

// read is what the BMC tells. A dead one takes the time limit of one request,
// and is not asked again for a while. Where the firmware announces a BMC its
// device is waited for, once.
func (c *bmcCache) read(ctx context.Context, h *hwmanager.Host, announced bool) (bmcFacts, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.facts.v4 != nil || c.err != nil && time.Since(c.asked) < bmcRetry {
		return c.facts, c.err
	}
	if announced && !c.waited {
		c.waited = true
		waitForDevice(ctx, filepath.Join(h.Dev, "ipmi0"))
	}
	c.facts, c.err = askBMC(ctx, h)
	c.asked = time.Now()
	return c.facts, c.err
}

func waitForDevice(ctx context.Context, path string) {
	for deadline := time.Now().Add(bmcPatience); ctx.Err() == nil && time.Now().Before(deadline); {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-time.After(bmcPoll):
		case <-ctx.Done():
		}
	}
}

// askBMC asks the BMC over the kernel's device.
func askBMC(ctx context.Context, h *hwmanager.Host) (bmcFacts, error) {
	_, err := h.BMC(ctx, netFnApp, getDeviceID, nil)
	if errors.Is(err, hwmanager.ErrNoBMC) {
		return bmcFacts{}, nil
	}
	if err != nil {
		return bmcFacts{}, fmt.Errorf("ask the BMC for its identity: %w", err)
	}
	return readLAN(ctx, func(channel, parameter, set byte) ([]byte, error) {
		return h.BMC(ctx, netFnTransport, getLANConfiguration, []byte{channel, parameter, set, 0})
	})
}

// IPMI 2.0: network functions and commands, table G-1; LAN configuration
// parameters, table 23-4; highest channel that can be a LAN, table 6-1.
const (
	netFnApp            = 0x06
	getDeviceID         = 0x01
	netFnTransport      = 0x0c
	getLANConfiguration = 0x02

	lanIPAddress   = 3
	lanMACAddress  = 5
	lanIPv6Enables = 51
	lanIPv6Status  = 55
	lanIPv6Static  = 56
	lanIPv6Dynamic = 59

	lastChannel = 11
)

// lanRequest gets a parameter: revision, data.
type lanRequest func(channel, parameter, set byte) ([]byte, error)

// readLAN takes the addresses of the first channel that has any, for each
// family by itself.
func readLAN(ctx context.Context, request lanRequest) (bmcFacts, error) {
	v4, v6 := noIPv4, noIPv6
	facts := bmcFacts{v4: &v4, v6: &v6}
	var dead error
	parameter := func(channel, parameter, set byte) []byte {
		if dead != nil {
			return nil
		}
		data, err := request(channel, parameter, set)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			dead = fmt.Errorf("LAN configuration of the BMC: %w", err)
		}
		if err != nil || len(data) < 1 {
			return nil // most channels are no LAN
		}
		return data[1:]
	}
	for channel := byte(1); channel <= lastChannel && (v4 == noIPv4 || v6 == noIPv6); channel++ {
		if ctx.Err() != nil {
			return bmcFacts{}, context.Cause(ctx)
		}
		if v4 == noIPv4 {
			if addr := lanIPv4(parameter(channel, lanIPAddress, 0)); addr != "" {
				v4 = addr
				facts.mac = lanMAC(parameter(channel, lanMACAddress, 0))
			}
		}
		if v6 == noIPv6 {
			if addr := lanIPv6(func(p, set byte) []byte { return parameter(channel, p, set) }); addr != "" {
				v6 = addr
			}
		}
		if dead != nil {
			return bmcFacts{}, dead
		}
	}
	return facts, nil
}

func lanIPv4(data []byte) string {
	addr, ok := netip.AddrFromSlice(data)
	if !ok || !addr.Is4() || addr.IsUnspecified() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return ""
	}
	return addr.String()
}

func lanMAC(data []byte) string {
	if len(data) != 6 || string(data) == "\x00\x00\x00\x00\x00\x00" {
		return ""
	}
	return net.HardwareAddr(data).String()
}

// lanIPv6 is the first active address of a channel, dynamic ones first.
func lanIPv6(parameter func(parameter, set byte) []byte) string {
	const v4Only = 0
	enables := parameter(lanIPv6Enables, 0)
	if len(enables) == 0 || enables[0] == v4Only {
		return ""
	}
	status := parameter(lanIPv6Status, 0) // numbers of static and of dynamic addresses
	if len(status) < 2 {
		return ""
	}
	for _, kind := range []struct {
		parameter, count byte
		usable           func(source byte) bool
	}{
		{lanIPv6Dynamic, status[1], func(source byte) bool { return source&0x0f == 1 || source&0x0f == 2 }}, // SLAAC, DHCPv6
		{lanIPv6Static, status[0], func(source byte) bool { return source&0x80 != 0 }},                      // enabled
	} {
		for set := range kind.count {
			// set selector, source, address (16), prefix length, status (0: active)
			data := parameter(kind.parameter, set)
			if len(data) < 20 {
				break
			}
			addr, ok := netip.AddrFromSlice(data[2:18])
			if ok && !addr.IsUnspecified() && kind.usable(data[1]) && data[19] == 0 {
				return addr.String()
			}
		}
	}
	return ""
}
