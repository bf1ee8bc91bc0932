package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/api/agentclient"
	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Power is the power interface "agent", for machines that nobody but a human
// can switch: the agent that runs on one can boot it anew, and as long as it is
// heard the machine is on. It needs fast track.
type Power struct{ agents driver.Agents }

// NewPower makes the interface.
func NewPower(agents driver.Agents) Power { return Power{agents} }

// Properties describes what is read of driver_info.
func (Power) Properties() map[string]string {
	return map[string]string{"fast_track": "Whether an agent that runs already is gone on with. Default: [deploy]fast_track."}
}

// Validate makes sure that agents are gone on with.
func (p Power) Validate(_ context.Context, n *store.Node) error {
	if err := p.agents.ValidateFastTrack(n); err != nil {
		return err
	}
	if !p.agents.WantsFastTrack(n) {
		return driver.Invalid("The power interface agent needs fast track: set [deploy]fast_track, or fast_track in driver_info of node %s.", n.Label())
	}
	return nil
}

// PowerState is on as long as the agent is heard; nothing else can be known,
// which is an ErrNoAgent.
func (p Power) PowerState(_ context.Context, n *store.Node) (string, error) {
	last, alive := p.agents.Heard(n)
	if !alive {
		return "", fmt.Errorf("%w, or it was last heard too long ago (%s): the power of node %s is not known", driver.ErrNoAgent, last, n.Label())
	}
	return driver.PowerOn, nil
}

// SupportedPowerStates are those that an agent can bring about and live.
func (Power) SupportedPowerStates() []string {
	return []string{driver.Rebooting, driver.SoftRebooting}
}

// SetPowerState has the agent boot the machine. Where there is none, and the
// node waits for one to come, that is for a human to do.
func (p Power) SetPowerState(ctx context.Context, t *task.Task, target string, timeout time.Duration) error {
	n := t.Node
	agent, err := p.agents.Of(n)
	if err != nil && n.ProvisionState.Is(provision.Transient) {
		t.Event(ctx, event.Power, "nothing but a human can switch this machine: boot it from the network now")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: boot it by hand", err)
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	result, err := agent.Execute(ctx, "standby.run_image", map[string]any{}, false)
	if errors.Is(err, agentclient.ErrUnreachable) && n.ProvisionState.Is(provision.Transient) {
		// It has gone, or was told before the conductor died.
		t.Event(ctx, event.Power, "the agent does not answer, and nothing but a human can switch this machine: unless it boots already, boot it from the network now")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s by the agent: %w", target, err)
	}
	if result.Status == ipa.StatusFailed {
		return steps.Failure(result)
	}
	return nil
}

// SwitchesByAgent: the agent has to be known until it has been told.
func (Power) SwitchesByAgent() {}

var (
	_ driver.Power   = Power{}
	_ driver.ByAgent = Power{}
)
