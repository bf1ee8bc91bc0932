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
	patch, err := portgroupFields.readPatch(r)
	if err != nil {
		return reply{}, err
	}
	for _, op := range patch.Operations {
		if op.Op == "remove" && op.Path == "/mode" {
			return reply{}, badRequest("'mode' is a mandatory attribute and can not be removed")
		}
	}
	trial := *g
	if err := portgroupFields.patch(&trial, patch); err != nil {
		return reply{}, err
	}
	if err := checkPortgroupName(&trial); err != nil {
		return reply{}, err
	}
	from, err := s.store.NodeByID(ctx, g.NodeID)
	if err != nil {
		return reply{}, err
	}
	to, err := s.newParent(ctx, r, from, trial.NodeUUID)
	if err != nil {
		return reply{}, err
	}
	err = s.withNodes(ctx, from.ID, to.ID, "update of portgroup", func(ctx context.Context, from, to *store.Node) error {
		if g, err = s.store.Portgroup(ctx, g.UUID); err != nil { // as it is under the lock
			return err
		}
		if g.NodeID != from.ID {
			return conflict("Portgroup %s has been moved to node %s.", g.UUID, g.NodeUUID)
		}
		if err := s.changePortgroup(ctx, r, g, from, to, patch); err != nil {
			return err
		}
		return s.store.SavePortgroup(ctx, g)
	})
	if err != nil {
		return reply{}, s.portgroups().taken(err, &trial)
	}
	return ok(portgroupView(r, g, nil))
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
