package netboot

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// subnet is a network of clients. What they are told depends on which they are
// in: our address there, and where the next stage is.
type subnet struct {
	name  string // empty for the one of range_begin and its neighbours
	iface string // on which its clients, or their relay agents, reach us

	own []netip.Addr // all addresses of that interface

	server  netip.Addr   // our IPv4 address on that interface: the server identifier
	direct  bool         // our address is in the subnet: its clients need no relay agent to reach us
	tftp    netip.Addr   // where clients fetch by TFTP
	httpURL string       // base of URLs, without a slash at its end
	prefix  netip.Prefix // the clients' network
	begin   netip.Addr   // of the range; invalid: no addresses are given
	end     netip.Addr
	router  netip.Addr // may be invalid
	dns     []netip.Addr
	leases  *leases // nil unless addresses are given

	server6  netip.Addr // our global address there; invalid: no IPv6
	direct6  bool
	tftp6    netip.Addr
	httpURL6 string
	prefix6  netip.Prefix
	begin6   netip.Addr
	end6     netip.Addr
	dns6     []netip.Addr
	leases6  *leases
}

// String names the subnet in messages.
func (n *subnet) String() string {
	switch {
	case n.name != "":
		return "subnet " + n.name
	case n.prefix.IsValid():
		return "subnet " + n.prefix.String()
	}
	return "subnet of interface " + n.iface
}

// subnetSpec is a subnet as it is configured; all values are texts.
type subnetSpec struct {
	name, iface                   string
	begin, end, netmask, router   string
	begin6, end6, prefixLen6      string
	tftpServer, httpURL, httpURL6 string
	dns                           []string
}

// parseSubnet reads an entry of [netboot]subnets: a name and key=value words.
func parseSubnet(text string) (subnetSpec, error) {
	words := strings.Fields(text)
	spec := subnetSpec{}
	if len(words) == 0 || strings.Contains(words[0], "=") {
		return spec, fmt.Errorf("%w: [netboot]subnets: %q does not begin with a name", ErrConfig, text)
	}
	spec.name = words[0]
	seen := map[string]bool{}
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return spec, fmt.Errorf("%w: [netboot]subnets: subnet %s: %q is not of the form key=value", ErrConfig, spec.name, word)
		}
		if seen[key] {
			return spec, fmt.Errorf("%w: [netboot]subnets: subnet %s has %s twice", ErrConfig, spec.name, key)
		}
		seen[key] = true
		switch key {
		case "interface":
			spec.iface = value
		case "range":
			spec.begin, spec.end, ok = strings.Cut(value, "-")
		case "netmask":
			spec.netmask = value
		case "router":
			spec.router = value
		case "dns":
			spec.dns = append(spec.dns, strings.Split(value, "+")...)
		case "range6":
			spec.begin6, spec.end6, ok = strings.Cut(value, "-")
		case "prefix6":
			spec.prefixLen6 = value
		case "tftp_server":
			spec.tftpServer = value
		case "http_url":
			spec.httpURL = value
		case "http_url6":
			spec.httpURL6 = value
		default:
			return spec, fmt.Errorf("%w: [netboot]subnets: subnet %s: %q is none of interface, range, netmask, router, dns, range6, prefix6, tftp_server, http_url and http_url6",
				ErrConfig, spec.name, key)
		}
		if !ok {
			return spec, fmt.Errorf("%w: [netboot]subnets: subnet %s: %s is %q: give FIRST-LAST", ErrConfig, spec.name, key, value)
		}
	}
	return spec, nil
}

// option names a value of the subnet in messages.
func (c subnetSpec) option(option, key string) string {
	if c.name == "" {
		return "[netboot]" + option
	}
	return fmt.Sprintf("[netboot]subnets: %s of subnet %s", key, c.name)
}

