package ipmi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// simulator is an ipmi_sim process (cipher suites 0 to 3, 6) whose chassis is a script with its state in files.
type simulator struct {
	dir  string
	info Info
}

const simPassword = "s3cret-sim"

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing", name)
	}
	return path
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// startSimulator runs ipmi_sim until the test ends, with the machine off.
func startSimulator(t *testing.T) *simulator {
	t.Helper()
	return startSimulatorWith(t, "")
}

// startSimulatorWith adds lines to its configuration.
func startSimulatorWith(t *testing.T, lines string) *simulator {
	t.Helper()
	return startSimulatorIn(t, lines, nil)
}

// startSimulatorIn calls prepare with the simulator's directory before it starts.
func startSimulatorIn(t *testing.T, lines string, prepare func(dir string)) *simulator {
	t.Helper()
	program, dir, port := tool(t, "ipmi_sim"), t.TempDir(), freePort(t)
	script := `#!/bin/sh
# chassis NAME get PARAM... | set PARAM VALUE
cd ` + dir + ` || exit 1
shift
verb=$1; shift
case $verb in
get) for p; do echo "$p:$(cat $p)"; done;;
set) while [ $# -gt 1 ]; do
	case $1 in
	shutdown) [ -f deaf ] || echo 0 >power;;
	power) [ -f stuck ] || echo $2 >power;;
	*) echo $2 >$1;;
	esac; shift 2; done;;
esac
`
	files := map[string]string{
		"power": "0\n", "boot": "none\n",
		"chassis": script,
		"sim.conf": fmt.Sprintf(`name "sim"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%s/chassis sim"
%s  user 2 true "admin" %q admin 10 none md2 md5 straight
`, port, dir, lines, simPassword),
		"sim.emu": "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o755); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(dir)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", dir+"/sim.conf", "-f", dir+"/sim.emu", "-s", dir+"/state", "-n")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); log.Close() })
	s := &simulator{dir: dir, info: parse(t, map[string]any{
		"ipmi_address": "127.0.0.1", "ipmi_port": port, "ipmi_username": "admin", "ipmi_password": simPassword})}
	bmcs := newBMCs(t, nil)
	waitUntil(t, "ipmi_sim answers", func() bool { _, err := bmcs.PowerState(t.Context(), s.info); return err == nil })
	return s
}

