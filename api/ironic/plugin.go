package ironic

import "time"

// Plugin is a bundle that the conductor offers to agents, an extension of
// ferric's: an item of GET /ferric/v1/plugins.
type Plugin struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SDK     string `json:"sdk"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	// KeyID is the key that the bundle says to be signed by. Verified says that
	// the conductor has that key and has checked the signature.
	KeyID    string `json:"key_id"`
	Verified bool   `json:"verified"`
	// Which nodes it is for: of one of the drivers, with all of the traits, of a
	// machine whose DMI system vendor contains the text. What is empty is any.
	Drivers []string `json:"drivers"`
	Traits  []string `json:"traits"`
	Vendor  string   `json:"dmi_vendor"`
	// Required is the operator's; the manifest may require it, too.
	Required bool `json:"required"`
	Pinned   bool `json:"pinned"`   // no other version of it is offered
	Disabled bool `json:"disabled"` // it is not offered
	// Fault is why agents cannot fetch it.
	Fault     string         `json:"fault,omitempty"`
	Manifest  map[string]any `json:"manifest,omitempty"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt *time.Time     `json:"updated_at"`
}

// Plugins is the answer to GET /ferric/v1/plugins.
type Plugins struct {
	Plugins []Plugin `json:"plugins"`
}

// PluginChange is the answer to what was done to plugins, with what the
// operator should know of it.
type PluginChange struct {
	Plugins  []Plugin `json:"plugins"`
	Warnings []string `json:"warnings"`
}

// NodePlugins is the answer to GET /ferric/v1/nodes/<node>/plugins: what an
// agent of the node is offered, and what the last one has reported.
type NodePlugins struct {
	Node     string            `json:"node"`
	Plugins  []NodePlugin      `json:"plugins"`
	Reported *time.Time        `json:"reported_at"`
	Loaded   map[string]string `json:"loaded"`
	Refused  map[string]string `json:"refused"`
	SetAside map[string]string `json:"set_aside"`
	NotHere  map[string]string `json:"not_here"`
	// Current says that the agent that has reported this is that of now.
	Current bool `json:"current"`
}

// NodePlugin is a plugin as it concerns a node.
type NodePlugin struct {
	Name    string `json:"name"`
	Offered string `json:"offered"` // version, "" is none
	Loaded  string `json:"loaded"`  // version that the last agent reported, "" is none
	State   string `json:"state"`   // offered, loaded, refused, set aside, not for this machine
	Reason  string `json:"reason"`
}
