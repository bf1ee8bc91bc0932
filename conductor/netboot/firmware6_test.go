package netboot

import (
	"slices"
	"strings"
	"testing"
)

const bridge6 = "fd00:77::1"

// setUpNetwork6 is setUpNetwork with an IPv6 prefix, in which addresses are given by DHCPv6.
func setUpNetwork6(t *testing.T) {
	t.Helper()
	for _, line := range []string{
		"ip link set lo up",
		"ip link add br0 type bridge forward_delay 0 stp_state 0",
		"ip addr add 192.168.77.1/24 dev br0",
		"ip -6 addr add " + bridge6 + "/64 dev br0 nodad",
		"ip link set br0 up",
		"ip tuntap add tap1 mode tap",
		"ip link set tap1 master br0 up",
	} {
		run(t, strings.Fields(line)...)
	}
	advertise(t, raManaged|raOther)
}

// config6 serves IPv6 only. What asks by IPv4 too is given an address by another
// server, and nothing to boot, or it would wait for a minute and more.
func config6() Config {
	cfg := DefaultConfig()
	cfg.Interface = bridge
	cfg.DHCPv6 = DHCPFull
	cfg.Range6Begin, cfg.Range6End = "fd00:77::100", "fd00:77::1ff"
	return cfg
}

// UEFI's own PXE over IPv6: DHCPv6, iPXE by TFTP, and by iPXE's DHCPv6 everything else by HTTP.
func TestUEFIPXEv6(t *testing.T) {
	if !inOwnNamespace(t, "qemu-system-x86_64", "cpio") {
		return
	}
	setUpNetwork6(t)
	startDnsmasq(t)
	bootChain(t, config6(), pxeChain, slices.Concat(ovmf(t),
		[]string{"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n", "-device", cardBare})...)
}

// UEFI's HTTP boot over IPv6. It tries IPv4 first, for a minute without an answer: so
// there it is sent to a port that refuses it.
func TestUEFIHTTPBootv6(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64", "cpio") {
		return
	}
	setUpNetwork6(t)
	startDnsmasq(t, "--dhcp-vendorclass=set:http,HTTPClient", "--dhcp-option-force=tag:http,60,HTTPClient", "--dhcp-boot=tag:http,http://192.168.77.1:9/none.efi")
	bootChain(t, config6(), httpChain, slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
}
