package ironic

// Root is the answer of GET /.
type Root struct {
	Name           string       `json:"name"`
	Description    string       `json:"description"`
	DefaultVersion APIVersion   `json:"default_version"`
	Versions       []APIVersion `json:"versions"`
}

// APIVersion is the version document of the API: MinVersion and Version are
// the lowest and highest microversion.
type APIVersion struct {
	ID         string `json:"id"` // "v1"
	Status     string `json:"status"`
	MinVersion string `json:"min_version"`
	Version    string `json:"version"`
	Links      []Link `json:"links"`
}
