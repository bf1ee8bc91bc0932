package ramdisk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the files that Build writes.
const (
	KernelFile    = "vmlinuz"
	InitramfsFile = "initramfs.img"
	ManifestFile  = "manifest.json"
)

// Manifest says what a ramdisk was made of. The same inputs give the same manifest, so it
// holds no times.
type Manifest struct {
	Profile  Profile           `json:"profile"`
	Versions map[string]string `json:"versions"` // go, ferric's own and u-root's modules, kernel
	Kernel   Part              `json:"kernel"`   // Path is the file beside the manifest

	Initramfs   Part        `json:"initramfs"`
	Compression Compression `json:"compression"`
	RawSize     int64       `json:"raw_size"` // bytes of the archive before compression

	// All paths from here on are paths in the ramdisk.
	Agent    Part      `json:"agent"`
	Init     Part      `json:"init"`
	Managers []Manager `json:"managers"` // of the agent, built in and added
	Plugins  []Plugin  `json:"plugins"`  // their files are among Files, too
	Commands Part      `json:"commands"` // one program
	Applets  []string  `json:"applets"`  // the commands in it
	Modules  []Part    `json:"modules"`
	Firmware []Part    `json:"firmware"`
	Files    []Part    `json:"files"` // everything else, the operator's files too

	Builtin        []string `json:"builtin"`         // wanted modules that this kernel has built in
	Absent         []string `json:"absent"`          // wanted modules that this kernel does not have
	AbsentFirmware []string `json:"absent_firmware"` // named by shipped modules, not installed here
	AbsentPrograms []string `json:"absent_programs"` // wanted programs that are not installed here
}

// Part is one file with its digest.
type Part struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}

// newManifest has empty lists, which JSON shows as such.
func newManifest(p Profile) *Manifest {
	return &Manifest{
		Profile: p, Managers: []Manager{}, Plugins: []Plugin{}, Modules: []Part{}, Firmware: []Part{}, Files: []Part{},
		Builtin: []string{}, Absent: []string{}, AbsentFirmware: []string{}, AbsentPrograms: []string{},
	}
}

func partOf(path string, content []byte) Part {
	sum := sha256.Sum256(content)
	return Part{Path: path, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// ReadManifest reads the manifest of the ramdisk in a directory.
func ReadManifest(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("read ramdisk manifest: %w", err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("read ramdisk manifest %s: %w", filepath.Join(dir, ManifestFile), err)
	}
	return m, nil
}

func (m *Manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode ramdisk manifest: %w", err)
	}
	return append(text, '\n'), nil
}
