package compat_test

import (
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ferric/api/ironic"
)

// inspect has the ramdisk look at the machine; what it found is the node's inventory.
func inspect(t *testing.T, p *patient) {
	stop := announce(t)
	defer stop()
	n := p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbInspect}, ironic.StateManageable)
	stop()
	p.logged(t)
	p.hooked(t, n)
	var data struct {
		Inventory struct {
			CPU    struct{ Count int } `json:"cpu"`
			Memory struct {
				Physical int `json:"physical_mb"`
			} `json:"memory"`
			Disks      []struct{ Serial string } `json:"disks"`
			Interfaces []struct {
				MAC string `json:"mac_address"`
			} `json:"interfaces"`
			BMC  string `json:"bmc_address"`
			Boot struct {
				Mode string `json:"current_boot_mode"`
				PXE  string `json:"pxe_interface"`
			} `json:"boot"`
			System struct {
				Serial string `json:"serial_number"`
			} `json:"system_vendor"`
		} `json:"inventory"`
		Plugin map[string]json.RawMessage `json:"plugin_data"`
	}
	p.get(t, "/v1/nodes/"+p.name+"/inventory", &data)
	c, found := p.machine.Config, data.Inventory
	if found.CPU.Count != 1 || len(found.Disks) != len(c.Disks) || found.Disks[0].Serial != c.Disks[0].Serial ||
		len(found.Interfaces) != 1 || found.Interfaces[0].MAC != c.MAC || found.BMC != c.BMC.Address ||
		found.Boot.Mode != string(c.Firmware) || found.Boot.PXE != c.MAC || found.System.Serial != c.SMBIOS.Serial {
		t.Errorf("the inventory is %+v; the machine is %+v", found, c)
	}
	if want := c.MemoryMiB; found.Memory.Physical < want*9/10 || found.Memory.Physical > want*11/10 {
		t.Errorf("the machine has %d MiB of memory; want about %d", found.Memory.Physical, want)
	}
	for _, key := range []string{"extra", "parsed_lldp", "pci_devices", "numa_topology", "valid_interfaces"} { // of hooks, or for them
		if len(data.Plugin[key]) <= len("{}") {
			t.Errorf("the plugin data has %q as %q", key, data.Plugin[key])
		}
	}
}

// hooked checks what the hooks of the conductor made of what the ramdisk found.
func (p *patient) hooked(t *testing.T, n *ironic.Node) {
	t.Helper()
	ports, err := p.API.Ports(t.Context(), url.Values{"node": {n.UUID}, "detail": {"true"}})
	if err != nil || len(ports) != 1 {
		t.Fatalf("ports of the node: %+v, %v; want one", ports, err)
	}
	want, got := map[string]any{"switch_id": switchMAC, "port_id": switchPort}, ports[0].LocalLinkConnection
	delete(got, "switch_info") // the name, since later than 2025.1
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the port's switch (-want +got):\n%s", diff)
	}
	capabilities, _ := n.Properties["capabilities"].(string)
	for _, want := range []string{"boot_mode:" + string(p.machine.Config.Firmware), "q35:1"} {
		if !slices.Contains(strings.Split(capabilities, ","), want) {
			t.Errorf("capabilities are %q; want %q among them", capabilities, want)
		}
	}
	if n.Properties["cpu_arch"] != "x86_64" {
		t.Errorf("cpu_arch is %v", n.Properties["cpu_arch"])
	}
}

// The switch that the machine is said to hang on.
const (
	switchMAC  = "00:1c:73:77:00:07"
	switchPort = "Ethernet7"
	switchName = "leaf-1"
)

// announce sends LLDP to the machine, as its switch would, until stopped. A
// bridge does not forward it, so it goes to the machine's tap itself.
func announce(t *testing.T) (stop func()) {
	t.Helper()
	tap, err := net.InterfaceByName("tap0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC(switchMAC)
	if err != nil {
		t.Fatal(err)
	}
	frame := slices.Concat([]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e}, mac, []byte{0x88, 0xcc},
		tlv(1, "\x04"+string(mac)), // chassis: a MAC address
		tlv(2, "\x05"+switchPort),  // port: an interface name
		tlv(3, "\x00\x78"),         // time to live: 120 s
		tlv(5, switchName), tlv(0, ""))
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			// It fails while the machine is off.
			_ = unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: tap.Index, Halen: 6})
			select {
			case <-done:
				ended <- unix.Close(socket)
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// tlv is an element of LLDP: seven bits of type, nine of length.
func tlv(kind byte, value string) []byte {
	return append([]byte{kind<<1 | byte(len(value)>>8), byte(len(value))}, value...)
}
