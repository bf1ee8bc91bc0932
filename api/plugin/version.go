package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Reasons to refuse a plugin whose signature is right.
var (
	ErrOther = errors.New("not the plugin that was offered")
	ErrOlder = errors.New("too old")
	ErrSDK   = errors.New("made for a newer SDK")
)

// Wanted is what a plugin has to be to be taken; what is "" does not matter.
type Wanted struct {
	Name, Version string // that was offered
	Minimum       string // oldest version that this ramdisk accepts
	SDK           string // version of the SDK at hand
}

// Check is nil if m is what is wanted.
func (w Wanted) Check(m *Manifest) error {
	if w.Name != "" && m.Name != w.Name {
		return fmt.Errorf("%w: the bundle holds %s, not %.80q", ErrOther, m.Name, w.Name)
	}
	if w.Version != "" && m.Version != w.Version {
		if ValidVersion(w.Version) && CompareVersions(m.Version, w.Version) < 0 {
			return fmt.Errorf("%w: the bundle holds %s %s, but %s was offered", ErrOlder, m.Name, m.Version, w.Version)
		}
		return fmt.Errorf("%w: the bundle holds %s %s, but %.80q was offered", ErrOther, m.Name, m.Version, w.Version)
	}
	if w.Minimum != "" && CompareVersions(m.Version, w.Minimum) < 0 {
		return fmt.Errorf("%w: this ramdisk takes %s from %s on, this is %s", ErrOlder, m.Name, w.Minimum, m.Version)
	}
	return CheckSDK(m.SDK, w.SDK)
}

// CheckSDK is nil if a plugin made for one version of the SDK may run with the
// version at hand ("": any): its major is not newer. Minor versions only add.
func CheckSDK(made, atHand string) error {
	if atHand == "" {
		return nil
	}
	need, err := sdkMajor(made)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	have, err := sdkMajor(atHand)
	if err != nil {
		return err
	}
	if need > have {
		return fmt.Errorf("%w: it needs %s, here is %s", ErrSDK, made, atHand)
	}
	return nil
}

// sdkMajor reads the first number of "1", "1.0" or "1.0.3".
func sdkMajor(version string) (major uint64, err error) {
	parts := strings.Split(version, ".")
	const most = 3
	bad := len(parts) > most
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		bad = bad || err != nil
		if i == 0 {
			major = n
		}
	}
	if bad {
		return 0, fmt.Errorf("the SDK version %.80q is not of the form 1.0", version)
	}
	return major, nil
}

// Minimums are the oldest versions of plugins that may be taken, by name.
type Minimums map[string]string

// LoadMinimums reads a file with one JSON object of names and versions; one
// that is absent has none. Whoever cannot read it must take no plugin.
func LoadMinimums(file string) (Minimums, error) {
	text, err := readBounded(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("minimum versions: %w", err)
	}
	var minimums Minimums
	if err := json.Unmarshal(text, &minimums); err != nil {
		return nil, fmt.Errorf("minimum versions %s: %w", file, err)
	}
	for name, version := range minimums {
		if !ValidVersion(version) {
			return nil, fmt.Errorf("minimum versions %s: %s of %s is not a semantic version", file, version, name)
		}
	}
	return minimums, nil
}
