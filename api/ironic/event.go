package ironic

import "time"

// Event is something that was seen of a node or that happened to it; an
// extension of ferric. ID is that of the stream: later events have higher ones.
type Event struct {
	ID     int64          `json:"id"`
	Time   time.Time      `json:"time"`
	Node   string         `json:"node"`
	Name   string         `json:"name,omitempty"` // of the node
	Kind   string         `json:"kind"`
	Detail string         `json:"detail"`
	Data   map[string]any `json:"data,omitempty"`
}

// Events is a list of events.
type Events struct {
	Events []Event `json:"events"`
}
