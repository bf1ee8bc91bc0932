package restapi

import (
	"context"

	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
)

// listShards counts the nodes of each shard; those without one are under null.
func (s *Server) listShards(ctx context.Context, _ *request) (reply, error) {
	shards, err := s.store.Shards(ctx)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"shards": shards})
}

// listChildren lists the nodes whose parent the node is.
func (s *Server) listChildren(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	nodes, err := s.store.Children(ctx, n.UUID)
	if err != nil {
		return reply{}, err
	}
	children := []string{}
	for _, child := range nodes { // of which a lessee of the parent may have none
		if s.policy.Allows(r.identity, r.route.policy, auth.Target{Owner: child.Owner, Lessee: child.Lessee}) {
			children = append(children, child.UUID)
		}
	}
	return ok(map[string]any{"children": children, "links": ironic.Link{Href: r.base + "/v1/nodes?parent_node=" + n.UUID, Rel: "children"}})
}

// familyRoutes show nodes by what they have in common.
func (s *Server) familyRoutes() []route {
	return []route{
		{method: "GET", path: "/shards", policy: "baremetal:shards:get", since: ironic.VersionShards, handle: s.listShards, result: "Shards", doc: "Counts the nodes of each shard."},
		{method: "GET", path: "/nodes/:node/children", policy: "baremetal:node:get", since: ironic.VersionParentNode, handle: s.listChildren, result: "Children", doc: "Lists the nodes whose parent the node is."},
	}
}
