package ramdisk

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"ferric/integration/lab"
)

// bootPatience is for a machine emulated on a busy host; a quiet one needs a tenth.
const bootPatience = 90 * time.Second

// machine is an emulated machine; its console lines are kept with the time of arrival.
type machine struct {
	t       *testing.T
	started time.Time
	api     string // URL of the agent
	ssh     string // address of port 22
	console io.Writer
	exited  chan error
	stop    func()

	mu    sync.Mutex
	lines []string
	times []time.Duration
	news  chan struct{} // closed and replaced at each line
}

// boot starts a machine of 256 MiB with a kernel and an initramfs, and further arguments.
func boot(t *testing.T, dir, initramfs, cmdline string, more ...string) *machine {
	t.Helper()
	api, sshd := freePort(t), freePort(t)
	// Without RDRAND a Go program would wait a minute for entropy, and more than one CPU
	// boots slower (lab notes 0).
	args := append([]string{
		"-M", "q35", "-accel", "tcg", "-cpu", "max,la57=off", "-m", "256", "-smp", "1",
		"-nographic", "-no-reboot", "-monitor", "none", "-serial", "stdio",
		"-kernel", filepath.Join(dir, KernelFile), "-initrd", initramfs,
		"-append", "console=ttyS0 panic=5 " + cmdline,
		"-netdev", fmt.Sprintf("user,id=boot,hostname=node-7,net=10.0.3.0/24,hostfwd=tcp:%s-:9999,hostfwd=tcp:%s-:22", api, sshd),
	}, more...)
	ctx, cancel := context.WithTimeout(context.Background(), 2*bootPatience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, started: time.Now(), api: "http://" + api, ssh: sshd, console: in, exited: make(chan error, 1), stop: cancel, news: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start QEMU, which this test needs: %v", err)
	}
	go m.read(out, cmd.Wait)
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("console:\n%s", strings.Join(m.lines, "\n"))
		}
	})
	return m
}

// freePort is an address of loopback that nobody uses.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scanConsole splits into lines; a question for an answer is one, too.
func scanConsole(data []byte, atEOF bool) (int, []byte, error) {
	if n, line, err := bufio.ScanLines(data, atEOF); n > 0 || err != nil {
		return n, line, err
	}
	for _, question := range []string{"login: ", "Password: ", "# ", "> "} {
		if bytes.HasSuffix(data, []byte(question)) {
			return len(data), data, nil
		}
	}
	return 0, nil, nil
}

func (m *machine) read(out io.Reader, wait func() error) {
	s := bufio.NewScanner(out)
	s.Split(scanConsole)
	for s.Scan() {
		m.mu.Lock()
		m.lines = append(m.lines, strings.TrimRight(s.Text(), "\r"))
		m.times = append(m.times, time.Since(m.started))
		close(m.news)
		m.news = make(chan struct{})
		m.mu.Unlock()
	}
	m.exited <- wait()
}

// expect waits for the nth console line (from 1) that matches; it returns the line and
// the time from the start of the machine.
func (m *machine) expect(pattern string, nth int) (string, time.Duration) {
	m.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(bootPatience)
	for {
		m.mu.Lock()
		seen, news := 0, m.news
		for i, line := range m.lines {
			if re.MatchString(line) {
				if seen++; seen == nth {
					defer m.mu.Unlock()
					return line, m.times[i]
				}
			}
		}
		m.mu.Unlock()
		select {
		case <-news:
		case err := <-m.exited:
			m.t.Fatalf("the machine ended (%v) without %q", err, pattern)
		case <-deadline:
			m.t.Fatalf("no %q on the console in %v", pattern, bootPatience)
		}
	}
}

// ask asks the stand-in agent.
func (m *machine) ask(path string, query url.Values) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.api+path+"?"+query.Encode(), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if path == "/exit" || path == "/poweroff" || path == "/rescue" {
			return ""
		}
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		m.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		m.t.Errorf("GET %s %v: %s: %s", path, query, res.Status, text)
	}
	return strings.TrimSpace(string(text))
}

func (m *machine) file(path string) string { return m.ask("/file", url.Values{"path": {path}}) }

// fatDisk makes a disk with a FAT file system that holds a file.
func fatDisk(t *testing.T, content string) string {
	t.Helper()
	dir := t.TempDir()
	note, disk := filepath.Join(dir, "note"), filepath.Join(dir, "disk.img")
	if err := os.WriteFile(note, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	script := `PATH=$PATH:/usr/sbin:/sbin; truncate -s 64M "$1" && mkfs.vfat "$1" >/dev/null && mcopy -i "$1" "$2" ::note`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", disk, note).CombinedOutput(); err != nil {
		t.Fatalf("make a FAT disk: %v: %s", err, out)
	}
	return disk
}

