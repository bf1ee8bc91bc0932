package restapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/event"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// How long lists of events may be, and how long those of all nodes are unless
// something else is asked for.
const (
	maxListedEvents = 5000
	fewListedEvents = 100
)

// eventArgs are the arguments of lists and streams of events. Literal table.
var eventArgs = []arg{
	{name: "kind", kind: argNames, doc: "Only events of these kinds."},
	{name: "after", kind: argText, doc: "Only events whose id is higher."},
	{name: "limit", kind: argNumber, doc: "So many at most: the first behind after, or else the last; of a list, not of a stream."},
	{name: "stream", kind: argText, doc: "Answers with a stream of server-sent events, as the header Accept: text/event-stream does."},
}

// listEvents lists or streams what was seen of a node, oldest first.
func (s *Server) listEvents(ctx context.Context, r *request) (reply, error) {
	id, err := s.extensionNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.events(ctx, r, store.EventFilter{NodeID: id, Limit: maxListedEvents})
}

// listAllEvents lists or streams what was seen of all nodes that may be seen,
// or of one of them.
func (s *Server) listAllEvents(ctx context.Context, r *request) (reply, error) {
	r.permitted = true // what may be seen is decided for each event
	f := store.EventFilter{Project: r.project, Limit: fewListedEvents}
	ident, err := r.args.text("node")
	if err != nil {
		return reply{}, err
	}
	if ident != "" {
		unversioned := *r
		unversioned.version = max(r.version, ironic.VersionNodeName)
		n, err := s.findNode(ctx, &unversioned, ident)
		if err != nil {
			return reply{}, err
		}
		if !s.mayWatch(r, n.Owner, n.Lessee) {
			return reply{}, nodeNotFound(ident)
		}
		f.NodeID = n.ID
	}
	return s.events(ctx, r, f)
}

func (s *Server) events(ctx context.Context, r *request, f store.EventFilter) (reply, error) {
	if err := readEventFilter(r, &f); err != nil {
		return reply{}, err
	}
	if wantsStream(r) {
		return s.openStream(ctx, r, f)
	}
	f.Newest = !r.args.has("after")
	found, err := s.store.EventsOf(ctx, f)
	if err != nil {
		return reply{}, err
	}
	list := ironic.Events{Events: []ironic.Event{}}
	for i := range found {
		if e, shown := s.shownEvent(r, &found[i]); shown {
			list.Events = append(list.Events, e)
		}
	}
	return ok(list)
}

func readEventFilter(r *request, f *store.EventFilter) (err error) {
	if f.Kinds, err = r.args.list("kind"); err != nil {
		return err
	}
	for _, k := range f.Kinds {
		if _, known := event.Known(k); !known {
			return badRequest("There are no events of the kind %q.", k)
		}
	}
	after, err := r.args.text("after")
	if err != nil {
		return err
	}
	if last := r.header.Get("Last-Event-Id"); after == "" && wantsStream(r) {
		after = last
	}
	if after != "" {
		if f.After, err = strconv.ParseInt(after, 10, 64); err != nil || f.After < 0 {
			return badRequest("Expected the id of an event, not %q.", after)
		}
	}
	limit, err := r.args.number("limit")
	if err != nil {
		return err
	}
	if limit != nil && *limit < 0 {
		return badRequest("Expected a limit of at least 0, not %d.", *limit)
	}
	if limit != nil && *limit > 0 {
		f.Limit = min(*limit, maxListedEvents)
	}
	return nil
}

// wantsStream is true for who asks for a stream, by argument or header.
func wantsStream(r *request) bool {
	if r.method == http.MethodHead {
		return false
	}
	if r.args.has("stream") {
		text, _ := r.args.text("stream")
		on, known := parseBool(text)
		return on || !known // "?stream" is enough
	}
	return slices.ContainsFunc(strings.Split(r.header.Get("Accept"), ","), func(kind string) bool {
		kind, _, _ = strings.Cut(kind, ";")
		return strings.EqualFold(strings.TrimSpace(kind), mimeEvents)
	})
}

const mimeEvents = "text/event-stream"

// mayWatch is whether the caller sees a node with these owners.
func (s *Server) mayWatch(r *request, owner, lessee *string) bool {
	return s.policy.Allows(r.identity, "baremetal:node:get", auth.Target{Owner: owner, Lessee: lessee})
}

// shownEvent is an event as the caller may see it.
func (s *Server) shownEvent(r *request, e *store.NodeEvent) (ironic.Event, bool) {
	if !s.mayWatch(r, e.Owner, e.Lessee) {
		return ironic.Event{}, false
	}
	shown := ironic.Event{ID: e.ID, Time: e.Time.UTC(), Node: e.Node, Kind: e.Kind, Detail: e.Detail, Data: e.Data}
	if e.NodeName != nil {
		shown.Name = *e.NodeName
	}
	if kind, _ := event.Known(e.Kind); kind.Private && !s.seesErrors(r, e.Owner, e.Lessee) {
		shown.Detail, shown.Data = fmt.Sprintf("** Redacted - requires %s permission. **", ruleLastError), nil
	}
	return shown, true
}

// ruleLastError is the rule for who sees why something went wrong with a node.
const ruleLastError = "baremetal:node:get:last_error"

func (s *Server) seesErrors(r *request, owner, lessee *string) bool {
	return s.policy.Allows(r.identity, ruleLastError, auth.Target{Owner: owner, Lessee: lessee})
}

func (s *Server) eventListRoutes() []route {
	all := append([]arg{{name: "node", kind: argIdent, doc: "Only events of this node."}}, eventArgs...)
	return []route{
		{method: http.MethodGet, path: "/ferric/v1/events", policy: "baremetal:node:list", handle: s.listAllEvents, args: all, result: "SeenEvents", doc: "Lists or streams what is seen of nodes."},
		{method: http.MethodGet, path: "/ferric/v1/nodes/:node/events", policy: "baremetal:node:get", handle: s.listEvents, args: eventArgs, result: "SeenEvents", doc: "Lists or streams what is seen of the node."},
	}
}
