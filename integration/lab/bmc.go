package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	bmcStart   = 15 * time.Second // until a fresh ipmi_sim answers; measured 0.1 s on a quiet host
	bmcCommand = 10 * time.Second // one run of ipmitool; measured 0.1 s
	bmcRestart = time.Second      // pause before a BMC that died is started again
	firstKCS   = 9101             // TCP port inside the namespace for the first machine's KCS device
)

// BMC is a machine's management controller: an ipmi_sim process.
type BMC struct {
	Config BMCConfig

	node     *Node
	dir      string
	stop     chan struct{}
	stopped  chan struct{}
	pid      atomic.Int64
	restarts atomic.Int64
}

// startBMC starts a machine's ipmi_sim with a fresh state directory (what was set over IPMI would win over the
// configuration) and waits until it answers.
func startBMC(ctx context.Context, node *Node, kcsPort int, chassisScript string) (*BMC, error) {
	b := &BMC{Config: node.Config.BMC, node: node, dir: filepath.Join(node.machine.dir, "bmc"), stop: make(chan struct{}), stopped: make(chan struct{})}
	err := os.RemoveAll(b.dir)
	if err == nil {
		err = os.MkdirAll(b.dir, 0o700)
	}
	for name, file := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"bmc.conf": {b.lanConfig(kcsPort), 0o600},
		"bmc.emu":  {emulator, 0o600},
		"chassis":  {chassisScript, 0o700},
		"lan":      {b.lanScript(), 0o700},
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(b.dir, name), []byte(file.text), file.mode)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("set up the BMC of %s: %w", node.Config.Name, err)
	}
	cmd, err := b.spawn()
	if err != nil {
		return nil, err
	}
	go b.keep(cmd)
	ctx, cancel := context.WithTimeout(ctx, bmcStart)
	defer cancel()
	for {
		_, err := b.Powered(ctx)
		if err == nil {
			return b, nil
		}
		select {
		case <-ctx.Done():
			b.close()
			return nil, fmt.Errorf("start the BMC of %s: %w; its log ends: %s", node.Config.Name, err, lastLine(b.logPath()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (b *BMC) logPath() string { return filepath.Join(b.dir, "ipmi_sim.log") }

func (b *BMC) spawn() (*exec.Cmd, error) {
	log, err := os.OpenFile(b.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start the BMC of %s: %w", b.node.Config.Name, err)
	}
	defer log.Close()
	cmd := exec.Command("ipmi_sim", "-n", "-c", "bmc.conf", "-f", "bmc.emu", "-s", b.dir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the BMC of %s: %w", b.node.Config.Name, err)
	}
	b.pid.Store(int64(cmd.Process.Pid))
	return cmd, nil
}

// keep starts ipmi_sim again whenever it dies (some input crashes it), as a watchdog does with a real BMC.
func (b *BMC) keep(cmd *exec.Cmd) {
	defer close(b.stopped)
	for {
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		select {
		case <-b.stop:
			_ = cmd.Process.Kill()
			<-ended
			return
		case <-ended:
		}
		for {
			select {
			case <-b.stop:
				return
			case <-time.After(bmcRestart):
			}
			b.restarts.Add(1)
			next, err := b.spawn()
			if err == nil {
				cmd = next
				break
			}
		}
	}
}

func (b *BMC) close() {
	close(b.stop)
	<-b.stopped
}

// PID returns the process number of the ipmi_sim.
func (b *BMC) PID() int { return int(b.pid.Load()) }

// Restarts returns how often the ipmi_sim died and was started again.
func (b *BMC) Restarts() int { return int(b.restarts.Load()) }

// lanConfig is ipmi_sim's configuration, ipmi_lan(5).
func (b *BMC) lanConfig(kcsPort int) string {
	const auths = "none md2 md5 straight"
	return fmt.Sprintf(`name "%[1]s"
set_working_mc 0x20
  startlan 1
    addr %[2]s 623
    priv_limit admin
    allowed_auths_callback %[3]s
    allowed_auths_user %[3]s
    allowed_auths_operator %[3]s
    allowed_auths_admin %[3]s
    guid %[4]s
    lan_config_program "%[5]s/lan"
  endlan
  chassis_control "%[5]s/chassis %[1]s"
  serial 15 127.0.0.1 %[6]d codec VM
  user 2 true "%[7]s" "%[8]s" admin 10 %[3]s
`, b.node.Config.Name, b.Config.Address, auths, b.node.Config.guid(), b.dir, kcsPort, b.Config.User, b.Config.Password)
}

// lanScript answers ipmi_sim's questions about the BMC's network configuration, which the machine reads through KCS.
// "set" and "check" are accepted and change nothing.
func (b *BMC) lanScript() string {
	var mac string
	for i, part := range strings.Split(b.Config.Address, ".") {
		var n int
		_, _ = fmt.Sscan(part, &n)
		mac += fmt.Sprintf(":%02x", n)
		if i == 3 {
			mac = "52:54" + mac
		}
	}
	return fmt.Sprintf(`#!/bin/bash
[ "$1" = get ] || exit 0
shift
for p in "$@"; do
	case $p in
	ip_addr) v=%s ;;
	ip_addr_src) v=static ;;
	mac_addr) v=%s ;;
	subnet_mask) v=255.255.255.0 ;;
	default_gw_ip_addr) v=%s ;;
	*_ip_addr) v=0.0.0.0 ;;
	*_mac_addr) v=00:00:00:00:00:00 ;;
	*) v= ;;
	esac
	echo "$p:$v"
done
`, b.Config.Address, mac, Address)
}

// emulator is ipmi_sim's command file: a management controller with an event log and one temperature sensor.
const emulator = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
sensor_add 0x20 0 0 35 0x6f event-only
sensor_add 0x20 0 1 0x01 0x01
sensor_set_value 0x20 0 1 0x28 0
sensor_set_threshold 0x20 0 1 settable 111000 0xa0 0x90 0x70 00 00 00
sensor_set_event_support 0x20 0 1 enable scanning per-state 000111111000000 000111111000000 000111111000000 000111111000000
mc_enable 0x20
`

// Tool runs ipmitool against the BMC and returns what it printed.
func (b *BMC) Tool(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bmcCommand)
	defer cancel()
	// suite 3: ipmi_sim refuses 17; the password goes through the environment, where ps does not show it
	cmd := exec.CommandContext(ctx, "ipmitool", append([]string{"-I", "lanplus", "-C", "3", "-H", b.Config.Address, "-U", b.Config.User, "-E"}, args...)...)
	cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+b.Config.Password)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("ipmitool %s on %s: %w: %s", strings.Join(args, " "), b.Config.Address, err, text)
	}
	return text, nil
}

// Powered asks the BMC through ipmitool whether the machine is on.
func (b *BMC) Powered(ctx context.Context) (bool, error) {
	out, err := b.Tool(ctx, "chassis", "power", "status")
	switch {
	case err != nil:
		return false, err
	case strings.Contains(out, "Chassis Power is on"):
		return true, nil
	case strings.Contains(out, "Chassis Power is off"):
		return false, nil
	}
	return false, fmt.Errorf("ipmitool chassis power status on %s: unexpected answer %q", b.Config.Address, out)
}

var bootDevice = regexp.MustCompile(`Boot Device Selector : (.*)`)

// Selector asks the BMC through ipmitool for the boot device. Flags are not looked at: ipmi_sim drops them.
func (b *BMC) Selector(ctx context.Context) (Selector, error) {
	out, err := b.Tool(ctx, "chassis", "bootparam", "get", "5")
	if err != nil {
		return "", err
	}
	match := bootDevice.FindStringSubmatch(out)
	if match == nil {
		return "", fmt.Errorf("ipmitool chassis bootparam get 5 on %s: no boot device in %q", b.Config.Address, out)
	}
	for _, name := range []struct {
		text     string
		selector Selector
	}{
		{"No override", SelectNone},
		{"Force PXE", SelectPXE},
		{"Force Boot from default Hard-Drive", SelectDisk},
		{"Force Boot from CD", SelectCDROM},
		{"Force Boot into BIOS", SelectSetup},
	} {
		if strings.HasPrefix(match[1], name.text) {
			return name.selector, nil
		}
	}
	return "", fmt.Errorf("ipmitool chassis bootparam get 5 on %s: unknown boot device %q", b.Config.Address, match[1])
}

// State is a machine's power and boot selector.
type State struct {
	Powered  bool
	Selector Selector
}

// ErrDisagree reports that ipmitool and the rack say different things about a machine.
var ErrDisagree = errors.New("ipmitool and the rack disagree")

// agreeTries covers a machine that changes between the questions.
const agreeTries = 3

// Agree compares what ipmitool reads from the BMC with the machine itself (the QEMU process, the selector that will
// decide its next boot) and returns the state that both see. A machine that changes meanwhile is looked at again.
func (n *Node) Agree(ctx context.Context) (State, error) {
	var seen, is State
	for range agreeTries {
		before := State{n.Powered(), n.Selector()}
		var err error
		if seen.Powered, err = n.BMC.Powered(ctx); err != nil {
			return State{}, err
		}
		if seen.Selector, err = n.BMC.Selector(ctx); err != nil {
			return State{}, err
		}
		is = State{n.Powered(), n.Selector()}
		if seen == is {
			return is, nil
		}
		if before == is {
			break
		}
	}
	return is, fmt.Errorf("machine %s: %w: ipmitool sees %+v, the rack has %+v", n.Config.Name, ErrDisagree, seen, is)
}
