package netboot

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// files finds what is served by name: boot loaders and the two roots.
type files struct {
	loaders  map[string]string // name to path
	tftpRoot *os.Root          // may be nil
	httpRoot *os.Root          // may be nil
}

// openFiles opens the roots and finds the configured boot loaders.
func openFiles(s *settings) (*files, error) {
	f := &files{loaders: make(map[string]string)}
	var err error
	if f.tftpRoot, err = openRoot("[pxe]tftp_root", s.TFTPRoot); err != nil {
		return nil, err
	}
	if f.httpRoot, err = openRoot("[deploy]http_root", s.HTTPRoot); err != nil {
		return nil, err
	}
	names := []string{s.IPXEBootfileName, s.UEFIIPXEBootfileName}
	for _, name := range s.IPXEBootfileNameByArch {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "" {
			continue
		}
		file, err := findLoader(name, s.TFTPRoot, s.LoaderDirs)
		if err != nil && s.DHCP != DHCPOff {
			return nil, err
		}
		if err == nil {
			f.loaders[name] = file
		}
	}
	return f, nil
}

func openRoot(option, dir string) (*os.Root, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, option, err)
	}
	return root, nil
}

func findLoader(name, root string, dirs []string) (string, error) {
	if name != path.Base(name) {
		return "", fmt.Errorf("%w: boot loader %q must be a plain file name", ErrConfig, name)
	}
	if root != "" {
		dirs = append([]string{root}, dirs...)
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w: %q is in none of %s: install the package ipxe, or correct [netboot]loader_dirs or the [pxe] option that names it",
		ErrLoaderMissing, name, strings.Join(dirs, ", "))
}

// openTFTP opens a file for a TFTP client.
func (f *files) openTFTP(name string) (*os.File, error) { return f.open(f.tftpRoot, name) }

// openHTTP opens a file for an HTTP client.
func (f *files) openHTTP(name string) (*os.File, error) { return f.open(f.httpRoot, name) }

// open opens a loader, or a file of root; nothing outside of root can be reached.
func (f *files) open(root *os.Root, name string) (*os.File, error) {
	name = path.Clean("/" + strings.ReplaceAll(name, `\`, "/"))[1:]
	if file, ok := f.loaders[name]; ok {
		return openRegular(os.Stat, os.Open, file)
	}
	if root == nil || name == "" {
		return nil, fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
	}
	return openRegular(root.Stat, root.Open, filepath.FromSlash(name))
}

// openRegular refuses what is no file; opening a pipe, say, would block for ever.
func openRegular(stat func(string) (fs.FileInfo, error), open func(string) (*os.File, error), name string) (*os.File, error) {
	info, err := stat(name)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %q: not a file: %w", name, fs.ErrNotExist)
	}
	file, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	return file, nil
}

// isURL tells whether a kernel or ramdisk is given to iPXE as it is.
func isURL(ref string) bool {
	return strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://")
}

// localPath returns the path of an absolute path or a file:// URL.
func localPath(ref string) (string, error) {
	if rest, ok := strings.CutPrefix(ref, "file://"); ok {
		unescaped, err := url.PathUnescape(rest)
		if err != nil {
			return "", fmt.Errorf("file URL %q: %w", ref, err)
		}
		ref = unescaped
	}
	if !filepath.IsAbs(ref) {
		return "", errors.New("neither an absolute path nor a file, http or https URL: " + ref)
	}
	return ref, nil
}
