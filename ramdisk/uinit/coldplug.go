package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"ferric/ramdisk/modules"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// coldplug loads the modules that devices ask for by their modalias.
type coldplug struct {
	dir   string // /lib/modules/RELEASE
	index *modules.Index
	out   *console

	mu     sync.Mutex
	asked  map[string]bool         // modaliases already served
	loaded map[string]func() error // by module name: loads it the first time
}

// newColdplug reads the index of the running kernel's modules. It is usable, and loads
// nothing, also when there is an error.
func newColdplug(root string, out *console) (*coldplug, error) {
	p := &coldplug{index: &modules.Index{}, out: out, asked: map[string]bool{}, loaded: map[string]func() error{}}
	dir, err := modulesDir(root)
	if err != nil {
		return p, err
	}
	index, err := modules.Read(os.DirFS(dir))
	if err != nil {
		return p, fmt.Errorf("modules of this kernel: %w", err)
	}
	p.dir, p.index = dir, index
	return p, nil
}

// modulesDir is the directory of the running kernel's modules.
func modulesDir(root string) (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return filepath.Join(root, unix.ByteSliceToString(name.Release[:])), nil
}

// networkBuses are the buses that NICs of machines sit on.
func networkBuses() []string { return []string{"pci", "virtio", "vmbus", "xen"} }

// networkFirst serves the devices that a network needs: until no new ones appear, since
// a virtio or VMBus NIC is only seen when the driver of its bus is there.
func (p *coldplug) networkFirst() {
	for {
		if !p.serve(slices.DeleteFunc(scanModaliases(networkBuses()...), func(a string) bool { return !forNetwork(a) })) {
			return
		}
	}
}

// scan serves all devices that exist, storage first.
func (p *coldplug) scan() {
	aliases := scanModaliases("*")
	slices.SortStableFunc(aliases, func(a, b string) int { return storageRank(a) - storageRank(b) })
	p.serve(aliases)
}

// storageRank puts storage controllers and disks before everything else.
func storageRank(alias string) int {
	if strings.HasPrefix(alias, "pci:") && strings.Contains(alias, "bc01") || // class: mass storage
		strings.HasPrefix(alias, "virtio:") || strings.HasPrefix(alias, "scsi:") {
		return 0
	}
	return 1
}

// forNetwork tells NICs, and the buses that virtual NICs sit on, by modalias.
func forNetwork(alias string) bool {
	switch {
	case strings.HasPrefix(alias, "pci:v00001AF4"): // virtio over PCI
		return true
	case strings.HasPrefix(alias, "pci:"):
		return strings.Contains(alias, "bc02") // class: network controller
	case strings.HasPrefix(alias, "virtio:d00000001"): // virtio-net
		return true
	}
	return strings.HasPrefix(alias, "vmbus:f8615163df3e46c5913ff2d2f965ed0e") || alias == "xen:vif"
}

// scanModaliases reads the modaliases of the devices on some buses, "*" for all. By bus,
// each directory of which links all of its devices, there are far fewer files to read
// than in all of /sys/devices; in an emulated machine even these take 0.1 s.
func scanModaliases(buses ...string) []string {
	var aliases []string
	for _, bus := range buses {
		files, _ := filepath.Glob("/sys/bus/" + bus + "/devices/*/modalias") // only a bad pattern is an error
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
				aliases = append(aliases, strings.TrimSpace(string(text)))
			}
		}
	}
	slices.Sort(aliases)
	return slices.Compact(aliases)
}

// serve loads what the aliases not seen before ask for and tells whether there were any.
// Drivers of different devices initialise side by side.
func (p *coldplug) serve(aliases []string) bool {
	var g errgroup.Group
	g.SetLimit(max(4, runtime.NumCPU()))
	fresh := false
	for _, a := range aliases {
		if a == "" || !p.first(a) {
			continue
		}
		fresh = true
		g.Go(func() error {
			p.load(a)
			return nil
		})
	}
	g.Wait()
	return fresh
}

func (p *coldplug) first(alias string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked[alias] {
		return false
	}
	p.asked[alias] = true
	return true
}

// load loads the modules for an alias or a name, and says on the console what failed.
func (p *coldplug) load(alias string) {
	for _, err := range p.loadAll(alias) {
		p.out.printf("uinit: %v", err)
	}
}

func (p *coldplug) loadAll(alias string) []error {
	var errs []error
	for _, name := range p.index.Resolve(alias) {
		plan, err := p.index.Plan(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("load %s: %w", name, err))
			continue
		}
		for _, step := range plan {
			if err := p.once(step.Module)(); err != nil && !step.Optional {
				errs = append(errs, err)
				break
			}
		}
	}
	return errs
}

// once gives the function that loads a module the first time it is called; callers at
// the same time wait for the one that loads.
func (p *coldplug) once(m modules.Module) func() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.loaded[m.Name]
	if !ok {
		f = sync.OnceValue(func() error { return insert(filepath.Join(p.dir, m.Path)) })
		p.loaded[m.Name] = f
	}
	return f
}

// insert gives a module file to the kernel. One that is there already is fine, and so is
// a driver that finds no hardware of its kind.
func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err == nil || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("load module %s: %w", modules.Name(path), err)
}

// modprobe is what the kernel calls for a module that it needs itself, such as a file
// system's or a RAID level's: modprobe -q -- NAME.
func modprobe(args []string) int {
	status := 0
	p, err := newColdplug("/lib/modules", &console{})
	if err != nil {
		return fail(err)
	}
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if len(p.index.Resolve(a)) == 0 && !p.index.Builtin(a) {
			status = fail(fmt.Errorf("modprobe %s: %w", a, fs.ErrNotExist))
		}
		for _, err := range p.loadAll(a) {
			status = fail(err)
		}
	}
	return status
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "%v\n", err)
	return 1
}
