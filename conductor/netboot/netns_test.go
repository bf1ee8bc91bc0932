package netboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/net/ipv6"

	"ferric/integration/lab"
)

// The tests of this file run real firmware against the server in a network
// namespace of their own: the test binary starts itself again there.

const inNamespace = "NETBOOT_TEST_NAMESPACE"

const (
	bootMAC  = "52:54:00:77:00:01"
	bootUUID = "6a1f3c52-30d8-4d3c-9b0e-1f7a5f0c0a01"
	bridge   = "br0"
)

// inOwnNamespace runs the named test again in new user and network namespaces,
// and returns true there.
func inOwnNamespace(t *testing.T, programs ...string) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	for _, p := range append(programs, "unshare", "ip") {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, "program "+p)
		}
	}
	probe := exec.Command("unshare", "-Urn", "true")
	if out, err := probe.CombinedOutput(); err != nil {
		missing(t, "user namespaces: "+string(out))
	}
	cmd := exec.Command("unshare", "-Urn", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "15m")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("in the namespace: %v", err)
	}
	return false
}

// missing skips a test that cannot run here, and fails it in CI.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// setUpNetwork makes a bridge with our address and a tap for one machine.
func setUpNetwork(t *testing.T) {
	t.Helper()
	for _, line := range []string{
		"ip link set lo up",
		"ip link add br0 type bridge forward_delay 0 stp_state 0",
		"ip addr add 192.168.77.1/24 dev br0",
		"ip link set br0 up",
		"ip tuntap add tap1 mode tap",
		"ip link set tap1 master br0 up",
	} {
		run(t, strings.Fields(line)...)
	}
	advertise(t, 0)
}

// Flags of a router advertisement (RFC 4861): addresses, and other things, are to be had by DHCPv6.
const (
	raManaged = 0x80
	raOther   = 0x40
)

// advertise sends router advertisements until the test ends. Without them iPXE
// waits 13 s longer for IPv6 at each start (lab-notes 0.2).
func advertise(t *testing.T, flags byte) {
	t.Helper()
	conn, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		t.Fatal(err)
	}
	ifi, err := net.InterfaceByName(bridge)
	if err != nil {
		t.Fatal(err)
	}
	pc := ipv6.NewPacketConn(conn)
	if err := errors.Join(pc.SetMulticastInterface(ifi), pc.SetMulticastHopLimit(255)); err != nil {
		t.Fatal(err)
	}
	// RFC 4861 section 4.2: type, code, checksum, hop limit, flags, lifetime of 30 minutes, two timers.
	packet := []byte{134, 0, 0, 0, 64, flags, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-stop:
				return
			case <-tick.C: // an error is no address yet: the next one will do
				conn.WriteTo(packet, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: bridge})
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		conn.Close()
	})
}

// eventLog collects events.
type eventLog struct {
	mu     sync.Mutex
	events []Event
	start  time.Time
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) kinds() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var kinds []string
	for _, e := range l.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (l *eventLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, e := range l.events {
		fmt.Fprintf(&b, "%7.2fs %-12s %s %s\n", e.Time.Sub(l.start).Seconds(), e.Kind, e.MAC, e.Detail)
	}
	return b.String()
}

// has tells whether the kinds occurred in this order, others between them.
func (l *eventLog) has(kinds ...string) bool {
	for _, k := range l.kinds() {
		if len(kinds) > 0 && k == kinds[0] {
			kinds = kinds[1:]
		}
	}
	return len(kinds) == 0
}

// mapDirectory is a Directory of a fixed set of ports.
type mapDirectory map[string]Machine

func (d mapDirectory) Machine(_ context.Context, mac net.HardwareAddr) (Machine, error) {
	m, ok := d[mac.String()]
	if !ok {
		return Machine{}, ErrUnknownMAC
	}
	return m, nil
}

func testLog(t *testing.T) *logrus.Entry {
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	return logrus.NewEntry(log)
}

