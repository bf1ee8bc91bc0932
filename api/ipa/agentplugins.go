package ipa

// AgentPlugins is what an agent tells of its hardware managers, an extension of
// ferric's: GET /ferric/v1/plugins on the agent, with the agent token.
type AgentPlugins struct {
	Managers map[string]string `json:"managers"` // those that are asked: versions by name
	Offered  []OfferedPlugin   `json:"offered"`  // by the conductor, in its order
	SetAside map[string]string `json:"set_aside"`
}

// States of a plugin that was offered.
const (
	PluginLoaded  = "loaded"
	PluginRefused = "refused"
	PluginNotHere = "not for this machine"
)

// OfferedPlugin is what became of an offer.
type OfferedPlugin struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	State   string  `json:"state"`
	Reason  string  `json:"reason"`  // "" if it is loaded
	Key     string  `json:"key"`     // id of the key that signed it, "" if that was not verified
	Fetched int64   `json:"fetched"` // bytes; 0 if it was there
	Seconds float64 `json:"seconds"`
}
