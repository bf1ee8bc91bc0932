package netboot

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// vmLimit is at least four times what a boot takes on two quiet cores (lab-notes 3).
const vmLimit = 4 * time.Minute

// Network cards: with QEMU's ROM, which is iPXE, and without, so that UEFI's own
// PXE and HTTP stack is used.
const (
	cardWithROM = "virtio-net-pci,netdev=n0,bootindex=1,mac=" + bootMAC
	cardBare    = cardWithROM + ",romfile="
)

// ovmf returns the QEMU arguments of a UEFI machine.
func ovmf(t *testing.T) []string {
	t.Helper()
	const dir = "/usr/share/OVMF/"
	vars, err := os.ReadFile(dir + "OVMF_VARS_4M.fd")
	if err != nil {
		missing(t, "package ovmf: "+err.Error())
	}
	name := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(name, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-M", "q35", "-m", "512",
		"-drive", "if=pflash,format=raw,readonly=on,file=" + dir + "OVMF_CODE_4M.fd",
		"-drive", "if=pflash,format=raw,file=" + name}
}

// httpOnly switches off OVMF's PXE, which it tries before HTTP.
var httpOnly = []string{
	"-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n",
	"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n",
}

// startDnsmasq runs an independent DHCP server on our interface, which knows nothing
// of booting but by further options.
func startDnsmasq(t *testing.T, options ...string) {
	t.Helper()
	cmd := exec.Command("dnsmasq", append([]string{"-d", "--conf-file=/dev/null", "--port=0", "--interface=" + bridge, "--bind-interfaces",
		"--user=root", "--group=root", "--no-ping", "--dhcp-leasefile=" + filepath.Join(t.TempDir(), "leases"),
		"--dhcp-range=192.168.77.150,192.168.77.160,1h", "--log-dhcp"}, options...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			t.Log(lines.Text())
			if strings.Contains(lines.Text(), "IP range") {
				close(ready)
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		cmd.Wait()
	})
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("dnsmasq did not start")
	}
}

// bootChain boots a machine and checks the kernel's lines and our events.
func bootChain(t *testing.T, cfg Config, events []string, args ...string) string {
	t.Helper()
	record(t)
	log := startServer(t, cfg, ramdiskMachine(t))
	console := bootMachine(t, vmLimit, kernelLines, args...)
	t.Logf("events:\n%s", log)
	if !log.has(events...) {
		t.Errorf("events %v; want %v in this order", log.kinds(), events)
	}
	if t.Failed() {
		t.Logf("console:\n%s", console)
	}
	return console
}

var (
	scriptAndFiles = []string{EventScript, EventKernel, EventKernelSent, EventRamdisk, EventRamdiskSent}
	romChain       = append([]string{EventDHCP}, scriptAndFiles...)
	pxeChain       = append([]string{EventDHCP, EventTFTP}, romChain...)
	httpChain      = append([]string{EventDHCP}, romChain...)
)

func TestBIOSWithIPXEROM(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64", "cpio") {
		return
	}
	setUpNetwork(t)
	bootChain(t, fullConfig(), romChain, "-m", "512", "-device", cardWithROM)
}

func TestUEFIPXE(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64", "cpio") {
		return
	}
	setUpNetwork(t)
	bootChain(t, fullConfig(), pxeChain, append(ovmf(t), "-device", cardBare)...)
}

func TestUEFIHTTPBoot(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64", "cpio") {
		return
	}
	setUpNetwork(t)
	bootChain(t, fullConfig(), httpChain, slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
}

// proxyConfig serves beside startDnsmasq's server, on the same host and port.
func proxyConfig() Config {
	cfg := DefaultConfig()
	cfg.Interface, cfg.DHCP = bridge, DHCPProxy
	return cfg
}

func TestProxyBIOS(t *testing.T) {
	if !inOwnNamespace(t, "qemu-system-x86_64", "cpio", "dnsmasq") {
		return
	}
	setUpNetwork(t)
	startDnsmasq(t)
	bootChain(t, proxyConfig(), romChain, "-m", "512", "-device", cardWithROM)
}

func TestProxyUEFIPXE(t *testing.T) {
	if !inOwnNamespace(t, "qemu-system-x86_64", "cpio", "dnsmasq") {
		return
	}
	setUpNetwork(t)
	startDnsmasq(t)
	bootChain(t, proxyConfig(), pxeChain, append(ovmf(t), "-device", cardBare)...)
}

func TestProxyUEFIHTTPBoot(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64", "cpio", "dnsmasq") {
		return
	}
	setUpNetwork(t)
	startDnsmasq(t)
	bootChain(t, proxyConfig(), httpChain, slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
}

// bootSector prints text on the first serial port and halts.
func bootSector(text string) []byte {
	code := []byte{
		0x31, 0xc0, 0x8e, 0xd8, // ds = 0
		0xbe, 0x00, 0x7d, // si = 0x7d00, the text
		0xba, 0xf8, 0x03, // dx = 0x3f8
		0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, // next byte to the port until it is 0
		0xf4, 0xeb, 0xfd, // halt
	}
	disk := make([]byte, 1<<20)
	copy(disk, code)
	copy(disk[0x100:], text)
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

func localDisk(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(name, bootSector("booted from the local disk\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var localDirectory = mapDirectory{bootMAC: {NodeUUID: bootUUID, Name: "rack-1", Action: LocalDisk}}

func TestLocalDiskBIOS(t *testing.T) {
	if !inOwnNamespace(t, "qemu-system-x86_64") {
		return
	}
	setUpNetwork(t)
	events := startServer(t, fullConfig(), localDirectory)
	console := bootMachine(t, vmLimit, []string{"booted from the local disk"}, "-m", "256", "-device", cardWithROM,
		"-drive", "if=none,id=d0,format=raw,file="+localDisk(t), "-device", "virtio-blk-pci,drive=d0,bootindex=2")
	if !events.has(EventDHCP, EventScript) || t.Failed() {
		t.Errorf("events:\n%s\nconsole:\n%s", events, console)
	}
}

// UEFI goes on to its next boot option, the disk, which it names on the console.
func TestLocalDiskUEFI(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64") {
		return
	}
	setUpNetwork(t)
	events := startServer(t, fullConfig(), localDirectory)
	console := bootMachine(t, vmLimit, []string{"booting from the local disk", "UEFI Misc Device"}, append(ovmf(t), "-device", cardBare,
		"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n", // which would be tried between, for a minute
		"-drive", "if=none,id=d0,format=raw,file="+localDisk(t), "-device", "virtio-blk-pci,drive=d0,bootindex=2")...)
	if !events.has(EventDHCP, EventTFTP, EventDHCP, EventScript) || t.Failed() {
		t.Errorf("events:\n%s\nconsole:\n%s", events, console)
	}
}

// An unknown machine is left alone: no packet of ours reaches it.
func TestUnknownMachineIsNotAnswered(t *testing.T) {
	if !underFull() || !inOwnNamespace(t, "qemu-system-x86_64") {
		return
	}
	setUpNetwork(t)
	events := startServer(t, fullConfig(), mapDirectory{})
	console := bootMachine(t, vmLimit, []string{"booted from the local disk"}, "-m", "256", "-device", cardWithROM,
		"-drive", "if=none,id=d0,format=raw,file="+localDisk(t), "-device", "virtio-blk-pci,drive=d0,bootindex=2")
	if len(events.kinds()) != 0 || t.Failed() {
		t.Errorf("events:\n%s\nconsole:\n%s", events, console)
	}
}
