package ipa

// PluginOffer names a plugin bundle in the answer to a lookup. Only ferric's
// conductor names any, and only where the node has some.
type PluginOffer struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"url"` // absolute, or a path at the API that was asked
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"` // of the bundle, hexadecimal
	// Vendor, if set, is what the machine's DMI system vendor has to contain, whatever the case.
	Vendor string `json:"dmi_vendor,omitempty"`
}
