package restapi

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// provisionMembers are the members of PUT states/provision besides target, and
// the targets that each goes with (REST contract, section 3.6). Literal table.
var provisionMembers = []struct {
	arg
	targets []string
}{
	{arg{name: "configdrive", kind: argAny}, []string{"active", "deploy", "rebuild"}},
	{arg{name: "clean_steps", kind: argList, since: ironic.VersionManualClean}, []string{"clean"}},
	{arg{name: "rescue_password", kind: argText, since: ironic.VersionRescue}, []string{"rescue"}},
	{arg{name: "deploy_steps", kind: argList, since: ironic.VersionDeploySteps}, []string{"active", "deploy", "rebuild"}},
	{arg{name: "disable_ramdisk", kind: argFlag, since: ironic.VersionCleanNoRamdisk}, []string{"clean", "service"}},
	{arg{name: "service_steps", kind: argList, since: ironic.VersionService}, []string{"service"}},
	{arg{name: "runbook", kind: argIdent, since: ironic.VersionRunbooks}, []string{"clean", "service"}},
}

func provisionArgs() []arg {
	args := []arg{{name: "target", kind: argText, doc: "The verb."}}
	for _, m := range provisionMembers {
		args = append(args, m.arg)
	}
	return args
}

func (s *Server) setProvisionState(ctx context.Context, r *request) (reply, error) {
	a := r.args
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	verb, err := provisionVerb(a, n, r.version)
	if err != nil {
		return reply{}, err
	}
	if err := r.checkVersions(); err != nil {
		return reply{}, err
	}
	req, err := s.provisionRequest(a, verb, r.version)
	if err != nil {
		return reply{}, err
	}
	if err := s.useRunbook(ctx, r, n, &req); err != nil {
		return reply{}, err
	}
	if err := checkAbort(verb, n, r.version); err != nil {
		return reply{}, err
	}
	if err := s.conductor.Provision(ctx, n.ID, req); err != nil {
		return reply{}, err
	}
	return accepted(statesAddress(r))
}

// provisionVerb finds the verb and checks, in the contract's order, that it
// may be used at this version, on this node, in this state.
func provisionVerb(a arguments, n *store.Node, v ironic.Version) (provision.Verb, error) {
	target, err := a.text("target")
	if err != nil {
		return provision.Verb{}, err
	}
	if target == "" {
		return provision.Verb{}, badRequest("Missing mandatory parameter: target")
	}
	verb, known := provision.VerbFor(target)
	if known && verb.Since > v {
		return verb, notAcceptable("The provision target %q is not acceptable before API version %s.", target, verb.Since)
	}
	if (target == "active" || target == "rebuild") && n.Maintenance {
		return verb, badRequest("The %s operation can't be performed on node %s because it's in maintenance mode.", target, n.UUID)
	}
	event := verb.Event
	if !known {
		event = provision.Event(target) // names of internal events get as far as this check
	}
	if _, err := provision.Next(n.ProvisionState, event); err != nil {
		if n.Reservation != nil {
			return verb, &task.LockedError{Node: n.UUID, Host: *n.Reservation}
		}
		return verb, invalidState(target, n)
	}
	if !known {
		return verb, badRequest("The requested action %q could not be understood.", target)
	}
	return verb, nil
}

// checkAbort holds back what old clients could not abort.
func checkAbort(verb provision.Verb, n *store.Node, v ironic.Version) error {
	since := ironic.Version(0)
	switch n.ProvisionState {
	case provision.InspectWait:
		since = ironic.VersionAbortInspect
	case provision.WaitCallback:
		since = ironic.VersionAbortDeploy
	}
	if verb.Event == provision.Abort && v < since {
		return notAcceptable("Abort in state %q is not acceptable before API version %s.", n.ProvisionState, since)
	}
	return nil
}

// provisionRequest checks the members that go with the verb.
func (s *Server) provisionRequest(a arguments, verb provision.Verb, v ironic.Version) (flow.ProvisionRequest, error) {
	req := flow.ProvisionRequest{Verb: verb}
	for _, m := range provisionMembers {
		if !given(a, m.name) {
			continue
		}
		if !slices.Contains(m.targets, verb.Target) {
			return req, badRequest("The argument %s is only valid with the target %s, not with %q.", m.name, strings.Join(m.targets, " or "), verb.Target)
		}
	}
	var err error
	if req.ConfigDrive, err = configDrive(a, verb, v); err != nil {
		return req, err
	}
	if verb.Target == "service" && a.has("disable_ramdisk") && v < ironic.VersionServiceNoRamdisk {
		return req, notAcceptable("disable_ramdisk with the target service is not acceptable before API version %s.", ironic.VersionServiceNoRamdisk)
	}
	disable, err := a.flag("disable_ramdisk")
	if err != nil {
		return req, err
	}
	req.DisableRamdisk = disable != nil && *disable
	for _, list := range []struct {
		name       string
		target     string // that needs it
		disallowed []string
		to         *[]flow.Step
	}{
		{"clean_steps", "clean", s.cfg.DisallowCleanSteps, &req.CleanSteps},
		{"deploy_steps", "", s.cfg.DisallowDeploySteps, &req.DeploySteps},
		{"service_steps", "service", s.cfg.DisallowServiceSteps, &req.ServiceSteps},
	} {
		if given(a, list.name) {
			if *list.to, err = steps(a, list.name, list.disallowed, list.target == ""); err != nil {
				return req, err
			}
		}
		if verb.Target == list.target && len(*list.to) == 0 && !a.has("runbook") {
			return req, badRequest("%s is required and cannot be empty with the target %s.", list.name, list.target)
		}
	}
	if req.RescuePassword, err = a.text("rescue_password"); err != nil {
		return req, err
	}
	if verb.Target == "rescue" && strings.TrimSpace(req.RescuePassword) == "" {
		return req, badRequest("A non-empty rescue_password is required with the target rescue.")
	}
	return req, nil
}

