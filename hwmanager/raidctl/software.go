package raidctl

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"ferric/hwmanager"
)

// makeSoftware passes the logical disks for the operating system on.
func (w *work) makeSoftware(ctx context.Context, phase hwmanager.Phase, call hwmanager.StepCall, result map[string]any, software []any) (map[string]any, error) {
	answer, err := passOn(ctx, w.h, phase, "create_configuration", call, software)
	if err != nil {
		return nil, fmt.Errorf("software RAID: %w", err)
	}
	config, ok := answer.(map[string]any)
	list, _ := config["logical_disks"].([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("software RAID: the answer %.200v is no configuration", answer)
	}
	result["logical_disks"] = append(result["logical_disks"].([]any), list...)
	return result, nil
}

// passOn has a step done by the managers for software RAID, with the logical disks
// for it alone: such a configuration is not taken here.
func passOn(ctx context.Context, h *hwmanager.Host, phase hwmanager.Phase, step string, call hwmanager.StepCall, software []any) (any, error) {
	if h.Set == nil {
		return nil, errors.New("no hardware manager is there for it")
	}
	if len(software) == 0 {
		software = []any{map[string]any{"controller": softwareController}}
	}
	config := map[string]any{"logical_disks": software}
	call.Node = maps.Clone(call.Node)
	if call.Node == nil {
		call.Node = hwmanager.Node{}
	}
	call.Node["target_raid_config"] = config
	call.Node["raid_config"] = nil
	call.Args = map[string]any{}
	if phase == hwmanager.Deploy { // which has one step for both
		phase = hwmanager.Service
	}
	return h.Set.RunStep(ctx, h, phase, step, call)
}
