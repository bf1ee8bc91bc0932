package netboot

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
)

// settings is a Config after parsing, with its defaults filled in. The subnet that
// it embeds is the first one: that of Interface and range_begin.
type settings struct {
	Config
	*subnet
	subnets    []*subnet // all, the first one among them
	interfaces []string  // on which DHCP is served
}

// resolve parses cfg; it reads the interfaces' addresses.
func resolve(cfg Config) (*settings, error) {
	s := &settings{Config: cfg}
	if cfg.DHCP != DHCPFull && cfg.DHCP != DHCPProxy && cfg.DHCP != DHCPOff {
		return nil, fmt.Errorf("%w: [netboot]dhcp is %q: give full, proxy or off", ErrConfig, cfg.DHCP)
	}
	if s.DHCPv6 == "" {
		s.DHCPv6 = DHCPOff
	}
	if s.DHCPv6 != DHCPFull && s.DHCPv6 != DHCPStateless && s.DHCPv6 != DHCPOff {
		return nil, fmt.Errorf("%w: [netboot]dhcpv6 is %q: give full, stateless or off", ErrConfig, s.DHCPv6)
	}
	if s.serves() && s.LeaseTime.Minutes() < 1 && (s.DHCP == DHCPFull || s.DHCPv6 == DHCPFull) {
		return nil, fmt.Errorf("%w: [netboot]lease_time is %v: give at least a minute", ErrConfig, s.LeaseTime)
	}
	if s.LeaseTime.Seconds() >= math.MaxUint32 {
		return nil, fmt.Errorf("%w: [netboot]lease_time is %v, which DHCP has no number for: give a year at most", ErrConfig, s.LeaseTime)
	}
	if s.AnswerUnknown && s.DHCP != DHCPFull && s.DHCPv6 != DHCPFull {
		return nil, fmt.Errorf("%w: [netboot]answer_unknown is about addresses, which need dhcp = full or dhcpv6 = full", ErrConfig)
	}
	if err := checkListen(cfg.HTTPListen); err != nil {
		return nil, err
	}
	if cfg.TFTPPort < 0 || cfg.TFTPPort > 65535 {
		return nil, fmt.Errorf("%w: [netboot]tftp_port is %d: give 1 to 65535, or 0 for no TFTP", ErrConfig, cfg.TFTPPort)
	}
	if cfg.IPXETimeout < 0 {
		return nil, fmt.Errorf("%w: [pxe]ipxe_timeout is %v: give 0 or more", ErrConfig, cfg.IPXETimeout)
	}
	if !scriptWord(cfg.IPXEFallbackScript) {
		return nil, fmt.Errorf("%w: [pxe]ipxe_fallback_script %q has spaces or control characters", ErrConfig, cfg.IPXEFallbackScript)
	}
	first := subnetSpec{
		iface: cfg.Interface, begin: cfg.RangeBegin, end: cfg.RangeEnd, netmask: cfg.Netmask, router: cfg.Router, dns: cfg.DNSServers,
		begin6: cfg.Range6Begin, end6: cfg.Range6End, prefixLen6: cfg.Prefix6,
	}
	var err error
	if s.subnet, err = s.resolveSubnet(first); err != nil {
		return nil, err
	}
	s.subnets = []*subnet{s.subnet}
	for _, text := range cfg.Subnets {
		spec, err := parseSubnet(text)
		if err != nil {
			return nil, err
		}
		if err := s.addSubnet(spec); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkListen checks [netboot]http_listen, which may be empty.
func checkListen(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if text != "" && err != nil {
		return fmt.Errorf("%w: [netboot]http_listen is %q: give :PORT or ADDRESS:PORT, or nothing for no HTTP", ErrConfig, text)
	}
	return nil
}

// serves tells whether any DHCP is served.
func (s *settings) serves() bool { return s.DHCP != DHCPOff || s.DHCPv6 != DHCPOff }

// addSubnet adds a further subnet; no two may overlap.
func (s *settings) addSubnet(spec subnetSpec) error {
	if !s.serves() {
		return fmt.Errorf("%w: [netboot]subnets has subnet %s, and neither dhcp nor dhcpv6 is switched on", ErrConfig, spec.name)
	}
	if spec.iface == "" {
		spec.iface = s.Interface
	}
	n, err := s.resolveSubnet(spec)
	if err != nil {
		return err
	}
	for _, other := range s.subnets {
		switch {
		case other.name == n.name:
			return fmt.Errorf("%w: [netboot]subnets names subnet %s twice", ErrConfig, n.name)
		case n.begin.IsValid() && other.begin.IsValid() && !n.end.Less(other.begin) && !other.end.Less(n.begin):
			return fmt.Errorf("%w: the ranges of %v and %v overlap", ErrConfig, other, n)
		case n.begin6.IsValid() && other.begin6.IsValid() && !n.end6.Less(other.begin6) && !other.end6.Less(n.begin6):
			return fmt.Errorf("%w: the IPv6 ranges of %v and %v overlap", ErrConfig, other, n)
		}
	}
	s.subnets = append(s.subnets, n)
	return nil
}

func (s *settings) resolveSubnet(spec subnetSpec) (*subnet, error) {
	n := &subnet{name: spec.name, iface: spec.iface}
	if err := s.resolveAddresses(n, spec); err != nil {
		return nil, err
	}
	if err := s.resolveClients(n, spec); err != nil {
		return nil, err
	}
	if spec.name != "" && spec.begin == "" && (spec.router != "" || spec.netmask != "") {
		return nil, fmt.Errorf("%w: [netboot]subnets: router and netmask of subnet %s are of its IPv4 network: give its range too", ErrConfig, spec.name)
	}
	if spec.name != "" && spec.begin == "" && spec.begin6 == "" && spec.iface == s.Interface {
		return nil, fmt.Errorf("%w: [netboot]subnets: subnet %s has neither a range nor an interface of its own", ErrConfig, spec.name)
	}
	if err := n.resolveDNS(spec); err != nil {
		return nil, err
	}
	if err := n.attach(); err != nil {
		return nil, err
	}
	if n.iface != "" && !slices.Contains(s.interfaces, n.iface) {
		s.interfaces = append(s.interfaces, n.iface)
	}
	return n, s.resolveURLs(n, spec)
}

// resolveClients reads the ranges. Who gives boot data alone needs to know only which networks these are of.
func (s *settings) resolveClients(n *subnet, spec subnetSpec) error {
	if spec.name == "" && s.DHCP == DHCPFull || spec.begin != "" && s.DHCP == DHCPFull {
		if err := n.resolveRange4(spec); err != nil {
			return err
		}
	} else if spec.name != "" && spec.begin != "" { // a proxy needs to know which network it is
		if err := n.resolveRange4(spec); err != nil {
			return err
		}
		n.begin, n.end = netip.Addr{}, netip.Addr{}
	}
	if s.DHCPv6 == DHCPFull && spec.name == "" || s.DHCPv6 != DHCPOff && spec.name != "" && spec.begin6 != "" {
		if err := n.resolveRange6(spec); err != nil {
			return err
		}
		if s.DHCPv6 == DHCPStateless { // which needs to know only which network it is
			n.begin6, n.end6 = netip.Addr{}, netip.Addr{}
		}
	}
	return nil
}

// resolveAddresses finds our addresses on the subnet's interface.
func (s *settings) resolveAddresses(n *subnet, spec subnetSpec) error {
	for _, named := range []struct{ option, text string }{
		{"[pxe]tftp_server", s.TFTPServer}, {spec.option("tftp_server", "tftp_server"), spec.tftpServer},
	} {
		if named.text == "" {
			continue
		}
		addr, err := netip.ParseAddr(named.text)
		switch {
		case err != nil || addr.Zone() != "":
			return fmt.Errorf("%w: %s %q is no IP address", ErrConfig, named.option, named.text)
		case addr.Is4():
			n.tftp = addr
		default:
			n.tftp6 = addr
		}
	}
	if n.iface == "" {
		switch {
		case s.DHCP != DHCPOff:
			return fmt.Errorf("%w: [netboot]dhcp = %s needs [netboot]interface", ErrConfig, s.DHCP)
		case s.DHCPv6 != DHCPOff:
			return fmt.Errorf("%w: [netboot]dhcpv6 = %s needs [netboot]interface", ErrConfig, s.DHCPv6)
		}
		n.server, n.server6 = n.tftp, n.tftp6
		return nil
	}
	prefixes, err := interfacePrefixes(n.iface)
	if err != nil {
		return fmt.Errorf("%w: %s %q: %w", ErrConfig, spec.option("interface", "interface"), n.iface, err)
	}
	for _, p := range prefixes {
		switch addr := p.Addr(); {
		case addr.Is4() && (!n.server.IsValid() || addr == n.tftp):
			n.server, n.prefix = addr, p.Masked()
		case addr.Is6() && !n.server6.IsValid() && !addr.IsLinkLocalUnicast():
			n.server6, n.prefix6 = addr, p.Masked()
		}
	}
	switch {
	case !n.server.IsValid() && (s.DHCP != DHCPOff || s.DHCPv6 == DHCPOff):
		return fmt.Errorf("%w: [netboot]interface %q has no IPv4 address: give it one first", ErrConfig, n.iface)
	case !n.server6.IsValid() && s.DHCPv6 != DHCPOff:
		return fmt.Errorf("%w: [netboot]interface %q has no global IPv6 address: give it one first, or set dhcpv6 = off", ErrConfig, n.iface)
	}
	return nil
}

// attach chooses the addresses that are inside the subnet, if the interface has any
// there: clients without a relay agent can reach no others.
func (n *subnet) attach() error {
	if n.iface == "" {
		return nil
	}
	prefixes, err := interfacePrefixes(n.iface)
	if err != nil {
		return fmt.Errorf("%w: addresses of %q: %w", ErrConfig, n.iface, err)
	}
	n.direct, n.direct6 = n.prefix.Contains(n.server), n.prefix6.Contains(n.server6)
	for _, p := range prefixes {
		n.own = append(n.own, p.Addr())
		switch addr := p.Addr(); {
		case !n.direct && n.prefix.Contains(addr):
			n.server, n.direct = addr, true
		case !n.direct6 && n.prefix6.Contains(addr):
			n.server6, n.direct6 = addr, true
		}
	}
	if !n.tftp.IsValid() {
		n.tftp = n.server
	}
	if !n.tftp6.IsValid() {
		n.tftp6 = n.server6
	}
	return nil
}

func interfacePrefixes(name string) ([]netip.Prefix, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("look it up: %w", err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("read its addresses: %w", err)
	}
	var found []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			found = append(found, p)
		}
	}
	return found, nil
}

