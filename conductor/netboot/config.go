package netboot

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// DHCP modes, the values of [netboot]dhcp.
const (
	DHCPFull  = "full"  // hand out addresses of the range, and boot data
	DHCPProxy = "proxy" // hand out boot data only; addresses come from the network's own server
	DHCPOff   = "off"   // the operator's DHCP server does both
)

// maxRange bounds the lease table.
const maxRange = 1 << 16

// Config holds the options of this package. The tag names section and option of
// the INI file; names outside [netboot] are Ironic's.
type Config struct {
	// TFTPServer is the IPv4 address that clients fetch from by TFTP, and on which
	// it is served. Default: the address of Interface; without that and http_url [DEFAULT]my_ip.
	TFTPServer string `ini:"pxe.tftp_server"`
	// TFTPRoot is a directory of further files to serve by TFTP. A boot loader in it
	// is preferred to one of LoaderDirs. Empty: boot loaders only.
	TFTPRoot string `ini:"pxe.tftp_root"`
	// PXEBootfileName is the boot loader for BIOS clients whose boot interface is pxe.
	PXEBootfileName string `ini:"pxe.pxe_bootfile_name"`
	// UEFIPXEBootfileName is the boot loader for UEFI clients on x86-64 whose boot
	// interface is pxe or http. Unless there is a file of that name, bootx64.efi is
	// the distribution's shim, or without one its GRUB for the network.
	UEFIPXEBootfileName string `ini:"pxe.uefi_pxe_bootfile_name"`
	// PXEBootfileNameByArch overrides both by "<cpu>-<boot mode>" or "<cpu>".
	PXEBootfileNameByArch map[string]string `ini:"pxe.pxe_bootfile_name_by_arch"`
	// SecureBootBootfileName is what UEFI clients on x86-64 are given instead if the
	// capabilities of their node have secure_boot:true.
	SecureBootBootfileName string `ini:"netboot.secure_boot_bootfile_name"`
	// LoaderFilePaths are paths of boot loaders by the names that they are served under.
	LoaderFilePaths map[string]string `ini:"pxe.loader_file_paths"`
	// IPXEBootfileName is the iPXE binary for BIOS clients; empty: BIOS clients are not answered.
	IPXEBootfileName string `ini:"pxe.ipxe_bootfile_name"`
	// UEFIIPXEBootfileName is the iPXE binary for UEFI clients on x86-64; empty: they are not answered.
	UEFIIPXEBootfileName string `ini:"pxe.uefi_ipxe_bootfile_name"`
	// IPXEBootfileNameByArch overrides both by "<cpu>-<boot mode>" or "<cpu>", with cpu
	// x86_64, i386, aarch64 or arm and boot mode bios or uefi.
	IPXEBootfileNameByArch map[string]string `ini:"pxe.ipxe_bootfile_name_by_arch"`
	// IPXETimeout limits how long iPXE tries to load kernel and ramdisk, each; 0: its own limit.
	IPXETimeout time.Duration `ini:"pxe.ipxe_timeout"`
	// IPXEFallbackScript is chained where no interface has a script, relative to http_url.
	IPXEFallbackScript string `ini:"pxe.ipxe_fallback_script"`
	// KernelAppendParams are the default kernel parameters, see KernelParams.
	KernelAppendParams string `ini:"pxe.kernel_append_params"`

	// HTTPURL is the base of all URLs given to clients. Default: the address of
	// Interface (or TFTPServer) with the port of HTTPListen.
	HTTPURL string `ini:"deploy.http_url"`
	// HTTPRoot is a directory to serve by HTTP below /, images for example. Symbolic
	// links that lead out of it are not followed. Empty: none.
	HTTPRoot string `ini:"deploy.http_root"`

	// Interface is the network interface on which DHCP is served.
	Interface string `ini:"netboot.interface"`
	// DHCP is full, proxy or off.
	DHCP string `ini:"netboot.dhcp"`
	// RangeBegin and RangeEnd are the first and last IPv4 address to hand out.
	RangeBegin string `ini:"netboot.range_begin"`
	RangeEnd   string `ini:"netboot.range_end"`
	// Netmask is the clients' netmask (255.255.255.0) or prefix length (24). Default: the interface's.
	Netmask string `ini:"netboot.netmask"`
	// Router is the clients' default gateway. Empty: none is announced.
	Router string `ini:"netboot.router"`
	// DNSServers are the clients' name servers.
	DNSServers []string `ini:"netboot.dns_servers"`
	// LeaseTime is for how long an address is given; also for how long the first of two
	// machines with one MAC address keeps it. At least a minute.
	LeaseTime time.Duration `ini:"netboot.lease_time"`
	// AnswerUnknown also gives addresses, but nothing to boot, to MAC addresses that are
	// no port of any node. Only with DHCP full.
	AnswerUnknown bool `ini:"netboot.answer_unknown"`
	// TFTPPort is the UDP port of the TFTP service; 0 switches it off.
	TFTPPort int `ini:"netboot.tftp_port"`
	// HTTPListen is the TCP address of the HTTP service; empty: it is served elsewhere, by HTTPHandler.
	HTTPListen string `ini:"netboot.http_listen"`
	// LoaderDirs are searched for boot loaders; other files in them are not served.
	LoaderDirs []string `ini:"netboot.loader_dirs"`

	// Leases makes leases outlive a restart. Nil: they are kept in memory (see LeaseStore).
	Leases LeaseStore `ini:"-"`
}

