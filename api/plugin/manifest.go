// Package plugin has the formats that executable hardware managers travel in:
// the manifest of a plugin, and bundles, which are a manifest, its signature
// and the files that it lists. docs/plugins.md describes them.
package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

// Names of the first two members of a bundle. In a plugin's directory the
// manifest has the same name.
const (
	ManifestFile  = "plugin.json"
	SignatureFile = "plugin.sig"
)

// Bounds of every plugin. Those of a bundle's size are in Options.
const (
	maxManifest = 1 << 20 // bytes
	maxFiles    = 4096
	maxName     = 64
	maxVersion  = 64
	maxPath     = 240
	hexDigest   = 64 // digits of a SHA-256
)

const hexDigits = "0123456789abcdef"

// Modes that a file of a bundle may have.
const (
	modeFile       = 0o644
	modeExecutable = 0o755
)

// Manifest describes an executable hardware manager.
type Manifest struct {
	Name       string `json:"name"`       // letters, digits, "-", "_"; also the manager's name on the wire
	Version    string `json:"version"`    // semantic version, without "v"
	SDK        string `json:"sdk"`        // version of the protocol that it was written for, as in "1.0"
	Executable string `json:"executable"` // path in the plugin's directory
	// Required plugins fail what they cannot take part in, such as the listing
	// of clean steps, where others are set aside.
	Required bool   `json:"required,omitempty"`
	Limits   Limits `json:"limits,omitzero"`
	// Files are all files of a bundle but the manifest, in the order of their
	// paths. A directory that was never bundled has none here.
	Files []File `json:"files,omitempty"`
}

// Limits bound one call of a plugin; zero is the default of package execplugin.
type Limits struct {
	Memory int64   `json:"memory_mib,omitempty"`   // MiB, with all its children
	Step   float64 `json:"step_seconds,omitempty"` // time of a step
	Query  float64 `json:"query_seconds,omitempty"`
}

// File is one file of a bundle.
type File struct {
	Path   string `json:"path"`   // relative, slashes, no ".."
	Mode   uint32 `json:"mode"`   // permission bits: 420 for 0644 or 493 for 0755
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}

// ErrManifest: a manifest says what none may say. Paths have ErrPath.
var ErrManifest = errors.New("bad manifest")

// ParseManifest reads a manifest strictly and checks it, but for the files,
// which only bundles have.
func ParseManifest(text []byte) (*Manifest, error) {
	if len(text) > maxManifest {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrManifest, len(text), maxManifest)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var m Manifest
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the object", ErrManifest)
	}
	return &m, m.Validate()
}

// ReadManifest reads the manifest of a plugin's directory.
func ReadManifest(dir string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return m, nil
}

// Validate checks all but the files.
func (m *Manifest) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrManifest, fmt.Sprintf(format, args...))
	}
	if !ValidName(m.Name) {
		return bad("the name %.80q is not 1 to %d letters, digits, _ and -, which is not the first", m.Name, maxName)
	}
	if !ValidVersion(m.Version) {
		return bad("the version %.80q is not a semantic version such as 1.2.0 or 1.2.0-rc.1", m.Version)
	}
	if _, err := sdkMajor(m.SDK); err != nil {
		return bad("%v", err)
	}
	if err := checkPath(m.Executable); err != nil {
		return fmt.Errorf("executable: %w", err)
	}
	if m.Limits.Memory < 0 || m.Limits.Step < 0 || m.Limits.Query < 0 {
		return bad("a limit is negative")
	}
	return nil
}

// ValidName reports whether name may be that of a plugin.
func ValidName(name string) bool {
	return name != "" && len(name) <= maxName && name[0] != '-' && made(name, "-_")
}

// ValidVersion reports whether v is a full semantic version without "v" and
// without build metadata, which would make different versions equal.
func ValidVersion(v string) bool {
	return len(v) <= maxVersion && v != "" && semver.Canonical("v"+v) == "v"+v
}

// ComparableVersion reports whether CompareVersions knows v: besides valid
// versions those that lack numbers at the end, and build metadata.
func ComparableVersion(v string) bool { return semver.IsValid("v" + v) }

