package process_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"

	"ferric/api/ironic"
	"ferric/conductor/explain"
)

// explained is the conductor's explanation of a node, as it would be after a
// further time without news.
func explained(t *testing.T, c *conductor, node string, later time.Duration) explain.Explanation {
	t.Helper()
	var e explain.Explanation
	if err := c.api.Do(t.Context(), http.MethodGet, "/ferric/v1/nodes/"+node+"/explain", nil, nil, &e); err != nil {
		t.Fatal(err)
	}
	if later == 0 {
		return e
	}
	e.Facts.Now = e.Facts.Now.Add(later)
	return explain.Explain(e.Facts)
}

// because checks the cause; texts are what the explanation has to say.
func because(t *testing.T, c *conductor, node, cause string, later time.Duration, texts ...string) {
	t.Helper()
	e := explained(t, c, node, later)
	// What was served is recorded a moment after it was sent.
	for end := time.Now().Add(20 * time.Second); e.Cause.Name != cause && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		e = explained(t, c, node, later)
	}
	t.Logf("%s: %s → %v", e.Cause.Name, e.Cause.Text, e.Cause.Actions)
	if e.Cause.Name != cause {
		facts, _ := json.MarshalIndent(e.Facts, "", " ")
		t.Errorf("the cause is %q (%s), want %q: %s", e.Cause.Name, e.Cause.Text, cause, facts)
	}
	for _, text := range texts {
		if !strings.Contains(e.Cause.Text+strings.Join(e.Cause.Actions, " "), text) {
			t.Errorf("%q does not say %q", e.Cause.Text, text)
		}
	}
	if len(e.Cause.Actions) == 0 {
		t.Errorf("%s says nothing to do", e.Cause.Name)
	}
}

// site is a conductor that serves a network of its own, of which the other end
// is where machines send from.
type site struct {
	*conductor
	http  string
	nodes int
}

const siteEnd = "mach0"

func newSite(t *testing.T) *site {
	t.Helper()
	for _, line := range []string{
		"ip link add site0 type veth peer name " + siteEnd,
		"ip addr add 192.168.99.1/24 dev site0", "ip link set site0 up", "ip link set " + siteEnd + " up",
	} {
		words := strings.Fields(line)
		run(t, words[0], words[1:]...)
	}
	dir, port := t.TempDir(), newPort()
	for _, name := range []string{"kernel", "ramdisk"} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte(name), 1000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := newConductor(t, fmt.Sprintf(`[netboot]
dhcp = full
interface = site0
range_begin = 192.168.99.10
range_end = 192.168.99.11
http_listen = 0.0.0.0:%d
[conductor]
file_url_allowed_paths = %s
power_state_change_timeout = 2
[api]
ramdisk_heartbeat_timeout = 60
[DEFAULT]
enabled_boot_interfaces = ipxe,pxe,fake`, port, dir))
	return &site{conductor: c, http: fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// enrol makes a node of fake hardware that boots over the network, with ports.
func (s *site) enrol(t *testing.T, attributes map[string]any, ports ...string) string {
	t.Helper()
	s.nodes++
	name := fmt.Sprintf("n%d", s.nodes)
	all := map[string]any{"name": name, "driver": "fake-hardware", "boot_interface": "ipxe", "deploy_interface": "direct", "resource_class": "x",
		"driver_info": map[string]any{"deploy_kernel": filepath.Join(s.files(t), "kernel"), "deploy_ramdisk": filepath.Join(s.files(t), "ramdisk")}}
	for key, value := range attributes {
		all[key] = value
	}
	n, err := s.api.CreateNode(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	for _, mac := range ports {
		enabled := true
		if mac, enabled = strings.CutPrefix(mac, "!"); enabled {
			enabled = false
		} else {
			enabled = true
		}
		if _, err := s.api.CreatePort(t.Context(), map[string]any{"node_uuid": n.UUID, "address": mac, "pxe_enabled": enabled}); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// files is the directory of kernel and ramdisk, as the configuration has it.
func (s *site) files(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "file_url_allowed_paths = ")
	dir, _, _ := strings.Cut(rest, "\n")
	return dir
}

func (s *site) to(t *testing.T, node, verb, state string) {
	t.Helper()
	if err := s.api.SetProvisionState(t.Context(), node, ironic.ProvisionRequest{Target: verb}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.api.WaitProvision(ctx, node, []string{state}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the reservation", func() bool {
		n, err := s.api.Node(t.Context(), node)
		return err == nil && n.Reservation == nil
	})
}

// booting makes a node whose machine boots the agent to clean it.
func (s *site) booting(t *testing.T, attributes map[string]any, ports ...string) string {
	t.Helper()
	name := s.enrol(t, attributes, ports...)
	s.to(t, name, ironic.VerbManage, ironic.StateManageable)
	s.to(t, name, ironic.VerbProvide, ironic.StateCleanWait)
	return name
}

func (s *site) get(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(s.http + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// ask sends a DHCP packet as the machine with that address does, and waits
// until the conductor has noted it.
func (s *site) ask(t *testing.T, mac string, arch iana.Arch, kind dhcpv4.MessageType, options ...dhcpv4.Modifier) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	options = append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(kind), dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClientArch(arch)), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016"))}, options...)
	packet, err := dhcpv4.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	end, err := net.InterfaceByName(siteEnd)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, broadcast(hw, packet.ToBytes()), 0, &unix.SockaddrLinklayer{Ifindex: end.Index, Protocol: 0x0008, Halen: 6}); err != nil {
		t.Fatal(err)
	}
}

// broadcast is a frame of a machine that has no address yet.
func broadcast(from net.HardwareAddr, payload []byte) []byte {
	frame := append(bytes.Repeat([]byte{0xff}, 6), from...)
	frame = append(frame, 0x08, 0x00)
	ip := make([]byte, 28) // and the header of UDP, without a checksum
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(payload)))
	copy(ip[16:20], net.IPv4bcast.To4())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(ip[20:], 68)
	binary.BigEndian.PutUint16(ip[22:], 67)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(payload)))
	return append(append(frame, ip...), payload...)
}

