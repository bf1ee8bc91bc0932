package generic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// array is one that the kernel has, running or not.
type array struct {
	device  ipa.BlockDevice
	name    string   // in the superblock, "host:name" or "name"
	members []string // devices: "/dev/sda1"
	holders []string // the disks that they are on: "/dev/sda"
}

// volume is the name without that of a host.
func (a array) volume() string {
	if _, plain, ok := strings.Cut(a.name, ":"); ok {
		return plain
	}
	return a.name
}

// runningArrays are the arrays of the kernel, in the order of their names. What
// has no members (a partition of an array) is none.
func runningArrays(h *hwmanager.Host) ([]array, error) {
	dirs, err := filepath.Glob(filepath.Join(h.Sys, "block/md*"))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(dirs, func(a, b string) int {
		if diskLess(filepath.Base(a), filepath.Base(b)) {
			return -1
		}
		return 1
	})
	var arrays []array
	for _, dir := range dirs {
		slaves, _ := os.ReadDir(filepath.Join(dir, "slaves"))
		if len(slaves) == 0 {
			continue
		}
		a := array{device: readDisk(h, dir, filepath.Base(dir))}
		for _, s := range slaves {
			a.members = append(a.members, "/dev/"+deviceName(s.Name()))
			if holder := holderOf(h, s.Name()); !slices.Contains(a.holders, holder) {
				a.holders = append(a.holders, holder)
			}
		}
		if a.name, err = nameOfMembers(h, a.members); err != nil {
			return nil, fmt.Errorf("name of %s: %w", a.device.Name, err)
		}
		arrays = append(arrays, a)
	}
	return arrays, nil
}

// nameOfMembers is the name that the first member has that can be read: one of a
// mirror may be broken.
func nameOfMembers(h *hwmanager.Host, members []string) (string, error) {
	var problems []error
	for _, member := range members {
		name, err := volumeNameOf(h.DevicePath(member), readSize(filepath.Join(h.Sys, "class/block", sysName(member))))
		if err == nil {
			return name, nil
		}
		problems = append(problems, err)
	}
	return "", errors.Join(problems...)
}

// holderOf is the disk that a disk or partition, by its name in sysfs, is on.
func holderOf(h *hwmanager.Host, name string) string {
	if at, _ := filepath.Glob(filepath.Join(h.Sys, "block/*", name, "partition")); len(at) == 1 {
		name = filepath.Base(filepath.Dir(filepath.Dir(at[0])))
	}
	return "/dev/" + deviceName(name)
}

// found is a superblock on a device.
type found struct {
	superblock
	device ipa.BlockDevice
}

// superblocks reads those of version 1 on all disks and partitions that belong
// to no running array and are none themselves.
func (m *Manager) superblocks(ctx context.Context, h *hwmanager.Host) ([]found, error) {
	devices, err := m.BlockDevices(ctx, h, true)
	if err != nil {
		return nil, err
	}
	var all []found
	for _, d := range devices {
		dir := filepath.Join(h.Sys, "class/block", sysName(d.Name))
		if isArrayMember(dir) || strings.HasPrefix(filepath.Base(d.Name), "md") {
			continue
		}
		s, ok, err := superblockOf(h, d)
		if err != nil {
			h.Log.WithError(err).WithField("device", d.Name).Warn("cannot be read, belongs to no array then")
			continue
		}
		if ok {
			all = append(all, found{s, d})
		}
	}
	return all, nil
}

func superblockOf(h *hwmanager.Host, d ipa.BlockDevice) (superblock, bool, error) {
	f, err := os.Open(h.DevicePath(d.Name))
	if err != nil {
		return superblock{}, false, err
	}
	defer f.Close()
	s, ok, err := readSuperblock(f, d.Size)
	if errors.Is(err, io.EOF) {
		return superblock{}, false, nil // smaller than the kernel said
	}
	return s, ok, err
}

// Bounds of what a superblock may say before an array is assembled from it, how
// long that may take, and how long disks may take to appear that it misses.
const (
	maxArrayDisks = 384 // of version 1 (mdadm, man page)
	maxArrays     = 512 // whose names are a number (linux, drivers/md/md.c)
	arrayStart    = time.Minute
	arrayWait     = 5 * time.Second
	arrayPoll     = 250 * time.Millisecond
)

