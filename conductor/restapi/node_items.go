package restapi

import (
	"context"
	"errors"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/store"
)

// What belongs to nodes (ports, portgroups, volumes) is found, moved and
// changed in the same way.

// parentNode finds the node that an item is to belong to. When there is none it
// is the body that is wrong, so that the status is 400.
func (s *Server) parentNode(ctx context.Context, r *request, ident string) (*store.Node, error) {
	missing := badRequest("Node %s could not be found.", ident)
	n, err := s.store.Node(ctx, ident)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	return n, s.permitNode(r, n, missing)
}

// newParent finds the node that an item of the node was is to belong to; a new
// one has to be the caller's to change as well.
func (s *Server) newParent(ctx context.Context, r *request, was *store.Node, ident string) (*store.Node, error) {
	if was.UUID == ident {
		return was, nil
	}
	return s.parentNode(ctx, r, ident)
}

// withNodes calls fn with the fresh nodes of an item, the one it belongs to and
// the one it is to belong to, which may be the same. Nobody else changes them
// meanwhile. Two nodes are locked in the order of their ids, so that requests
// that move items both ways do not wait for each other.
func (s *Server) withNodes(ctx context.Context, from, to int64, purpose string, fn func(ctx context.Context, from, to *store.Node) error) error {
	return s.conductor.WithNode(ctx, min(from, to), purpose, func(ctx context.Context, first *store.Node) error {
		if from == to {
			return fn(ctx, first, first)
		}
		return s.conductor.WithNode(ctx, max(from, to), purpose, func(ctx context.Context, second *store.Node) error {
			if from < to {
				return fn(ctx, first, second)
			}
			return fn(ctx, second, first)
		})
	})
}

// inNode is how an item that belongs to a node is changed, under the node's lock.
type inNode[T any] struct {
	what string                               // what the lock is for
	node func(row *T) (id int64, uuid string) // that it belongs to, or by a patch is to
	// early says at once what is wrong, rather than after waiting for the lock;
	// it may be nil. row is a copy.
	early  func(ctx context.Context, row *T, from, to *store.Node, patch api.Patch) error
	change func(ctx context.Context, row *T, from, to *store.Node, patch api.Patch) error
	save   func(ctx context.Context, row *T) error
}

// updateInNode applies the request's patch to an item of a node, which it may
// take to another node.
func updateInNode[T any](ctx context.Context, s *Server, r *request, c resource[T], row *T, of inNode[T]) (reply, error) {
	patch, err := c.fields.readPatch(r)
	if err != nil {
		return reply{}, err
	}
	wanted := *row
	if err := c.fields.patch(&wanted, patch); err != nil {
		return reply{}, err
	}
	nodeID, _ := of.node(row)
	from, err := s.store.NodeByID(ctx, nodeID)
	if err != nil {
		return reply{}, err
	}
	_, ident := of.node(&wanted)
	to, err := s.newParent(ctx, r, from, ident)
	if err != nil {
		return reply{}, err
	}
	if of.early != nil {
		trial := *row
		if err := of.early(ctx, &trial, from, to, patch); err != nil {
			return reply{}, err
		}
	}
	_, uuid := c.head(row)
	err = s.withNodes(ctx, from.ID, to.ID, of.what, func(ctx context.Context, from, to *store.Node) error {
		if row, err = c.byUUID(ctx, uuid); err != nil { // as it is under the lock
			return c.missing(err, uuid)
		}
		if id, now := of.node(row); id != from.ID {
			return conflict("%s %s has been moved to node %s.", c.kind, uuid, now)
		}
		if err := of.change(ctx, row, from, to, patch); err != nil {
			return err
		}
		return of.save(ctx, row)
	})
	if err != nil {
		return reply{}, c.taken(err, &wanted)
	}
	return ok(c.view(r, row, nil))
}

// refuseBelow answers requests for one item below its parent: items are made,
// shown and changed at the top level only.
func refuseBelow(context.Context, *request) (reply, error) {
	return reply{}, badRequest("Malformed request URI: the operation is not permitted below another resource.")
}

// refusals are the routes below a parent that refuseBelow answers. rules is
// what the names of the resource's rules begin with.
func refusals(path, rules string, since ironic.Version) []route {
	const doc = "Is refused; single items are at the top level."
	return []route{
		{method: "POST", path: path, policy: rules + ":create", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
		{method: "GET", path: path + "/:item", policy: rules + ":get", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
		{method: "PATCH", path: path + "/:item", policy: rules + ":update", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
		{method: "DELETE", path: path + "/:item", policy: rules + ":delete", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
	}
}
