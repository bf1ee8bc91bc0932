package agent

import (
	"context"
	"encoding/json"
	"fmt"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// resumption is what the conductor says of a step and the reboots in its
// middle. known is false with conductors that cannot go on with a step; state
// is nil in its first run.
func resumption(p params) (state json.RawMessage, known bool, err error) {
	given, known := p[ipa.ResumeKey]
	if given == nil {
		return nil, known, nil
	}
	state, err = json.Marshal(given)
	if err != nil {
		return nil, known, ipa.InvalidCommandParams.New("the parameter resume cannot be read: %v", err)
	}
	return state, known, nil
}

// rebootAsked is the answer for a step that ended with asked: the conductor
// reboots the machine and sends the step again with the state. One that cannot
// do so reboots at best, after steps that are declared so, and does no more: the
// step has to be run once more to see what the reboot brought about. Ironic
// reboots only if the step that it sends says so, too, which those do that run
// automatically; steps that are asked for by name have lost it on their way.
func (a *Agent) rebootAsked(ctx context.Context, phase hwmanager.Phase, step map[string]any, node hwmanager.Node, known bool, asked *hwmanager.Reboot) (map[string]any, error) {
	name, _ := step["step"].(string)
	result := string(phase) + "_result"
	if known {
		state, err := stateOf(asked)
		if err != nil {
			return nil, failed(phase).New("Step %s needs a reboot to go on, and %v", name, err)
		}
		answer := map[string]any{result: nil, ipa.ResumeKey: state}
		if asked.Warm {
			answer[ipa.WarmKey] = true
		}
		return answer, nil
	}
	if !a.declaresReboot(ctx, phase, name, node) {
		return nil, failed(phase).New("Step %s needs a reboot to go on. This conductor cannot go on with a step after a reboot, "+
			"and the step is not declared with reboot_requested, so that nobody would reboot the machine. What it did so far was not verified.", name)
	}
	message := "The step needs the reboot that follows it. Whether it succeeded was not verified: run it again to have it verified."
	if follows, _ := step["reboot_requested"].(bool); !follows {
		message = notFollowed
	}
	if asked.Warm {
		message += " It needs one that does not switch the machine off, which this conductor is not known to make."
	}
	return map[string]any{result: map[string]any{"verified": false, "message": message}}, nil
}

// notFollowed is the message of a step that needs a reboot which nobody announced.
const notFollowed = "The step needs a reboot, and this conductor does not say that it makes one: Ironic makes none after steps that are asked for by name. " +
	"Whether it succeeded was not verified: boot the machine anew, then run the step again to have it verified."

// stateOf is what a step leaves for its next run. No state at all becomes an
// empty object: a null would look like a first run.
func stateOf(asked *hwmanager.Reboot) (json.RawMessage, error) {
	state, err := json.Marshal(asked.State)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the state that it leaves for then is no JSON: %w", err)
	case string(state) == "null":
		return json.RawMessage("{}"), nil
	case len(state) > ipa.MaxResumeState:
		return nil, fmt.Errorf("the state that it leaves for then has %d bytes: at most %d are kept", len(state), ipa.MaxResumeState)
	}
	return state, nil
}

// declaresReboot says whether a step is declared to have the machine rebooted
// after it.
func (a *Agent) declaresReboot(ctx context.Context, phase hwmanager.Phase, name string, node hwmanager.Node) bool {
	offered, err := a.set.Steps(ctx, a.host, phase, node)
	if err != nil {
		a.log.WithError(err).Warn("cannot tell whether the step is declared with reboot_requested")
		return false
	}
	for _, steps := range offered {
		for _, step := range steps {
			if step.Step == name {
				return step.RebootRequested
			}
		}
	}
	return false
}
