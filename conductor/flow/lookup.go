package flow

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// lookupStates are the states in which an agent may find its node (REST
// contract, section 8.1).
var lookupStates = []provision.State{
	provision.Deploying, provision.WaitCallback, provision.Cleaning, provision.CleanWait, provision.Inspecting,
	provision.InspectWait, provision.Rescuing, provision.RescueWait, provision.ServiceWait,
}

// Lookup finds the node of an agent by UUID or by the MAC addresses of the
// machine, which must lead to exactly one node, and makes its token when it is
// wanted. store.ErrNotFound covers all reasons not to tell.
func (f *Flow) Lookup(ctx context.Context, addresses []string, nodeUUID string, wantToken bool) (*store.Node, string, error) {
	n, err := f.findNode(ctx, addresses, nodeUUID)
	if err != nil {
		return nil, "", err
	}
	if f.cfg.RestrictLookup && !f.expectsAgent(n) {
		return nil, "", fmt.Errorf("lookup of node %s in state %s: %w", n.UUID, n.ProvisionState, store.ErrNotFound)
	}
	if !wantToken {
		return n, "", nil
	}
	if n.DriverInternalInfo.String(driver.KeyAgentToken) != "" && !f.tokenLost(n) {
		return n, ipa.MaskedToken, f.noteLookup(ctx, n)
	}
	var token string
	err = f.tasks.TryDo(ctx, n.ID, "lookup", func(ctx context.Context, t *task.Task) error {
		n = t.Node
		if token = f.makeToken(n); token == ipa.MaskedToken {
			return nil
		}
		t.Event(ctx, "lookup", "agent asked from a machine with %v", addresses)
		return t.Save(ctx)
	})
	return n, token, err
}

// tokenLost says that the token may never have reached the agent: the process
// that made it has ended, and no heartbeat has shown it. Whoever asks then is
// given another, once: an agent that does not get one idles until its machine is
// restarted (agent contract, section "Lookup").
func (f *Flow) tokenLost(n *store.Node) bool {
	info := n.DriverInternalInfo
	maker := info.String(driver.KeyAgentTokenMaker)
	return maker != "" && maker != f.life && info.String(driver.KeyAgentURL) == ""
}

// makeToken makes the token of the agent of this boot, or tells that there is
// one. The caller saves.
func (f *Flow) makeToken(n *store.Node) string {
	if n.DriverInternalInfo.String(driver.KeyAgentToken) != "" && !f.tokenLost(n) {
		return ipa.MaskedToken
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails, by contract of crypto/rand
	token := base64.RawURLEncoding.EncodeToString(random)
	n.DriverInternalInfo[driver.KeyAgentToken] = token
	n.DriverInternalInfo[driver.KeyAgentTokenMaker] = f.life
	return token
}

func (f *Flow) findNode(ctx context.Context, addresses []string, nodeUUID string) (*store.Node, error) {
	if nodeUUID == "" {
		// MAC addresses of no node do not matter.
		nodes, err := f.store.NodesWithAddress(ctx, addresses)
		switch {
		case err != nil:
			return nil, err
		case len(nodes) == 0:
			return nil, fmt.Errorf("lookup: no node has one of %v: %w", addresses, store.ErrNotFound)
		case len(nodes) > 1:
			return nil, fmt.Errorf("lookup: addresses %v belong to several nodes: %w", addresses, store.ErrNotFound)
		}
		nodeUUID = nodes[0]
	}
	return f.store.LookupNode(ctx, nodeUUID)
}
