package restapi

import (
	"context"
	"unicode/utf8"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// historyFields are the attributes of an entry of a node's history (REST
// contract, section 3.8). Literal table.
var historyFields = fields[store.History]{
	{"uuid", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return h.UUID })},
	{"created_at", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return moment(&h.CreatedAt) })},
	{"severity", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return h.Severity })},
	{"event", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return h.Event })},
	{"event_type", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return h.EventType })},
	{"conductor", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return h.Conductor })},
	{"user", ironic.VersionHistory, sortable, computed(func(h *store.History) any { return h.User })},
	{"project", ironic.VersionHistoryProject, sortable, computed(func(h *store.History) any { return h.Project })},
	{"state", ironic.VersionHistoryDuration, sortable, computed(func(h *store.History) any { return h.State })},
	{"target_provision_state", ironic.VersionHistoryDuration, sortable, computed(func(h *store.History) any { return h.TargetProvisionState })},
	{"duration_seconds", ironic.VersionHistoryDuration, sortable, computed(func(h *store.History) any { return h.DurationSeconds })},
}

// historyListFields are the columns of a list without detail, in which texts
// are cut to maxListedEvent characters.
var historyListFields = []string{"uuid", "created_at", "severity", "event"}

const maxListedEvent = 255

func (s *Server) listHistory(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.history(n).page(ctx, s, r, store.Query{})
}

// history of a node.
func (s *Server) history(n *store.Node) resource[store.History] {
	path := "nodes/" + n.UUID + "/history"
	return resource[store.History]{
		kind: "Node history record", key: "history", path: path, fields: historyFields, defaults: historyListFields,
		head: func(h *store.History) (int64, string) { return h.ID, h.UUID },
		rows: func(ctx context.Context, q store.Query) ([]*store.History, error) {
			return s.store.NodeHistory(ctx, n.ID, q)
		},
		byUUID: func(ctx context.Context, uuid string) (*store.History, error) {
			return s.store.HistoryEntry(ctx, n.ID, uuid)
		},
		view: func(r *request, h *store.History, names []string) map[string]any {
			view := historyFields.view(h, r.version, names)
			if names != nil {
				view["event"] = shortened(h.Event)
			}
			view["links"] = links(r.base, path+"/"+h.UUID)
			return view
		},
	}
}

// shortened cuts a text for a list.
func shortened(text string) string {
	const mark = "..."
	if utf8.RuneCountInString(text) <= maxListedEvent {
		return text
	}
	return string([]rune(text)[:maxListedEvent-len(mark)]) + mark
}

func (s *Server) showHistory(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.history(n).show(ctx, r, func(ctx context.Context, r *request) (*store.History, error) {
		return s.history(n).find(ctx, r, r.params["event"])
	})
}

func (s *Server) historyRoutes() []route {
	detail := detailArg
	detail.since = ironic.VersionHistory
	args := append([]arg{detail}, sliceArgs...)
	return []route{
		{method: "GET", path: "/nodes/:node/history", since: ironic.VersionHistory, policy: "baremetal:node:history:get", handle: s.listHistory,
			args: args, result: "NodeHistory", doc: "Lists how what was done with a node ended."},
		{method: "GET", path: "/nodes/:node/history/:event", since: ironic.VersionHistory, policy: "baremetal:node:history:get", handle: s.showHistory,
			result: "NodeHistoryEntry", doc: "Shows an entry of a node's history."},
	}
}