// given reports whether the argument says anything: lists of steps and
// configuration drives that are empty do not. A password that is empty and a
// value of another type are mistakes.
func given(a arguments, name string) bool {
	switch v := a.values[name].(type) {
	case nil:
		return false
	case string:
		return v != "" || name != "configdrive" && name != "runbook"
	case []any:
		return len(v) > 0 || name == "configdrive"
	case map[string]any:
		return len(v) > 0 || name != "configdrive"
	}
	return true
}

// configDrive is nil, text (a URL, or base64 of a gzipped image), or an object.
func configDrive(a arguments, verb provision.Verb, v ironic.Version) (any, error) {
	if !given(a, "configdrive") {
		return nil, nil
	}
	drive := a.values["configdrive"]
	if verb.Event == provision.Rebuild && v < ironic.VersionRebuildConfigDrive {
		return nil, notAcceptable("A configdrive with the target rebuild is not acceptable before API version %s.", ironic.VersionRebuildConfigDrive)
	}
	switch drive := drive.(type) {
	case string:
		// What has no colon is no URL; an alphabet is enough to tell base64
		// from JSON in a string.
		if !strings.Contains(drive, "://") && strings.Trim(drive, base64Alphabet) != "" {
			return nil, badRequest("Invalid configdrive format: it is neither a JSON, nor a URL, nor a base64 string")
		}
		return drive, nil
	case map[string]any:
		return drive, checkConfigDrive(drive, v)
	}
	return nil, badRequest("The configdrive has to be a string or an object.")
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\t "

func checkConfigDrive(drive map[string]any, v ironic.Version) error {
	if v < ironic.VersionConfigDriveJSON {
		return notAcceptable("A configdrive as an object is not acceptable before API version %s.", ironic.VersionConfigDriveJSON)
	}
	for name, part := range drive {
		if name == "vendor_data" && v < ironic.VersionVendorData {
			return notAcceptable("vendor_data in a configdrive is not acceptable before API version %s.", ironic.VersionVendorData)
		}
		_, isObject := part.(map[string]any)
		switch name {
		case "meta_data", "network_data", "vendor_data":
			if !isObject && part != nil {
				return badRequest("The part %s of the configdrive has to be an object.", name)
			}
		case "user_data":
			_, isList := part.([]any)
			_, isText := part.(string)
			if !isObject && !isList && !isText && part != nil {
				return badRequest("The part user_data of the configdrive has to be text, an object or a list.")
			}
		default:
			return badRequest("The configdrive has the unknown part %q.", name)
		}
	}
	return nil
}

// stepInterfaces are those whose steps can be asked for (REST contract,
// section 3.6).
var stepInterfaces = []string{"vendor", "power", "management", "firmware", "deploy", "bios", "raid"}

// steps reads a list of steps; those of a deployment need arguments and a
// priority too.
func steps(a arguments, name string, disallowed []string, deploy bool) ([]flow.Step, error) {
	list, ok := a.values[name].([]any)
	if !ok {
		return nil, badRequest("%s has to be a list of steps.", name)
	}
	var steps []flow.Step
	for i, item := range list {
		step, err := readStep(item, deploy)
		if err != "" {
			return nil, badRequest("%s[%d] %s.", name, i, err)
		}
		if full := step.Interface + "." + step.Step; slices.Contains(disallowed, full) {
			return nil, badRequest("%s[%d] is %s, which is disallowed by configuration.", name, i, full)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// stepMembers are those of a step; of a deployment they are fewer.
func stepMembers(deploy bool) []string {
	if deploy {
		return []string{"interface", "step", "args", "priority"}
	}
	return []string{"interface", "step", "args", "order", "execute_on_child_nodes", "limit_child_node_execution"}
}

// readStep also says what is wrong with the step, or "".
func readStep(item any, deploy bool) (flow.Step, string) {
	var step flow.Step
	members, ok := item.(map[string]any)
	if !ok {
		return step, "is not an object"
	}
	for name := range members {
		if !slices.Contains(stepMembers(deploy), name) {
			return step, "has the unknown member " + name
		}
	}
	members = maps.Clone(members)
	for _, name := range []string{"order", "priority"} { // which may be digits
		if text, isText := members[name].(string); isText {
			if n, whole := wholeNumber(text); whole {
				members[name] = n
			}
		}
	}
	raw, err := json.Marshal(members)
	if err != nil || json.Unmarshal(raw, &step) != nil {
		return step, "has a member of the wrong type"
	}
	switch {
	case !slices.Contains(stepInterfaces, step.Interface):
		return step, "needs an interface that is one of " + strings.Join(stepInterfaces, ", ")
	case step.Step == "":
		return step, "needs the name of a step"
	case deploy && step.Args == nil:
		return step, "needs args"
	case deploy && (step.Priority == nil || *step.Priority < 0):
		return step, "needs a priority of at least 0"
	case step.Order != nil && *step.Order < 0:
		return step, "needs an order of at least 0"
	case slices.ContainsFunc(step.LimitChildNodeExecution, func(id string) bool { _, isUUID := parseUUID(id); return !isUUID }):
		return step, "has a limit_child_node_execution that is not a list of UUIDs"
	}
	return step, ""
}
