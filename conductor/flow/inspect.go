package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"

	"ferric/conductor/driver"
	"ferric/conductor/inspection"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// keyBMCAddresses in driver_internal_info are what the BMC of a node under
// inspection is reached by: an agent may know its machine by nothing else.
const keyBMCAddresses = "lookup_bmc_addresses"

// inspect has the hardware, or an agent, tell what the machine consists of.
func (f *Flow) inspect(ctx context.Context, t *task.Task) error {
	if err := f.validate(ctx, t.Node, "inspection", "power", "inspect"); err != nil {
		return err
	}
	return t.Start(ctx, provision.Inspect, "", "inspection", f.startInspection)
}

// startInspection begins. The node is inspecting.
func (f *Flow) startInspection(ctx context.Context, t *task.Task) error {
	n := t.Node
	delete(n.DriverInternalInfo, keyInspectionData) // of an earlier one
	delete(n.DriverInternalInfo, keyInspectionSaved)
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to inspect node %s: %v", n.UUID, err))
	}
	if addresses := bmcAddresses(ctx, n); len(addresses) > 0 {
		if err := n.DriverInternalInfo.Encode(keyBMCAddresses, addresses); err != nil {
			return err
		}
	}
	state, err := ifs.Inspect.InspectHardware(ctx, t)
	switch {
	case err != nil:
		return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to inspect node %s: %v", n.UUID, err))
	case state == provision.InspectWait:
		return t.Process(ctx, provision.Wait, "")
	case state == provision.Manageable:
		return f.inspected(ctx, t)
	}
	return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to inspect node %s: the inspect interface ended in state %q", n.UUID, state))
}

// bmcAddresses are those that driver_info names, names resolved.
func bmcAddresses(ctx context.Context, n *store.Node) []string {
	var addresses []string
	host := n.DriverInfo.String("ipmi_address")
	if host == "" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil {
		return []string{ip.String()}
	}
	// A name that cannot be resolved only makes the machine harder to find.
	ips, _ := net.DefaultResolver.LookupIP(ctx, "ip", host)
	for _, ip := range ips {
		addresses = append(addresses, ip.String())
	}
	return addresses
}

// inspected ends an inspection that went well.
func (f *Flow) inspected(ctx context.Context, t *task.Task) error {
	f.forgetInspection(t.Node)
	delete(t.Node.DriverInternalInfo, keyDiscoveredBy)
	t.Event(ctx, "provision", "inspected")
	if err := t.Process(ctx, provision.Done, ""); err != nil {
		return err
	}
	if err := t.Store.DropInspectionData(ctx, t.Node.ID); err != nil { // which the next one overwrites
		t.Log.WithError(err).Warn("cannot forget the inspection data")
	}
	return nil
}

// inspectionFailed ends an inspection with a reason. An agent that was booted
// for it goes.
func (f *Flow) inspectionFailed(ctx context.Context, t *task.Task, text string) error {
	return f.endInspection(ctx, t, text, provision.Fail)
}

func (f *Flow) endInspection(ctx context.Context, t *task.Task, text string, event provision.Event) error {
	t.SetError("%s", text)
	return f.leaveInspection(ctx, t, event)
}

// leaveInspection is endInspection whose reason is known.
func (f *Flow) leaveInspection(ctx context.Context, t *task.Task, event provision.Event) error {
	n := t.Node
	if err := ending(ctx, t, event); err != nil {
		return err
	}
	ifs, err := f.drivers.Interfaces(n)
	if err == nil && ifs.Inspect != nil {
		err = ifs.Inspect.Abort(ctx, t)
	}
	if err != nil && !errors.Is(err, driver.ErrUnsupported) {
		t.SetError("%s Ending the inspection failed too: %v", *n.LastError, err)
	}
	f.forgetInspection(n)
	return t.Process(ctx, event, "")
}

func (f *Flow) forgetInspection(n *store.Node) {
	f.leaveAgent(n)
	for _, key := range []string{keyBMCAddresses, keyAborting, keyEnding, keyInspectionData, keyInspectionSaved} {
		delete(n.DriverInternalInfo, key)
	}
}

// ContinueInspection takes over what an agent found on its machine. The node
// is found by its UUID, else by the machine's addresses, among those that wait
// for it. When it returns without an error the work has begun. The token is
// that of a lookup, made where it is wanted. store.ErrNotFound covers all
// reasons for finding no node.
func (f *Flow) ContinueInspection(ctx context.Context, nodeUUID string, data *inspection.Data, wantToken bool) (n *store.Node, token string, err error) {
	if n, err = f.findInspected(ctx, nodeUUID, data); err != nil {
		return nil, "", err
	}
	err = f.tasks.Do(ctx, n.ID, "inspection data", func(ctx context.Context, t *task.Task) error {
		n = t.Node
		if n.ProvisionState != provision.InspectWait {
			return fmt.Errorf("inspection data of node %s in state %s: %w", n.UUID, n.ProvisionState, store.ErrNotFound)
		}
		if wantToken {
			token = f.makeToken(n)
		}
		if err := keepInspectionData(ctx, t, data); err != nil {
			return err
		}
		t.Event(ctx, "inspection", "data of a machine with %v", data.MACs())
		return t.Start(ctx, provision.Resume, "", "inspection data", func(ctx context.Context, t *task.Task) error {
			return f.processInspection(ctx, t, data)
		})
	})
	return n, token, err
}

