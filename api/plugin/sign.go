package plugin

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// signature is the second member of a bundle.
type signature struct {
	Key     string `json:"key"`     // id
	Ed25519 []byte `json:"ed25519"` // base64
}

// maxSignature bounds that member in bytes.
const maxSignature = 1 << 10

// signedText is what is signed: no signature made for another purpose fits.
func signedText(manifest []byte) []byte {
	sum := sha256.Sum256(manifest)
	return []byte("ferric plugin bundle 1\n" + hex.EncodeToString(sum[:]) + "\n")
}

// encode is the one text of a signature or manifest in a bundle.
func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// Sign writes the plugin in dir as a bundle signed with key: m with the files
// of the directory. Hidden files and __pycache__ directories are left out; what
// cannot be in a bundle is an error. The same directory, manifest and key give
// the same bytes. It returns the manifest as it was signed.
func Sign(w io.Writer, dir string, m Manifest, key ed25519.PrivateKey) (*Manifest, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	defer root.Close()
	if m.Files, err = listFiles(root); err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	if err := m.validateFiles(maxOctal); err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	manifest, err := encode(m)
	if err != nil {
		return nil, fmt.Errorf("sign %s: encode manifest: %w", dir, err)
	}
	if len(manifest) > maxManifest {
		return nil, fmt.Errorf("sign %s: %w: it would have %d bytes, more than %d", dir, ErrManifest, len(manifest), maxManifest)
	}
	sig, err := signatureOf(manifest, key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	if err := writeBundle(w, root, &m, manifest, sig); err != nil {
		return nil, fmt.Errorf("sign %s: %w", dir, err)
	}
	return &m, nil
}

func signatureOf(manifest []byte, key ed25519.PrivateKey) ([]byte, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the key has no public half")
	}
	id, err := KeyID(public)
	if err != nil {
		return nil, err
	}
	return encode(signature{Key: id, Ed25519: ed25519.Sign(key, signedText(manifest))})
}

// listFiles are the files below root that go into a bundle, in order.
func listFiles(root *os.Root) ([]File, error) {
	var files []File
	err := fs.WalkDir(root.FS(), ".", func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case p == ".":
			return nil
		case LeftOut(p) && entry.IsDir():
			return fs.SkipDir
		case LeftOut(p), p == ManifestFile, p == SignatureFile, entry.IsDir():
			return nil
		}
		if err := checkPath(p); err != nil {
			return err
		}
		if len(files) == maxFiles {
			return fmt.Errorf("%w: there are more than %d files", ErrTooLarge, maxFiles)
		}
		f, err := describe(root, p)
		files = append(files, f)
		return err
	})
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, err
}

// LeftOut reports whether Sign leaves the file or directory at p out: hidden
// ones, such as those of version control, and what Python keeps of its own.
func LeftOut(p string) bool {
	name := path.Base(p)
	return strings.HasPrefix(name, ".") || name == "__pycache__"
}

// describe reads the file at p. A link is taken for what it leads to, if that
// is a file in the same directory.
func describe(root *os.Root, p string) (File, error) {
	info, err := root.Stat(p) // a link that leaves root fails
	if err != nil {
		return File{}, fmt.Errorf("%w: %q: %w", ErrPath, p, err)
	}
	switch {
	case info.IsDir():
		return File{}, fmt.Errorf("%w: %q is a link to a directory", ErrPath, p)
	case !info.Mode().IsRegular():
		return File{}, fmt.Errorf("%w: %q is not a plain file", ErrPath, p)
	case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return File{}, fmt.Errorf("%w: %q has the setuid or setgid bit, which a bundle does not keep", ErrPath, p)
	}
	f := File{Path: p, Mode: modeFile}
	if info.Mode()&0o111 != 0 {
		f.Mode = modeExecutable
	}
	file, err := root.Open(p)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	digest := sha256.New()
	if f.Size, err = io.Copy(digest, file); err != nil {
		return File{}, err
	}
	f.SHA256 = hex.EncodeToString(digest.Sum(nil))
	return f, nil
}

// members of a bundle, in their order.
func members(m *Manifest, manifest, sig []byte) []member {
	list := []member{{ManifestFile, modeFile, int64(len(manifest))}, {SignatureFile, modeFile, int64(len(sig))}}
	for _, f := range m.Files {
		list = append(list, member{f.Path, f.Mode, f.Size})
	}
	return list
}

func writeBundle(w io.Writer, root *os.Root, m *Manifest, manifest, sig []byte) error {
	for i, entry := range members(m, manifest, sig) {
		header := entry.header()
		if _, err := w.Write(header[:]); err != nil {
			return err
		}
		var err error
		switch entry.path {
		case ManifestFile:
			_, err = w.Write(manifest)
		case SignatureFile:
			_, err = w.Write(sig)
		default:
			err = copyFile(w, root, m.Files[i-2])
		}
		if err == nil {
			_, err = w.Write(make([]byte, padding(entry.size)))
		}
		if err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, endBlocks*blockSize))
	return err
}

// copyFile writes the content of f as it was described, or fails.
func copyFile(w io.Writer, root *os.Root, f File) error {
	file, err := root.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, digest), io.LimitReader(file, f.Size))
	if err != nil {
		return err
	}
	if n != f.Size || hex.EncodeToString(digest.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%q was changed meanwhile", f.Path)
	}
	return nil
}
