package raidctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferric/hwmanager"
)

// backend speaks the dialect of one tool.
type backend interface {
	// count is how many controllers the tool knows.
	count(ctx context.Context) (int, error)
	// read tells everything of all controllers.
	read(ctx context.Context) ([]*Controller, error)
	// create makes one volume.
	create(ctx context.Context, c *Controller, v *plannedVolume) error
	// remove deletes a volume, whatever is on it.
	remove(ctx context.Context, c *Controller, v *Volume) error
	// clearForeign forgets the configurations that disks bring from elsewhere.
	clearForeign(ctx context.Context, c *Controller) error
	// expose shows a disk to the operating system as it is; reclaim frees it for
	// volumes again.
	expose(ctx context.Context, c *Controller, d *Disk) error
	reclaim(ctx context.Context, c *Controller, d *Disk) error
}

// family are the controllers that one dialect is for.
type family struct {
	vendor   string
	programs []string                       // the names of the tools, the one to ask first first
	places   []string                       // where vendors put them, if not on the PATH
	match    func(hwmanager.PCIDevice) bool // of the class RAID controller
	open     func(tool) backend
}

// PCI vendors.
const (
	pciBroadcom  = 0x1000
	pciHP        = 0x103c
	pciHPE       = 0x1590
	pciMicrosemi = 0x9005 // makes the Smart Array controllers from Gen10 on
)

// families is the table of the tools.
func families() []family {
	return []family{
		{
			vendor: "Broadcom or Dell",
			// perccli goes first: on Dell's machines it knows more of its controllers,
			// and elsewhere it knows none.
			programs: []string{"perccli2", "perccli64", "perccli", "storcli2", "storcli64", "storcli"},
			places:   []string{"/opt/MegaRAID/perccli2", "/opt/MegaRAID/perccli", "/opt/MegaRAID/storcli2", "/opt/MegaRAID/storcli", "/opt/lsi/storcli"},
			match:    func(d hwmanager.PCIDevice) bool { return d.Vendor == pciBroadcom },
			open:     func(t tool) backend { return &storcli{t} },
		},
		{
			vendor:   "HPE",
			programs: []string{"ssacli", "hpssacli"},
			places:   []string{"/opt/smartstorageadmin/ssacli/bin", "/opt/hp/hpssacli/bld"},
			match: func(d hwmanager.PCIDevice) bool {
				return d.Vendor == pciHP || d.Vendor == pciMicrosemi && (d.SubVendor == pciHP || d.SubVendor == pciHPE)
			},
			open: func(t tool) backend { return &ssacli{t} },
		},
	}
}

// tools are the paths of the tools that are installed: on the PATH, or in the
// usual places below root. A made-up host has its own only.
func (f family) tools(h *hwmanager.Host, root string) []string {
	var paths, files []string
	for _, name := range f.programs {
		path := f.tool(h, root, name)
		if path == "" {
			continue
		}
		// One of the names is often a link to another.
		file, err := filepath.EvalSymlinks(path)
		if err != nil || slices.Contains(files, file) {
			continue
		}
		paths, files = append(paths, path), append(files, file)
	}
	return paths
}

func (f family) tool(h *hwmanager.Host, root, name string) string {
	if h.Programs != "" {
		if path := filepath.Join(h.Programs, name); isProgram(path) {
			return path
		}
		return ""
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range f.places {
		if path := filepath.Join(root, dir, name); isProgram(path) {
			return path
		}
	}
	return ""
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// pciRAID is the class of RAID controllers, without the programming interface.
const pciRAID = 0x0104

// present reports whether a RAID controller of the family is among the devices. One of
// the class SAS (0x0107) may be a plain host adapter: whether it makes volumes,
// only the tool knows.
func (f family) present(devices []hwmanager.PCIDevice) bool {
	return slices.ContainsFunc(devices, func(d hwmanager.PCIDevice) bool { return d.Class>>8 == pciRAID && f.match(d) })
}

// Limits of one command.
const (
	readLimit   = 2 * time.Minute
	changeLimit = 5 * time.Minute
)

// tool is a program with the host that it runs on.
type tool struct {
	host *hwmanager.Host
	path string
}

// run runs the tool. What it wrote is returned after a failure, too: tools tell
// their reasons there.
func (t tool) run(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it ran for more than %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	return t.host.Run.Run(ctx, t.path, args...)
}

func (t tool) name() string { return filepath.Base(t.path) }

// command is what error messages call a command.
func (t tool) command(args []string) string { return t.name() + " " + strings.Join(args, " ") }

// controllers reads all controllers of the machine. Several tools may know the
// same one: it is counted once. A tool that fails is an error only if no other
// knows controllers of its family.
func (m *Manager) controllers(ctx context.Context, h *hwmanager.Host) ([]*Controller, error) {
	var all []*Controller
	var problems []error
	for _, f := range families() {
		var failed []error
		known := 0
		for _, path := range f.tools(h, m.root) {
			found, err := f.open(tool{h, path}).read(ctx)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			for _, c := range found {
				known++
				if !slices.ContainsFunc(all, c.same) {
					all = append(all, c)
				}
			}
		}
		if known == 0 {
			problems = append(problems, failed...)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("read RAID controllers: %w", err)
	}
	return all, nil
}

// same reports whether both are one controller.
func (c *Controller) same(other *Controller) bool {
	switch {
	case c.PCI != "" && other.PCI != "":
		return c.PCI == other.PCI
	case c.Serial != "" && other.Serial != "":
		return c.Serial == other.Serial
	}
	return c.ref == other.ref && c.Tool == other.Tool
}

// again finds a controller that was read before.
func again(all []*Controller, former *Controller) (*Controller, error) {
	at := slices.IndexFunc(all, former.same)
	if at < 0 {
		return nil, fmt.Errorf("controller %s is not shown any more", former)
	}
	return all[at], nil
}

// busyTries is how often a change is asked for of a controller that says that it
// is busy.
const busyTries = 15

// change runs a command that changes a controller, again as long as that is busy.
func (m *Manager) change(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try >= busyTries || !strings.Contains(strings.ToLower(err.Error()), "busy") {
			return err
		}
		select {
		case <-time.After(m.poll):
		case <-ctx.Done():
			return cmp.Or(context.Cause(ctx), err)
		}
	}
}
