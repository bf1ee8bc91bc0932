package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// answerTime is how long a power command waits before it acts, so that its
// answer is on the wire.
const answerTime = 500 * time.Millisecond

// runImage restarts the machine (standby.run_image).
func (a *Agent) runImage(ctx context.Context, _ params, _ progress) (any, error) {
	return nil, a.leave(ctx, unix.LINUX_REBOOT_CMD_RESTART, "b")
}

// powerOff switches the machine off (standby.power_off).
func (a *Agent) powerOff(ctx context.Context, _ params, _ progress) (any, error) {
	return nil, a.leave(ctx, unix.LINUX_REBOOT_CMD_POWER_OFF, "o")
}

// leave flushes the disks and calls the kernel; sysrq is for a kernel that
// refuses. The agent is not process 1, whose shutdown would only unmount what
// is in memory anyway. Outside a ramdisk the machine is not ours to stop.
func (a *Agent) leave(ctx context.Context, cmd int, sysrq string) error {
	if !a.host.Guard.InRamdisk {
		return ipa.SystemReboot.New("not running in a ramdisk: the machine is left on")
	}
	if err := a.fullSync(ctx); err != nil {
		a.log.WithError(err).Warn("disks not flushed")
	}
	if err := pause(ctx, answerTime); err != nil {
		return err
	}
	err := unix.Reboot(cmd)
	trigger := filepath.Join(a.host.Proc, "sysrq-trigger")
	return ipa.SystemReboot.New("%v", errors.Join(err, os.WriteFile(trigger, []byte(sysrq), 0o200)))
}

// silenceNetwork sets all interfaces down that belong to the machine
// (system.lockdown).
func (a *Agent) silenceNetwork() {
	if !a.host.Guard.InRamdisk {
		return
	}
	interfaces, err := hwmanager.First(a.set, "list_network_interfaces", func(l hwmanager.InterfaceLister) ([]ipa.Interface, error) {
		return l.Interfaces(context.Background(), a.host)
	})
	if err != nil {
		a.log.WithError(err).Error("interfaces stay up")
		return
	}
	for _, i := range interfaces {
		link, err := netlink.LinkByName(i.Name)
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err != nil {
			a.log.WithError(err).WithField("interface", i.Name).Error("interface stays up")
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

// limitMemory sets the soft limit of the process from the machine's memory.
func limitMemory() {
	debug.SetGCPercent(gcPercent)
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return
	}
	total := int64(info.Totalram) * int64(info.Unit)
	debug.SetMemoryLimit(min(max(total/memoryFraction, leastLimit), mostLimit))
}