// resolveRange4 reads the range of IPv4 addresses and what goes with it.
func (n *subnet) resolveRange4(spec subnetSpec) error {
	var err error
	if n.begin, err = parseIPv4(spec.option("range_begin", "range"), spec.begin); err != nil {
		return err
	}
	if n.end, err = parseIPv4(spec.option("range_end", "range"), spec.end); err != nil {
		return err
	}
	if spec.netmask != "" {
		bits, err := parseNetmask(spec.option("netmask", "netmask"), spec.netmask)
		if err != nil {
			return err
		}
		n.prefix = netip.PrefixFrom(n.begin, bits).Masked()
	} else if !n.prefix.Contains(n.begin) && spec.name != "" {
		return fmt.Errorf("%w: %s is missing, and the network %v of interface %q does not contain its range", ErrConfig,
			spec.option("netmask", "netmask"), n.prefix, n.iface)
	}
	switch {
	case n.end.Less(n.begin):
		return fmt.Errorf("%w: %s %v is before range_begin %v", ErrConfig, spec.option("range_end", "range"), n.end, n.begin)
	case !n.prefix.Contains(n.begin) || !n.prefix.Contains(n.end):
		return fmt.Errorf("%w: the range %v-%v is not inside the network %v of interface %q: correct the range or [netboot]netmask",
			ErrConfig, n.begin, n.end, n.prefix, n.iface)
	case rangeSize(n.begin, n.end) > maxRange:
		return fmt.Errorf("%w: the range %v-%v has more than %d addresses", ErrConfig, n.begin, n.end, maxRange)
	}
	if spec.router != "" {
		if n.router, err = parseIPv4(spec.option("router", "router"), spec.router); err != nil {
			return err
		}
		if !n.prefix.Contains(n.router) {
			return fmt.Errorf("%w: %s %v is not inside the clients' network %v", ErrConfig, spec.option("router", "router"), n.router, n.prefix)
		}
	}
	return nil
}

// resolveRange6 reads the range of IPv6 addresses.
func (n *subnet) resolveRange6(spec subnetSpec) error {
	var err error
	if n.begin6, err = parseIPv6(spec.option("range6_begin", "range6"), spec.begin6); err != nil {
		return err
	}
	if n.end6, err = parseIPv6(spec.option("range6_end", "range6"), spec.end6); err != nil {
		return err
	}
	bits := 64
	if spec.prefixLen6 != "" {
		if bits, err = strconv.Atoi(strings.TrimPrefix(spec.prefixLen6, "/")); err != nil || bits < 16 || bits > 126 {
			return fmt.Errorf("%w: %s is %q: give a length from 16 to 126, 64 for example", ErrConfig, spec.option("prefix6", "prefix6"), spec.prefixLen6)
		}
	} else if n.prefix6.Contains(n.begin6) {
		bits = n.prefix6.Bits()
	}
	n.prefix6 = netip.PrefixFrom(n.begin6, bits).Masked()
	switch {
	case n.end6.Less(n.begin6):
		return fmt.Errorf("%w: %s %v is before range6_begin %v", ErrConfig, spec.option("range6_end", "range6"), n.end6, n.begin6)
	case !n.prefix6.Contains(n.end6):
		return fmt.Errorf("%w: the range %v-%v is not inside %v: correct it or %s", ErrConfig, n.begin6, n.end6, n.prefix6, spec.option("prefix6", "prefix6"))
	case rangeSize(n.begin6, n.end6) > maxRange:
		return fmt.Errorf("%w: the range %v-%v has more than %d addresses", ErrConfig, n.begin6, n.end6, maxRange)
	}
	return nil
}

// resolveDNS sorts the name servers by family.
func (n *subnet) resolveDNS(spec subnetSpec) error {
	for _, text := range spec.dns {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil || addr.Zone() != "":
			return fmt.Errorf("%w: %s %q is no IP address", ErrConfig, spec.option("dns_servers", "dns"), text)
		case addr.Is4():
			n.dns = append(n.dns, addr)
		default:
			n.dns6 = append(n.dns6, addr)
		}
	}
	return nil
}

// parseBase checks an http_url and takes the slash off its end.
func parseBase(option, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" || u.User != nil || !scriptWord(text) {
		return "", fmt.Errorf("%w: %s %q is no http:// or https:// URL of host and path", ErrConfig, option, text)
	}
	return strings.TrimRight(text, "/"), nil
}

func parseIPv4(option, text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return netip.Addr{}, fmt.Errorf("%w: %s %q is no IPv4 address", ErrConfig, option, text)
	}
	return addr, nil
}

func parseIPv6(option, text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || addr.IsLinkLocalUnicast() || addr.IsMulticast() {
		return netip.Addr{}, fmt.Errorf("%w: %s %q is no global IPv6 address", ErrConfig, option, text)
	}
	return addr, nil
}

func parseNetmask(option, text string) (int, error) {
	if bits, err := strconv.Atoi(strings.TrimPrefix(text, "/")); err == nil && bits >= 8 && bits <= 30 {
		return bits, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Is4() {
		mask := addr.As4()
		ones := 0
		for ones < 32 && mask[ones/8]&(0x80>>(ones%8)) != 0 {
			ones++
		}
		if netip.PrefixFrom(addr, ones).Masked().Addr() == addr && ones >= 8 && ones <= 30 {
			return ones, nil
		}
	}
	return 0, fmt.Errorf("%w: %s %q is no netmask: give 255.255.255.0 or 24, for example", ErrConfig, option, text)
}
