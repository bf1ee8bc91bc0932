package restapi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// checkLinks checks what a node, as a request wants it, refers to besides its
// own row: chassis, parent, conductor group and allocation. before is the row
// as it is, nil at creation. It leaves the UUID of a parent that was given by
// its name in after.
func (s *Server) checkLinks(ctx context.Context, r *request, before, after *store.Node) error {
	was := before
	if was == nil {
		was = &store.Node{}
	}
	if !equal(was.ChassisUUID, after.ChassisUUID) {
		if err := s.checkChassis(ctx, r.version, after.ChassisUUID); err != nil {
			return err
		}
	}
	if after.ParentNode != nil && !equal(was.ParentNode, after.ParentNode) {
		if err := s.findParent(ctx, after); err != nil {
			return err
		}
	}
	if after.ConductorGroup != "" && after.ConductorGroup != was.ConductorGroup {
		hosts, err := s.aliveConductors(ctx)
		if err != nil {
			return err
		}
		if conductorOf(after, hosts) == nil {
			return badRequest("No valid host was found. Reason: No conductor service registered which supports driver %s for conductor group %q.", after.Driver, after.ConductorGroup)
		}
	}
	if before == nil || equal(before.Owner, after.Owner) || after.Owner == nil || before.AllocationUUID == nil {
		return nil
	}
	allocation, err := s.store.NodeAllocation(ctx, before.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case allocation.Owner != nil:
		return conflict("Cannot update owner of node %q while it is allocated to an allocation with an owner.", before.UUID)
	}
	return nil
}

func (s *Server) checkChassis(ctx context.Context, v ironic.Version, uuid *string) error {
	if uuid == nil {
		if v < ironic.VersionUnsetChassis {
			return notAcceptable("The removal of chassis_uuid is not acceptable before API version %s.", ironic.VersionUnsetChassis)
		}
		return nil
	}
	_, err := s.store.Chassis(ctx, *uuid)
	if errors.Is(err, store.ErrNotFound) {
		return badRequest("Chassis %s could not be found.", *uuid)
	}
	return err
}

// findParent finds the parent by its UUID or name. It does not tell whether
// there is a node that belongs to somebody else.
func (s *Server) findParent(ctx context.Context, n *store.Node) error {
	ident := *n.ParentNode
	invalid := badRequest("Unable to apply the requested parent_node '%s'. Requested value was invalid.", ident)
	if id, isUUID := parseUUID(ident); isUUID {
		ident = id
	} else if !logicalName.MatchString(ident) {
		return invalid
	}
	parent, err := s.store.Node(ctx, ident)
	if errors.Is(err, store.ErrNotFound) {
		return invalid
	}
	if err != nil {
		return err
	}
	if parent.UUID == n.UUID || !equal(parent.Owner, n.Owner) {
		return invalid
	}
	n.ParentNode = &parent.UUID
	return nil
}

// checkBootMode holds [api]disallowed_enrollment_boot_modes against the boot
// mode among the node's capabilities.
func (s *Server) checkBootMode(n *store.Node) error {
	for item := range strings.SplitSeq(strings.ToLower(n.Properties.String("capabilities")), ",") {
		key, mode, _ := strings.Cut(item, ":")
		mode = strings.TrimSpace(mode)
		if strings.TrimSpace(key) == "boot_mode" && slices.Contains(s.cfg.DisallowedEnrollmentBootModes, mode) {
			return badRequest("'%s' boot mode is not allowed for provisioning operation.", mode)
		}
	}
	return nil
}

// maxInstanceName is the longest instance_name.
const maxInstanceName = 255

// nameInstance takes the instance's name from where Nova puts it, unless there
// is one already.
func nameInstance(n *store.Node) {
	name := n.InstanceInfo.String("display_name")
	if n.InstanceName == nil && name != "" && len(name) <= maxInstanceName {
		n.InstanceName = &name
	}
}
