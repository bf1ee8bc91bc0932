package netboot

import (
	"slices"
	"strings"
	"testing"
)

// The network's own server says by option 60 without a boot file that a boot server
// is on its host, so firmware asks there on port 4011.
func TestBootServerOfFirmware(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64", "cpio", "dnsmasq") {
		return
	}
	setUpNetwork(t)
	startDnsmasq(t, "--dhcp-option-force=60,PXEClient")
	server, events := runServer(t, proxyConfig(), ramdiskMachine(t))
	console := bootMachine(t, vmLimit, kernelLines, slices.Concat(ovmf(t), noIPv6PXE, []string{"-device", cardBare})...)
	asked := false
	for _, seen := range server.Sightings().Of(bootMAC) {
		t.Logf("%s: %s → %s%s", seen.Protocol, seen.Request, seen.Answer, seen.Reason)
		asked = asked || strings.Contains(seen.Request, "to port 4011") && strings.Contains(seen.Answer, "ACK")
	}
	if !asked || !events.has(pxeChain...) || t.Failed() {
		t.Errorf("an ACK on port 4011: %t\nevents:\n%s\nconsole:\n%s", asked, events, console)
	}
}
