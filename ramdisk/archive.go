package ramdisk

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
)

// Compression of the initramfs. The kernel has to know it.
type Compression string

// The compressions. Others are slower to unpack or larger (lab notes 4).
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// archive collects the files of the ramdisk by path. All belong to root and have one
// time, and they are written in the order of their paths, so that the same content
// always gives the same bytes.
type archive struct {
	records map[string]cpio.Record
	content map[string][]byte // of regular files
}

var errTwice = errors.New("is in the ramdisk twice")

func newArchive() *archive {
	a := &archive{records: map[string]cpio.Record{}, content: map[string][]byte{}}
	for dir, mode := range map[string]uint64{
		"dev": 0o755, "etc": 0o755, "etc/ipa-rescue-config": 0o700, "mnt": 0o755, "proc": 0o555, "root": 0o700, "run": 0o755,
		"sys": 0o555, "tmp": 0o1777, "usr/sbin": 0o755, "var/log": 0o755, "var/tmp": 0o1777,
	} {
		a.records[dir] = cpio.Directory(dir, mode)
	}
	// The kernel opens the console before anything can mount /dev.
	a.records["dev/console"] = cpio.CharDev("dev/console", 0o600, 5, 1)
	a.records["dev/null"] = cpio.CharDev("dev/null", 0o666, 1, 3)
	return a
}

// file adds a regular file.
func (a *archive) file(name string, perm uint64, content []byte) error {
	name, err := archivePath(name)
	if err != nil {
		return err
	}
	if old, ok := a.content[name]; ok && bytes.Equal(old, content) {
		return nil
	}
	if _, ok := a.records[name]; ok {
		return fmt.Errorf("%s %w", name, errTwice)
	}
	a.records[name] = cpio.StaticRecord(content, cpio.Info{Name: name, Mode: cpio.S_IFREG | perm})
	a.content[name] = content
	return nil
}

// symlink adds a symbolic link.
func (a *archive) symlink(name, target string) {
	a.records[name] = cpio.Symlink(name, target)
}

// has reports whether there is a file, or a link, of that path.
func (a *archive) has(name string) bool {
	clean, err := archivePath(name)
	if err != nil {
		return false
	}
	_, ok := a.records[clean]
	return ok
}

// archivePath makes a path relative to the ramdisk's root and keeps it inside.
func archivePath(name string) (string, error) {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" || strings.ContainsAny(name, "\x00\n") {
		return "", fmt.Errorf("%q is no path for a file in the ramdisk", name)
	}
	return clean, nil
}

// hostFile adds a file of this machine, or a directory with all in it, following
// symbolic links, with its permissions.
func (a *archive) hostFile(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("add to ramdisk: %w", err)
	}
	if !info.IsDir() {
		return a.copyFile(source, target, info)
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		return fmt.Errorf("add to ramdisk: %w", err)
	}
	for _, e := range entries {
		if err := a.hostFile(filepath.Join(source, e.Name()), path.Join(target, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) copyFile(source, target string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("add to ramdisk: %s is not a regular file", source)
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("add to ramdisk: %w", err)
	}
	return a.file(target, uint64(info.Mode().Perm()), content)
}

// merge adds the records of a cpio archive in memory.
func (a *archive) merge(data []byte) error {
	r := cpio.EOFReader{RecordReader: cpio.Newc.Reader(bytes.NewReader(data))}
	for {
		rec, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive of commands: %w", err)
		}
		switch rec.Mode & cpio.S_IFMT {
		case cpio.S_IFREG:
			content := make([]byte, rec.FileSize)
			if _, err := rec.ReadAt(content, 0); err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("read archive of commands: %s: %w", rec.Name, err)
			}
			if err := a.file(rec.Name, rec.Mode&0o7777, content); err != nil {
				return err
			}
		default:
			if _, ok := a.records[rec.Name]; !ok {
				a.records[rec.Name] = rec
			}
		}
	}
}

// parts lists the regular files below a path, sorted.
func (a *archive) parts(below string) []Part {
	parts := []Part{}
	for _, name := range slices.Sorted(maps.Keys(a.content)) {
		if strings.HasPrefix(name, below) {
			parts = append(parts, partOf("/"+name, a.content[name]))
		}
	}
	return parts
}

// bytes renders the archive; mtime is in unix seconds.
func (a *archive) bytes(mtime uint64) ([]byte, error) {
	a.addParents()
	var out bytes.Buffer
	w := cpio.Newc.Writer(&out)
	for i, name := range slices.Sorted(maps.Keys(a.records)) {
		rec := cpio.MakeReproducible(a.records[name])
		rec.MTime = mtime
		rec.Ino = uint64(i + 1)
		rec.NLink = 1
		if err := w.WriteRecord(rec); err != nil {
			return nil, fmt.Errorf("write ramdisk archive: %s: %w", name, err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("write ramdisk archive: %w", err)
	}
	return out.Bytes(), nil
}

func (a *archive) addParents() {
	for _, name := range slices.Collect(maps.Keys(a.records)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := a.records[dir]; !ok {
				a.records[dir] = cpio.Directory(dir, 0o755)
			}
		}
	}
}

// compress packs with the same result on every machine.
func compress(data []byte, how Compression) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.BestCompression)
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	default:
		return nil, fmt.Errorf("compress ramdisk: %q is unknown: choose %s or %s", how, Gzip, Zstd)
	}
	if err != nil {
		return nil, fmt.Errorf("compress ramdisk: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("compress ramdisk: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress ramdisk: %w", err)
	}
	return out.Bytes(), nil
}
