// Command init is process 1 of the small system that stories deploy. It finds
// the disk that it runs from and the config drive, and tells on the console
// what it found, one "ferric-os: " line a fact. The last one is "up"; then it
// waits for the power button.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// rootName is the GPT name of the root partition (osimage.rootName).
	rootName = "ferric-root"
	rootWait = 60 * time.Second
	// driveWait is for config drives on slower buses than the root disk.
	driveWait = 2 * time.Second
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init runs as process 1 of a deployed machine only")
		os.Exit(2)
	}
	mountKernelFS()
	console := openConsole()
	fmt.Fprintln(console) // ends the line that the boot loader left open
	say := func(format string, args ...any) {
		fmt.Fprintf(console, "ferric-os: "+format+"\n", args...)
	}
	err := boot(say)
	err = errors.Join(err, show(showList, say))
	button := watchButton() // before "up": then it may be pressed
	if err != nil {
		say("error=%q", err)
	} else {
		say("up")
	}
	for { // process 1 must never end, nor be left without a timer (lab notes, 0.4)
		select {
		case <-button:
			say("power button")
			if err := powerOff(); err != nil {
				say("error=%q", err)
			}
		case <-time.After(time.Hour):
		}
	}
}

func boot(say func(string, ...any)) error {
	if err := loadModules("/modules"); err != nil {
		return err
	}
	mountVariables()
	if err := assemble("/assemble", rootWait); err != nil {
		return err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	root, err := waitRoot(string(cmdline), rootName, rootWait)
	if err != nil {
		return err
	}
	if err := unix.Mount(root.device, "/root", "ext4", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount root %s: %w", root.device, err)
	}
	if _, err := os.Stat("/root/etc/os-release"); err != nil {
		return fmt.Errorf("root %s holds no system: %w", root.device, err)
	}
	say("disk=%s", root.disk)
	say("disk-serial=%s", diskSerial(root.disk))
	say("firmware=%s", firmware())
	for _, word := range strings.Fields(string(cmdline)) {
		if menu, ok := strings.CutPrefix(word, "ferric.menu="); ok {
			say("menu=%s", clean(menu))
		}
	}
	if motd, err := readFile("/root/etc/motd"); err == nil { // the images have none
		say("motd=%s", clean(string(motd)))
	}
	if source := mountedAt("/root/etc/fstab", "/boot/efi"); source != "" {
		say("efi-mount=%s", source)
	}

	drive, err := waitConfigDrive("/config", driveWait)
	if errors.Is(err, errNoDrive) {
		say("config-drive=none")
		return nil
	}
	if err != nil {
		return err
	}
	say("config-drive=%s", drive.device)
	config, err := readConfig("/config")
	if err != nil {
		return fmt.Errorf("config drive %s: %w", drive.device, err)
	}
	if err := unix.Sethostname([]byte(config.hostname)); err != nil {
		return fmt.Errorf("set hostname %q: %w", config.hostname, err)
	}
	say("hostname=%s", config.hostname)
	say("nonce=%s", config.nonce)
	say("network-links=%d", config.links)
	return nil
}

// mountedAt is what the table of file systems mounts at dir, "" for nothing.
func mountedAt(fstab, dir string) string {
	data, err := readFile(fstab)
	if err != nil {
		return "" // the whole-disk image has none
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == dir && !strings.HasPrefix(fields[0], "#") {
			return clean(fields[0])
		}
	}
	return ""
}

func firmware() string {
	if _, err := os.Stat("/sys/firmware/efi"); err == nil {
		return "uefi"
	}
	return "bios"
}

// mountKernelFS mounts what everything else reads. There is nobody to tell of
// a failure yet: what needs them will.
func mountKernelFS() {
	for _, m := range []struct{ kind, dir string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		_ = os.MkdirAll(m.dir, 0o755)
		_ = unix.Mount(m.kind, m.dir, m.kind, 0, "")
	}
	for _, dir := range []string{"/root", "/config"} {
		_ = os.MkdirAll(dir, 0o755)
	}
}

// mountVariables mounts the variables of UEFI for the programs that are to be
// shown; their driver is a module.
func mountVariables() {
	_ = unix.Mount("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", unix.MS_RDONLY, "")
}

// openConsole opens the last console= of the command line: the one that the
// kernel opened for process 1 is missing where the archive has no /dev.
func openConsole() *os.File {
	f, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return os.Stdout
	}
	return f
}