// DefaultConfig returns the defaults: Ironic's where it has the option, DHCP off.
func DefaultConfig() Config {
	return Config{
		PXEBootfileName:        "pxelinux.0",
		UEFIPXEBootfileName:    "bootx64.efi",
		SecureBootBootfileName: "shimx64.efi",
		IPXEBootfileName:       "undionly.kpxe",
		UEFIIPXEBootfileName:   "snponly.efi",
		KernelAppendParams:     "nofb vga=normal",
		DHCP:                   DHCPOff,
		LeaseTime:              time.Hour,
		TFTPPort:               69,
		HTTPListen:             ":8080",
		// Debian and Ubuntu: packages ipxe, pxelinux, syslinux-common, shim-signed and
		// grub-efi-…-signed; /boot has ipxe.efi. Then Fedora and its kin.
		LoaderDirs: []string{"/usr/lib/ipxe", "/usr/share/ipxe", "/usr/lib/ipxe/qemu", "/boot",
			"/usr/lib/PXELINUX", "/usr/lib/syslinux/modules/bios", "/usr/lib/syslinux",
			"/usr/lib/shim", "/usr/lib/grub/x86_64-efi-signed", "/usr/lib/grub/arm64-efi-signed",
			"/usr/share/syslinux", "/boot/efi/EFI/fedora", "/boot/efi/EFI/centos", "/boot/efi/EFI/rocky", "/boot/efi/EFI/redhat"},
	}
}

// KernelParams returns the kernel command line of the agent ramdisk
// (deploy-flow 6.1): append is the node's kernel_append_params, in which
// %default% stands for the configured ones, empty meaning those; agent are the
// ipa-… parameters.
func (c Config) KernelParams(append string, agent ...string) string {
	line := "selinux=0 troubleshoot=0 text " + c.AppendParams(append) + " " + strings.Join(agent, " ")
	return strings.Join(strings.Fields(line), " ")
}

// AppendParams is what operators want appended: append, in which %default%
// stands for the configuration's, or that if append is empty.
func (c Config) AppendParams(append string) string {
	if append == "" {
		append = c.KernelAppendParams
	}
	return strings.ReplaceAll(append, "%default%", c.KernelAppendParams)
}

// settings is a Config after parsing, with its defaults filled in.
type settings struct {
	Config
	server  netip.Addr   // our address on Interface
	tftp    netip.Addr   // what clients are told, and where TFTP listens
	prefix  netip.Prefix // the clients' network
	begin   netip.Addr
	end     netip.Addr
	router  netip.Addr // may be invalid
	dns     []netip.Addr
	httpURL string // without a slash at its end
}

