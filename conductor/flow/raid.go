package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// ErrNoRAID: the node's RAID interface configures nothing (404).
var ErrNoRAID = fmt.Errorf("RAID is %w", driver.ErrUnsupported)

// SetRAIDConfig sets the arrays that create_configuration is to make; {} is none.
func (f *Flow) SetRAIDConfig(ctx context.Context, id int64, config store.Object) error {
	return f.tasks.Do(ctx, id, "set RAID configuration", func(ctx context.Context, t *task.Task) error {
		ifs, err := f.drivers.Interfaces(t.Node)
		if err != nil {
			return err
		}
		if err := ifs.RAID.ValidateRAIDConfig(ctx, t.Node, config); errors.Is(err, driver.ErrUnsupported) {
			return &textError{ErrNoRAID, err.Error()}
		} else if err != nil {
			return err
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
	return keepRootVolume(n, made)
}

// keepRootVolume writes what schedulers and the next deployment have to know of the
// root volume into the properties: its size and level, and by what it is found, if
// whoever made it tells. Arrays of the operating system are told by the agent that
// made them, and have no hint.
func keepRootVolume(n *store.Node, made map[string]any) error {
	list, _ := made["logical_disks"].([]any)
	var root map[string]any
	for _, item := range list {
		disk, _ := item.(map[string]any)
		switch isRoot, _ := disk["is_root_volume"].(bool); {
		case isRoot && root != nil:
			return errors.New("the RAID configuration that was made has more than one root volume")
		case isRoot:
			root = disk
		}
	}
	if root == nil {
		return nil
	}
	n.Properties = n.Properties.Clone()
	if n.Properties == nil {
		n.Properties = store.Object{}
	}
	if size, ok := root["size_gb"].(float64); ok { // and not MAX
		n.Properties["local_gb"] = size
	}
	if hint, ok := root["root_device_hint"].(map[string]any); ok && len(hint) > 0 {
		n.Properties["root_device"] = hint
	}
	if level, ok := root["raid_level"].(string); ok {
		n.Properties["capabilities"] = withCapability(n.Properties["capabilities"], "raid_level", level)
	}
	return nil
}

// withCapability is a node's capabilities, in the shape that they have, with one of
// them set.
func withCapability(capabilities any, name, value string) any {
	if object, ok := capabilities.(map[string]any); ok {
		object = maps.Clone(object)
		object[name] = value
		return object
	}
	text, _ := capabilities.(string)
	var pairs []string
	for pair := range strings.SplitSeq(text, ",") {
		if key, _, _ := strings.Cut(pair, ":"); strings.TrimSpace(pair) != "" && strings.TrimSpace(key) != name {
			pairs = append(pairs, pair)
		}
	}
	return strings.Join(append(pairs, name+":"+value), ",")
}
