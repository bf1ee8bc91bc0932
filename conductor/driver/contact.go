package driver

import (
	"context"
	"time"

	"ferric/conductor/console"
	"ferric/conductor/store"
)

// Contact is how it went when a node's hardware was asked something.
type Contact struct {
	At    time.Time
	OK    bool   // it answered and did as it was told
	Error string // what went wrong otherwise
	What  string // what was asked, like "power status"
}

// Contacted is a Power that remembers the last time that a node's hardware was
// asked. False says that it has not been asked since the conductor started.
type Contacted interface {
	LastContact(n *store.Node) (Contact, bool)
}

// Sensors is a Management that reads the machine's sensors: by their kind, as
// Temperature, and by name, with the fields of each under Ironic's names.
type Sensors interface {
	SensorsData(ctx context.Context, n *store.Node) (map[string]map[string]map[string]any, error)
}

// ConsoleViewer is a Console that the API can show: what is said and typed goes
// through the conductor.
type ConsoleViewer interface {
	AttachConsole(n *store.Node, withRecent bool) (*console.Viewer, error)
}
