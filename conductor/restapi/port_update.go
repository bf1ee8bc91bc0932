package restapi

import (
	"context"
	"slices"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// wiringStates are the states in which it may change how a port is wired, and
// what node a port or portgroup belongs to (REST contract, section 4).
var wiringStates = []provision.State{provision.Enroll, provision.Inspecting, provision.InspectWait, provision.Manageable}

func rewirable(n *store.Node) bool {
	return n.Maintenance || slices.Contains(wiringStates, n.ProvisionState)
}

// wiring are the fields of a port that say how it is wired.
var wiring = []string{"portgroup_uuid", "pxe_enabled", "local_link_connection", "physical_network"}

func (s *Server) updatePort(ctx context.Context, r *request) (reply, error) {
	p, err := s.port(ctx, r)
	if err != nil {
		return reply{}, err
	}
	change := func(ctx context.Context, p *store.Port, from, to *store.Node, patch api.Patch) error {
		return s.changePort(ctx, r, p, from, to, patch)
	}
	return updateInNode(ctx, s, r, s.ports(), p, inNode[store.Port]{
		what: "update of port", early: change, change: change, save: s.store.SavePort,
		node: func(p *store.Port) (int64, string) { return p.NodeID, p.NodeUUID },
	})
}

// changePort applies a patch to the row, with the checks of section 4. from is
// the port's node and to the one that it is to have, mostly the same.
func (s *Server) changePort(ctx context.Context, r *request, p *store.Port, from, to *store.Node, patch api.Patch) error {
	before := *p
	if err := portFields.patch(p, patch); err != nil {
		return err
	}
	if from.ProvisionState == provision.Inspecting && r.version >= ironic.VersionInspectWait {
		return conflict("Cannot update port %s of node %s while it is in state %q.", p.UUID, from.UUID, from.ProvisionState)
	}
	p.NodeID = to.ID
	changed := portFields.changed(&before, p)
	if slices.Contains(changed, "local_link_connection") {
		if err := checkLinkConnection(p.LocalLinkConnection, r.version); err != nil {
			return err
		}
	}
	g, err := s.joinPortgroup(ctx, p)
	if err != nil {
		return err
	}
	if err := checkPortChange(p, changed, from, to); err != nil {
		return err
	}
	if g == nil {
		return nil
	}
	return s.checkMember(ctx, r, p, g, to, changed)
}

// checkPortChange refuses what a port's node is in no state for.
func checkPortChange(p *store.Port, changed []string, from, to *store.Node) error {
	inUse := from.InstanceUUID != nil || from.ProvisionState == provision.Active
	if slices.Contains(changed, "address") && inUse && !from.Maintenance {
		return conflict("Cannot change the address of port %s while its node %s is in use and not in maintenance.", p.UUID, from.UUID)
	}
	if slices.Contains(changed, "node_uuid") {
		if vif := attachedVIF(p.InternalInfo); vif != "" {
			return conflict("Port %s cannot be moved to another node: VIF %s is attached to it.", p.UUID, vif)
		}
		for _, n := range []*store.Node{from, to} {
			if !rewirable(n) {
				return conflict("Port %s cannot be moved while node %s is in state %q and not in maintenance.", p.UUID, n.UUID, n.ProvisionState)
			}
		}
	}
	for _, name := range changed {
		if slices.Contains(wiring, name) && !rewirable(from) {
			return conflict("Cannot change %s of port %s while its node %s is in state %q and not in maintenance.", name, p.UUID, from.UUID, from.ProvisionState)
		}
	}
	return nil
}

// checkMember refuses changes that do not fit the portgroup of the port.
func (s *Server) checkMember(ctx context.Context, r *request, p *store.Port, g *store.Portgroup, n *store.Node, changed []string) error {
	joins, moves := slices.Contains(changed, "portgroup_uuid"), slices.Contains(changed, "physical_network")
	if moves && r.version >= ironic.VersionPortgroupNetwork {
		return badRequest("The physical_network cannot be changed while the port belongs to a portgroup.")
	}
	if joins || moves {
		if err := s.checkPhysicalNetwork(ctx, p, g); err != nil {
			return err
		}
	}
	if g.StandalonePortsSupported || !hasNetworks(n) {
		return nil
	}
	if p.PXEEnabled && (joins || slices.Contains(changed, "pxe_enabled")) {
		return conflict("Portgroup %s does not support standalone ports, so that port %s with pxe_enabled cannot be a member.", g.UUID, p.UUID)
	}
	if vif := attachedVIF(p.InternalInfo); vif != "" {
		return conflict("Portgroup %s does not support standalone ports, so that port %s with VIF %s cannot be a member.", g.UUID, p.UUID, vif)
	}
	return nil
}

// hasNetworks tells whether the node's networks are the conductor's to arrange:
// with noop it does not care which port is used for what.
func hasNetworks(n *store.Node) bool {
	return n.NetworkInterface != nil && *n.NetworkInterface != "noop"
}