// resolveURLs says where the subnet's clients reach our HTTP.
func (s *settings) resolveURLs(n *subnet, spec subnetSpec) error {
	var err error
	for _, u := range []struct {
		option, text string
		to           *string
	}{
		{"[deploy]http_url", s.HTTPURL, &n.httpURL}, {spec.option("http_url", "http_url"), spec.httpURL, &n.httpURL},
		{"[netboot]http_url6", s.HTTPURL6, &n.httpURL6}, {spec.option("http_url6", "http_url6"), spec.httpURL6, &n.httpURL6},
	} {
		if u.text == "" {
			continue
		}
		if *u.to, err = parseBase(u.option, u.text); err != nil {
			return err
		}
	}
	if n.httpURL6 == "" && n.httpURL != "" && namedHost(n.httpURL) {
		n.httpURL6 = n.httpURL
	}
	if n.httpURL != "" && (n.httpURL6 != "" || !n.server6.IsValid()) {
		return nil
	}
	host := n.server
	if !host.IsValid() {
		host = n.server6
	}
	if n.httpURL == "" && !host.IsValid() {
		return fmt.Errorf("%w: give [deploy]http_url, or [netboot]interface to derive it from", ErrConfig)
	}
	_, port, err := net.SplitHostPort(s.HTTPListen)
	switch {
	case err != nil && (n.httpURL == "" || s.DHCPv6 != DHCPOff):
		return fmt.Errorf("%w: [deploy]http_url is not set and [netboot]http_listen %q has no port", ErrConfig, s.HTTPListen)
	case err != nil:
		return nil
	}
	if n.httpURL == "" {
		n.httpURL = "http://" + net.JoinHostPort(host.String(), port)
	}
	if n.httpURL6 == "" && n.server6.IsValid() {
		n.httpURL6 = "http://" + net.JoinHostPort(n.server6.String(), port)
	}
	return nil
}

// namedHost tells whether a URL has a host name, which may have addresses of both families.
func namedHost(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err != nil
}

// subnetOf is the subnet that an address is in; where none is, the first.
func (s *settings) subnetOf(addr netip.Addr) *subnet {
	for _, n := range s.subnets {
		if n.prefix.Contains(addr) || n.prefix6.Contains(addr) {
			return n
		}
	}
	return s.subnet
}

// baseURL is the base of the URLs for a client with that address.
func (s *settings) baseURL(client netip.Addr) string {
	client = client.Unmap()
	n := s.subnetOf(client)
	if client.Is6() && n.httpURL6 != "" {
		return n.httpURL6
	}
	return n.httpURL
}

// ours tells whether addr is one of our own.
func (s *settings) ours(addr netip.Addr) bool {
	return slices.ContainsFunc(s.subnets, func(n *subnet) bool { return n.server == addr || n.server6 == addr })
}
