package vmedia

import (
	"errors"
	"fmt"
	"io"
	"os"

	"ferric/images/fat"
	"ferric/images/iso9660"
)

// volume is a file system on a medium. The device is opened anew for each use,
// so that a medium which changes is noticed and nothing stays open.
type volume struct {
	device string
	size   int64
	label  string
}

// errNoVolume: the device holds no file system that is read here, or has no
// medium.
var errNoVolume = errors.New("no file system")

// tree is what both file systems offer.
type tree interface {
	ReadFile(path string, limit int64) ([]byte, error)
}

func openVolume(d device) (*volume, error) {
	v := &volume{device: d.path, size: d.size}
	err := v.with(func(t tree) error {
		switch t := t.(type) {
		case *fat.FS:
			v.label = t.Label
		case *iso9660.FS:
			v.label = t.Label
		}
		return nil
	})
	return v, err
}

// with opens the file system for fn.
func (v *volume) with(fn func(tree) error) error {
	f, err := os.Open(v.device)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoVolume, err)
	}
	defer f.Close()
	t, err := openTree(f, v.size)
	if err != nil {
		return fmt.Errorf("%s: %w", v.device, err)
	}
	return fn(t)
}

// openTree opens a file system. A hybrid image is ISO 9660 first: its FAT, for
// booting, does not begin at the start of the device.
func openTree(r io.ReaderAt, size int64) (tree, error) {
	iso, isoErr := iso9660.Open(r, size)
	if isoErr == nil {
		return iso, nil
	}
	volume, fatErr := fat.Open(r, size)
	switch {
	case fatErr == nil:
		return volume, nil
	case errors.Is(isoErr, iso9660.ErrNotISO) && errors.Is(fatErr, fat.ErrNotFAT):
		return nil, errNoVolume
	case !errors.Is(isoErr, iso9660.ErrNotISO):
		return nil, isoErr
	}
	return nil, fatErr
}

// read is the content of a file of at most limit bytes.
func (v *volume) read(path string, limit int64) (content []byte, err error) {
	err = v.with(func(t tree) error {
		content, err = t.ReadFile(path, limit)
		return err
	})
	return content, err
}

// files are the names of the regular files in dir; none if there is no such
// directory.
func (v *volume) files(dir string) (names []string, err error) {
	err = v.with(func(t tree) error {
		names, err = filesIn(t, dir)
		return err
	})
	return names, err
}

func filesIn(t tree, dir string) (names []string, err error) {
	switch t := t.(type) {
	case *fat.FS:
		entries, err := t.ReadDir(dir)
		if errors.Is(err, fat.ErrNotFound) {
			return nil, nil
		}
		for _, e := range entries {
			if !e.Dir {
				names = append(names, e.Name)
			}
		}
		return names, err
	case *iso9660.FS:
		entries, err := t.ReadDir(dir)
		if errors.Is(err, iso9660.ErrNotFound) {
			return nil, nil
		}
		for _, e := range entries {
			if e.Regular {
				names = append(names, e.Name)
			}
		}
		return names, err
	}
	return nil, fmt.Errorf("files of a %T", t)
}
