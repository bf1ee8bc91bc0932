package generic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of what is copied to the EFI system partition. Names are counted
// whatever they stand for, and directories below EFI: package fat makes no
// paths of more than eight names.
const (
	maxLoaderNames = 4096
	maxLoaderDepth = 6
	maxLoaderBytes = 128 << 20
)

// namesAtOnce is how many names of a directory are in memory.
const namesAtOnce = 256

// loaderTree reads files of a file system that comes from an image: its
// directories may have any size and may say of a file that it is another kind
// than it is.
type loaderTree struct {
	root  *os.Root
	files map[string][]byte // by their paths from the EFI system partition's root
	names int
	room  int64 // for content, in bytes
}

func (t *loaderTree) walk(ctx context.Context, dir string, depth int) error {
	if depth > maxLoaderDepth {
		return fmt.Errorf("/%s is nested deeper than %d", dir, maxLoaderDepth)
	}
	d, err := t.root.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.names += len(entries); t.names > maxLoaderNames {
			return fmt.Errorf("/%s holds more than %d names", espLoaders, maxLoaderNames)
		}
		for _, e := range entries {
			if err := t.add(ctx, path.Join(dir, e.Name()), e.Type(), depth); err != nil {
				return err
			}
		}
	}
}

func (t *loaderTree) add(ctx context.Context, name string, kind fs.FileMode, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if kind.IsDir() {
		return t.walk(ctx, name, depth+1)
	}
	if !kind.IsRegular() {
		return nil
	}
	// Not to block: it may be a pipe nevertheless.
	f, err := t.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(f, t.room+1))
	if err != nil {
		return err
	}
	if t.room -= int64(len(content)); t.room < 0 {
		return fmt.Errorf("/%s holds more than %d MiB", espLoaders, maxLoaderBytes>>20)
	}
	t.files[strings.TrimPrefix(name, espMount+"/")] = content
	return nil
}
