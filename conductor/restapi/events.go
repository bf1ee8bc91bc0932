package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// networkEvents are what a network service tells of ports. Literal table.
var networkEvents = []string{"network.bind_port", "network.unbind_port", "network.delete_port"}

// eventMembers are the members of such an event, all of them texts (REST
// contract, section 9). Literal table.
var eventMembers = []struct {
	name     string
	required bool // otherwise it may be null, too
	valid    func(text string) (string, bool)
	expected string
}{
	{"port_id", true, parseUUID, "a UUID"},
	{"mac_address", true, parseMAC, "a MAC address"},
	{"status", true, anyText, "a string"},
	{"device_id", false, parseUUID, "a UUID"},
	{"binding:host_id", false, parseUUID, "a UUID"},
	{"binding:vnic_type", false, anyText, "a string"},
}

func anyText(text string) (string, bool) { return text, true }

// postEvents takes note of events. Nothing waits for them: the networks of
// nodes are not arranged by the conductor.
func (s *Server) postEvents(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	events, err := readEvents(body)
	if err != nil {
		return reply{}, err
	}
	for _, e := range events {
		r.log.WithField("event", e["event"]).WithField("port", e["mac_address"]).Debug("external event")
		if err := s.recordEvent(ctx, e); err != nil {
			return reply{}, err
		}
	}
	return noContent()
}

// maxEvents bounds what one request can have recorded.
const maxEvents = 100

func readEvents(body map[string]any) ([]store.Object, error) {
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if name != "events" {
			return nil, badRequest("Unexpected member %q besides events.", name)
		}
	}
	list, ok := body["events"].([]any)
	if !ok || len(list) == 0 || len(list) > maxEvents {
		return nil, badRequest("A list of 1 to %d events is expected.", maxEvents)
	}
	var events []store.Object
	for i, item := range list {
		event, ok := item.(map[string]any)
		if !ok {
			return nil, badRequest("Invalid event %d: an object is expected.", i)
		}
		if err := checkEvent(event); err != nil {
			return nil, badRequest("Invalid event %d: %v", i, err)
		}
		events = append(events, event)
	}
	return events, nil
}

func checkEvent(event store.Object) error {
	if name, ok := event["event"].(string); !ok || !slices.Contains(networkEvents, name) {
		return fmt.Errorf("event has to be one of %v", networkEvents)
	}
	known := 1
	for _, m := range eventMembers {
		v, given := event[m.name]
		if given {
			known++
		}
		if v == nil && !m.required {
			continue
		}
		text, ok := v.(string)
		if ok {
			text, ok = m.valid(text)
		}
		if !ok {
			return fmt.Errorf("%s has to be %s", m.name, m.expected)
		}
		event[m.name] = text
	}
	if known != len(event) {
		return fmt.Errorf("it has members that are not known")
	}
	return nil
}

// maxEventText bounds what is kept of an event.
const maxEventText = 255

// recordEvent keeps the event for the node that has the port, if there is one.
func (s *Server) recordEvent(ctx context.Context, event store.Object) error {
	p, err := s.store.PortByAddress(ctx, event.String("mac_address"))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	detail, err := json.Marshal(event)
	if err != nil {
		return err
	}
	text := string(detail[:min(len(detail), maxEventText)])
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return s.store.AddEvent(ctx, p.NodeID, time.Now(), event.String("event"), text)
}

func (s *Server) eventRoutes() []route {
	return []route{{method: "POST", path: "/events", policy: "baremetal:events:post", since: ironic.VersionEvents, handle: s.postEvents, body: "ExternalEvents", status: 204, doc: "Tells what happened to ports in the network."}}
}
