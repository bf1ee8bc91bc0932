package ironic

import "time"

// Event is one thing that happened to a node. It is an extension of ferric's
// beside Ironic's API: GET /ferric/v1/nodes/<node>/events, oldest first.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Detail string    `json:"detail"`
}

// Events is the list of a node's events.
type Events struct {
	Events []Event `json:"events"`
}
