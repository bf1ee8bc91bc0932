package generic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/hwmanager"
)

// maxStack bounds how many block devices are stacked on each other.
const maxStack = 8

// ownDisks are the disks, by their names in /sys/block, that the ramdisk itself
// uses, each with what for: what is mounted of it, what swaps to it, what lies on
// it as a loop, and what these are stacked on. Erasing such a disk would take it
// from under the agent.
func ownDisks(h *hwmanager.Host) (map[string]string, error) {
	used := map[string]string{}
	mounts, err := readMounts(h)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		what := "mounted at " + m.point
		addUse(h, used, m.device, what)
		// Of file systems with several disks the device number is none of theirs.
		if strings.HasPrefix(m.source, "/dev/") {
			addUse(h, used, numberOf(h, m.source), what)
		}
	}
	swaps, err := os.ReadFile(filepath.Join(h.Proc, "swaps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("what is swapped to: %w", err)
	}
	for line := range strings.Lines(string(swaps)) {
		if fields := strings.Fields(line); len(fields) > 0 && strings.HasPrefix(fields[0], "/dev/") {
			addUse(h, used, numberOf(h, fields[0]), "swapped to")
		}
	}
	loops, _ := filepath.Glob(filepath.Join(h.Sys, "block/loop*/loop/backing_file"))
	for _, file := range loops {
		loop := filepath.Base(filepath.Dir(filepath.Dir(file)))
		if backing := readText(file); strings.HasPrefix(backing, "/dev/") {
			addUse(h, used, numberOf(h, backing), "behind "+loop)
		}
	}
	return used, nil
}

// mount is one line of mountinfo (proc(5)).
type mount struct{ device, point, source string }

func readMounts(h *hwmanager.Host) ([]mount, error) {
	text, err := os.ReadFile(filepath.Join(h.Proc, "self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("what is mounted: %w", err)
	}
	var mounts []mount
	for line := range strings.Lines(string(text)) {
		left, right, _ := strings.Cut(line, " - ")
		fields, source := strings.Fields(left), strings.Fields(right)
		if len(fields) < 5 || len(source) < 2 {
			continue
		}
		mounts = append(mounts, mount{device: fields[2], point: unescape(fields[4]), source: unescape(source[1])})
	}
	return mounts, nil
}

// unescape undoes the four escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// numberOf is the device number, "major:minor", of a block device that the
// kernel names; "" if it is none.
func numberOf(h *hwmanager.Host, name string) string {
	var stat unix.Stat_t
	if err := unix.Stat(h.DevicePath(name), &stat); err == nil && stat.Mode&unix.S_IFMT == unix.S_IFBLK {
		return fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	}
	return readText(h.Sys, "class/block", filepath.Base(name), "dev")
}

func addUse(h *hwmanager.Host, used map[string]string, number, what string) {
	if number == "" {
		return
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(h.Sys, "dev/block", number))
	if err != nil {
		return // not a block device: proc, tmpfs, the network
	}
	addStack(h, used, dir, what, maxStack)
}

// addStack notes the disk that a block device is, or lies on.
func addStack(h *hwmanager.Host, used map[string]string, dir, what string, depth int) {
	name := filepath.Base(dir)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		what = deviceName(name) + ", " + what
		dir = filepath.Dir(dir)
		name = filepath.Base(dir)
	}
	if _, known := used[name]; !known {
		used[name] = what
	}
	if depth == 0 {
		return
	}
	slaves, _ := os.ReadDir(filepath.Join(dir, "slaves"))
	for _, slave := range slaves {
		below, err := filepath.EvalSymlinks(filepath.Join(dir, "slaves", slave.Name()))
		if err == nil {
			addStack(h, used, below, deviceName(name)+", "+what, depth-1)
		}
	}
}
