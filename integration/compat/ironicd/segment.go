package ironicd

import (
	"path/filepath"

	"ferric/integration/lab"
)

// dnsmasq is the command line of the segment's DHCP and TFTP server, the
// operator's own as far as Ironic is concerned (dhcp_provider = none). iPXE,
// known by option 175, gets Ironic's first script; firmware gets iPXE (lab
// notes, section 3). Router advertisements are the rack's.
func dnsmasq(dir string) []string {
	return []string{"dnsmasq",
		"--no-daemon", "--conf-file=/dev/null", "--user=root", "--group=root", // other users do not exist in the namespace
		"--port=0", "--interface=" + lab.Bridge, "--bind-interfaces", "--no-ping", "--log-dhcp",
		"--dhcp-leasefile=" + filepath.Join(dir, "leases"), "--dhcp-range=192.168.77.100,192.168.77.150,1h",
		"--enable-tftp", "--tftp-root=" + filepath.Join(dir, "tftp"),
		"--dhcp-match=set:ipxe,175",
		"--dhcp-match=set:efi,option:client-arch,7",
		"--dhcp-match=set:efi,option:client-arch,9",
		"--dhcp-match=set:efihttp,option:client-arch,16",
		"--dhcp-option-force=tag:efihttp,60,HTTPClient",
		"--dhcp-boot=tag:efihttp,tag:!ipxe," + httpURL + "/snponly.efi",
		"--dhcp-boot=tag:efi,tag:!ipxe,tag:!efihttp,snponly.efi",
		"--dhcp-boot=tag:!efi,tag:!ipxe,tag:!efihttp,undionly.kpxe",
		"--dhcp-boot=tag:ipxe," + httpURL + "/boot.ipxe",
	}
}