func (s *site) noted(t *testing.T, node, mac string) {
	t.Helper()
	eventually(t, "the sighting of "+mac, func() bool {
		f := explained(t, s.conductor, node, 0).Facts
		for _, p := range f.Ports {
			if p.Address == mac && len(p.Sightings) > 0 {
				return true
			}
		}
		for _, seen := range f.Strangers {
			if seen.MAC == mac {
				return true
			}
		}
		return false
	})
}

// join looks the node up as its agent does, and sends a heartbeat.
func (s *site) join(t *testing.T, macs, callback string) (status int) {
	t.Helper()
	ask := func(method, path, body string) (int, []byte) { return s.send(t, method, path, "1.68", body) }
	status, text := ask("GET", "/v1/lookup?addresses="+macs, "")
	var found struct {
		Node   struct{ UUID string }
		Config struct {
			Token string `json:"agent_token"`
		}
	}
	if status != 200 || json.Unmarshal(text, &found) != nil {
		return status
	}
	status, text = ask("POST", "/v1/heartbeat/"+found.Node.UUID, fmt.Sprintf(`{"callback_url": %q, "agent_version": "9", "agent_token": %q}`, callback, found.Config.Token))
	t.Logf("heartbeat: %d %s", status, text)
	return status
}

func mac(n int) string { return fmt.Sprintf("52:54:00:aa:00:%02x", n) }

