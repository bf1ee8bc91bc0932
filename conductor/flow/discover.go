package flow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/conductor/inspection"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

const (
	// keyDiscovered in driver_internal_info marks nodes that nobody enrolled.
	keyDiscovered = "auto_discovered"
	// keyDiscoveredBy are the addresses that such a node is known by until it has ports.
	keyDiscoveredBy = "auto_discovered_addresses"
)

// discover enrols the machine that the data is of, which no node has anything
// to do with, as one that waits for its data. A machine that sends its data once
// more, because the answer was lost or the inspection failed, is the same one.
func (f *Flow) discover(ctx context.Context, data *inspection.Data) (*store.Node, error) {
	macs := data.MACs()
	if len(macs) == 0 {
		return nil, fmt.Errorf("a machine without a valid address cannot be enrolled: %w", store.ErrNotFound)
	}
	f.discovering.Lock()
	defer f.discovering.Unlock()
	earlier, err := f.store.NodesIn(ctx, provision.InspectWait, provision.Inspecting, provision.InspectFailed)
	if err != nil {
		return nil, err
	}
	for _, n := range earlier {
		var addresses []string
		if err := n.DriverInternalInfo.Decode(keyDiscoveredBy, &addresses); err != nil {
			return nil, err
		}
		switch {
		case !slices.ContainsFunc(addresses, func(a string) bool { return slices.Contains(macs, a) }):
		case n.ProvisionState == provision.InspectWait:
			return n, nil
		default:
			return nil, fmt.Errorf("the machine with %v was discovered as node %s, which is in state %s: %w", macs, n.UUID, n.ProvisionState, store.ErrNotFound)
		}
	}
	now, target := time.Now().UTC().Truncate(time.Microsecond), provision.Manageable
	n := &store.Node{
		UUID: uuid.NewString(), Driver: f.cfg.AutoDiscoveryDriver, ProvisionState: provision.InspectWait, TargetProvisionState: &target,
		ProvisionUpdatedAt: &now, InspectionStartedAt: &now, DriverInternalInfo: store.Object{keyDiscovered: true},
	}
	if err := n.DriverInternalInfo.Encode(keyDiscoveredBy, macs); err != nil {
		return nil, err
	}
	if err := f.CreateNode(ctx, n); err != nil {
		return nil, fmt.Errorf("enrol the machine with %v: %w", macs, err)
	}
	f.log.WithFields(logrus.Fields{"node": n.UUID, "addresses": macs}).Info("a machine was discovered")
	return n, nil
}
