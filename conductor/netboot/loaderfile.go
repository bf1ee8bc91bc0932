package netboot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// stockNames are the names of boot loaders as firmware, shim and operators know
// them, and what distributions call the file, the best first. Without shim, its
// GRUB for the network is started itself. Literal table.
var stockNames = map[string][]string{
	"bootx64.efi":  {"shimx64.efi.signed", "shimx64.efi", "grubnetx64.efi.signed", "grubx64.efi"},
	"shimx64.efi":  {"shimx64.efi.signed"},
	"grubx64.efi":  {"grubnetx64.efi.signed"},
	"mmx64.efi":    {"mmx64.efi.signed"},
	"bootaa64.efi": {"shimaa64.efi.signed", "shimaa64.efi", "grubnetaa64.efi.signed", "grubaa64.efi"},
	"shimaa64.efi": {"shimaa64.efi.signed"},
	"grubaa64.efi": {"grubnetaa64.efi.signed"},
	"mmaa64.efi":   {"mmaa64.efi.signed"},
	"pxelinux.0":   nil,
	"lpxelinux.0":  nil,
	"memdisk":      nil, // pxelinux boots ISO images by it
}

// companions are what boot loaders load themselves before they ask for a configuration.
var companions = map[string][]string{
	"pxelinux.0":   {"ldlinux.c32"},
	"lpxelinux.0":  {"ldlinux.c32"},
	"bootx64.efi":  {"grubx64.efi"},
	"shimx64.efi":  {"grubx64.efi"},
	"bootaa64.efi": {"grubaa64.efi"},
	"shimaa64.efi": {"grubaa64.efi"},
}

// packages are Debian's of the boot loaders; iPXE's are in the package ipxe.
var packages = []struct{ part, name string }{
	{"aa64.efi", "shim-signed and grub-efi-arm64-signed"},
	{"grubx64.efi", "grub-efi-amd64-signed"},
	{"bootx64.efi", "shim-signed and grub-efi-amd64-signed"},
	{"shimx64.efi", "shim-signed and grub-efi-amd64-signed"},
	{"pxelinux.0", "pxelinux and syslinux-common"},
	{".c32", "syslinux-common"},
	{"memdisk", "syslinux-common"},
}

// loaderNames are those of the options.
func (s *settings) loaderNames() []string {
	names := []string{s.PXEBootfileName, s.UEFIPXEBootfileName, s.SecureBootBootfileName, s.IPXEBootfileName, s.UEFIIPXEBootfileName}
	for _, byArch := range []map[string]string{s.PXEBootfileNameByArch, s.IPXEBootfileNameByArch} {
		for _, name := range byArch {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// served tells whether name is that of a boot loader: the other files of the
// directories that are searched are nobody's business.
func (s *settings) served(name string) bool {
	_, stock := stockNames[name]
	return stock || strings.HasSuffix(name, ".c32") || slices.Contains(s.loaderNames(), name)
}

// loaderFile finds a boot loader: where [pxe]loader_file_paths says, else in
// tftp_root, else in loader_dirs, by the distribution's name before its own: of
// two files of one name, the signed one has more to it. It is looked for at every
// request, so that what is installed is found at once.
func (s *settings) loaderFile(name string) (string, error) {
	if name != path.Base(name) {
		return "", fmt.Errorf("%w: boot loader %q must be a plain file name", ErrConfig, name)
	}
	var candidates []string
	if file := s.LoaderFilePaths[name]; file != "" {
		candidates = append(candidates, file)
	}
	if s.TFTPRoot != "" {
		candidates = append(candidates, filepath.Join(s.TFTPRoot, name))
	}
	for _, known := range append(slices.Clone(stockNames[name]), name) {
		for _, dir := range s.LoaderDirs {
			candidates = append(candidates, filepath.Join(dir, known))
		}
	}
	if i := slices.IndexFunc(candidates, regular); i >= 0 {
		return candidates[i], nil
	}
	dirs := s.LoaderDirs
	if s.TFTPRoot != "" {
		dirs = append([]string{s.TFTPRoot}, dirs...)
	}
	return "", fmt.Errorf("%w: %q is in none of %s: install the package %s, or correct [netboot]loader_dirs, [pxe]loader_file_paths or the [pxe] option that names it",
		ErrLoaderMissing, name, strings.Join(dirs, ", "), packageOf(name))
}

func packageOf(name string) string {
	for _, p := range packages {
		if strings.Contains(name, p.part) {
			return p.name
		}
	}
	return "ipxe"
}

func regular(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// CheckLoader tells whether the boot loader that a machine would be given is
// there, and what it loads itself. Where DHCP is not ours, it may be another's.
func (s *Server) CheckLoader(m Machine, cpu string) error {
	if s.DHCP == DHCPOff {
		return nil
	}
	if cpu == "" {
		cpu = "x86_64"
	}
	mode := m.BootMode
	if mode == "" {
		mode = "uefi"
	}
	name, err := s.bootFile(arch{cpu, mode}, m)
	if err != nil {
		return err
	}
	if m.Loader == LoaderHTTP && s.needsHTTPGRUB(name) {
		_, err := grubMaker(grubPlatforms[name])
		return err
	}
	for _, part := range append([]string{name}, companions[name]...) {
		file, err := s.loaderFile(part)
		if err != nil {
			return err
		}
		if m.Loader == LoaderHTTP && m.SecureBoot && strings.HasPrefix(part, "grub") && !grubHasHTTP(file) {
			return fmt.Errorf("%w: the signed GRUB %s has no HTTP, and one that has would need a signature that shim trusts: name one in [pxe]loader_file_paths, or boot by TFTP with the boot interface pxe", ErrLoaderMissing, file)
		}
		// GRUB itself, and what operators put in place, may need nothing else.
		if strings.Contains(filepath.Base(file), "grub") || filepath.Dir(file) == filepath.Clean(s.TFTPRoot) {
			return nil
		}
	}
	return nil
}

// isMissing tells whether err is about a boot loader that nobody installed.
func isMissing(err error) bool { return errors.Is(err, ErrLoaderMissing) }
