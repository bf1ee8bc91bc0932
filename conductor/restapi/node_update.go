package restapi

import (
	"context"
	"slices"
	"strings"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// updateStates are the states in which the driver, an interface or the
// resource class may change (REST contract, section 3.3).
var updateStates = []provision.State{provision.Enroll, provision.Inspecting, provision.InspectWait, provision.Manageable, provision.Available}

// settledStates may be updated although they have a target (section 3.3).
var settledStates = []provision.State{provision.DeployFailed, provision.Inspecting, provision.InspectWait, provision.InspectFailed,
	provision.CleanFailed, provision.Error, provision.Verifying, provision.AdoptFailed, provision.RescueFailed,
	provision.UnrescueFailed, provision.ServiceHold, provision.ServiceFailed}

func (s *Server) updateNode(ctx context.Context, r *request) (reply, error) {
	p, err := nodeFields.readPatch(r)
	if err != nil {
		return reply{}, err
	}
	reset, err := resetInterfaces(r.args, p)
	if err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	// What is wrong by itself is said at once, not after waiting for the lock.
	trial := *n
	if err := s.changeNode(&trial, p, reset, r.version); err != nil {
		return reply{}, err
	}
	if err := s.checkLinks(ctx, r, n, &trial); err != nil {
		return reply{}, err
	}
	change := func(n *store.Node) error {
		if err := s.changeNode(n, p, reset, r.version); err != nil {
			return err
		}
		if n.ParentNode != nil && slices.Contains(p.Roots(), "parent_node") {
			n.ParentNode = trial.ParentNode // its UUID, where the request has its name
		}
		return nil
	}
	updated, err := s.conductor.UpdateNode(ctx, n.ID, change)
	if err != nil {
		return reply{}, taken(err, "Node", nodeFields, &trial, nil)
	}
	view, err := s.nodeView(ctx, r, updated, nil)
	if err != nil {
		return reply{}, err
	}
	return ok(view)
}

func resetInterfaces(a arguments, p api.Patch) (bool, error) {
	reset, err := a.flag("reset_interfaces")
	if err != nil || reset == nil {
		return false, err
	}
	if *reset && !slices.Contains(p.Roots(), "driver") {
		return false, badRequest("The reset_interfaces parameter can only be used when changing the node's driver.")
	}
	return *reset, nil
}

// changeNode applies a patch to the row, with the checks of section 3.3.
func (s *Server) changeNode(n *store.Node, p api.Patch, reset bool, v ironic.Version) error {
	before := *n
	if err := checkUpdatable(n, p, v); err != nil {
		return err
	}
	if err := nodeFields.patch(n, p); err != nil {
		return err
	}
	roots := p.Roots()
	if slices.Contains(roots, "driver") {
		s.modernise(n)
	}
	if n.Name != nil && slices.Contains(roots, "name") {
		if err := checkNodeName(*n.Name, v); err != nil {
			return err
		}
	}
	if slices.Contains(roots, "properties") {
		if err := s.checkBootMode(n); err != nil {
			return err
		}
	}
	if slices.Contains(roots, "instance_info") {
		nameInstance(n)
	}
	if reset {
		resetNodeInterfaces(n, roots)
	}
	if err := checkChange(&before, n, roots); err != nil {
		return err
	}
	clearReasons(n, roots)
	return nil
}

// checkUpdatable refuses changes while the node is on its way to a state.
func checkUpdatable(n *store.Node, p api.Patch, v ironic.Version) error {
	onlyUnassigns := n.Maintenance && len(p.Operations) == 1 && p.Operations[0].Op == "remove" && p.Operations[0].Path == "/instance_uuid"
	if n.TargetProvisionState != nil && !slices.Contains(settledStates, n.ProvisionState) && !onlyUnassigns {
		return conflict("Node %s can not be updated while a state transition is in progress.", n.UUID)
	}
	if n.ProvisionState == provision.Inspecting && v >= ironic.VersionInspectWait {
		return conflict("Cannot update node %q while it is in state %q.", n.UUID, n.ProvisionState)
	}
	return nil
}

// checkChange refuses what may not differ between two versions of a row.
func checkChange(before, after *store.Node, roots []string) error {
	state := after.ProvisionState
	free := slices.Contains(updateStates, state)
	if before.Driver != after.Driver && before.ConsoleEnabled {
		return conflict("Node %s can not change its driver while its console is enabled.", after.UUID)
	}
	if changed := changedInterfaces(before, after); len(changed) > 0 && !free && !before.Maintenance {
		return conflict("Node %s can not change %s while it is in state %q.", after.UUID, strings.Join(changed, ", "), state)
	}
	if before.ResourceClass != nil && !equal(before.ResourceClass, after.ResourceClass) && !free {
		return conflict("Node %s can not change its resource_class while it is in state %q.", after.UUID, state)
	}
	if before.InstanceUUID != nil && after.InstanceUUID != nil && *before.InstanceUUID != *after.InstanceUUID {
		return conflict("Node %s is associated with instance %s.", after.UUID, *before.InstanceUUID)
	}
	if before.AllocationUUID != nil && before.InstanceUUID != nil && after.InstanceUUID == nil && !free && !before.Maintenance {
		return conflict("Node %s can not have its instance_uuid removed while it has an allocation and is in state %q.", after.UUID, state)
	}
	if slices.Contains(roots, "protected") && after.Protected && state != provision.Active && state != provision.Rescue {
		return conflict("Node %s can not be protected while it is in state %q.", after.UUID, state)
	}
	if slices.Contains(roots, "protected_reason") && after.ProtectedReason != nil && !after.Protected {
		return badRequest("A protected_reason needs protected to be true.")
	}
	if slices.Contains(roots, "retired") && after.Retired && state == provision.Available {
		return conflict("Node %s can not be retired while it is in state %q.", after.UUID, state)
	}
	if slices.Contains(roots, "retired_reason") && after.RetiredReason != nil && !after.Retired {
		return badRequest("A retired_reason needs retired to be true.")
	}
	return nil
}

// changedInterfaces names what of the driver and its interfaces differs.
func changedInterfaces(before, after *store.Node) []string {
	var changed []string
	if before.Driver != after.Driver {
		changed = append(changed, "driver")
	}
	for _, f := range nodeFields {
		if !strings.HasSuffix(f.name, "_interface") {
			continue
		}
		was, _ := f.get(before).(*string)
		is, _ := f.get(after).(*string)
		if !equal(was, is) {
			changed = append(changed, f.name)
		}
	}
	return changed
}

// resetNodeInterfaces leaves every interface that the patch does not set to
// the new driver's default.
func resetNodeInterfaces(n *store.Node, roots []string) {
	for _, f := range nodeFields {
		if strings.HasSuffix(f.name, "_interface") && !slices.Contains(roots, f.name) {
			// Resetting a nullable text cannot fail.
			_ = f.set(n, nil)
		}
	}
}

// clearReasons drops the reasons for what has just been taken back.
func clearReasons(n *store.Node, roots []string) {
	if slices.Contains(roots, "maintenance") && !n.Maintenance {
		n.MaintenanceReason, n.Fault = nil, nil
	}
	if !n.Protected {
		n.ProtectedReason = nil
	}
	if !n.Retired {
		n.RetiredReason = nil
	}
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
