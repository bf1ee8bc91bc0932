package restapi

import (
	"context"
	"slices"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func (s *Server) updatePortgroup(ctx context.Context, r *request) (reply, error) {
	g, err := s.portgroup(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return updateInNode(ctx, s, r, s.portgroups(), g, inNode[store.Portgroup]{
		what: "update of portgroup",
		node: func(g *store.Portgroup) (int64, string) { return g.NodeID, g.NodeUUID },
		early: func(_ context.Context, g *store.Portgroup, _, _ *store.Node, patch api.Patch) error {
			return trialPortgroup(g, patch)
		},
		change: func(ctx context.Context, g *store.Portgroup, from, to *store.Node, patch api.Patch) error {
			return s.changePortgroup(ctx, r, g, from, to, patch)
		},
		save: s.store.SavePortgroup,
	})
}

// trialPortgroup finds what is wrong with a patch by itself.
func trialPortgroup(g *store.Portgroup, patch api.Patch) error {
	for _, op := range patch.Operations {
		if op.Op == "remove" && op.Path == "/mode" {
			return badRequest("'mode' is a mandatory attribute and can not be removed")
		}
	}
	if err := portgroupFields.patch(g, patch); err != nil {
		return err
	}
	return checkPortgroupName(g)
}

// changePortgroup applies a patch to the row, with the checks of section 5.
// from is the portgroup's node and to the one that it is to have, mostly the same.
func (s *Server) changePortgroup(ctx context.Context, r *request, g *store.Portgroup, from, to *store.Node, patch api.Patch) error {
	before := *g
	if err := portgroupFields.patch(g, patch); err != nil {
		return err
	}
	if from.ProvisionState == provision.Inspecting && r.version >= ironic.VersionInspectWait {
		return conflict("Cannot update portgroup %s of node %s while it is in state %q.", g.UUID, from.UUID, from.ProvisionState)
	}
	g.NodeID = to.ID
	members, err := s.store.PortgroupPorts(ctx, g.ID)
	if err != nil {
		return err
	}
	if from != to {
		for _, n := range []*store.Node{from, to} {
			if !rewirable(n) {
				return conflict("Portgroup %s cannot be moved while node %s is in state %q and not in maintenance.", g.UUID, n.UUID, n.ProvisionState)
			}
		}
		if len(members) > 0 {
			return badRequest("Portgroup %s cannot be moved to node %s because it contains ports.", g.UUID, to.UUID)
		}
	}
	if before.StandalonePortsSupported && !g.StandalonePortsSupported && hasNetworks(to) {
		occupied := func(p *store.Port) bool { return p.PXEEnabled || attachedVIF(p.InternalInfo) != "" }
		if i := slices.IndexFunc(members, occupied); i >= 0 {
			return conflict("standalone_ports_supported of portgroup %s cannot be set to False: port %s has pxe_enabled or a VIF.", g.UUID, members[i].UUID)
		}
	}
	return nil
}
