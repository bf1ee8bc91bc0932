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
	"slices"
	"strings"
)

// DefaultMaxSize bounds a bundle where Options does not, in bytes.
const DefaultMaxSize = 256 << 20

// Reasons to refuse a bundle. ErrFormat, ErrManifest and ErrPath are others.
var (
	ErrUnknownKey = errors.New("signed with a key that is not trusted")
	ErrSignature  = errors.New("wrong signature")
	ErrTooLarge   = errors.New("too large")
	ErrTruncated  = errors.New("truncated")
	ErrDigest     = errors.New("wrong digest")
	ErrSize       = errors.New("wrong size")
	ErrMissing    = errors.New("missing file")
	ErrSurplus    = errors.New("surplus content")
)

// Options say what to take.
type Options struct {
	MaxSize int64 // of the bundle in bytes; 0: DefaultMaxSize
	// Accept, if set, is asked when signature and manifest are verified, before
	// anything is written. Its error refuses the bundle.
	Accept func(*Manifest) error
}

func (o Options) maxSize() int64 {
	if o.MaxSize > 0 {
		return o.MaxSize
	}
	return DefaultMaxSize
}

// Bundle is what was verified.
type Bundle struct {
	Manifest
	Key    string // id of the key that signed it
	Size   int64  // of the bundle in bytes
	SHA256 string // of the bundle, hexadecimal
}

// Read verifies the bundle that r holds, to its end, and keeps nothing of it.
// It trusts nothing but the keys; memory is bounded whatever r holds. The
// error is one of the sentinels of this package, that of Accept, or that of r.
func Read(r io.Reader, trusted Keys, o Options) (*Bundle, error) {
	return read(r, trusted.verify, o, nothing, func(File) (io.WriteCloser, error) { return discard{}, nil })
}

// Inspect is Read without trust: the key that the bundle names may be any, and
// the signature is not verified. For those who only keep bundles.
func Inspect(r io.Reader, o Options) (*Bundle, error) {
	anyKey := func(_ []byte, s signature) error {
		if !plainID(s.Key) || len(s.Ed25519) != ed25519.SignatureSize {
			return fmt.Errorf("%w: %s has none of ed25519", ErrSignature, SignatureFile)
		}
		return nil
	}
	return read(r, anyKey, o, nothing, func(File) (io.WriteCloser, error) { return discard{}, nil })
}

func nothing(*contents) error { return nil }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// contents is what stands before the files, verified.
type contents struct {
	Manifest
	key           string
	manifest, sig []byte
}

// trust decides about the signature of a manifest.
type trust func(manifest []byte, s signature) error

// read verifies a bundle; begin is called once the signature is, then file for
// each file, in whose order they come.
func read(r io.Reader, trusted trust, o Options, begin func(*contents) error, file func(File) (io.WriteCloser, error)) (*Bundle, error) {
	whole := sha256.New()
	in := &reader{r: io.TeeReader(r, whole)}
	c, err := in.contents(trusted, o)
	if err != nil {
		return nil, err
	}
	if err := begin(c); err != nil {
		return nil, err
	}
	for i, f := range c.Files {
		if err := in.expect(c.Files[i:]); err != nil {
			return nil, err
		}
		w, err := file(f)
		if err != nil {
			return nil, fmt.Errorf("unpack %q: %w", f.Path, err)
		}
		err = in.file(w, f)
		if closed := w.Close(); err == nil && closed != nil {
			err = fmt.Errorf("unpack %q: %w", f.Path, closed)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	return &Bundle{Manifest: c.Manifest, Key: c.key, Size: in.read, SHA256: hex.EncodeToString(whole.Sum(nil))}, nil
}

// reader takes a bundle apart, in order.
type reader struct {
	r    io.Reader
	read int64
}

// fill reads all of p. An end before that is ErrTruncated.
func (in *reader) fill(p []byte, what string) error {
	n, err := io.ReadFull(in.r, p)
	in.read += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within %s, after %d bytes", ErrTruncated, what, in.read)
	}
	return err
}

// contents reads and verifies manifest and signature, the signature before the
// manifest is understood.
func (in *reader) contents(trusted trust, o Options) (*contents, error) {
	manifest, err := in.small(ManifestFile, maxManifest)
	if err != nil {
		return nil, err
	}
	sig, err := in.small(SignatureFile, maxSignature)
	if err != nil {
		return nil, err
	}
	c, err := verify(manifest, sig, trusted, o)
	if err != nil {
		return nil, err
	}
	if size := bundleSize(members(&c.Manifest, manifest, sig)); size > o.maxSize() {
		return nil, fmt.Errorf("%w: the bundle takes %d bytes, more than %d", ErrTooLarge, size, o.maxSize())
	}
	return c, nil
}

// verify checks a manifest with its signature and asks whether it is wanted.
func verify(manifest, sig []byte, trusted trust, o Options) (*contents, error) {
	key, err := verifySignature(manifest, sig, trusted)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(manifest)
	if err != nil {
		return nil, err
	}
	if err := m.validateFiles(o.maxSize()); err != nil {
		return nil, err
	}
	if o.Accept != nil {
		if err := o.Accept(m); err != nil {
			return nil, err
		}
	}
	return &contents{Manifest: *m, key: key, manifest: manifest, sig: sig}, nil
}

// verifySignature returns the id of the key whose signature sig is.
func verifySignature(manifest, sig []byte, trusted trust) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(sig))
	decoder.DisallowUnknownFields()
	var s signature
	if err := decoder.Decode(&s); err != nil {
		return "", fmt.Errorf("%w: %s cannot be read: %w", ErrSignature, SignatureFile, err)
	}
	if err := trusted(manifest, s); err != nil {
		return "", err
	}
	if canonical, err := encode(s); err != nil || !bytes.Equal(canonical, sig) {
		return "", fmt.Errorf("%w: %s has more in it than a signature", ErrSignature, SignatureFile)
	}
	return s.Key, nil
}