// TestExplain breaks set-ups, and asks what is the matter.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	late := 10 * time.Minute
	uefi := iana.EFI_X86_64

	t.Run("resting", func(t *testing.T) {
		n := s.enrol(t, nil)
		because(t, s.conductor, n, "enrolled", 0)
		s.to(t, n, ironic.VerbManage, ironic.StateManageable)
		because(t, s.conductor, n, "manageable", 0)
		s.update(t, n, "/retired", true)
		because(t, s.conductor, n, "retired", 0)
		if err := s.api.SetMaintenance(t.Context(), n, "new fans"); err != nil {
			t.Fatal(err)
		}
		because(t, s.conductor, n, "maintenance", 0, "new fans")
		n = s.enrol(t, map[string]any{"automated_clean": false, "resource_class": nil})
		s.to(t, n, ironic.VerbManage, ironic.StateManageable)
		s.to(t, n, ironic.VerbProvide, ironic.StateAvailable)
		because(t, s.conductor, n, "no-resource-class", 0)
		s.update(t, n, "/resource_class", "x")
		because(t, s.conductor, n, "not-cleaned", 0)
		n = s.enrol(t, map[string]any{"automated_clean": false, "driver_info": map[string]any{}})
		s.to(t, n, ironic.VerbManage, ironic.StateManageable)
		because(t, s.conductor, n, "boot-files", 0, "deploy_kernel")
		n = s.enrol(t, map[string]any{"automated_clean": false, "boot_interface": "fake", "deploy_interface": "fake"})
		s.to(t, n, ironic.VerbManage, ironic.StateManageable)
		s.to(t, n, ironic.VerbProvide, ironic.StateAvailable)
		s.to(t, n, ironic.VerbActive, ironic.StateActive)
		s.update(t, n, "/protected", true)
		because(t, s.conductor, n, "protected", 0)
	})
	t.Run("hold", func(t *testing.T) {
		n := s.enrol(t, map[string]any{"boot_interface": "fake", "deploy_interface": "fake"})
		s.to(t, n, ironic.VerbManage, ironic.StateManageable)
		err := s.api.Do(t.Context(), http.MethodPut, "/v1/nodes/"+n+"/states/provision", nil,
			map[string]any{"target": "clean", "clean_steps": []any{map[string]any{"interface": "power", "step": "hold"}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := s.api.WaitProvision(ctx, n, []string{"clean hold"}, nil); err != nil {
			t.Fatal(err)
		}
		because(t, s.conductor, n, "hold", 0, "unhold")
	})
	t.Run("BMC", func(t *testing.T) {
		b := newBMC(t)
		for key, c := range map[string]struct {
			value any
			cause string
		}{"ipmi_password": {"wrong", "bmc-credentials"}, "ipmi_port": {silence(t), "bmc-unreachable"}} {
			info := b.access()
			info[key] = c.value
			m := newNode(t, s.conductor, map[string]any{"driver": "ipmi", "driver_info": info})
			m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage})
			m.fails(t, ironic.StateEnroll)
			because(t, s.conductor, m.name, c.cause, 0, key)
		}
		m := newNode(t, s.conductor, map[string]any{"driver": "ipmi", "driver_info": b.access()})
		m.provision(t, ironic.VerbManage, ironic.StateManageable)
		b.stick(t)
		if err := s.api.SetPower(t.Context(), m.name, ironic.PowerOn, 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the failure", func() bool { return m.node(t).LastError != nil })
		because(t, s.conductor, m.name, "bmc-lies", 0, "reset the BMC")
	})

	// Machines that do not come as far as an agent.
	t.Run("no ports", func(t *testing.T) {
		because(t, s.conductor, s.booting(t, nil), "no-ports", 0, "ferric port create")
	})
	t.Run("nothing heard", func(t *testing.T) {
		n := s.booting(t, nil, mac(1))
		because(t, s.conductor, n, "boots", 0)
		because(t, s.conductor, n, "boots-elsewhere", late, mac(1), "boot order")
		if err := s.api.SetMaintenance(t.Context(), n, ""); err != nil { // lets power alone
			t.Fatal(err)
		}
	})
	t.Run("port not to boot", func(t *testing.T) {
		n := s.booting(t, nil, "!"+mac(2))
		s.ask(t, mac(2), uefi, dhcpv4.MessageTypeDiscover)
		s.noted(t, n, mac(2))
		because(t, s.conductor, n, "pxe-disabled", 0, "pxe_enabled")
	})
	t.Run("another DHCP server", func(t *testing.T) {
		n := s.booting(t, nil, mac(3))
		s.ask(t, mac(3), uefi, dhcpv4.MessageTypeRequest, dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 99, 77))),
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.IPv4(192, 168, 99, 50))))
		s.noted(t, n, mac(3))
		because(t, s.conductor, n, "other-dhcp", 0, "192.168.99.77")
	})
	t.Run("no loader for its architecture", func(t *testing.T) {
		n := s.booting(t, nil, mac(4))
		s.ask(t, mac(4), iana.Arch(0xfff0), dhcpv4.MessageTypeDiscover)
		s.noted(t, n, mac(4))
		because(t, s.conductor, n, "no-loader", 0)
	})
	t.Run("answered, but nothing is loaded", func(t *testing.T) {
		n := s.booting(t, nil, mac(5))
		s.ask(t, mac(5), uefi, dhcpv4.MessageTypeDiscover)
		s.noted(t, n, mac(5))
		because(t, s.conductor, n, "boots", 0)
		because(t, s.conductor, n, "loader-lost", time.Minute, "firewalls")
	})
	t.Run("no address left", func(t *testing.T) {
		a, b := s.booting(t, nil, mac(6)), s.booting(t, nil, mac(7))
		s.ask(t, mac(6), uefi, dhcpv4.MessageTypeDiscover) // the second of two
		s.noted(t, a, mac(6))
		s.ask(t, mac(7), uefi, dhcpv4.MessageTypeDiscover)
		s.noted(t, b, mac(7))
		because(t, s.conductor, b, "dhcp-exhausted", 0, "range_end")
	})
	t.Run("no such kernel", func(t *testing.T) {
		kernel := filepath.Join(s.files(t), "gone")
		if err := os.WriteFile(kernel, []byte("k"), 0o644); err != nil {
			t.Fatal(err)
		}
		n := s.booting(t, map[string]any{"driver_info": map[string]any{"deploy_kernel": kernel, "deploy_ramdisk": filepath.Join(s.files(t), "ramdisk")}}, mac(8))
		if err := os.Remove(kernel); err != nil {
			t.Fatal(err)
		}
		if status, _ := s.get(t, "/"+explained(t, s.conductor, n, 0).Facts.UUID+"/deploy_kernel"); status != 404 {
			t.Fatalf("status %d of a kernel that is gone", status)
		}
		because(t, s.conductor, n, "file-missing", 0, "deploy_kernel")
	})
	t.Run("stops while it loads", func(t *testing.T) {
		n := s.booting(t, nil, mac(9))
		if status, _ := s.get(t, "/"+explained(t, s.conductor, n, 0).Facts.UUID+"/deploy_kernel"); status != 200 {
			t.Fatalf("status %d of the kernel", status)
		}
		because(t, s.conductor, n, "kernel-lost", late, "console")
	})
	t.Run("API out of reach", func(t *testing.T) {
		n := s.booting(t, nil, mac(10))
		uuid := explained(t, s.conductor, n, 0).Facts.UUID
		for _, file := range []string{"kernel", "ramdisk"} {
			if status, _ := s.get(t, "/"+uuid+"/deploy_"+file); status != 200 {
				t.Fatalf("status %d of the %s", status, file)
			}
		}
		eventually(t, "the event", func() bool {
			return strings.Contains(fmt.Sprint(explained(t, s.conductor, n, 0).Facts.Events), "ramdisk-sent")
		})
		because(t, s.conductor, n, "api-unreachable", late, s.url[strings.LastIndex(s.url, ":"):])
	})
	t.Run("switched off", func(t *testing.T) {
		n := s.booting(t, nil, mac(11))
		s.switchOff(t, n)
		because(t, s.conductor, n, "power-off", 0, "ferric node power on "+n)
	})

	// Agents that do not come as far as their work.
	t.Run("addresses of several nodes", func(t *testing.T) {
		n := s.booting(t, nil, mac(12))
		s.enrol(t, nil, mac(13))
		if status := s.join(t, mac(12)+","+mac(13), ""); status != 404 {
			t.Fatalf("a lookup with addresses of two nodes is answered %d", status)
		}
		because(t, s.conductor, n, "lookup-ambiguous", 0, mac(13))
	})
	t.Run("heartbeat refused", func(t *testing.T) {
		n := s.booting(t, nil, mac(14))
		if status := s.join(t, mac(14), "http://127.0.0.1:9"); status != 400 {
			t.Fatalf("a heartbeat of an agent without TLS is answered %d", status)
		}
		because(t, s.conductor, n, "heartbeat-refused", 0, "require_tls")
	})
	t.Run("agent out of reach", func(t *testing.T) {
		n := s.booting(t, nil, mac(15))
		if status := s.join(t, mac(15), fmt.Sprintf("https://127.0.0.1:%d", newPort())); status != 202 {
			t.Fatalf("a heartbeat is answered %d", status)
		}
		because(t, s.conductor, n, "agent-deaf", 0, "connection refused", "9999")
	})
	t.Run("wrong address", func(t *testing.T) {
		n := s.booting(t, nil, mac(16))
		s.ask(t, mac(99), uefi, dhcpv4.MessageTypeDiscover)
		s.noted(t, n, mac(99))
		because(t, s.conductor, n, "wrong-mac", 0, mac(16), mac(99))
	})
}

