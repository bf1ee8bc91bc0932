package osimage

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the modules of the small system: a condition of the list that its
// init reads, and names, in the order of need: first what finds the root disk.
// crc32c is a soft dependency of ext4, the nls modules are FAT's.
var wanted = []struct {
	condition string
	names     []string
}{
	{"vendor=0x1af4", []string{"virtio_pci", "virtio_blk", "virtio_scsi"}},
	{"class=0x0108", []string{"nvme"}},
	{"class=0x0106", []string{"ahci"}},
	{"class=0x0101", []string{"ata_piix"}},
	{"class=0x0600", []string{"efivarfs", "raid1"}}, // every PC has that, a host bridge
	{"*", []string{"sd_mod", "sr_mod", "crc32c_generic", "ext4", "isofs", "vfat",
		"nls_cp437", "nls_ascii", "nls_utf8", "nls_iso8859_1", "button", "evdev"}},
}

// module is one line of the list that init reads.
type module struct {
	condition string
	path      string // below the directory of modules
}

// planModules lists the modules to load in order, each after what it depends
// on.
func planModules(dir string) ([]module, error) {
	paths, needs, err := readDependencies(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := readBuiltin(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	var plan []module
	for _, group := range wanted {
		for _, name := range group.names {
			if builtin[name] {
				continue
			}
			path, ok := paths[name]
			if !ok && group.condition != "*" {
				continue // a cloud kernel has no AHCI and boots from other disks
			}
			if !ok {
				return nil, fmt.Errorf("%s has no module %s", dir, name)
			}
			// A module may stand under several conditions: loading it again
			// does no harm.
			for _, path := range append(needs[path], path) {
				if m := (module{group.condition, path}); !slices.Contains(plan, m) {
					plan = append(plan, m)
				}
			}
		}
	}
	return plan, nil
}

// readDependencies reads modules.dep: the file of each module, and the files
// that each file needs, in the order in which they have to be loaded.
func readDependencies(path string) (paths map[string]string, needs map[string][]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	paths, needs = map[string]string{}, map[string][]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, rest, _ := strings.Cut(lines.Text(), ":")
		paths[moduleName(file)] = file
		list := strings.Fields(rest) // the nearest first
		slices.Reverse(list)
		needs[file] = list
	}
	return paths, needs, lines.Err()
}

func readBuiltin(path string) (map[string]bool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	builtin := map[string]bool{}
	for file := range strings.Lines(string(data)) {
		builtin[moduleName(strings.TrimSpace(file))] = true
	}
	return builtin, nil
}

// moduleName is the name under which the kernel knows the module of a file,
// which may be compressed: kernel/lib/crc-t10dif.ko.zst is crc_t10dif.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