// verify is the trust in a key of k, and that s is its signature.
func (k Keys) verify(manifest []byte, s signature) error {
	key, known := k[s.Key]
	switch {
	case len(k) == 0:
		return fmt.Errorf("%w: no key is trusted here, the bundle was signed with %.80q", ErrUnknownKey, s.Key)
	case !known:
		return fmt.Errorf("%w: %.80q; trusted are %s", ErrUnknownKey, s.Key, strings.Join(k.IDs(), ", "))
	case !ed25519.Verify(key, signedText(manifest), s.Ed25519):
		return fmt.Errorf("%w: it is not one of this manifest by the key %s", ErrSignature, s.Key)
	}
	return nil
}

// header reads the next header; nil is the end of the archive.
func (in *reader) header(what string) (*member, error) {
	var block [blockSize]byte
	if err := in.fill(block[:], what); err != nil {
		return nil, err
	}
	if block == [blockSize]byte{} {
		return nil, nil
	}
	m, err := parseHeader(&block)
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// small reads a member of at most limit bytes, which has to come now.
func (in *reader) small(name string, limit int64) ([]byte, error) {
	m, err := in.header("the header of " + name)
	switch {
	case err != nil:
		return nil, err
	case m == nil:
		return nil, fmt.Errorf("%w: %s", ErrMissing, name)
	case m.path != name:
		return nil, fmt.Errorf("%w: %s: %.300q stands in its place", ErrMissing, name, m.path)
	case m.mode != modeFile:
		return nil, fmt.Errorf("%w: %s has the mode %#o", ErrFormat, name, m.mode)
	case m.size > limit:
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrTooLarge, name, m.size, limit)
	}
	content := make([]byte, m.size)
	if err := in.fill(content, name); err != nil {
		return nil, err
	}
	return content, in.pad(m.size, name)
}

// expect reads the header of the first of the files that are left.
func (in *reader) expect(left []File) error {
	want := left[0]
	m, err := in.header(fmt.Sprintf("the header of %q", want.Path))
	switch {
	case err != nil:
		return err
	case m == nil:
		return fmt.Errorf("%w: %q and %d more are listed but not there", ErrMissing, want.Path, len(left)-1)
	case m.path != want.Path && slices.ContainsFunc(left, func(f File) bool { return f.Path == m.path }):
		return fmt.Errorf("%w: %q is listed but not there", ErrMissing, want.Path)
	case m.path != want.Path:
		return fmt.Errorf("%w: %.300q is not listed, or there twice", ErrSurplus, m.path)
	case m.size != want.Size:
		return fmt.Errorf("%w: %q has %d bytes, the manifest says %d", ErrSize, want.Path, m.size, want.Size)
	case m.mode != want.Mode:
		return fmt.Errorf("%w: %q has the mode %#o, the manifest says %#o", ErrFormat, want.Path, m.mode, want.Mode)
	}
	return nil
}

// file copies the content of f to w and verifies it.
func (in *reader) file(w io.Writer, f File) error {
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, digest), io.LimitReader(in.r, f.Size))
	in.read += n
	if err != nil {
		return fmt.Errorf("unpack %q: %w", f.Path, err)
	}
	if n < f.Size {
		return fmt.Errorf("%w: it ends within %q, after %d bytes", ErrTruncated, f.Path, in.read)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%w: that of %q is %s, the manifest says %s", ErrDigest, f.Path, got, f.SHA256)
	}
	return in.pad(f.Size, f.Path)
}

// pad reads what fills the last block of a member.
func (in *reader) pad(size int64, name string) error {
	fill := make([]byte, padding(size))
	if err := in.fill(fill, name); err != nil {
		return err
	}
	if !zero(fill) {
		return fmt.Errorf("%w: in the last block of %q", ErrSurplus, name)
	}
	return nil
}

// end reads what ends a bundle, and that nothing follows.
func (in *reader) end() error {
	m, err := in.header("the end of the archive")
	if err != nil {
		return err
	}
	if m != nil {
		return fmt.Errorf("%w: %.300q is not listed, or there twice", ErrSurplus, m.path)
	}
	rest := make([]byte, (endBlocks-1)*blockSize)
	if err := in.fill(rest, "the end of the archive"); err != nil {
		return err
	}
	if !zero(rest) {
		return fmt.Errorf("%w: behind the end of the archive", ErrSurplus)
	}
	var more [1]byte
	switch n, err := io.ReadFull(in.r, more[:]); {
	case n > 0:
		return fmt.Errorf("%w: behind the end of the archive", ErrSurplus)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

func zero(p []byte) bool {
	return !slices.ContainsFunc(p, func(b byte) bool { return b != 0 })
}
