package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// modeDirectory is that of directories of an unpacked bundle.
const modeDirectory = 0o755

// Unpack verifies the bundle that r holds, as Read does, and writes its files
// into dir, which must not exist; the manifest and its signature stand beside
// them. Nothing is written before the signature is verified and Accept is
// asked. Whatever fails, dir is not there afterwards.
func Unpack(r io.Reader, dir string, trusted Keys, o Options) (_ *Bundle, err error) {
	var root *os.Root
	defer func() {
		if root == nil {
			return
		}
		err = errors.Join(err, root.Close())
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	begin := func(c *contents) (err error) {
		if err := os.Mkdir(dir, modeDirectory); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if root, err = os.OpenRoot(dir); err != nil {
			return fmt.Errorf("unpack: %w", errors.Join(err, os.Remove(dir)))
		}
		if err := root.WriteFile(ManifestFile, c.manifest, modeFile); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		if err := root.WriteFile(SignatureFile, c.sig, modeFile); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		return nil
	}
	return read(r, trusted.verify, o, begin, func(f File) (io.WriteCloser, error) { return create(root, f) })
}

// create makes the file f, which nothing can be in the place of.
func create(root *os.Root, f File) (io.WriteCloser, error) {
	if dir := path.Dir(f.Path); dir != "." {
		if err := root.MkdirAll(dir, modeDirectory); err != nil {
			return nil, err
		}
	}
	file, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(f.Mode))
	if err != nil {
		return nil, err
	}
	// The mode, whatever the umask is.
	if err := file.Chmod(fs.FileMode(f.Mode)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// VerifyDir verifies what Unpack has left in dir: signature, Accept, and that
// the files are those of the manifest and no others. Size and SHA256 of the
// bundle are not told.
func VerifyDir(dir string, trusted Keys, o Options) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	manifest, err := smallFile(root, ManifestFile, maxManifest)
	if err != nil {
		return nil, err
	}
	sig, err := smallFile(root, SignatureFile, maxSignature)
	if err != nil {
		return nil, err
	}
	c, err := verify(manifest, sig, trusted.verify, o)
	if err != nil {
		return nil, err
	}
	listed := make(map[string]File, len(c.Files))
	for _, f := range c.Files {
		listed[f.Path] = f
		if err := verifyFile(root, f); err != nil {
			return nil, err
		}
	}
	err = fs.WalkDir(root.FS(), ".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || p == ManifestFile || p == SignatureFile {
			return err
		}
		if _, ok := listed[p]; !ok {
			return fmt.Errorf("%w: %q is not listed", ErrSurplus, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Bundle{Manifest: c.Manifest, Key: c.key}, nil
}

// smallFile reads a plain file of at most limit bytes.
func smallFile(root *os.Root, name string, limit int64) ([]byte, error) {
	file, err := openPlain(root, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, name, limit)
	}
	return content, err
}

// openPlain opens a plain file; a link is none.
func openPlain(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q", ErrMissing, name)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %q is not a plain file", ErrFormat, name)
	}
	return root.Open(name)
}

func verifyFile(root *os.Root, f File) error {
	file, err := openPlain(root, f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.Size {
		return fmt.Errorf("%w: %q has %d bytes, the manifest says %d", ErrSize, f.Path, info.Size(), f.Size)
	}
	if info.Mode() != fs.FileMode(f.Mode) {
		return fmt.Errorf("%w: %q has the mode %v, the manifest says %v", ErrFormat, f.Path, info.Mode(), fs.FileMode(f.Mode))
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, io.LimitReader(file, f.Size)); err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%w: that of %q is %s, the manifest says %s", ErrDigest, f.Path, got, f.SHA256)
	}
	return nil
}
