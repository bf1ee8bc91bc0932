package restapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"ferric/api/ironic"
	"ferric/conductor/store"
	"ferric/conductor/timeline"
)

// timelineAnswer is what a timeline is answered with.
type timelineAnswer struct {
	Node       string               `json:"node"`
	Operations []timeline.Operation `json:"operations"`
}

// How many operations are shown, and unless something else is asked for.
const (
	maxOperations = 100
	fewOperations = 5
)

// showTimeline tells of what the last operations with a node consisted and how
// long it took.
func (s *Server) showTimeline(ctx context.Context, r *request) (reply, error) {
	n, err := s.unversionedNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	limit, err := r.args.number("limit")
	if err != nil {
		return reply{}, err
	}
	most := fewOperations
	if limit != nil {
		most = *limit
	}
	if most < 1 || most > maxOperations {
		return reply{}, badRequest("Expected a limit of 1 to %d, not %d.", maxOperations, most)
	}
	operations, err := nodeTimeline(ctx, s.store, n.ID, time.Now(), most)
	if err != nil {
		return reply{}, err
	}
	if !s.seesErrors(r, n.Owner, n.Lessee) {
		for i := range operations {
			if operations[i].Error != "" {
				operations[i].Error = fmt.Sprintf("** Redacted - requires %s permission. **", ruleLastError)
			}
		}
	}
	return ok(timelineAnswer{n.UUID, operations})
}

func nodeTimeline(ctx context.Context, db *store.Store, id int64, now time.Time, most int) ([]timeline.Operation, error) {
	rows, err := db.Events(ctx, id)
	if err != nil {
		return nil, err
	}
	events := make([]timeline.Event, len(rows))
	for i, e := range rows {
		events[i] = timeline.Event{Time: e.Time.UTC(), Kind: e.Kind, Detail: e.Detail, Data: e.Data}
	}
	return timeline.Build(events, now, most), nil
}

// unversionedNode finds the node by UUID or name whatever the microversion: the
// extensions are not part of the versioned API.
func (s *Server) unversionedNode(ctx context.Context, r *request) (*store.Node, error) {
	unversioned := *r
	unversioned.version = max(r.version, ironic.VersionNodeName)
	n, err := s.node(ctx, &unversioned)
	r.permitted = unversioned.permitted
	return n, err
}

func (s *Server) timelineRoutes() []route {
	return []route{
		{method: http.MethodGet, path: "/ferric/v1/nodes/:node/timeline", policy: "baremetal:node:get", handle: s.showTimeline, result: "Timeline",
			args: []arg{{name: "limit", kind: argNumber, doc: "So many operations, the last."}}, doc: "Tells how long the last operations with the node took, and their parts."},
	}
}
