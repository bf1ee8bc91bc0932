package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// raidAgent is the RAID interface whose steps the agent runs.
const raidAgent = "agent"

// hasRAID reports whether arrays of the node can be configured.
func hasRAID(n *store.Node) bool { return n.RAIDInterface != nil && *n.RAIDInterface == raidAgent }

// ErrNoRAID: the node's RAID interface configures nothing (404).
var ErrNoRAID = fmt.Errorf("RAID is %w", driver.ErrUnsupported)

// SetRAIDConfig sets the arrays that create_configuration is to make; {} is none.
func (f *Flow) SetRAIDConfig(ctx context.Context, id int64, config store.Object) error {
	return f.tasks.Do(ctx, id, "set RAID configuration", func(ctx context.Context, t *task.Task) error {
		if !hasRAID(t.Node) {
			return &textError{ErrNoRAID, fmt.Sprintf("Driver %s does not support raid (node %s has no RAID interface that configures anything).", t.Node.Driver, t.Node.UUID)}
		}
		t.Node.TargetRAIDConfig = config
		return t.Save(ctx)
	})
}

// keepRAIDConfig follows a step of the RAID interface that succeeded: what the
// arrays are now is in raid_config, and the hint for the root disk named one of
// those that are gone (agent contract, section "Delete"). The caller saves.
func keepRAIDConfig(n *store.Node, kind steps.Kind, step steps.Step, result *ipa.Result) error {
	if step.Interface != "raid" {
		return nil
	}
	switch step.Step {
	case "delete_configuration":
		n.RAIDConfig = store.Object{}
		n.Properties = n.Properties.Clone()
		delete(n.Properties, "root_device")
		return nil
	case "create_configuration", "apply_configuration":
	default:
		return nil
	}
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(result.Result, &answer); err != nil {
		return fmt.Errorf("the agent's answer to %s: %w", step.ID(), err)
	}
	var made map[string]any
	if err := json.Unmarshal(answer[kind.Name+"_result"], &made); err != nil || len(made) == 0 {
		return fmt.Errorf("the agent's answer to %s holds no RAID configuration: %.200q", step.ID(), answer[kind.Name+"_result"])
	}
	config := store.Object(maps.Clone(made))
	config["last_updated"] = time.Now().UTC().Format("2006-01-02 15:04:05.000000")
	n.RAIDConfig = config
	return nil
}
