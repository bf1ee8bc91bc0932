package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
)

// Time limits of leaving the machine: a conductor that has asked for power off
// gives it about half a minute before it pulls the plug.
const (
	// answerTime is how long a power command waits before it acts, so that its
	// answer is on the wire.
	answerTime  = 500 * time.Millisecond
	clockLimit  = 4 * time.Second
	syncLimit   = 10 * time.Second // of what was written before, all is synced already
	commandTime = 12 * time.Second
)

// departure is a way to leave the machine.
type departure struct {
	command string // of the ramdisk or the distribution; ours also disarm the watchdog
	sysrq   string // the kernel's emergency key that does the same at once
}

// runImage restarts the machine (standby.run_image).
func (a *Agent) runImage(ctx context.Context, _ params, _ progress) (any, error) {
	return nil, a.leave(ctx, departure{"reboot", "b"})
}

// powerOff switches the machine off (standby.power_off).
func (a *Agent) powerOff(ctx context.Context, _ params, _ progress) (any, error) {
	return nil, a.leave(ctx, departure{"poweroff", "o"})
}

// leave sets the clocks, flushes the disks and stops the machine (agent
// contract, section "Reboot / power off"). Outside a ramdisk the machine is not
// ours to stop.
func (a *Agent) leave(ctx context.Context, how departure) error {
	if !a.host.Guard.InRamdisk {
		return ipa.SystemReboot.New("not running in a ramdisk: the machine is left on")
	}
	if err := within(ctx, clockLimit, a.syncClock); err != nil {
		if a.cfg.FailIfClockNotSet {
			return err
		}
		a.log.WithError(err).Warn("the clock is not set")
	}
	if err := within(ctx, syncLimit, a.fullSync); err != nil {
		a.log.WithError(err).Warn("disks are not flushed")
	}
	if err := pause(ctx, answerTime); err != nil {
		return err
	}
	a.log.Infof("leaving the machine: %s", how.command)
	err := runDeparture(ctx, how.command)
	if err == nil {
		return nil
	}
	a.log.WithError(err).Warn("the kernel is told to leave at once")
	trigger := filepath.Join(a.host.Proc, "sysrq-trigger")
	if writeErr := os.WriteFile(trigger, []byte(how.sysrq), 0o200); writeErr != nil {
		return ipa.SystemReboot.New("%v", errors.Join(err, writeErr))
	}
	return nil
}

// within runs what may hang, on a disk or a server that is gone, for a limited
// time. It is left behind then: the machine is about to be, too.
func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not done within %s: %w", limit, ctx.Err())
	}
}

var errIgnored = errors.New("the request is ignored")

// runDeparture runs reboot or poweroff. Systemd's say so and succeed when they
// do nothing because they run in a container or a chroot.
func runDeparture(ctx context.Context, command string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch said := strings.TrimSpace(stderr.String()); {
	case err != nil:
		return fmt.Errorf("run %s: %w: %s", command, err, said)
	case strings.Contains(strings.ToLower(said), "ignoring request"):
		return fmt.Errorf("run %s: %w: %s", command, errIgnored, said)
	}
	return nil
}

// silenceNetwork sets all interfaces down but loopback (system.lockdown). The
// ramdisk sets none up again that was up before.
func (a *Agent) silenceNetwork() {
	if !a.host.Guard.InRamdisk {
		return
	}
	links, err := netlink.LinkList()
	if err != nil {
		a.log.WithError(err).Error("interfaces stay up")
		return
	}
	for _, link := range links {
		if link.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		if err := netlink.LinkSetDown(link); err != nil {
			a.log.WithError(err).WithField("interface", link.Attrs().Name).Error("interface stays up")
		}
	}
}

// inRamdisk reports whether the root file system lives in memory.
func inRamdisk() bool {
	var root unix.Statfs_t
	if err := unix.Statfs("/", &root); err != nil {
		return false
	}
	return root.Type == unix.RAMFS_MAGIC || root.Type == unix.TMPFS_MAGIC
}

// Memory settings: the ramdisk shares the machine's memory with the agent, so
// the collector works harder the less there is.
const (
	gcPercent      = 50
	memoryFraction = 3 // the agent's soft limit is this part of all memory
	leastLimit     = 64 << 20
	mostLimit      = 1 << 30
)

// limitMemory sets the soft limit of the process from the machine's memory,
// unless the environment has one.
func limitMemory() {
	debug.SetGCPercent(gcPercent)
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return
	}
	total := int64(info.Totalram) * int64(info.Unit)
	debug.SetMemoryLimit(min(max(total/memoryFraction, leastLimit), mostLimit))
}
