// Command uinit is the ramdisk's first process: it mounts what the kernel offers, loads
// the modules that the hardware asks for, brings the network up and keeps the agent
// running. It never exits: the kernel panics when its first process does.
//
// Under other names it is the few programs that others expect in a ramdisk: modprobe
// (called by the kernel), reboot and poweroff (called by the agent), and those of a
// rescue and the debug shell.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ferric/ramdisk/rescue"
	"ferric/ramdisk/shell"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "modprobe":
		os.Exit(modprobe(os.Args[1:]))
	case "reboot":
		os.Exit(stop(unix.LINUX_REBOOT_CMD_RESTART))
	case "poweroff", "halt":
		os.Exit(stop(unix.LINUX_REBOOT_CMD_POWER_OFF))
	case loginProgram:
		os.Exit(fail(rescue.Login()))
	case shellProgram, "sh":
		status, err := shell.Run(os.Args[1:])
		if err != nil {
			status = fail(err)
		}
		os.Exit(status)
	case sshProgram:
		os.Exit(fail(serveSSH()))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "uinit: is the first process of a ramdisk and does nothing elsewhere")
		os.Exit(2)
	}
	for {
		boot()
		time.Sleep(time.Second)
	}
}

// boot runs until the machine stops. What goes wrong is said on the console and worked
// around: a machine without a network or with a missing disk driver must still be
// reachable for whoever looks for the reason.
func boot() {
	out := openConsole()
	defer func() {
		if p := recover(); p != nil {
			out.printf("uinit: internal error: %v", p)
		}
	}()
	for _, err := range mountAll(baseMounts) {
		out.printf("uinit: %v", err)
	}
	out.keep("/var/log/boot.log")
	out.printf("uinit: starting")
	os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/bbin")
	// Until DHCP gives a name: the kernel's is "(none)", and would be in certificates.
	if err := unix.Sethostname([]byte("localhost")); err != nil {
		out.printf("uinit: set host name: %v", err)
	}

	cmdline, err := readCmdline("/proc/cmdline")
	if err != nil {
		out.printf("uinit: %v", err)
	}
	if err := setClock("/init"); err != nil {
		out.printf("uinit: %v", err)
	}
	ctx := context.Background()
	children := newChildren()
	plug, err := newColdplug("/lib/modules", out)
	if err != nil {
		out.printf("uinit: %v", err)
	}
	events, err := listenUevents()
	if err != nil {
		out.printf("uinit: %v", err)
	}

	plug.networkFirst()
	network := startNetwork(ctx, cmdline.bootif(), out)
	// What appears from now on, behind a bus or a controller, is served while the agent
	// starts; the agent waits for its disks anyway.
	go plug.follow(events)
	plug.scan()
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		plug.load("efivarfs")
		plug.load("efi_pstore") // what a crashed kernel left with the firmware shows up in pstore
		for _, err := range mountAll(efiMounts) {
			out.printf("uinit: %v", err)
		}
	}
	out.printf("uinit: devices probed")
	help := &helper{children: children, network: network, out: out, consoles: consoleTTYs}
	if cmdline.bool("ipa-debug") {
		help.taken = consoleTTY()
		go keepShell(ctx, children, out)
	}
	orderly, _ := signal.NotifyContext(ctx, unix.SIGTERM)
	go newWatchdog(out).keep(orderly)
	network.wait(ctx, networkPatience)
	keepAgent(ctx, children, out, rescued)
	help.rescue(ctx)
}

// syncPatience bounds the wait for a disk that does not answer any more: the conductor
// gives a machine half a minute to go off.
const syncPatience = 8 * time.Second

// stop syncs and stops the machine at once.
func stop(how int) int {
	synced := make(chan struct{})
	go func() {
		defer close(synced)
		unix.Sync()
	}()
	select {
	case <-synced:
	case <-time.After(syncPatience):
		fmt.Fprintf(os.Stderr, "uinit: disks are not synced after %v\n", syncPatience)
	}
	if err := newWatchdog(nil).disarm(1, time.Second); err != nil {
		fmt.Fprintf(os.Stderr, "uinit: %v\n", err)
	}
	if err := unix.Reboot(how); err != nil {
		fmt.Fprintf(os.Stderr, "uinit: stop the machine: %v\n", err)
	}
	return 1
}

// setClock moves a clock that lies before the ramdisk was made (a dead battery) to that
// time, so that certificates are not refused as not yet valid.
func setClock(reference string) error {
	info, err := os.Stat(reference)
	if err != nil {
		return fmt.Errorf("check the clock: %w", err)
	}
	if !time.Now().Before(info.ModTime()) {
		return nil
	}
	tv := unix.NsecToTimeval(info.ModTime().UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}