// assembleArrays starts the arrays whose superblocks are there and complete, as
// udev does it in other ramdisks. Their members are not written to: an array
// is read-only until somebody writes to it, so that no superblock can start a
// resync, and one that would be written to all the same (by a reshape, from a
// journal) is not started. Wait lets disks appear that arrays lack. An array
// that does not start is none; only that arrays cannot be looked for is an error.
func (m *Manager) assembleArrays(ctx context.Context, h *hwmanager.Host, wait time.Duration) error {
	if !h.Guard.InRamdisk {
		return nil // a workstation's arrays are its own affair
	}
	deadline := time.Now().Add(wait)
	for {
		all, err := m.superblocks(ctx, h)
		if err != nil || len(all) == 0 {
			return err
		}
		groups := byArray(all)
		complete := !slices.ContainsFunc(groups, func(g []found) bool { return len(g) < g[0].disks && g[0].disks <= maxArrayDisks })
		if !complete && time.Now().Before(deadline) {
			select {
			case <-time.After(arrayPoll):
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		m.startArrays(ctx, h, groups)
		return ctx.Err()
	}
}

// byArray groups superblocks by array, in the order in which the arrays were made:
// so each gets the number that it had when it was made, by which hints may name it.
func byArray(all []found) [][]found {
	var groups [][]found
	for _, f := range all {
		at := slices.IndexFunc(groups, func(g []found) bool { return g[0].uuid == f.uuid })
		if at < 0 {
			at, groups = len(groups), append(groups, nil)
		}
		groups[at] = append(groups[at], f)
	}
	slices.SortStableFunc(groups, func(a, b []found) int { return cmp.Compare(a[0].created, b[0].created) })
	return groups
}

func (m *Manager) startArrays(ctx context.Context, h *hwmanager.Host, groups [][]found) {
	if _, err := h.Run.Run(ctx, "mdadm", "--version"); hwmanager.NoProgram(err) {
		h.Log.Warnf("the superblocks of %d arrays are on the disks, but there is no program mdadm", len(groups))
		return
	}
	if _, err := h.Run.Run(ctx, "modprobe", "md_mod"); err != nil {
		h.Log.WithError(err).Debug("md is built in, or the kernel has none")
	}
	restore, err := startReadOnly(h)
	if err != nil {
		h.Log.WithError(err).Warnf("the superblocks of %d arrays are on the disks, none is started", len(groups))
		return
	}
	defer restore()
	for i, g := range groups {
		log := h.Log.WithField("name", g[0].name).WithField("member", g[0].device.Name)
		if slices.ContainsFunc(g, func(f found) bool { return f.writes }) {
			log.Warn("array not started: that would write to its members (a reshape, a journal or a cluster)")
			continue
		}
		device, err := freeArray(h, i)
		if err == nil {
			err = startArray(ctx, h, device, g)
		}
		if err != nil {
			log.WithError(err).Warn("array not started")
			continue
		}
		log.WithField("device", device).Info("array assembled")
	}
}

// startArray assembles one array, within arrayStart. Nothing is left of one that
// does not start.
func startArray(ctx context.Context, h *hwmanager.Host, device string, members []found) error {
	limited, cancel := context.WithTimeout(ctx, arrayStart)
	defer cancel()
	path := h.DevicePath(device)
	args := []string{"--assemble", path, "--config=none", "--uuid=" + mdadmUUID(members[0].uuid)}
	for _, f := range members {
		args = append(args, h.DevicePath(f.device.Name))
	}
	_, err := h.Run.Run(limited, "mdadm", args...)
	if err == nil {
		return waitForNode(limited, path)
	}
	limited, cancel = context.WithTimeout(context.WithoutCancel(ctx), arrayStart)
	defer cancel()
	if _, stopped := h.Run.Run(limited, "mdadm", "--stop", path); stopped != nil {
		h.Log.WithError(stopped).WithField("device", device).Debug("array not stopped, it may not be there")
	}
	return err
}

// startReadOnly has the kernel start arrays so that they become writable with the
// first write (linux, Documentation/admin-guide/md.rst: start_ro).
func startReadOnly(h *hwmanager.Host) (restore func(), err error) {
	path := filepath.Join(h.Sys, "module/md_mod/parameters/start_ro")
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		return nil, fmt.Errorf("keep arrays from being written to: %w", err)
	}
	return func() {
		if err := os.WriteFile(path, []byte("0"), 0); err != nil {
			h.Log.WithError(err).Warn("new arrays start read-only")
		}
	}, nil
}

// freeArray is the first device from the number on that is no array yet.
func freeArray(h *hwmanager.Host, number int) (string, error) {
	for ; number < maxArrays; number++ {
		slaves, _ := os.ReadDir(filepath.Join(h.Sys, "block", fmt.Sprintf("md%d", number), "slaves"))
		if len(slaves) == 0 {
			return fmt.Sprintf("/dev/md%d", number), nil
		}
	}
	return "", errors.New("there are too many arrays")
}

// mdadmUUID is a UUID as mdadm takes it: four words.
func mdadmUUID(hexadecimal string) string {
	return hexadecimal[:8] + ":" + hexadecimal[8:16] + ":" + hexadecimal[16:24] + ":" + hexadecimal[24:]
}
