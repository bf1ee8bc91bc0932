package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/images/tree"
	"ferric/images/volume"
)

// mountedTree is the file system of a place, and what its system mounts below
// it as far as that was needed.
type mountedTree struct {
	*tree.Tree
	dir    string
	on     place
	nested []nestedMount // in the order in which they were mounted
}

// nestedMount is a place that is mounted within a tree.
type nestedMount struct {
	at string // "/boot"
	on place
}

// withTree calls use with the file system of a place. It is unmounted again in
// any case; that it is still in use then is an error.
func (p place) withTree(ctx context.Context, subvolume string, flags uintptr, use func(*mountedTree) error) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	dir, err := os.MkdirTemp("", "inject-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := errors.Join(p.usable(), p.free()); err != nil {
		return err
	}
	if err := p.mount(dir, subvolume, flags); err != nil {
		return err
	}
	t := &mountedTree{dir: dir, on: p}
	defer func() { err = errors.Join(err, t.unmount()) }()
	if t.Tree, err = tree.Open(dir); err != nil {
		return err
	}
	defer t.Close()
	return use(t)
}

// free is nil if nobody else uses the place; the kernel would mount it a second
// time.
func (p place) free() error {
	d, err := p.target.Open()
	if err != nil {
		return err
	}
	return d.Close()
}

// mount mounts the place, if its disk still is the one that was chosen. Nothing
// that is in it is executed or is a device.
func (p place) mount(dir, subvolume string, flags uintptr) error {
	if err := p.target.Check(); err != nil {
		return err
	}
	options := ""
	switch {
	case p.info.Kind == volume.XFS:
		options = "nouuid" // another disk may hold another copy
	case p.info.Kind == volume.Ext4:
		options = "errors=remount-ro" // the image may want a panic
	case p.info.Kind == volume.Btrfs && subvolume != "":
		options = subvolume
	}
	err := unix.Mount(p.target.Path(), dir, p.info.Kind, quiet|flags, options)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("the kernel here knows no %s, which %s has: %w", p.info.Kind, p.name, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s is in use: %w", p.name, err)
	case err != nil:
		return fmt.Errorf("mount %s as %s: %w", p.name, p.info.Kind, err)
	}
	return nil
}

// unmount takes all of it away, the innermost first.
func (t *mountedTree) unmount() error {
	var problems []error
	for _, n := range slices.Backward(t.nested) {
		problems = append(problems, unmount(filepath.Join(t.dir, n.at)))
	}
	return errors.Join(append(problems, unmount(t.dir))...)
}

// partitionOf is the name of the partition that a path of the tree is on.
func (t *mountedTree) partitionOf(at string) string {
	for _, n := range slices.Backward(t.nested) {
		if strings.HasPrefix(at, n.at+"/") {
			return n.on.name
		}
	}
	return t.on.name
}

// has tells whether the place is mounted in the tree.
func (t *mountedTree) has(p *place) bool {
	return p.name == t.on.name || slices.ContainsFunc(t.nested, func(n nestedMount) bool { return n.on.name == p.name })
}

func (t *mountedTree) mountedAt(dir string) bool {
	return slices.ContainsFunc(t.nested, func(n nestedMount) bool { return n.at == dir })
}

// fstabEntry is a line of the table of file systems of a system (fstab(5)).
type fstabEntry struct {
	source, dir, kind string
	options           []string
}

// Bounds of what is believed of a table of file systems, and of what is mounted
// because of it.
const (
	maxFstabEntries = 256
	maxNested       = 16
)

// parseFstab reads the lines of what is mounted when the system starts, or when
// it is looked at.
func parseFstab(text string) (entries []fstabEntry) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") || len(entries) == maxFstabEntries {
			continue
		}
		e := fstabEntry{source: unescapeMount(fields[0]), dir: unescapeMount(fields[1]), kind: fields[2]}
		if !path.IsAbs(e.dir) || strings.Contains(e.dir, "\x00") {
			continue // swap has no mount point
		}
		e.dir = path.Clean(e.dir)
		if len(fields) > 3 {
			e.options = strings.Split(fields[3], ",")
		}
		if slices.Contains(e.options, "noauto") && !slices.Contains(e.options, "x-systemd.automount") {
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

// subvolume is the option that says which part of a btrfs is mounted.
func (e fstabEntry) subvolume() string {
	for _, o := range e.options {
		if strings.HasPrefix(o, "subvol=") || strings.HasPrefix(o, "subvolid=") {
			return o
		}
	}
	return ""
}

// fstab are the file systems that the system mounts, none if it is none.
func (t *mountedTree) fstab(etc string) ([]fstabEntry, error) {
	text, err := t.ReadFile(etc+"/fstab", maxFstab)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what the system on %s mounts: %w", t.on.name, err)
	}
	return parseFstab(string(text)), nil
}

// locate is where a file will be, in the tree, when the system runs. What the
// system mounts on the way there is mounted first; what cannot be makes it fail,
// for the file would be hidden below the mount point.
func (in *injector) locate(t *mountedTree, resolve func() (string, error)) (string, error) {
	entries, err := t.fstab("/etc")
	if err != nil {
		return "", err
	}
	for len(t.nested) < maxNested {
		at, err := resolve()
		if err != nil {
			return "", err
		}
		next := -1
		var point string
		for i, e := range entries {
			dir, err := t.ResolveDir(e.dir)
			if err != nil || dir == "/" || t.mountedAt(dir) || !strings.HasPrefix(at, dir+"/") {
				continue
			}
			if next < 0 || len(dir) < len(point) {
				next, point = i, dir
			}
		}
		if next < 0 {
			return at, nil
		}
		if err := in.mountNested(t, entries[next], point); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("the system on %s mounts too much", t.on.name)
}

// mountNested mounts what the system mounts at point.
func (in *injector) mountNested(t *mountedTree, e fstabEntry, point string) error {
	p := in.bySource(e.source)
	if p == nil {
		return fmt.Errorf("the system on %s mounts %.128q (%.32s) at %s, which is no partition of %s that can be found here: name the partition for files below it", t.on.name, e.source, e.kind, point, in.device.Name)
	}
	problem := p.usable()
	if problem == nil && !t.has(p) { // of a btrfs another part may be mounted
		problem = p.free()
	}
	if problem != nil {
		return fmt.Errorf("the system on %s mounts it at %s: %w", t.on.name, point, problem)
	}
	at, err := t.AtDir(point, func(dir string) error { return p.mount(dir, e.subvolume(), 0) })
	if err != nil {
		return fmt.Errorf("%s, which the system on %s mounts at %s: %w", p.name, t.on.name, point, err)
	}
	t.nested = append(t.nested, nestedMount{at, *p})
	return nil
}