// resolve parses cfg; it reads the interface's address.
func resolve(cfg Config) (*settings, error) {
	s := &settings{Config: cfg}
	if cfg.DHCP != DHCPFull && cfg.DHCP != DHCPProxy && cfg.DHCP != DHCPOff {
		return nil, fmt.Errorf("%w: [netboot]dhcp is %q: give full, proxy or off", ErrConfig, cfg.DHCP)
	}
	if err := s.resolveAddresses(); err != nil {
		return nil, err
	}
	if cfg.DHCP == DHCPFull {
		if err := s.resolveRange(); err != nil {
			return nil, err
		}
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
	return s, s.resolveURL()
}

func (s *settings) resolveAddresses() error {
	if s.TFTPServer != "" {
		addr, err := parseIPv4("[pxe]tftp_server", s.TFTPServer)
		if err != nil {
			return err
		}
		s.tftp = addr
	}
	if s.Interface == "" {
		if s.DHCP != DHCPOff {
			return fmt.Errorf("%w: [netboot]dhcp = %s needs [netboot]interface", ErrConfig, s.DHCP)
		}
		s.server = s.tftp
		return nil
	}
	prefixes, err := interfacePrefixes(s.Interface)
	if err != nil {
		return err
	}
	s.server, s.prefix = prefixes[0].Addr(), prefixes[0].Masked()
	for _, p := range prefixes {
		if p.Addr() == s.tftp {
			s.server, s.prefix = p.Addr(), p.Masked()
		}
	}
	if !s.tftp.IsValid() {
		s.tftp = s.server
	}
	return nil
}

func interfacePrefixes(name string) ([]netip.Prefix, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("%w: [netboot]interface %q: %v", ErrConfig, name, err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("%w: addresses of [netboot]interface %q: %v", ErrConfig, name, err)
	}
	var found []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: [netboot]interface %q has no IPv4 address: give it one first", ErrConfig, name)
	}
	return found, nil
}

func (s *settings) resolveRange() error {
	var err error
	if s.begin, err = parseIPv4("[netboot]range_begin", s.RangeBegin); err != nil {
		return err
	}
	if s.end, err = parseIPv4("[netboot]range_end", s.RangeEnd); err != nil {
		return err
	}
	if s.Netmask != "" {
		bits, err := parseNetmask(s.Netmask)
		if err != nil {
			return err
		}
		s.prefix = netip.PrefixFrom(s.begin, bits).Masked()
	}
	switch {
	case s.end.Less(s.begin):
		return fmt.Errorf("%w: [netboot]range_end %v is before range_begin %v", ErrConfig, s.end, s.begin)
	case !s.prefix.Contains(s.begin) || !s.prefix.Contains(s.end):
		return fmt.Errorf("%w: the range %v-%v is not inside the network %v of interface %q: correct the range or [netboot]netmask",
			ErrConfig, s.begin, s.end, s.prefix, s.Interface)
	case rangeSize(s.begin, s.end) > maxRange:
		return fmt.Errorf("%w: the range %v-%v has more than %d addresses", ErrConfig, s.begin, s.end, maxRange)
	case s.LeaseTime < time.Minute:
		return fmt.Errorf("%w: [netboot]lease_time is %v: give at least a minute", ErrConfig, s.LeaseTime)
	}
	if s.Router != "" {
		if s.router, err = parseIPv4("[netboot]router", s.Router); err != nil {
			return err
		}
	}
	for _, d := range s.DNSServers {
		addr, err := parseIPv4("[netboot]dns_servers", d)
		if err != nil {
			return err
		}
		s.dns = append(s.dns, addr)
	}
	return nil
}

func (s *settings) resolveURL() error {
	if s.HTTPURL != "" {
		u, err := url.Parse(s.HTTPURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || !scriptWord(s.HTTPURL) {
			return fmt.Errorf("%w: [deploy]http_url %q is no http:// or https:// URL", ErrConfig, s.HTTPURL)
		}
		s.httpURL = strings.TrimRight(s.HTTPURL, "/")
		return nil
	}
	host := s.server
	if !host.IsValid() {
		return fmt.Errorf("%w: give [deploy]http_url, or [netboot]interface to derive it from", ErrConfig)
	}
	_, port, err := net.SplitHostPort(s.HTTPListen)
	if err != nil {
		return fmt.Errorf("%w: [deploy]http_url is not set and [netboot]http_listen %q has no port", ErrConfig, s.HTTPListen)
	}
	s.httpURL = "http://" + net.JoinHostPort(host.String(), port)
	return nil
}

func parseIPv4(option, text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return netip.Addr{}, fmt.Errorf("%w: %s %q is no IPv4 address", ErrConfig, option, text)
	}
	return addr, nil
}

func parseNetmask(text string) (int, error) {
	var bits int
	if _, err := fmt.Sscanf(text, "%d", &bits); err == nil && !strings.Contains(text, ".") && bits >= 8 && bits <= 30 {
		return bits, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Is4() {
		mask := addr.As4()
		if ones, size := net.IPMask(mask[:]).Size(); size == 32 && ones >= 8 && ones <= 30 {
			return ones, nil
		}
	}
	return 0, fmt.Errorf("%w: [netboot]netmask %q is no netmask: give 255.255.255.0 or 24, for example", ErrConfig, text)
}