// CompareVersions orders two versions: negative if a is older than b.
func CompareVersions(a, b string) int { return semver.Compare("v"+a, "v"+b) }

// validateFiles checks the files of a bundle: what is listed can be unpacked
// into an empty directory, on any file system, and nowhere else.
func (m *Manifest) validateFiles(maxSize int64) error {
	if len(m.Files) == 0 || len(m.Files) > maxFiles {
		return fmt.Errorf("%w: it lists %d files; a bundle has 1 to %d", ErrManifest, len(m.Files), maxFiles)
	}
	seen := make(map[string]string, len(m.Files)) // by the folded path
	total, before, executable := int64(0), "", false
	for _, f := range m.Files {
		if err := f.check(); err != nil {
			return err
		}
		folded := strings.ToLower(f.Path)
		if twin, twice := seen[folded]; twice {
			return fmt.Errorf("%w: %q is there twice, as %q", ErrPath, f.Path, twin)
		}
		if f.Path <= before {
			return fmt.Errorf("%w: files are not in the order of their paths: %q after %q", ErrManifest, f.Path, before)
		}
		seen[folded], before = f.Path, f.Path
		if f.Size > maxSize-total {
			return fmt.Errorf("%w: its files have more than %d bytes", ErrTooLarge, maxSize)
		}
		total += f.Size
		executable = executable || f.Path == m.Executable && f.Mode == modeExecutable
	}
	for _, f := range m.Files {
		for dir := path.Dir(strings.ToLower(f.Path)); dir != "."; dir = path.Dir(dir) {
			if file, isFile := seen[dir]; isFile {
				return fmt.Errorf("%w: %q leads through %q, which is a file", ErrPath, f.Path, file)
			}
		}
	}
	if !executable {
		return fmt.Errorf("%w: the executable %q is not among the files that are executable", ErrManifest, m.Executable)
	}
	return nil
}

func (f File) check() error {
	if err := checkPath(f.Path); err != nil {
		return err
	}
	switch {
	case f.Mode != modeFile && f.Mode != modeExecutable:
		return fmt.Errorf("%w: %q has the mode %#o; only 0644 and 0755 are allowed", ErrManifest, f.Path, f.Mode)
	case f.Size < 0:
		return fmt.Errorf("%w: %q has %d bytes", ErrManifest, f.Path, f.Size)
	case len(f.SHA256) != hexDigest || strings.Trim(f.SHA256, hexDigits) != "":
		return fmt.Errorf("%w: the digest of %q is not a SHA-256 in hexadecimal", ErrManifest, f.Path)
	}
	return nil
}

// ErrPath: a path is not a plain one below the plugin's directory.
var ErrPath = errors.New("bad path")

// checkPath allows plain relative paths: elements of letters, digits and a few
// signs, none of which is hidden or means another directory.
func checkPath(p string) error {
	bad := func(why string) error { return fmt.Errorf("%w: %.300q %s", ErrPath, p, why) }
	if p == "" {
		return bad("is empty")
	}
	if len(p) > maxPath {
		return bad(fmt.Sprintf("has more than %d bytes", maxPath))
	}
	if strings.HasPrefix(p, "/") {
		return bad("is absolute")
	}
	for element := range strings.SplitSeq(p, "/") {
		switch {
		case element == "..":
			return bad("leads out of the plugin's directory")
		case element == "" || element == ".":
			return bad("has an element that is empty or \".\"")
		case strings.HasPrefix(element, "."):
			return bad("is hidden")
		case !made(element, "._+-@=,"):
			return bad("has other characters than letters, digits and any of ._+-@=,")
		}
	}
	if folded := strings.ToLower(p); folded == ManifestFile || folded == SignatureFile {
		return bad("is the bundle's own")
	}
	if _, _, ok := splitPath(p); !ok {
		return bad("has a name that is too long")
	}
	return nil
}

// made reports whether s has nothing but letters, digits and the given signs.
func made(s, signs string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !isLetter(r) && (r < '0' || r > '9') && !strings.ContainsRune(signs, r)
	})
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
