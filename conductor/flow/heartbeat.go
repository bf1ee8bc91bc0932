package flow

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"time"

	"ferric/api/agentclient"
	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// onHeartbeat says what a heartbeat does in each waiting state. In all other
// states it is recorded only.
var onHeartbeat = map[provision.State]func(f *Flow, ctx context.Context, t *task.Task) error{
	provision.CleanWait:    (*Flow).heartbeatCleaning,
	provision.WaitCallback: (*Flow).heartbeatDeploying,
	provision.RescueWait:   (*Flow).heartbeatRescuing,
	provision.ServiceWait:  (*Flow).heartbeatServicing,
}

// Heartbeat records what the agent of a node says of itself and goes on with
// what the node waits for. nil means that the agent is answered 202, also
// where the node is busy and the heartbeat is ignored.
func (f *Flow) Heartbeat(ctx context.Context, nodeUUID string, hb ipa.Heartbeat) error {
	ignored, err := f.takeHeartbeat(ctx, nodeUUID, hb)
	if observer := f.cfg.Observer; observer != nil {
		outcome := "accepted"
		switch {
		case err != nil:
			outcome = "refused"
		case ignored:
			outcome = "ignored"
		}
		observer.Heartbeat(outcome)
	}
	return err
}

// takeHeartbeat is Heartbeat; ignored says that the node was busy.
func (f *Flow) takeHeartbeat(ctx context.Context, nodeUUID string, hb ipa.Heartbeat) (ignored bool, err error) {
	n, err := f.store.HeartbeatNode(ctx, nodeUUID)
	if err != nil {
		return false, err
	}
	if err := f.checkHeartbeat(n, hb); err != nil {
		return false, err
	}
	if n.Reservation == nil && f.tasks.Queued(n.ID) == 0 && tellsNothingNew(n, hb) {
		f.store.RecordHeartbeat(n.ID, time.Now())
		return false, nil
	}
	// It queues for a moment: the heartbeat at the end of a step comes while
	// the step's start is still being written down.
	err = f.tasks.Do(ctx, n.ID, "heartbeat", func(ctx context.Context, t *task.Task) error {
		// The row may have changed while the lock was taken.
		if err := f.checkHeartbeat(t.Node, hb); err != nil {
			return err
		}
		return f.heartbeat(ctx, t, hb)
	})
	var locked *task.LockedError
	if errors.As(err, &locked) && n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		return true, nil // the node is busy; the next heartbeat will do
	}
	return false, err
}

// checkHeartbeat compares a heartbeat with what is known of the agent of this
// boot.
func (f *Flow) checkHeartbeat(n *store.Node, hb ipa.Heartbeat) error {
	info := n.DriverInternalInfo
	if hb.AgentVersion == "" && hb.AgentStatus == "" {
		return invalid("Agent did not provide a version in the heartbeat of node %s.", n.UUID)
	}
	token := info.String(driver.KeyAgentToken)
	// Who was given a token has to show it.
	tokenless := hb.Tokenless && token == ""
	if !tokenless && (token == "" || subtle.ConstantTimeCompare([]byte(token), []byte(hb.AgentToken)) != 1) {
		return fmt.Errorf("%w of node %s", ErrAgentToken, n.UUID)
	}
	if hb.CallbackURL == "" {
		return nil
	}
	callback, err := url.Parse(hb.CallbackURL)
	switch {
	case err != nil || callback.Host == "" || callback.Scheme != "http" && callback.Scheme != "https":
		return invalid("callback_url %q of node %s is not an http or https URL.", hb.CallbackURL, n.UUID)
	case callback.Scheme == "http" && f.cfg.RequireTLS:
		return invalid("TLS is required by configuration ([agent]require_tls), but callback_url of node %s is %s.", n.UUID, hb.CallbackURL)
	}
	if known := info.String(driver.KeyAgentURL); known != "" && known != hb.CallbackURL {
		return invalid("Detected change in callback_url of node %s from %s to %s.", n.UUID, known, hb.CallbackURL)
	}
	if known := info.String(driver.KeyAgentVerifyCA); known != "" && known != hb.AgentVerifyCA {
		return invalid("Detected change in agent_verify_ca of node %s.", n.UUID)
	}
	return nil
}

