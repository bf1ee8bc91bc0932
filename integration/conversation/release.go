package conversation

import "crypto/tls"

// Release is what releases of Ironic do differently with an agent (peer notes, "A conductor and the agent").
type Release struct {
	Name       string
	Version    string // highest microversion of its API
	TokenOnGET bool   // it shows the token when it polls commands
	RequireTLS bool   // [agent]require_tls: a heartbeat with an http callback is refused
	MinTLS     uint16 // lowest version of TLS that it speaks with an agent
}

// Ironic21 is 21.4, release 2023.1, the first one whose machines ferric-agent serves.
func Ironic21() Release {
	return Release{Name: "21.4", Version: "1.82", MinTLS: tls.VersionTLS12}
}

// Ironic29 is 29.0, release 2025.1.
func Ironic29() Release {
	return Release{Name: "29.0", Version: "1.96", TokenOnGET: true, RequireTLS: true, MinTLS: tls.VersionTLS13}
}
