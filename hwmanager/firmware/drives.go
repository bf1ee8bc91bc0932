package firmware

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ferric/hwmanager"
	"ferric/hwmanager/nvme"
)

// drive is an NVMe drive, by one of its controllers.
type drive struct {
	Name, Model, Serial, Revision string // as the kernel found them
	dirs                          []string
	disks                         []string // names in /sys/block
}

// names of controllers, and of disks: those of a drive with several paths have
// that of the path in the middle.
var (
	controllerName = regexp.MustCompile(`^nvme(\d+)$`)
	diskName       = regexp.MustCompile(`^nvme(\d+)(c\d+)?n(\d+)$`)
)

// drives are those of this machine, by number. Disks over a network belong to the
// machine that serves them. Controllers of one drive, which shares its firmware
// among them, are one.
func drives(h *hwmanager.Host) ([]drive, error) {
	root := filepath.Join(h.Sys, "class/nvme")
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list NVMe drives: %w", err)
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return number(a.Name()) - number(b.Name()) })
	var all []drive
	subsystems := map[string]int{}
	for _, e := range entries {
		if !controllerName.MatchString(e.Name()) {
			continue
		}
		dir := filepath.Join(root, e.Name())
		if transport := text(dir, "transport"); transport != "" && transport != "pcie" {
			continue
		}
		d := drive{Name: e.Name(), Model: text(dir, "model"), Serial: text(dir, "serial"), Revision: text(dir, "firmware_rev"), dirs: []string{dir}}
		children, _ := os.ReadDir(dir)
		for _, child := range children {
			if m := diskName.FindStringSubmatch(child.Name()); m != nil {
				d.disks = append(d.disks, "nvme"+m[1]+"n"+m[3])
			}
		}
		name := text(dir, "subsysnqn")
		if at, known := subsystems[name]; known && name != "" && all[at].Serial == d.Serial {
			all[at].dirs = append(all[at].dirs, dir)
			all[at].disks = append(all[at].disks, d.disks...)
			continue
		}
		subsystems[name] = len(all)
		all = append(all, d)
	}
	return all, nil
}

func number(name string) int {
	m := controllerName.FindStringSubmatch(name)
	if m == nil {
		return -1
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

func (d drive) String() string {
	return fmt.Sprintf("%s (%s, serial %s)", d.Name, d.Model, d.Serial)
}

// matching are the drives that the component is for. That there is none is an
// error, which names those that there are.
func (c component) matching(all []drive) ([]drive, error) {
	var found []drive
	for _, d := range all {
		if c.Serial != "" && c.Serial != d.Serial || c.Device != "" && !d.has(c.Device) {
			continue
		}
		if c.modelMatches(d.Model) {
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	var there []string
	for _, d := range all {
		there = append(there, d.String())
	}
	hints := fmt.Sprintf("model %q", c.Model)
	if c.Serial != "" {
		hints += fmt.Sprintf(", serial %q", c.Serial)
	}
	if c.Device != "" {
		hints += fmt.Sprintf(", device %q", c.Device)
	}
	if len(there) == 0 {
		return nil, fmt.Errorf("no NVMe drive has %s: there is none", hints)
	}
	return nil, fmt.Errorf("no NVMe drive has %s: there are %s", hints, strings.Join(there, ", "))
}

// has tells whether the drive is called so: by a controller or a disk of it.
func (d drive) has(device string) bool {
	name := strings.TrimPrefix(device, "/dev/")
	if slices.Contains(d.disks, name) {
		return true
	}
	return slices.ContainsFunc(d.dirs, func(dir string) bool { return filepath.Base(dir) == name })
}

// checkAlone is nil if no other machine can be using the drive: all controllers
// that the drive tells of are this machine's.
func (d drive) checkAlone(ctx context.Context, t nvme.Transport) error {
	ids, err := nvme.Controllers(ctx, t)
	if err != nil {
		return fmt.Errorf("the drive may have controllers for other machines, which cannot be told: %w (allow_shared takes the risk)", err)
	}
	if len(ids) > len(d.dirs) {
		return fmt.Errorf("the drive has %d controllers, of which this machine has %d: another machine may be using it (allow_shared takes the risk)", len(ids), len(d.dirs))
	}
	return nil
}

// checkIdle is nil if the ramdisk uses nothing of the drive: what is mounted or
// swapped to would wait while the drive is reset, and the agent with it.
func (d drive) checkIdle(h *hwmanager.Host) error {
	used, err := inUse(h)
	if err != nil {
		return err
	}
	for _, disk := range d.disks {
		if what, busy := used.of(filepath.Join(h.Sys, "block", disk), maxStack); busy {
			return fmt.Errorf("it is in use: %s", what)
		}
	}
	return nil
}

// uses are what is used of block devices, by their numbers and by their names.
type uses map[string]string

func inUse(h *hwmanager.Host) (uses, error) {
	mounts, err := os.ReadFile(filepath.Join(h.Proc, "self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("what is mounted: %w", err)
	}
	used := uses{}
	for line := range strings.Lines(string(mounts)) {
		left, right, _ := strings.Cut(line, " - ")
		fields, source := strings.Fields(left), strings.Fields(right)
		if len(fields) < 5 || len(source) < 2 {
			continue
		}
		used[fields[2]] = "mounted at " + fields[4]
		if name, found := strings.CutPrefix(source[1], "/dev/"); found {
			used[name] = "mounted at " + fields[4]
		}
	}
	swaps, err := os.ReadFile(filepath.Join(h.Proc, "swaps"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("what is swapped to: %w", err)
	}
	for line := range strings.Lines(string(swaps)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			if name, found := strings.CutPrefix(fields[0], "/dev/"); found {
				used[name] = "swapped to"
			}
		}
	}
	return used, nil
}

// maxStack bounds how many block devices are stacked on each other.
const maxStack = 8

// of tells how a block device, its partitions or what lies on it is used.
func (u uses) of(dir string, depth int) (string, bool) {
	name := filepath.Base(dir)
	if what, busy := u[name]; busy {
		return name + " is " + what, true
	}
	if what, busy := u[text(dir, "dev")]; busy {
		return name + " is " + what, true
	}
	if depth == 0 {
		return "", false
	}
	above, _ := filepath.Glob(filepath.Join(dir, "holders/*"))
	parts, _ := filepath.Glob(filepath.Join(dir, name+"p[0-9]*"))
	for _, next := range append(parts, above...) {
		if at, err := filepath.EvalSymlinks(next); err == nil {
			if what, busy := u.of(at, depth-1); busy {
				return what, true
			}
		}
	}
	return "", false
}
