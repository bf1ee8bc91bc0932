package netboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// files finds what is served by name: boot loaders and the two roots.
type files struct {
	*settings
	tftpRoot *os.Root // may be nil
	httpRoot *os.Root // may be nil
	grubs    *grubImages
}

// openFiles opens the roots. Where DHCP is ours, iPXE has to be there: most
// machines boot by it. The other boot loaders are looked for when they are asked for.
func openFiles(s *settings) (*files, error) {
	f := &files{settings: s}
	var err error
	if f.tftpRoot, err = openRoot("[pxe]tftp_root", s.TFTPRoot); err != nil {
		return nil, err
	}
	if f.httpRoot, err = openRoot("[deploy]http_root", s.HTTPRoot); err != nil {
		return nil, err
	}
	for _, name := range s.loaderNames() {
		if name != path.Base(name) || !scriptWord(name) {
			return nil, fmt.Errorf("%w: boot loader %q must be a plain file name", ErrConfig, name)
		}
	}
	for name, file := range s.LoaderFilePaths {
		if !filepath.IsAbs(file) || !regular(file) {
			return nil, fmt.Errorf("%w: [pxe]loader_file_paths: %s is to be %q, which is no absolute path of a file", ErrConfig, name, file)
		}
	}
	names := slices.Concat(slices.Collect(maps.Values(s.IPXEBootfileNameByArch)), []string{s.IPXEBootfileName, s.UEFIIPXEBootfileName})
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "" || s.DHCP == DHCPOff {
			continue
		}
		if _, err := s.loaderFile(name); err != nil {
			return nil, err
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

// open opens a boot loader, or a file of the root that the protocol has; nothing
// outside of that can be reached.
func (f *files) open(protocol, name string) (file, error) {
	root := f.tftpRoot
	if protocol == ProtocolHTTP {
		root = f.httpRoot
	}
	full := cleanPath(name)
	short := cutRoots(full, f.roots())
	var failed error
	for _, name := range []string{full, short} {
		if root == nil || name == "" || f.LoaderFilePaths[name] != "" {
			continue
		}
		found, err := openRegular(root.Stat, root.Open, filepath.FromSlash(name))
		if err == nil {
			return found, nil
		}
		err = unopened(err)
		if failed == nil || !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	if loader := path.Base(short); f.served(loader) {
		if protocol == ProtocolHTTP && f.needsHTTPGRUB(loader) {
			return f.grubs.open(context.Background(), loader)
		}
		name, err := f.loaderFile(loader)
		if err != nil {
			return nil, err
		}
		return openRegular(os.Stat, os.Open, name)
	}
	if failed == nil {
		failed = fmt.Errorf("open %q: %w", name, fs.ErrNotExist)
	}
	return nil, failed
}

// unopened tells of a name that cannot be one of a file, and of a link that leads
// out of the root, as what they are to a client: not there, and not permitted.
func unopened(err error) error {
	var errno syscall.Errno
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case !errors.As(err, &errno):
		return fmt.Errorf("%w: %w", err, fs.ErrPermission)
	case errno == syscall.ENOTDIR, errno == syscall.EINVAL, errno == syscall.ENAMETOOLONG:
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return err
}

// openRegular refuses what is no file; opening a pipe, say, would block for ever.
func openRegular(stat func(string) (fs.FileInfo, error), open func(string) (*os.File, error), name string) (file, error) {
	info, err := stat(name)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %q: not a file: %w", name, fs.ErrNotExist)
	}
	f, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	return f, nil
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