// debianKernel finds the distribution's kernel.
func debianKernel(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/boot/vmlinuz-*-amd64")
	if err != nil || len(found) == 0 {
		missing(t, "a kernel in /boot (linux-image-amd64)")
	}
	return found[len(found)-1]
}

// tinyRamdisk is a cpio archive that holds one file: enough for the kernel to say that it unpacked it.
func tinyRamdisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "marker"), bytes.Repeat([]byte("ferric "), 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	cpio := exec.Command("cpio", "-o", "-H", "newc", "--quiet")
	cpio.Dir, cpio.Stdin = dir, strings.NewReader("marker\n")
	out, err := cpio.Output()
	if err != nil {
		t.Fatalf("cpio: %v", err)
	}
	name := filepath.Join(t.TempDir(), "ramdisk.cpio")
	if err := os.WriteFile(name, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// startServer runs a server in this namespace until the test ends.
func startServer(t *testing.T, cfg Config, dir Directory) *eventLog {
	t.Helper()
	_, events := runServer(t, cfg, dir)
	return events
}

func runServer(t *testing.T, cfg Config, dir Directory) (*Server, *eventLog) {
	t.Helper()
	events := &eventLog{start: time.Now()}
	server, err := New(cfg, dir, events.add, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not stop")
		}
	})
	return server, events
}

func fullConfig() Config {
	cfg := DefaultConfig()
	cfg.Interface = bridge
	cfg.DHCP = DHCPFull
	cfg.RangeBegin, cfg.RangeEnd = "192.168.77.100", "192.168.77.120"
	cfg.Router = "192.168.77.1"
	return cfg
}

func ramdiskMachine(t *testing.T) mapDirectory {
	return mapDirectory{bootMAC: {
		NodeUUID: bootUUID, Name: "rack-1", Action: Ramdisk,
		Kernel: debianKernel(t), Ramdisk: "file://" + tinyRamdisk(t),
		Params: "console=ttyS0 no_timer_check panic=5 ipa-api-url=http://192.168.77.1:6385",
	}}
}

// bootMachine runs QEMU until its serial console shows all of want, or for limit.
// Other virtual machines of this host wait meanwhile.
func bootMachine(t *testing.T, limit time.Duration, want []string, args ...string) string {
	t.Helper()
	lab.Alone(t)
	qemu := exec.Command("qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-cpu", "max,la57=off", "-smp", "1", "-nographic", "-no-reboot", "-monitor", "none",
		"-uuid", bootUUID, "-netdev", "tap,id=n0,ifname=tap1,script=no,downscript=no"}, args...)...)
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console := &consoleLog{want: want, found: make(chan struct{})}
	qemu.Stdout, qemu.Stderr = console, console
	// The parent-death signal is sent when the starting thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	exited := make(chan error, 1)
	go func() { exited <- qemu.Wait() }()
	select {
	case <-console.found:
		t.Logf("console complete after %.1f s", time.Since(start).Seconds())
	case err := <-exited:
		exited <- err
		t.Errorf("the machine ended: %v", err)
	case <-time.After(limit):
		t.Errorf("not seen within %v: %q", limit, console.rest())
	}
	qemu.Process.Kill()
	<-exited
	return console.String()
}

// consoleLog collects output and tells when all wanted texts were seen.
type consoleLog struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	want  []string
	found chan struct{}
	done  bool
}

func (c *consoleLog) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p)
	for len(c.want) > 0 && bytes.Contains(c.buf.Bytes(), []byte(c.want[0])) {
		c.want = c.want[1:]
	}
	if len(c.want) == 0 && !c.done {
		c.done = true
		close(c.found)
	}
	return len(p), nil
}

func (c *consoleLog) rest() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want
}

func (c *consoleLog) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// kernelLines prove that kernel, parameters and ramdisk arrived.
var kernelLines = []string{"Linux version", "BOOTIF=" + bootMAC + " initrd=deploy_ramdisk", "Freeing initrd memory"}
