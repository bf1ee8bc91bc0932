package netboot

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Values inside options that firmware wants to see.
const (
	// Option 43, sub-option 6 (PXE_DISCOVERY_CONTROL), bit 3: load the boot file of
	// this packet, do not look for boot servers. EDK2 needs it.
	pxeDiscoveryControl = 6
	pxeUseBootFile      = 8
	pxeEnd              = 255
	// Option 175, sub-option 176: iPXE need not wait for a proxy's offer, which
	// takes it two seconds.
	ipxeNoProxy = 176
)

// fieldFile is the room for a name in the packet's fixed "file" field, its NUL included.
const fieldFile = 128

// reply starts a reply of our own to req.
func (d *dhcp) reply(req *dhcpv4.DHCPv4, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	resp, err := dhcpv4.NewReplyFromRequest(req,
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(toIP(d.server))),
		dhcpv4.WithServerIP(toIP(d.tftp)),
		// RFC 4578 2.3: a client may drop a reply without its own identifier.
		dhcpv4.WithOptionCopied(req, dhcpv4.OptionClientMachineIdentifier),
	)
	if err != nil {
		return nil, fmt.Errorf("build the reply to %v: %w", req.ClientHWAddr, err)
	}
	return resp, nil
}

// lease is an offer or an acknowledgement of addr, with boot data where the client wants it.
func (d *dhcp) lease(c client, m Machine, req *dhcpv4.DHCPv4, kind dhcpv4.MessageType, addr netip.Addr) (*dhcpv4.DHCPv4, error) {
	resp, err := d.reply(req, kind)
	if err != nil {
		return nil, err
	}
	resp.YourIPAddr = toIP(addr)
	resp.ClientIPAddr = req.ClientIPAddr
	resp.UpdateOption(dhcpv4.OptIPAddressLeaseTime(d.LeaseTime))
	resp.UpdateOption(dhcpv4.OptRenewTimeValue(d.LeaseTime / 2))
	resp.UpdateOption(dhcpv4.OptRebindingTimeValue(d.LeaseTime * 7 / 8))
	d.addNetwork(resp)
	if m.Action != Ignore && c.netboot() {
		if err := d.addBoot(resp, c, m); err != nil {
			return nil, err
		}
		if c.ipxe {
			resp.UpdateOption(dhcpv4.OptGeneric(optionIPXE, []byte{ipxeNoProxy, 1, 1}))
		}
	}
	return resp, nil
}

// addNetwork adds what every host of the network is to know.
func (d *dhcp) addNetwork(resp *dhcpv4.DHCPv4) {
	resp.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(d.prefix.Bits(), 32)))
	broadcast := addAddr(d.prefix.Addr(), uint32(1)<<(32-d.prefix.Bits())-1)
	resp.UpdateOption(dhcpv4.OptBroadcastAddress(toIP(broadcast)))
	if d.router.IsValid() {
		resp.UpdateOption(dhcpv4.OptRouter(toIP(d.router)))
	}
	if len(d.dns) > 0 {
		var servers []net.IP
		for _, addr := range d.dns {
			servers = append(servers, toIP(addr))
		}
		resp.UpdateOption(dhcpv4.OptDNS(servers...))
	}
}

// addBoot adds the options of deploy-flow 6.2: where the boot file is, and what
// marks the reply as one for this kind of client.
func (d *dhcp) addBoot(resp *dhcpv4.DHCPv4, c client, m Machine) error {
	file, byHTTP, err := d.firstFile(c, m)
	if err != nil {
		return fmt.Errorf("boot %v: %w", c.mac, err)
	}
	if byHTTP {
		file = d.httpURL + "/" + file
	}
	switch {
	case c.http && !c.ipxe:
		resp.UpdateOption(dhcpv4.OptClassIdentifier(classHTTP))
	case !byHTTP:
		resp.UpdateOption(dhcpv4.OptClassIdentifier(classPXE))
		resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation,
			[]byte{pxeDiscoveryControl, 1, pxeUseBootFile, pxeEnd}))
	}
	resp.UpdateOption(dhcpv4.OptBootFileName(file))
	if len(file) < fieldFile {
		resp.BootFileName = file
	}
	if !c.http {
		resp.UpdateOption(dhcpv4.OptTFTPServerName(d.tftp.String()))
		tftp := d.tftp.As4()
		resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionTFTPServerAddress, tftp[:]))
	}
	return nil
}

// destination is where a reply goes (RFC 2131 section 4.1): to the relay; to a
// client that has an address; else to everybody, for a UDP socket cannot reach a
// host that does not answer ARP yet.
func destination(req, resp *dhcpv4.DHCPv4, peer *net.UDPAddr, port int) *net.UDPAddr {
	if port == portProxy {
		return peer
	}
	if relay := req.GatewayIPAddr; relay != nil && !relay.IsUnspecified() {
		return &net.UDPAddr{IP: relay, Port: portDHCP}
	}
	ip := req.ClientIPAddr
	if ip == nil || ip.IsUnspecified() || resp.MessageType() == dhcpv4.MessageTypeNak {
		ip = net.IPv4bcast
	}
	return &net.UDPAddr{IP: ip, Port: 68}
}

func toIP(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }

// repeatTime is how long a packet counts as repeated: clients repeat within
// seconds (RFC 2131, 4.1), while firmware may begin its next boot with the
// transaction number of this one.
const repeatTime = 10 * time.Second

// recent remembers the last few hundred keys and when each was last added.
type recent struct {
	mu   sync.Mutex
	ring [512]string
	next int
	set  map[string]time.Time
}

// add returns false if key was added less than repeatTime before now.
func (r *recent) add(key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.set == nil {
		r.set = make(map[string]time.Time)
	}
	before, known := r.set[key]
	if !known {
		delete(r.set, r.ring[r.next])
		r.ring[r.next] = key
		r.next = (r.next + 1) % len(r.ring)
	}
	r.set[key] = now
	return !known || now.Sub(before) >= repeatTime
}
