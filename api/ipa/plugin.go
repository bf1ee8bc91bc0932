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
	// Required is for plugins that the operator cannot do without, whatever their manifest says.
	Required bool `json:"required,omitempty"`
}

// HeaderAgentToken is the header that an agent shows its token in when it
// fetches a bundle; the query's node_uuid names its node.
const HeaderAgentToken = "X-Ferric-Agent-Token"

// PluginReportPath is where agents report to, at the API that offered the plugins.
const PluginReportPath = "/ferric/v1/plugins/report"

// PluginReport is what an agent tells of its plugins: the body of a POST to
// PluginReportPath. A later report takes the place of an earlier one.
type PluginReport struct {
	NodeUUID   string            `json:"node_uuid"`
	AgentToken string            `json:"agent_token"`
	Loaded     map[string]string `json:"loaded,omitempty"`    // versions by name
	Refused    map[string]string `json:"refused,omitempty"`   // reasons by name
	SetAside   map[string]string `json:"set_aside,omitempty"` // reasons by name, of managers of whatever origin
	NotHere    map[string]string `json:"not_here,omitempty"`  // reasons by name: not for this machine, which is no fault
}
