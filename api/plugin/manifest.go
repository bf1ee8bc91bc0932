// Package plugin has the formats that executable hardware managers travel in:
// the manifest of a plugin, and bundles, which are a manifest, its signature
// and the files that it lists.
package plugin

// ManifestFile is the name of the manifest in a plugin's directory.
const ManifestFile = "plugin.json"

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
	// Files are all files of a bundle but the manifest. A directory that was
	// never bundled has none here.
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
	Mode   uint32 `json:"mode"`   // permission bits, as in 493 for 0755
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}
