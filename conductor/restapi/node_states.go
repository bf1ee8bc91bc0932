package restapi

import (
	"context"
	"time"

	"ferric/api/ironic"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// stateFields are those of GET states (REST contract, section 3.5); each shows
// from its own microversion on.
var stateFields = []string{"console_enabled", "last_error", "power_state", "provision_state", "provision_updated_at",
	"target_power_state", "target_provision_state", "raid_config", "target_raid_config", "boot_mode", "secure_boot"}

func (s *Server) showStates(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	view := NodeView(n, r.version, ViewOptions{Base: r.base, Fields: stateFields})
	s.redact(r, n, view)
	delete(view, "links")
	return ok(view)
}

// statesAddress is where a client looks for the outcome of what it asked for.
func statesAddress(r *request) string {
	return r.base + "/v1/nodes/" + r.params["node"] + "/states"
}

// powerTargets are the targets of PUT states/power with the microversion that
// each appeared in. Literal table.
var powerTargets = []struct {
	target string
	since  ironic.Version
}{
	{driver.PowerOn, 1}, {driver.PowerOff, 1}, {driver.Rebooting, 1},
	{driver.SoftRebooting, ironic.VersionSoftPower}, {driver.SoftPowerOff, ironic.VersionSoftPower},
}

func (s *Server) setPower(ctx context.Context, r *request) (reply, error) {
	a := r.args
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	target, err := powerTarget(a, r.version, n)
	if err != nil {
		return reply{}, err
	}
	timeout, err := a.number("timeout")
	if err != nil {
		return reply{}, err
	}
	var limit time.Duration
	if timeout != nil {
		if *timeout < 1 {
			return reply{}, badRequest("timeout has to be at least one second.")
		}
		limit = time.Duration(*timeout) * time.Second
	}
	if n.ProvisionState == provision.Cleaning || n.ProvisionState == provision.CleanWait {
		return reply{}, invalidState(target, n)
	}
	if err := s.conductor.SetPower(ctx, n.ID, target, limit); err != nil {
		return reply{}, err
	}
	return accepted(statesAddress(r))
}

func powerTarget(a arguments, v ironic.Version, n *store.Node) (string, error) {
	target, err := a.text("target")
	if err != nil {
		return "", err
	}
	if target == "" {
		return "", badRequest("Missing mandatory parameter: target")
	}
	for _, p := range powerTargets {
		if p.target != target {
			continue
		}
		if p.since > v {
			return "", notAcceptable("The power state %q is not acceptable before API version %s.", target, p.since)
		}
		return target, nil
	}
	return "", invalidState(target, n)
}

func (s *Server) setBootMode(ctx context.Context, r *request) (reply, error) {
	mode, err := r.args.text("target")
	if err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if mode != "uefi" && mode != "bios" {
		return reply{}, badRequest("Invalid boot mode %q requested for node. Allowed boot modes are: bios, uefi", mode)
	}
	if err := checkSettled(n, "boot mode"); err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetBootMode(ctx, n.ID, mode); err != nil {
		return reply{}, err
	}
	return accepted(statesAddress(r))
}

func (s *Server) setSecureBoot(ctx context.Context, r *request) (reply, error) {
	on, err := r.args.flag("target")
	if err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if on == nil {
		return reply{}, badRequest("Missing mandatory parameter: target")
	}
	if err := checkSettled(n, "state of secure boot"); err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetSecureBoot(ctx, n.ID, *on); err != nil {
		return reply{}, err
	}
	return accepted(statesAddress(r))
}

// checkSettled keeps changes of the firmware away from a node that is on its
// way to another state.
func checkSettled(n *store.Node, what string) error {
	if n.ProvisionState.Is(provision.Transient, provision.Waiting) {
		return conflict("Node is in %s state. Since node is transitioning, the %s will not be set as this may interfere with ongoing changes and result in erroneous modification. Try again later.", n.ProvisionState, what)
	}
	return nil
}

// invalidState is the refusal of an action in the node's state.
func invalidState(action string, n *store.Node) error {
	return badRequest("The requested action %q can not be performed on node %q while it is in state %q.", action, n.UUID, n.ProvisionState)
}

func (s *Server) setMaintenance(ctx context.Context, r *request) (reply, error) {
	a := r.args
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	var reason *string
	if a.has("reason") {
		text, err := a.text("reason")
		if err != nil {
			return reply{}, err
		}
		reason = &text
	}
	if err := s.conductor.SetMaintenance(ctx, n.ID, true, reason); err != nil {
		return reply{}, err
	}
	return accepted("")
}

func (s *Server) unsetMaintenance(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetMaintenance(ctx, n.ID, false, nil); err != nil {
		return reply{}, err
	}
	return accepted("")
}

func (s *Server) validateNode(ctx context.Context, r *request) (reply, error) {
	return s.validate(ctx, r, r.params["node"])
}

// validateNodeByQuery is GET /v1/nodes/validate?node=, the older way to ask.
func (s *Server) validateNodeByQuery(ctx context.Context, r *request) (reply, error) {
	a := r.args
	ident, err := a.text("node")
	if err != nil {
		return reply{}, err
	}
	if ident == "" {
		if ident, err = a.uuid("node_uuid"); err != nil {
			return reply{}, err
		}
	}
	if ident == "" {
		return reply{}, badRequest("Missing mandatory parameter: node")
	}
	return s.validate(ctx, r, ident)
}

func (s *Server) validate(ctx context.Context, r *request, ident string) (reply, error) {
	if _, isUUID := parseUUID(ident); !isUUID && r.version < ironic.VersionNodeName {
		return reply{}, notAcceptable("Names of nodes are not acceptable before API version %s.", ironic.VersionNodeName)
	}
	n, err := s.nodeByIdent(ctx, r, ident)
	if err != nil {
		return reply{}, err
	}
	results, err := s.conductor.Validate(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	out := ironic.ValidateResult{}
	for name, res := range results {
		out[name] = ironic.InterfaceResult{Result: res.Result, Reason: res.Reason}
	}
	return ok(out)
}

func (s *Server) showBootDevice(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	device, persistent, err := s.conductor.BootDevice(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	out := ironic.BootDevice{Persistent: persistent}
	if device != "" {
		out.BootDevice = &device
	}
	return ok(out)
}

func (s *Server) setBootDevice(ctx context.Context, r *request) (reply, error) {
	a := r.args
	device, err := a.text("boot_device")
	if err != nil {
		return reply{}, err
	}
	if device == "" {
		return reply{}, badRequest("Missing mandatory parameter: boot_device")
	}
	persistent, err := a.flag("persistent")
	if err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetBootDevice(ctx, n.ID, device, persistent != nil && *persistent); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) listBootDevices(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	devices, err := s.conductor.SupportedBootDevices(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"supported_boot_devices": devices})
}

func (s *Server) nodeStateRoutes() []route {
	return []route{
		{method: "GET", path: "/nodes/validate", policy: "baremetal:node:validate", handle: s.validateNodeByQuery, result: "Validation", doc: "Tells what each interface lacks.",
			args: []arg{{name: "node", kind: argIdent}, {name: "node_uuid", kind: argUUID}}},
		{method: "GET", path: "/nodes/:node/validate", policy: "baremetal:node:validate", handle: s.validateNode, result: "Validation", doc: "Tells what each interface lacks."},
		{method: "GET", path: "/nodes/:node/states", policy: "baremetal:node:get_states", handle: s.showStates, result: "States", doc: "Shows the states of a node."},
		{method: "PUT", path: "/nodes/:node/states/power", policy: "baremetal:node:set_power_state", handle: s.setPower, status: 202, doc: "Switches the power.",
			args: []arg{{name: "target", kind: argText}, {name: "timeout", kind: argNumber, since: ironic.VersionSoftPower, doc: "Seconds."}}},
		{method: "PUT", path: "/nodes/:node/states/provision", policy: "baremetal:node:set_provision_state", handle: s.setProvisionState, limit: provisionBodyLimit, status: 202,
			args: provisionArgs(), lateArgs: true, doc: "Starts a verb of the provisioning state machine."},
		{method: "PUT", path: "/nodes/:node/states/raid", policy: "baremetal:node:set_raid_state", since: ironic.VersionRAID, older: 406, lateSince: true, handle: s.setRAIDConfig, status: 204, doc: "Sets the RAID configuration that cleaning is to make.",
			args: []arg{{name: "logical_disks", kind: argList}}},
		{method: "PUT", path: "/nodes/:node/states/boot_mode", policy: "baremetal:node:set_boot_mode", since: ironic.VersionSetBootMode, lateSince: true, handle: s.setBootMode, status: 202, args: []arg{{name: "target", kind: argText, doc: "uefi or bios."}}, doc: "Switches between UEFI and BIOS."},
		{method: "PUT", path: "/nodes/:node/states/secure_boot", policy: "baremetal:node:set_secure_boot", since: ironic.VersionSetBootMode, lateSince: true, handle: s.setSecureBoot, status: 202, args: []arg{{name: "target", kind: argFlag}}, doc: "Switches secure boot."},
		{method: "PUT", path: "/nodes/:node/maintenance", policy: "baremetal:node:set_maintenance", handle: s.setMaintenance, status: 202, args: []arg{{name: "reason", kind: argText}}, doc: "Puts a node into maintenance."},
		{method: "DELETE", path: "/nodes/:node/maintenance", policy: "baremetal:node:clear_maintenance", handle: s.unsetMaintenance, status: 202, doc: "Ends maintenance."},
		{method: "GET", path: "/nodes/:node/management/boot_device", policy: "baremetal:node:get_boot_device", handle: s.showBootDevice, result: "BootDevice", doc: "Tells what the machine boots from."},
		{method: "PUT", path: "/nodes/:node/management/boot_device", policy: "baremetal:node:set_boot_device", handle: s.setBootDevice, status: 204, doc: "Selects what the machine boots from.",
			args: []arg{{name: "boot_device", kind: argText}, {name: "persistent", kind: argFlag}}},
		{method: "GET", path: "/nodes/:node/management/boot_device/supported", policy: "baremetal:node:get_boot_device", handle: s.listBootDevices, result: "BootDevices", doc: "Lists what the machine can boot from."},
	}
}
