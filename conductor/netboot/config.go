package netboot

import (
	"strings"
	"time"
)

// DHCP modes, the values of [netboot]dhcp and dhcpv6.
const (
	DHCPFull  = "full"  // hand out addresses of the range, and boot data
	DHCPProxy = "proxy" // hand out boot data only; addresses come from the network's own server
	DHCPOff   = "off"   // the operator's DHCP server does both

	DHCPStateless = "stateless" // of DHCPv6: boot data only; addresses come from router advertisements
)

// maxRange bounds the lease table.
const maxRange = 1 << 16

// Config holds the options of this package. The tag names section and option of
// the INI file; names outside [netboot] are Ironic's.
type Config struct {
	// TFTPServer is the address that clients fetch from by TFTP, and on which
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
	// DHCPv6 is full (addresses of range6_begin to range6_end, and boot data), stateless
	// (boot data for clients that have an address by router advertisements) or off.
	DHCPv6 string `ini:"netboot.dhcpv6"`
	// Range6Begin and Range6End are the first and last IPv6 address to hand out.
	Range6Begin string `ini:"netboot.range6_begin"`
	Range6End   string `ini:"netboot.range6_end"`
	// Prefix6 is the length of the clients' IPv6 prefix. Default: the interface's, or 64.
	Prefix6 string `ini:"netboot.prefix6"`
	// HTTPURL6 is the base of all URLs given to clients over IPv6. Default: http_url if that
	// names its host, else Interface's address with the port of HTTPListen.
	HTTPURL6 string `ini:"netboot.http_url6"`
	// Subnets are further networks, one a line: NAME range=FIRST-LAST netmask=24 router=ADDRESS
	// dns=ADDRESS+ADDRESS range6=FIRST-LAST prefix6=64, with interface=NAME if they are not
	// reached through the relay agents of Interface, and tftp_server=ADDRESS, http_url=URL
	// and http_url6=URL where the next stage is not on this conductor's address there.
	Subnets []string `ini:"netboot.subnets"`
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
		DHCPv6:                 DHCPOff,
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