// TestBootMachine boots a machine with two NICs, of which the second is the boot NIC,
// several kinds of disks and a BMC, and looks at it as the agent does.
func TestBootMachine(t *testing.T) {
	dir := t.TempDir()
	build(t, Options{Output: dir})
	disk := fatDisk(t, "first words")
	lab.Alone(t)
	m := boot(t, dir, filepath.Join(dir, InitramfsFile), "BOOTIF=01-52-54-00-00-00-02",
		"-netdev", "user,id=other,net=10.0.2.0/24",
		"-device", "virtio-net-pci,netdev=other,mac=52:54:00:00:00:01",
		"-device", "e1000e,netdev=boot,mac=52:54:00:00:00:02",
		"-drive", "id=d0,if=none,format=raw,file="+disk, "-device", "virtio-blk-pci,drive=d0,serial=V1",
		"-drive", "id=d1,if=none,format=raw,file="+fatDisk(t, "x"), "-device", "nvme,drive=d1,serial=N1",
		"-drive", "id=d2,if=none,format=raw,file="+fatDisk(t, "x"), "-device", "ide-hd,drive=d2,serial=S1",
		"-device", "qemu-xhci", "-drive", "id=d3,if=none,format=raw,file="+fatDisk(t, "x"), "-device", "usb-storage,drive=d3",
		"-device", "ipmi-bmc-sim,id=bmc", "-device", "isa-ipmi-kcs,bmc=bmc",
		"-device", "i6300esb")
	m.expect(`^\[ *\d+\.\d+\] uinit: starting$`, 1)
	up, _ := m.expect(`^\[ *\d+\.\d+\] uinit: network up eth\d 10\.0\.3\.15/24$`, 1)
	bootNIC := strings.Fields(up[strings.Index(up, "network up"):])[2]
	m.expect(`^\[ *\d+\.\d+\] uinit: starting agent$`, 1)
	m.expect(`^\[ *\d+\.\d+\] agent: agent listening$`, 1)
	m.expect(`uinit: network up eth\d 10\.0\.2\.15/24`, 1)
	m.expect(`\[sd.\] Attached SCSI`, 2) // SATA and USB
	m.expect(`uinit: watchdog armed, timeout 30s$`, 1)

	if got := m.file("/proc/sys/kernel/hostname"); got != "node-7" {
		t.Errorf("host name %q, want the one of DHCP", got)
	}
	if got := m.file("/etc/resolv.conf"); !strings.HasPrefix(got, "nameserver 10.0.3.3\n") {
		t.Errorf("resolv.conf %q, want the boot NIC's server first", got)
	}
	best, metric := "", 1<<30
	for line := range strings.Lines(m.file("/proc/net/route")) {
		if f := strings.Fields(line); len(f) > 6 && f[1] == "00000000" {
			var n int
			if _, err := fmt.Sscan(f[6], &n); err == nil && n < metric {
				best, metric = f[0], n
			}
		}
	}
	if best != bootNIC {
		t.Errorf("default route by %q, want the boot NIC %s", best, bootNIC)
	}
	for _, path := range []string{"/dev/vda", "/dev/nvme0n1", "/dev/sda", "/dev/sdb", "/dev/ipmi0"} {
		if got := m.ask("/list", url.Values{"path": {path}}); got != "["+path+"]" {
			t.Errorf("%s is missing", path)
		}
	}
	// The kernel itself asks for vfat and its character sets, through modprobe.
	if got := m.ask("/mount", url.Values{"disk": {"/dev/vda"}, "type": {"vfat"}, "path": {"note"}}); got != "first words" {
		t.Errorf("file on the disk: %q", got)
	}
	if got := m.file("/var/log/boot.log"); !strings.Contains(got, "uinit: starting agent") {
		t.Errorf("boot.log %q", got)
	}
	m.ask("/exit", nil)
	m.expect(`uinit: agent ended: exit status 3`, 1)
	m.expect(`agent: agent listening`, 2)
	m.ask("/poweroff", nil)
	select {
	case err := <-m.exited:
		if err != nil {
			t.Errorf("QEMU: %v", err)
		}
	case <-time.After(bootPatience):
		t.Error("the machine is not off after poweroff")
	}
	for _, line := range m.lines {
		if strings.Contains(line, "uinit: load") || strings.Contains(line, "watchdog did not stop") {
			t.Errorf("console says %q", line)
		}
	}
}

// TestBootTimes measures from the start of QEMU, which loads the kernel at once, to the
// agent, and the same with a ramdisk that does nothing.
func TestBootTimes(t *testing.T) {
	dir := t.TempDir()
	full := build(t, Options{Output: dir})
	bare := filepath.Join(dir, "init-only.img")
	writeInitOnly(t, bare)
	nic := []string{"-device", "virtio-net-pci,netdev=boot,mac=52:54:00:00:00:02",
		"-drive", "id=d0,if=none,format=raw,file=" + fatDisk(t, "x"), "-device", "virtio-blk-pci,drive=d0"}
	lab.Alone(t)

	m := boot(t, dir, bare, "", nic...)
	_, floor := m.expect(`init only`, 1)
	m.stop()
	<-m.exited
	m = boot(t, dir, filepath.Join(dir, InitramfsFile), "BOOTIF=52:54:00:00:00:02", nic...)
	_, started := m.expect(`uinit: starting$`, 1)
	_, network := m.expect(`uinit: network up`, 1)
	_, agent := m.expect(`uinit: starting agent`, 1)
	_, listening := m.expect(`agent: agent listening`, 1)
	t.Logf("seconds from the start of QEMU, %d bytes of initramfs: init only %.2f; init %.2f, network %.2f, agent started %.2f, agent listening %.2f",
		full.Initramfs.Size, floor.Seconds(), started.Seconds(), network.Seconds(), agent.Seconds(), listening.Seconds())
	// A ratio, since times mean little on a busy host: more than this is not load.
	if listening > 3*floor {
		t.Errorf("agent listening after %v, init-only ramdisk after %v", listening, floor)
	}
}

// writeInitOnly makes the smallest ramdisk of use: one static program.
func writeInitOnly(t *testing.T, path string) {
	t.Helper()
	tools, err := findToolchain(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	program, err := tools.build(t.Context(), "ferric/ramdisk/testdata/init", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive()
	if err := a.file("init", 0o755, program); err != nil {
		t.Fatal(err)
	}
	raw, err := a.bytes(0)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := compress(raw, Zstd)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, packed, 0o644); err != nil {
		t.Fatal(err)
	}
}
