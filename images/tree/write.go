package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Attributes of a file to write; nil leaves them as they are: those of the file
// that is replaced, or 0644 and those of this process.
type Attributes struct {
	Mode         *uint32 // permissions, with set-user-ID, set-group-ID and sticky bit
	DirMode      *uint32 // of the directory that holds the file, if it is made; 0755 by default
	Owner, Group *int
}

const (
	defaultFileMode = 0o644
	defaultDirMode  = 0o755
)

// Write makes the file at name, or replaces its content, in one step: until
// then there is what was there before. Missing directories are made. Only what
// is a regular file with one name is replaced; it passes on its extended
// attributes (SELinux label, access control list), but for capabilities and
// digests, which belong to the content.
func (t *Tree) Write(name string, content io.Reader, attributes Attributes) (err error) {
	at, err := t.Resolve(name)
	if err != nil {
		return err
	}
	dir, base := path.Split(at)
	d, err := t.makeDir(dir, attributes.DirMode)
	if err != nil {
		return err
	}
	defer d.Close()
	var file unix.Statfs_t
	if err := unix.Fstatfs(fdOf(d), &file); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	plain := file.Type == unix.MSDOS_SUPER_MAGIC
	if plain && attributes != (Attributes{}) {
		return fmt.Errorf("%w: %s is on a FAT file system, which keeps neither modes nor owners", ErrRefused, at)
	}
	old, err := openOld(d, base, at)
	if err != nil {
		return err
	}
	if old != nil {
		defer old.Close()
	}
	temporary := ".ferric-" + uuid.NewString()
	fd, err := unix.Openat(int(d.Fd()), temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "create a file in", Path: path.Clean(dir), Err: err}
	}
	f := os.NewFile(uintptr(fd), at)
	defer func() {
		if err != nil {
			_ = unix.Unlinkat(fdOf(d), temporary, 0) // it goes with its directory otherwise
		}
	}()
	if _, err = io.Copy(f, content); err == nil && !plain {
		err = dress(f, old, attributes)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = unix.Renameat(fdOf(d), temporary, fdOf(d), base); err != nil {
		return &fs.PathError{Op: "replace", Path: at, Err: err}
	}
	return d.Sync()
}

func fdOf(f *os.File) int { return int(f.Fd()) }

// openOld opens the file that is to be replaced, nil if there is none.
func openOld(d *os.File, base, at string) (*os.File, error) {
	var st unix.Stat_t
	err := unix.Fstatat(fdOf(d), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: at, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%w: %s is %s", ErrRefused, at, kindName(st.Mode))
	}
	if st.Nlink > 1 {
		return nil, fmt.Errorf("%w: %s is a file with %d names (hard links)", ErrRefused, at, st.Nlink)
	}
	fd, err := unix.Openat(fdOf(d), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: at, Err: err}
	}
	return os.NewFile(uintptr(fd), at), nil
}

func kindName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFLNK:
		return "a link"
	}
	return "a device"
}

// dress gives a new file its attributes, those of the old one (may be nil) where
// none are wanted.
func dress(f, old *os.File, want Attributes) error {
	mode, uid, gid := uint32(defaultFileMode), -1, -1
	if old != nil {
		var st unix.Stat_t
		if err := unix.Fstat(fdOf(old), &st); err != nil {
			return &fs.PathError{Op: "stat", Path: old.Name(), Err: err}
		}
		mode, uid, gid = st.Mode&0o7777, int(st.Uid), int(st.Gid)
		if err := copyXattrs(f, old); err != nil {
			return err
		}
	}
	if want.Mode != nil {
		mode = *want.Mode
	}
	if want.Owner != nil {
		uid = *want.Owner
	}
	if want.Group != nil {
		gid = *want.Group
	}
	if uid != -1 || gid != -1 {
		if err := unix.Fchown(fdOf(f), uid, gid); err != nil {
			return &fs.PathError{Op: "change the owner of", Path: f.Name(), Err: err}
		}
	}
	// Last: a change of the owner takes the set-user-ID bit away.
	if err := unix.Fchmod(fdOf(f), mode); err != nil {
		return &fs.PathError{Op: "change the mode of", Path: f.Name(), Err: err}
	}
	return nil
}

// maxXattr is the largest value and the largest list of extended attributes
// (linux/limits.h, XATTR_SIZE_MAX and XATTR_LIST_MAX).
const maxXattr = 64 << 10

// copyXattrs passes on what is not about the content.
func copyXattrs(to, from *os.File) error {
	list := make([]byte, maxXattr)
	n, err := unix.Flistxattr(fdOf(from), list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "list attributes of", Path: from.Name(), Err: err}
	}
	value := make([]byte, maxXattr)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		switch name {
		case "", "security.capability", "security.ima", "security.evm":
			continue
		}
		n, err := unix.Fgetxattr(fdOf(from), name, value)
		if err == nil {
			err = unix.Fsetxattr(fdOf(to), name, value[:n], 0)
		}
		if err != nil {
			return &fs.PathError{Op: "pass on the attribute " + name + " of", Path: from.Name(), Err: err}
		}
	}
	return nil
}

// makeDir opens a directory and makes it and those above it if they are
// missing; the last one gets the mode.
func (t *Tree) makeDir(dir string, mode *uint32) (*os.File, error) {
	d, missing, err := t.deepest(dir)
	if err != nil {
		return nil, err
	}
	where, err := t.where(d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	for i, name := range missing {
		var perm *uint32
		if i == len(missing)-1 {
			perm = mode
		}
		err := mkdirAt(d, name, perm)
		d.Close()
		if err != nil {
			return nil, &fs.PathError{Op: "make directory", Path: path.Join(where, name), Err: err}
		}
		where = path.Join(where, name)
		if d, err = t.openDir(where); err != nil {
			return nil, err
		}
	}
	defer d.Close()
	return t.open(where, unix.O_RDONLY|unix.O_DIRECTORY) // not just referred to: it will be synced
}

// mkdirAt makes a directory with the mode, or with 0755 and what the directory
// above passes on (set-group-ID), whatever the umask is.
func mkdirAt(d *os.File, name string, mode *uint32) error {
	if err := unix.Mkdirat(fdOf(d), name, defaultDirMode); err != nil {
		return err
	}
	perm := uint32(0)
	if mode != nil {
		perm = *mode
	} else {
		var st unix.Stat_t
		if err := unix.Fstatat(fdOf(d), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		perm = st.Mode&0o7000 | defaultDirMode
	}
	return unix.Fchmodat(fdOf(d), name, perm, 0)
}

// Remove deletes the file at name, of whatever kind; of a link the link itself.
// A directory is refused. It reports whether there was one.
func (t *Tree) Remove(name string) (bool, error) {
	dir, base := path.Split(path.Clean("/" + name))
	d, missing, err := t.deepest(dir)
	if err != nil {
		return false, err
	}
	d.Close()
	if len(missing) > 0 {
		return false, nil
	}
	if d, err = t.open(dir, unix.O_RDONLY|unix.O_DIRECTORY); err != nil {
		return false, err
	}
	defer d.Close()
	err = unix.Unlinkat(fdOf(d), base, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EISDIR):
		return false, fmt.Errorf("%w: %s is a directory", ErrRefused, path.Join("/", name))
	case err != nil:
		return false, &fs.PathError{Op: "delete", Path: path.Join("/", name), Err: err}
	}
	return true, d.Sync()
}