// tellsNothingNew says that only the time of a heartbeat is worth keeping:
// the agent is known, and nothing waits for it.
func tellsNothingNew(n *store.Node, hb ipa.Heartbeat) bool {
	info := n.DriverInternalInfo
	return onHeartbeat[n.ProvisionState] == nil && hb.AgentStatus == "" && info.String(driver.KeyAgentLastHeartbeat) != "" &&
		info.String(driver.KeyAgentVersion) == hb.AgentVersion &&
		(hb.CallbackURL == "" || hb.CallbackURL == info.String(driver.KeyAgentURL)) &&
		(hb.AgentVerifyCA == "" || hb.AgentVerifyCA == info.String(driver.KeyAgentVerifyCA))
}

// heartbeat makes what the agent says durable and hands the rest to a worker.
func (f *Flow) heartbeat(ctx context.Context, t *task.Task, hb ipa.Heartbeat) error {
	n := t.Node
	info := n.DriverInternalInfo
	now := time.Now().UTC().Truncate(time.Microsecond)
	if hb.CallbackURL != "" && info.String(driver.KeyAgentURL) == "" {
		t.Event(ctx, "heartbeat", "first heartbeat of agent %s at %s", hb.AgentVersion, hb.CallbackURL)
	}
	if hb.CallbackURL != "" {
		info[driver.KeyAgentURL] = hb.CallbackURL
	}
	delete(info, driver.KeyAgentLookup) // that was the agent itself
	info[driver.KeyAgentVersion] = hb.AgentVersion
	info[driver.KeyAgentLastHeartbeat] = now.Format(store.HeartbeatLayout)
	if hb.AgentVerifyCA != "" {
		info[driver.KeyAgentVerifyCA] = hb.AgentVerifyCA
	}
	next := onHeartbeat[n.ProvisionState]
	if next != nil && (info.Bool(keyAborting) || isEnding(n)) {
		next = (*Flow).endByRequest
	} else if n.Maintenance && !f.cfg.AllowProvisioningMaintenance && next != nil {
		next = func(f *Flow, ctx context.Context, t *task.Task) error {
			return f.fail(ctx, t, "The operation of node %s was ended because the node is in maintenance and [conductor]allow_provisioning_in_maintenance is off.", n.UUID)
		}
	} else if next == nil || n.Maintenance || hb.CallbackURL == "" {
		t.Log.WithField("state", n.ProvisionState).Debug("heartbeat recorded")
		return t.Save(ctx)
	}
	// Without a free worker the agent is asked to come again, but it was heard.
	busy := t.BackgroundLater("heartbeat", func(ctx context.Context, t *task.Task) error { return next(f, ctx, t) })
	if errors.Is(busy, task.ErrNoFreeWorker) {
		n.ProvisionUpdatedAt = &now // the clock of the timeouts
	} else if busy != nil {
		return busy
	}
	return errors.Join(t.Save(ctx), busy)
}

func (f *Flow) heartbeatCleaning(ctx context.Context, t *task.Task) error {
	if t.Node.DriverInternalInfo[steps.Clean.List] != nil {
		return f.continueSteps(ctx, t, steps.Clean)
	}
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	return f.loadCleanSteps(ctx, t)
}

func (f *Flow) heartbeatDeploying(ctx context.Context, t *task.Task) error {
	if !t.Node.DriverInternalInfo.Bool(keyStepsValidated) {
		err := f.loadDeploySteps(ctx, t)
		if errors.Is(err, agentclient.ErrUnreachable) {
			f.notAsked(ctx, t, err)
			return nil
		}
		if err != nil {
			return f.deployFailed(ctx, t, fmt.Sprintf("Failed to prepare the deploy steps of node %s: %v", t.Node.UUID, err))
		}
	}
	return f.continueSteps(ctx, t, steps.Deploy)
}