func (s *site) update(t *testing.T, node, path string, value any) {
	t.Helper()
	if _, err := s.api.UpdateNode(t.Context(), node, ironic.Patch{{Op: "add", Path: path, Value: value}}); err != nil {
		t.Fatal(err)
	}
}

// switchOff pulls the plug: fake hardware has its state in the row, which power
// requests do not touch while a node is cleaned.
func (s *site) switchOff(t *testing.T, node string) {
	t.Helper()
	run(t, "sqlite3", filepath.Join(s.dir, "ferric.sqlite"), fmt.Sprintf("UPDATE nodes SET power_state = 'power off' WHERE name = '%s'", node))
}

// TestExplainDeployments lets real agents fail, and asks why.
func TestExplainDeployments(t *testing.T) {
	t.Parallel()
	c, s := newConductor(t), newShop(t)
	for cause, spoil := range map[string]func(m *machine){
		"image-missing":  func(m *machine) { m.setImage(t, s.URL+"/nothing.raw", "raw", strings.Repeat("0", 64)) },
		"image-digest":   func(m *machine) { m.setImage(t, s.URL+"/good.raw", "raw", strings.Repeat("0", 64)) },
		"disk-too-small": func(m *machine) { m.setImage(t, s.URL+"/huge.qcow2", "qcow2", digestOf(t, imageFile(t, "huge.qcow2"))) },
		"no-root-device": func(m *machine) {
			m.setGood(t, s)
			patch := ironic.Patch{{Op: "add", Path: "/properties/root_device", Value: map[string]any{"serial": "of no disk"}}}
			if _, err := c.api.UpdateNode(t.Context(), m.name, patch); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(cause, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, c, spec{})
			m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
			spoil(m)
			m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
			m.fails(t, ironic.StateDeployFailed)
			because(t, c, m.name, cause, 0)
		})
	}
}
