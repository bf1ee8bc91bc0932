package ramdisk

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"ferric/ramdisk/modules"
)

// maxModule bounds a decompressed module or firmware file; the largest are some 20 MB.
const maxModule = 128 << 20

// addModules adds the profile's modules, and more, with all that they need, their indexes, and the
// firmware that is installed, and notes in the manifest what there is.
func addModules(a *archive, m *Manifest, k kernel, root string, profile Profile, more []string) error {
	index, err := modules.Read(os.DirFS(k.modules))
	if err != nil {
		return fmt.Errorf("modules of kernel %s: %w", k.release, err)
	}
	steps, err := choose(index, m, k, profile, more)
	if err != nil {
		return err
	}
	dir := path.Join("lib/modules", k.release)
	firmware := map[string]bool{}
	for _, s := range steps {
		content, err := readPlain(filepath.Join(k.modules, s.Module.Path))
		if err != nil {
			return fmt.Errorf("module %s: %w", s.Module.Name, err)
		}
		if err := a.file(path.Join(dir, modules.Shipped(s.Module.Path)), 0o644, content); err != nil {
			return err
		}
		names, err := firmwareNames(content)
		if err != nil {
			return fmt.Errorf("module %s: %w", s.Module.Name, err)
		}
		for _, n := range names {
			firmware[n] = true
		}
	}
	m.Modules = a.parts(dir + "/")
	for name, text := range index.Subset(steps) {
		if err := a.file(path.Join(dir, name), 0o644, []byte(text)); err != nil {
			return err
		}
	}
	return addFirmware(a, m, filepath.Join(root, "lib/firmware"), firmware)
}

// choose makes the load plan of a profile's modules, and notes which are not loadable.
func choose(index *modules.Index, m *Manifest, k kernel, profile Profile, more []string) ([]modules.Step, error) {
	var names []string
	for _, want := range profile.modules() {
		switch _, ok := index.Lookup(want); {
		case strings.HasSuffix(want, "/"):
			under := index.Under(want)
			slices.Sort(under)
			names = append(names, under...)
		case ok:
			names = append(names, want)
		case index.Builtin(want):
			m.Builtin = append(m.Builtin, want)
		default:
			m.Absent = append(m.Absent, want)
		}
	}
	for _, r := range required {
		if slices.Contains(m.Absent, r) {
			return nil, fmt.Errorf("%w: %s lacks the module %s: choose a distribution's full kernel, or install its package of further modules (Ubuntu: linux-modules-extra-%s)",
				ErrNoKernel, k.release, r, k.release)
		}
	}
	for _, name := range more {
		if _, ok := index.Lookup(name); !ok && !index.Builtin(name) {
			return nil, fmt.Errorf("%w: %s lacks the module %s, which is asked for", ErrNoKernel, k.release, name)
		} else if ok {
			names = append(names, name)
		}
	}
	steps, err := index.Plan(names...)
	if err != nil {
		return nil, fmt.Errorf("modules of kernel %s: %w", k.release, err)
	}
	return steps, nil
}

// readPlain reads a file that may be compressed, as Ubuntu's modules are. A module's
// signature is part of its plain form and survives.
func readPlain(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(file) {
	case ".zst":
		d, err := zstd.NewReader(f)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		r = d
	case ".xz":
		if r, err = xz.NewReader(f); err != nil {
			return nil, err
		}
	case ".gz":
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	content, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(content) > maxModule {
		return nil, fmt.Errorf("read %s: larger than %d bytes", file, maxModule)
	}
	return content, nil
}

// firmwareNames lists the firmware files that a module may ask for: "firmware=" entries
// of its section .modinfo, each ended by a zero byte.
func firmwareNames(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, fmt.Errorf("not a kernel module: %w", err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	var names []string
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if name, ok := bytes.CutPrefix(entry, []byte("firmware=")); ok {
			names = append(names, string(name))
		}
	}
	return names, nil
}

// addFirmware adds the firmware that is installed. Most drivers do without; which ones
// might miss some is in the manifest.
func addFirmware(a *archive, m *Manifest, dir string, names map[string]bool) error {
	for name := range names {
		content, err := readFirmware(filepath.Join(dir, filepath.Clean("/"+name)))
		if errors.Is(err, fs.ErrNotExist) {
			m.AbsentFirmware = append(m.AbsentFirmware, name)
			continue
		}
		if err != nil {
			return fmt.Errorf("firmware %s: %w", name, err)
		}
		if err := a.file(path.Join("lib/firmware", name), 0o644, content); err != nil {
			return err
		}
	}
	slices.Sort(m.AbsentFirmware)
	m.Firmware = a.parts("lib/firmware/")
	return nil
}

func readFirmware(file string) ([]byte, error) {
	var err error
	for _, suffix := range []string{"", ".zst", ".xz"} {
		var content []byte
		if content, err = readPlain(file + suffix); !errors.Is(err, fs.ErrNotExist) {
			return content, err
		}
	}
	return nil, err
}
