package restapi

import (
	"context"
	"regexp"
	"slices"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// maxTraits is how many traits a node can have.
const maxTraits = 50

// traitName is the form of a trait. The standard ones are taken by the
// namespaces that os-traits keeps rather than by their names, of which each
// release has more: what another release of Nova or Blazar knows is no mistake.
var traitName = regexp.MustCompile(`^(CUSTOM|COMPUTE|HW|MISC|OWNER|STORAGE)_[A-Z0-9_]+$`)

func checkTrait(trait string) error {
	if len(trait) > 255 || !traitName.MatchString(trait) {
		return badRequest("Invalid trait %q: it has to be a standard trait or CUSTOM_ with upper case letters, digits and underscores.", trait)
	}
	return nil
}

func (s *Server) listTraits(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"traits": append([]string{}, n.Traits...)})
}

// setTraits replaces all traits of a node.
func (s *Server) setTraits(ctx context.Context, r *request) (reply, error) {
	list, isList := r.args.values["traits"].([]any)
	if !isList {
		return reply{}, badRequest("All traits of a node are replaced by a list of traits in the body, one is added by PUT /v1/nodes/<node>/traits/<trait>.")
	}
	traits := []string{}
	for _, item := range list {
		trait, isText := item.(string)
		if !isText {
			return reply{}, badRequest("Invalid trait: a string is expected.")
		}
		if err := checkTrait(trait); err != nil {
			return reply{}, err
		}
		traits = append(traits, trait)
	}
	return s.changeNodeTraits(ctx, r, func(*store.Node) ([]string, error) { return traits, nil })
}

func (s *Server) addTrait(ctx context.Context, r *request) (reply, error) {
	trait := r.params["trait"]
	if err := checkTrait(trait); err != nil {
		return reply{}, err
	}
	out, err := s.changeNodeTraits(ctx, r, func(n *store.Node) ([]string, error) { return append(slices.Clone(n.Traits), trait), nil })
	out.location = r.base + "/v1/nodes/" + r.params["node"] + "/traits/" + trait
	return out, err
}

func (s *Server) deleteTraits(ctx context.Context, r *request) (reply, error) {
	return s.changeNodeTraits(ctx, r, func(*store.Node) ([]string, error) { return nil, nil })
}

func (s *Server) deleteTrait(ctx context.Context, r *request) (reply, error) {
	trait := r.params["trait"]
	return s.changeNodeTraits(ctx, r, func(n *store.Node) ([]string, error) {
		i := slices.Index(n.Traits, trait)
		if i < 0 {
			return nil, notFound("Node %s doesn't have a trait '%s'", n.UUID, trait)
		}
		return slices.Delete(slices.Clone(n.Traits), i, i+1), nil
	})
}

// changeNodeTraits gives the node, under its lock, the traits that change makes of
// those that it has, each once and sorted.
func (s *Server) changeNodeTraits(ctx context.Context, r *request, change func(n *store.Node) ([]string, error)) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	_, err = s.conductor.UpdateNode(ctx, n.ID, func(n *store.Node) error {
		traits, err := change(n)
		if err != nil {
			return err
		}
		slices.Sort(traits)
		traits = slices.Compact(traits)
		if len(traits) > maxTraits {
			return badRequest("Node %s cannot have %d traits, the most are %d.", n.UUID, len(traits), maxTraits)
		}
		n.Traits = traits
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) traitRoutes() []route {
	return []route{
		{method: "GET", path: "/nodes/:node/traits", policy: "baremetal:node:traits:list", since: ironic.VersionTraits, older: 406, lateSince: true, handle: s.listTraits, result: "Traits", doc: "Lists the traits of a node."},
		{method: "PUT", path: "/nodes/:node/traits", policy: "baremetal:node:traits:set", since: ironic.VersionTraits, older: 405, handle: s.setTraits, status: 204, args: []arg{{name: "traits", kind: argList}}, doc: "Replaces the traits of a node."},
		{method: "DELETE", path: "/nodes/:node/traits", policy: "baremetal:node:traits:delete", since: ironic.VersionTraits, handle: s.deleteTraits, status: 204, doc: "Removes all traits of a node."},
		{method: "PUT", path: "/nodes/:node/traits/:trait", policy: "baremetal:node:traits:set", since: ironic.VersionTraits, older: 405, handle: s.addTrait, status: 204, doc: "Adds a trait to a node; the body has to be empty."},
		{method: "DELETE", path: "/nodes/:node/traits/:trait", policy: "baremetal:node:traits:delete", since: ironic.VersionTraits, handle: s.deleteTrait, status: 204, doc: "Removes a trait of a node."},
	}
}