// findInspected finds the one node that waits for this data.
func (f *Flow) findInspected(ctx context.Context, nodeUUID string, data *inspection.Data) (*store.Node, error) {
	waiting, err := f.store.NodesIn(ctx, provision.InspectWait)
	if err != nil {
		return nil, err
	}
	owners, err := f.store.NodesWithAddress(ctx, data.MACs())
	if err != nil {
		return nil, err
	}
	if nodeUUID != "" {
		if len(owners) > 0 && !slices.Contains(owners, nodeUUID) {
			return nil, fmt.Errorf("the addresses %v are those of another node than %s: %w", data.MACs(), nodeUUID, store.ErrNotFound)
		}
		waiting = slices.DeleteFunc(waiting, func(n *store.Node) bool { return n.UUID != nodeUUID })
		return only(waiting, "the UUID "+nodeUUID)
	}
	byMAC := slices.DeleteFunc(slices.Clone(waiting), func(n *store.Node) bool { return !slices.Contains(owners, n.UUID) })
	if len(byMAC) > 0 {
		return only(byMAC, fmt.Sprintf("one of the addresses %v", data.MACs()))
	}
	known := data.BMCAddresses()
	byBMC := slices.DeleteFunc(slices.Clone(waiting), func(n *store.Node) bool {
		var addresses []string
		err := n.DriverInternalInfo.Decode(keyBMCAddresses, &addresses)
		return err != nil || !slices.ContainsFunc(addresses, func(a string) bool { return slices.Contains(known, a) })
	})
	if len(owners) == 0 && len(byBMC) == 0 && f.cfg.AutoDiscovery {
		return f.discover(ctx, data)
	}
	return only(byBMC, fmt.Sprintf("one of the addresses %v or a BMC at one of %v", data.MACs(), known))
}

func only(nodes []*store.Node, what string) (*store.Node, error) {
	if len(nodes) != 1 {
		return nil, fmt.Errorf("%d nodes that wait for inspection data have %s: %w", len(nodes), what, store.ErrNotFound)
	}
	return nodes[0], nil
}

// processInspection runs the hooks and writes down what they found. The node
// is inspecting.
func (f *Flow) processInspection(ctx context.Context, t *task.Task, data *inspection.Data) error {
	n := t.Node
	cfg := f.cfg.Inspection
	ports, err := t.Store.NodePorts(ctx, n.ID)
	if err != nil {
		return err
	}
	before := map[int64]string{}
	for _, p := range ports {
		before[p.ID] = fmt.Sprintf("%+v", *p)
	}
	// What is changed before something fails is not taken over.
	changed := *n
	changed.Properties = n.Properties.Clone()
	s := &inspection.Subject{Node: &changed, Data: data, Ports: ports}
	if err = cfg.Process(s); err == nil {
		err = f.applyRules(ctx, t, s)
	}
	if err != nil {
		return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to inspect node %s: %v", n.UUID, err))
	}
	kept := *n
	*n = changed
	if err := f.saveInspection(ctx, t, s, before); err != nil {
		*n = kept // which can be written; a name that was taken meanwhile cannot
		return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to keep what was inspected of node %s: %v", n.UUID, err))
	}
	return f.finishInspection(ctx, t)
}

// finishInspection ends the agent of an inspection whose findings are kept. The
// node is inspecting.
func (f *Flow) finishInspection(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = ifs.Boot.CleanUpRamdisk(ctx, t)
	}
	// How to switch a machine that has only just been discovered may be unknown.
	unknown := err == nil && n.DriverInternalInfo.Bool(keyDiscovered) && ifs.Power.Validate(ctx, n) != nil
	if err == nil && f.cfg.Inspection.PowerOff && !unknown && !f.cfg.Agents.Keeps(n) {
		err = driver.SwitchOff(ctx, t, ifs.Power)
	}
	if err != nil {
		return f.inspectionFailed(ctx, t, fmt.Sprintf("Failed to tear down node %s after inspection: %v", n.UUID, err))
	}
	return f.inspected(ctx, t)
}

// saveInspection writes ports, inventory and node, all of it or nothing: rules
// that add to something are not to add it twice. before are the ports there were,
// by their ids.
func (f *Flow) saveInspection(ctx context.Context, t *task.Task, s *inspection.Subject, before map[int64]string) error {
	var found store.Findings
	kept := map[int64]bool{}
	for _, p := range s.Ports {
		kept[p.ID] = true
		switch was, known := before[p.ID]; {
		case !known:
			found.New = append(found.New, p)
		case was != fmt.Sprintf("%+v", *p):
			found.Changed = append(found.Changed, p)
		}
	}
	for id := range before {
		if !kept[id] {
			found.Gone = append(found.Gone, id)
		}
	}
	if f.cfg.Inspection.DataBackend == "database" {
		inventory, err := json.Marshal(s.Data.Inventory)
		if err != nil {
			return err
		}
		plugin, err := json.Marshal(s.Data.PluginData)
		if err != nil {
			return err
		}
		found.Inventory = &store.Inventory{Inventory: inventory, PluginData: plugin}
	}
	t.Node.DriverInternalInfo[keyInspectionSaved] = true
	taken, err := t.SaveFindings(ctx, found)
	for _, p := range taken {
		t.Log.WithField("address", p.Address).Warn("another node has a port with this address, none is made")
	}
	return err
}

// Inventory is what the latest inspection of the node found; store.ErrNotFound
// if there was none.
func (f *Flow) Inventory(ctx context.Context, id int64) (store.Inventory, error) {
	return f.store.Inventory(ctx, id)
}
