// Package tree changes files of a deployed system whose file systems are
// mounted somewhere. Every path is resolved as the system itself will resolve
// it: absolute links start at its root and ".." ends there, so that nothing
// outside can be reached, whatever links the image brings.
package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrRefused: what is at a path is nothing that is written to or deleted.
var ErrRefused = errors.New("refused")

// maxLinks is how many links a path may lead through, as in the kernel
// (linux/namei.h, MAXSYMLINKS).
const maxLinks = 40

// maxTries is how often the kernel is asked for a path; mostly once is enough.
const maxTries = 1000

// Tree is a mounted system. Its methods are for one goroutine. Paths may begin
// with a slash or not.
type Tree struct {
	root *os.File
	dir  string // where it is mounted, without links
}

// Open opens the tree that is mounted at dir.
func Open(dir string) (*Tree, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	where, err := os.Readlink(procPath(root))
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Tree{root: root, dir: where}, nil
}

// Close lets the tree be unmounted.
func (t *Tree) Close() error { return t.root.Close() }

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// open opens a path with links followed, within the tree.
func (t *Tree) open(name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	// While something is renamed or mounted, anywhere, the kernel does not warrant
	// where ".." leads to, and wants to be asked again (openat2(2), EAGAIN).
	fd, err := -1, error(unix.EAGAIN)
	for try := 0; try < maxTries && (errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)); try++ {
		fd, err = unix.Openat2(int(t.root.Fd()), relative(name), &how)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/" + strings.Trim(name, "/"), Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// relative is the path for openat2, which does without a leading slash.
func relative(name string) string {
	if name = strings.TrimLeft(name, "/"); name != "" {
		return name
	}
	return "."
}

// openDir opens a directory to refer to it.
func (t *Tree) openDir(name string) (*os.File, error) {
	return t.open(name, unix.O_PATH|unix.O_DIRECTORY)
}

// IsDir reports whether the path is, or leads to, a directory.
func (t *Tree) IsDir(name string) bool {
	d, err := t.openDir(name)
	return err == nil && d.Close() == nil
}

// Names are the names in a directory, at most limit.
func (t *Tree) Names(name string, limit int) ([]string, error) {
	d, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(limit)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// ReadFile reads a regular file of at most limit bytes.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := t.open(name, unix.O_RDONLY|unix.O_NONBLOCK) // it may be a pipe
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%w: /%s is no file of at most %d bytes", ErrRefused, relative(name), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// AtDir calls use with a path by which the directory name can be mounted on,
// whatever links there are in its name, and returns where it is in the tree.
func (t *Tree) AtDir(name string, use func(path string) error) (string, error) {
	d, err := t.openDir(name)
	if err != nil {
		return "", err
	}
	defer d.Close()
	where, err := t.where(d)
	if err != nil {
		return "", err
	}
	return where, use(procPath(d))
}

// where is the path of an open directory from the root of the tree, without
// links: "/" or "/etc".
func (t *Tree) where(d *os.File) (string, error) {
	at, err := os.Readlink(procPath(d))
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(at, t.dir)
	if !ok || rest != "" && rest[0] != '/' && t.dir != "/" {
		return "", fmt.Errorf("%w: %s is not in the tree", ErrRefused, at)
	}
	return path.Join("/", rest), nil
}

// deepest opens the deepest directory on the way to dir that exists. missing
// are the names from there on.
func (t *Tree) deepest(dir string) (d *os.File, missing []string, err error) {
	names := strings.FieldsFunc(dir, func(r rune) bool { return r == '/' })
	d, err = t.openDir("/")
	if err != nil {
		return nil, nil, err
	}
	for i := range names {
		next, err := t.openDir(strings.Join(names[:i+1], "/"))
		if err == nil {
			d.Close()
			d = next
			continue
		}
		var st unix.Stat_t
		there := unix.Fstatat(int(d.Fd()), names[i], &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, unix.ENOENT) && errors.Is(there, unix.ENOENT):
			for _, name := range names[i:] {
				if name == ".." || name == "." {
					err = fmt.Errorf("%w: /%s does not exist", ErrRefused, strings.Join(names[:i+1], "/"))
					return nil, nil, errors.Join(err, d.Close())
				}
			}
			return d, names[i:], nil
		case errors.Is(err, unix.ENOENT):
			err = fmt.Errorf("%w: /%s is a link that leads nowhere", ErrRefused, strings.Join(names[:i+1], "/"))
		case errors.Is(err, unix.ENOTDIR):
			err = fmt.Errorf("%w: /%s is not a directory", ErrRefused, strings.Join(names[:i+1], "/"))
		}
		return nil, nil, errors.Join(err, d.Close())
	}
	return d, nil, nil
}

// ResolveDir is the path of a directory without links, and as far as it does
// not exist the names as they are.
func (t *Tree) ResolveDir(dir string) (string, error) {
	d, missing, err := t.deepest(dir)
	if err != nil {
		return "", err
	}
	defer d.Close()
	where, err := t.where(d)
	if err != nil {
		return "", err
	}
	return path.Join(append([]string{where}, missing...)...), nil
}

// Resolve is the path without links of the file that is written to by name. The
// file, and the directories named on the way, need not exist; what is behind a
// link must have a directory to be in.
func (t *Tree) Resolve(name string) (string, error) {
	at := name
	for links := 0; links <= maxLinks; links++ {
		dir, base := path.Split(at) // not cleaned: ".." is where a link before it leads to
		if base == "" || base == "." || base == ".." {
			return "", fmt.Errorf("%w: %s leads to a directory", ErrRefused, name)
		}
		where, target, err := t.linkAt(dir, base, links > 0)
		if err != nil {
			if links > 0 {
				err = fmt.Errorf("%s is a link to %.256q: %w", name, at, err)
			}
			return "", err
		}
		if target == "" {
			return path.Join(where, base), nil
		}
		if at = target; !path.IsAbs(target) {
			at = where + "/" + target
		}
	}
	return "", fmt.Errorf("%w: %s leads through more than %d links", ErrRefused, name, maxLinks)
}

// linkAt is where dir is, and what the link base in it says; "" if base is no
// link.
func (t *Tree) linkAt(dir, base string, mustExist bool) (where, target string, err error) {
	d, missing, err := t.deepest(dir)
	if err != nil {
		return "", "", err
	}
	defer d.Close()
	if where, err = t.where(d); err != nil {
		return "", "", err
	}
	if len(missing) > 0 {
		if mustExist {
			return "", "", fmt.Errorf("%w: %s does not exist", ErrRefused, path.Join(where, missing[0]))
		}
		return path.Join(append([]string{where}, missing...)...), "", nil
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(d.Fd()), base, buf)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL): // nothing there, or no link
		return where, "", nil
	case err != nil:
		return "", "", &fs.PathError{Op: "readlink", Path: path.Join(where, base), Err: err}
	}
	return where, string(buf[:n]), nil
}