// file returns the trimmed content of one of the script's state files.
func (s *simulator) file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (s *simulator) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ipmitool is the independent witness.
func (s *simulator) ipmitool(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	all := append([]string{"-I", "lanplus", "-C", "3", "-H", s.info.Address, "-p", fmt.Sprint(s.info.Port), "-U", s.info.Username, "-P", simPassword}, args...)
	out, err := exec.CommandContext(ctx, tool(t, "ipmitool"), all...).CombinedOutput()
	if err != nil {
		t.Fatalf("ipmitool %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func parse(t *testing.T, driverInfo map[string]any) Info {
	t.Helper()
	info, err := ParseInfo(driverInfo)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// newBMCs has short budgets, so that failures are quick; edit may change them.
func newBMCs(t *testing.T, edit func(*Config)) *BMCs {
	t.Helper()
	cfg := DefaultConfig()
	cfg.MinCommandInterval = 0
	cfg.CommandRetryTimeout = 10 * time.Second
	cfg.PowerStateChangeTimeout = 10 * time.Second
	cfg.SoftPowerOffTimeout = 10 * time.Second
	cfg.ResponseTimeout = 300 * time.Millisecond
	if edit != nil {
		edit(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	logger := logrus.New()
	logger.SetOutput(testWriter{t})
	logger.SetLevel(logrus.DebugLevel)
	bmcs := New(cfg, logrus.NewEntry(logger))
	t.Cleanup(bmcs.Close)
	return bmcs
}

func quiet() *logrus.Entry {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	return logrus.NewEntry(logger)
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func TestPowerAgreesWithIpmitool(t *testing.T) {
	sim, bmcs := startSimulator(t), newBMCs(t, nil)
	steps := []struct {
		target, power string
	}{
		{"power on", "on"},
		{"power on", "on"}, // nothing to do
		{"rebooting", "on"},
		{"soft rebooting", "on"},
		{"soft power off", "off"},
		{"power off", "off"},
		{"rebooting", "on"}, // from off it powers on
		{"power off", "off"},
	}
	for _, step := range steps {
		if err := bmcs.SetPower(t.Context(), sim.info, step.target, 0); err != nil {
			t.Fatal(err)
		}
		if got, want := sim.ipmitool(t, "chassis", "power", "status"), "Chassis Power is "+step.power; got != want {
			t.Errorf("after %s ipmitool says %q; want %q", step.target, got, want)
		}
		if got, err := bmcs.PowerState(t.Context(), sim.info); err != nil || got != "power "+step.power {
			t.Errorf("after %s PowerState = %q, %v; want %q", step.target, got, err, "power "+step.power)
		}
	}
	sim.ipmitool(t, "chassis", "power", "on")
	if got, err := bmcs.PowerState(t.Context(), sim.info); err != nil || got != "power on" {
		t.Errorf("after ipmitool switched on: PowerState = %q, %v", got, err)
	}
	if got := bmcs.bmcs[sim.info.endpoint()].suite; got != 3 {
		t.Errorf("remembered cipher suite %d; want 3", got)
	}
}

func TestBootDeviceReachesFirmware(t *testing.T) {
	sim, bmcs := startSimulator(t), newBMCs(t, nil)
	// The simulator's word for the disk is "default".
	for _, tt := range []struct{ device, selector string }{{"pxe", "pxe"}, {"disk", "default"}, {"cdrom", "cdrom"}, {"bios", "bios"}} {
		for _, uefi := range []bool{false, true} {
			sim.write(t, "boot", "none")
			if err := bmcs.SetBootDevice(t.Context(), sim.info, tt.device, false, uefi); err != nil {
				t.Fatal(err)
			}
			if got := sim.file(t, "boot"); got != tt.selector {
				t.Errorf("set %s: the chassis program got %q; want %q", tt.device, got, tt.selector)
			}
		}
	}
	// It reads flags back without the valid bit.
	device, persistent, err := bmcs.BootDevice(t.Context(), sim.info)
	if device != "" || persistent != nil || err != nil {
		t.Errorf("BootDevice = %q, %v, %v; want unknown", device, persistent, err)
	}
	sim.ipmitool(t, "chassis", "bootdev", "pxe")
	if got := sim.file(t, "boot"); got != "pxe" {
		t.Errorf("ipmitool set %q; want pxe", got)
	}
	if err := bmcs.SetBootDevice(t.Context(), sim.info, "floppy", false, false); !errors.Is(err, ErrInvalidParameter) {
		t.Errorf("floppy: %v; want ErrInvalidParameter", err)
	}
}

func TestPowerThatDoesNotFollow(t *testing.T) {
	sim, bmcs := startSimulator(t), newBMCs(t, nil)
	sim.write(t, "stuck", "")
	err := bmcs.SetPower(t.Context(), sim.info, "power on", time.Second)
	if !errors.Is(err, ErrPowerTimeout) || !strings.Contains(err.Error(), `still reports "power off"`) {
		t.Errorf("stuck machine: %v; want ErrPowerTimeout with the state", err)
	}
	os.Remove(filepath.Join(sim.dir, "stuck"))
	sim.write(t, "power", "1")
	sim.write(t, "deaf", "")
	began := time.Now()
	if err := bmcs.SetPower(t.Context(), sim.info, "soft power off", time.Second); err != nil || sim.file(t, "power") != "0" || time.Since(began) < time.Second {
		t.Errorf("system that ignores ACPI: %v, power %s after %s; want it off hard after 1s", err, sim.file(t, "power"), time.Since(began))
	}
	sim.write(t, "power", "1")
	if err := bmcs.SetPower(t.Context(), sim.info, "soft rebooting", time.Second); err != nil || sim.file(t, "power") != "1" {
		t.Errorf("soft reboot of such a system: %v, power %s", err, sim.file(t, "power"))
	}
	sim.write(t, "stuck", "")
	if err := bmcs.SetPower(t.Context(), sim.info, "soft power off", time.Second); !errors.Is(err, ErrPowerTimeout) {
		t.Errorf("a machine that nothing switches off: %v; want ErrPowerTimeout", err)
	}
}

func TestRefusals(t *testing.T) {
	sim := startSimulator(t)
	tests := []struct {
		name string
		edit func(*Info)
		want error
		text string
	}{
		{"wrong password", func(i *Info) { i.Password = "wr0ng-password" }, ErrAuth, "ipmi_password"},
		{"unknown user", func(i *Info) { i.Username = "nobody" }, ErrAuth, "ipmi_username"},
		{"suite that it lacks", func(i *Info) { i.CipherSuite = 17 }, ErrNoCipherSuite, "ipmi_cipher_suite"},
		{"nothing on the port", func(i *Info) { i.Port = freePort(t) }, ErrUnreachable, "ipmi_address"},
		{"no such host", func(i *Info) { i.Address = "bmc.invalid" }, ErrUnreachable, "bmc.invalid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bmcs := newBMCs(t, func(c *Config) { c.CommandRetryTimeout = 3 * time.Second })
			info := sim.info
			tt.edit(&info)
			began := time.Now()
			_, err := bmcs.PowerState(t.Context(), info)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v; want %v", err, tt.want)
			}
			for _, text := range []string{tt.text, info.endpoint()} {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %q does not name %q", err, text)
				}
			}
			for _, secret := range []string{string(info.Password), simPassword} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error %q holds the password", err)
				}
			}
			if took := time.Since(began); !errors.Is(tt.want, ErrUnreachable) && took > 2*time.Second {
				t.Errorf("took %s: a refusal must not be retried", took)
			}
		})
	}
}

func TestIPMI15(t *testing.T) {
	sim, bmcs := startSimulator(t), newBMCs(t, nil)
	info := sim.info
	info.Version15 = true
	if err := bmcs.SetPower(t.Context(), info, "power on", 0); err != nil {
		t.Fatal(err)
	}
	if got := sim.ipmitool(t, "chassis", "power", "status"); got != "Chassis Power is on" {
		t.Errorf("ipmitool says %q", got)
	}
	if err := bmcs.SetBootDevice(t.Context(), info, "pxe", false, false); err != nil || sim.file(t, "boot") != "pxe" {
		t.Errorf("SetBootDevice: %v, chassis program got %q; want pxe", err, sim.file(t, "boot"))
	}
}
