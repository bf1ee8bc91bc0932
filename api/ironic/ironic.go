// Package ironic holds the wire types of Ironic's REST API, as the conductor
// serves them and as clients read them.
//
// Structs are full representations: a field that the negotiated microversion
// does not know is left at its zero value by a client, and left out by the
// server's view. A pointer is null on the wire where there is no value.
package ironic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Headers of microversion negotiation (REST contract, section 1).
const (
	HeaderVersion        = "X-OpenStack-Ironic-API-Version"
	HeaderMinimumVersion = "X-OpenStack-Ironic-API-Minimum-Version"
	HeaderMaximumVersion = "X-OpenStack-Ironic-API-Maximum-Version"
	HeaderRequestID      = "Openstack-Request-Id"
)

// Masked stands in place of every secret that the API does not show.
const Masked = "******"

// Link is one entry of a resource's links.
type Link struct {
	Href string `json:"href"`
	Rel  string `json:"rel"`
	Type string `json:"type,omitempty"`
}

// Time is a moment as the API writes it: ISO 8601 with offset, microseconds
// only where they are not zero.
type Time struct{ time.Time }

// MarshalJSON writes the moment in UTC.
func (t Time) MarshalJSON() ([]byte, error) {
	utc := t.UTC()
	layout := `"2006-01-02T15:04:05-07:00"`
	if utc.Nanosecond()/int(time.Microsecond) != 0 {
		layout = `"2006-01-02T15:04:05.000000-07:00"`
	}
	return []byte(utc.Format(layout)), nil
}

// UnmarshalJSON reads a moment; without an offset, as older servers write some
// of them, it is UTC.
func (t *Time) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} { // both take a fraction
		if parsed, err := time.Parse(layout, text); err == nil {
			t.Time = parsed
			return nil
		}
	}
	return fmt.Errorf("time %q is not ISO 8601", text)
}

// Patch is a JSON patch (RFC 6902) of a resource.
type Patch []PatchOperation

// PatchOperation is one change: Op is add, replace or remove, Path is
// "/root/sub".
type PatchOperation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}
