package netboot

import (
	"errors"
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
	pxeBootMenu         = 9
	pxeBootItem         = 71
	pxeEnd              = 255
	// Option 175, sub-option 176: iPXE need not wait for a proxy's offer, which
	// takes it two seconds.
	ipxeNoProxy = 176
)

// What a Raspberry Pi's boot ROM looks for in option 43.
const (
	raspberryMode = "rpiboot"
	raspberryMenu = "Raspberry Pi Boot"
)

// fieldFile is the room for a name in the packet's fixed "file" field, its NUL included.
const fieldFile = 128

// reply starts a reply of our own to q. Relay agent information (RFC 3046) and the
// client's identifier (RFC 6842) are copied.
func (d *dhcp) reply(q *query, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	server := q.subnet.server
	if override := serverOverride(q.DHCPv4); override.IsValid() {
		server = override
	}
	resp, err := dhcpv4.NewReplyFromRequest(q.DHCPv4,
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(toIP(server))),
		dhcpv4.WithServerIP(toIP(q.subnet.tftp)),
		// RFC 4578 2.3: a client may drop a reply without its own identifier.
		dhcpv4.WithOptionCopied(q.DHCPv4, dhcpv4.OptionClientMachineIdentifier),
		dhcpv4.WithOptionCopied(q.DHCPv4, dhcpv4.OptionSubnetSelection), // RFC 3011
	)
	if err != nil {
		return nil, fmt.Errorf("build the reply to %v: %w", q.ClientHWAddr, err)
	}
	return resp, nil
}

// lease is an offer or an acknowledgement of addr, with boot data where the client wants it.
func (d *dhcp) lease(q *query, kind dhcpv4.MessageType, addr netip.Addr) (*dhcpv4.DHCPv4, error) {
	resp, err := d.reply(q, kind)
	if err != nil {
		return nil, err
	}
	resp.YourIPAddr = toIP(addr)
	resp.ClientIPAddr = q.ClientIPAddr
	resp.UpdateOption(dhcpv4.OptIPAddressLeaseTime(d.LeaseTime))
	resp.UpdateOption(dhcpv4.OptRenewTimeValue(d.LeaseTime / 2))
	resp.UpdateOption(dhcpv4.OptRebindingTimeValue(d.LeaseTime * 7 / 8))
	addNetwork(resp, q.subnet)
	if q.machine.Action != Ignore && q.netboot() {
		if err := d.addBoot(resp, q); err != nil {
			return nil, err
		}
		if q.ipxe {
			resp.UpdateOption(dhcpv4.OptGeneric(optionIPXE, []byte{ipxeNoProxy, 1, 1}))
		}
	}
	return resp, nil
}

// addNetwork adds what every host of the network is to know.
func addNetwork(resp *dhcpv4.DHCPv4, n *subnet) {
	resp.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(n.prefix.Bits(), 32)))
	broadcast := addAddr(n.prefix.Addr(), uint32(1)<<(32-n.prefix.Bits())-1)
	resp.UpdateOption(dhcpv4.OptBroadcastAddress(toIP(broadcast)))
	if n.router.IsValid() {
		resp.UpdateOption(dhcpv4.OptRouter(toIP(n.router)))
	}
	if len(n.dns) > 0 {
		var servers []net.IP
		for _, addr := range n.dns {
			servers = append(servers, toIP(addr))
		}
		resp.UpdateOption(dhcpv4.OptDNS(servers...))
	}
}

// addBoot adds the options of deploy-flow 6.2: where the boot file is, and what
// marks the reply as one for this kind of client.
func (d *dhcp) addBoot(resp *dhcpv4.DHCPv4, q *query) error {
	file, byHTTP, err := d.bootFileFor(q.client, q.machine)
	if err != nil {
		return err
	}
	if byHTTP {
		file = q.subnet.httpURL + "/" + file
	}
	switch {
	case q.http && !q.ipxe:
		resp.UpdateOption(dhcpv4.OptClassIdentifier(classHTTP))
	case !byHTTP:
		resp.UpdateOption(dhcpv4.OptClassIdentifier(classPXE))
		resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, vendorOptions(q)))
	}
	resp.UpdateOption(dhcpv4.OptBootFileName(file))
	if len(file) < fieldFile {
		resp.BootFileName = file
	}
	if !q.http && q.subnet.tftp.Is4() {
		resp.UpdateOption(dhcpv4.OptTFTPServerName(q.subnet.tftp.String()))
		tftp := q.subnet.tftp.As4()
		resp.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionTFTPServerAddress, tftp[:]))
	}
	return nil
}

// bootFileFor is what a client of either DHCP loads first.
func (s *settings) bootFileFor(c client, m Machine) (file string, http bool, err error) {
	if c.archErr != nil && !c.ipxe && m.Bootloader == "" {
		return "", false, c.archErr
	}
	file, http, err = s.firstFile(c, m)
	switch {
	case errors.Is(err, errNotOffered):
		return "", false, unanswered("%v", err)
	case err != nil:
		return "", false, fmt.Errorf("boot %v: %w", c.mac, err)
	}
	return file, http, nil
}

// vendorOptions is what the firmware is told in option 43, in PXE's own coding. A
// client that asks a boot server for an item is told that this is it.
func vendorOptions(q *query) []byte {
	options := []byte{pxeDiscoveryControl, 1, pxeUseBootFile}
	if item := pxeOption(q.GetOneOption(dhcpv4.OptionVendorSpecificInformation), pxeBootItem); len(item) == 4 && q.port == portProxy {
		options = append(append(options, pxeBootItem, 4), item...)
	}
	if q.arch.mode == raspberryMode {
		// Its boot ROM, and up to the Pi 3 nothing later either, takes an offer that lacks this menu for another machine's.
		options = append(append(options, pxeBootMenu, byte(3+len(raspberryMenu)), 0, 0, byte(len(raspberryMenu))), raspberryMenu...)
	}
	return append(options, pxeEnd)
}

// pxeOption finds one of the options inside option 43.
func pxeOption(raw []byte, code byte) []byte {
	for len(raw) >= 2 && raw[0] != pxeEnd {
		if raw[0] == 0 { // padding
			raw = raw[1:]
			continue
		}
		end := 2 + int(raw[1])
		if end > len(raw) {
			return nil
		}
		if raw[0] == code {
			return raw[2:end]
		}
		raw = raw[end:]
	}
	return nil
}

// destination is where a reply goes (RFC 2131 section 4.1): to the relay; to a
// client that has an address; else to everybody, for a UDP socket cannot reach a
// host that does not answer ARP yet.
func destination(req, resp *dhcpv4.DHCPv4, at arrival) *net.UDPAddr {
	if relay := req.GatewayIPAddr; relay != nil && !relay.IsUnspecified() {
		if info := req.RelayAgentInfo(); info != nil && info.Has(dhcpv4.RelaySourcePortSubOption) && at.from.IsValid() {
			return &net.UDPAddr{IP: relay, Port: int(at.from.Port())} // RFC 8357
		}
		return &net.UDPAddr{IP: relay, Port: portDHCP}
	}
	if at.port == portProxy {
		return net.UDPAddrFromAddrPort(at.from)
	}
	ip := req.ClientIPAddr
	if ip == nil || ip.IsUnspecified() || resp.MessageType() == dhcpv4.MessageTypeNak {
		ip = net.IPv4bcast
	}
	return &net.UDPAddr{IP: ip, Port: portClient}
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
