package generic

import (
	"context"
	"encoding/json"
	"errors"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/burnin"
)

// burnInSteps are those of a phase, clean or service. The one that writes over
// disks is for cleaning alone. Graphics processors need a tool that is not here, so
// that there is no step for them.
func (m *Manager) burnInSteps(phase hwmanager.Phase) []hwmanager.Step {
	steps := []hwmanager.Step{
		{Declaration: cleanStep("burnin_cpu", 0), Run: m.burnInCPU},
		{Declaration: cleanStep("burnin_memory", 0), Run: m.burnInMemory},
		{Declaration: cleanStep("burnin_network", 0), Run: m.burnInNetwork},
	}
	if phase == hwmanager.Clean {
		steps = append(steps, hwmanager.Step{Declaration: cleanStep("burnin_disk", 0), Run: m.burnInDisk})
	}
	return steps
}

// driverInfo is where operators put the parameters of burn-in.
func driverInfo(node hwmanager.Node) (map[string]any, error) {
	info, err := object(node, "driver_info")
	if err != nil {
		return nil, ipa.InvalidCommandParams.New("%v", err)
	}
	return info, nil
}

func (m *Manager) burnInCPU(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	options, err := burnInOptions(call, burnin.CPUOptionsOf)
	if err != nil {
		return nil, err
	}
	report, err := burnin.CPU(ctx, h, options, call.Progress)
	return concluded(h, options.Output, &report.Run, report, err)
}

func (m *Manager) burnInMemory(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	options, err := burnInOptions(call, burnin.MemoryOptionsOf)
	if err != nil {
		return nil, err
	}
	report, err := burnin.Memory(ctx, h, options, call.Progress)
	return concluded(h, options.Output, &report.Run, report, err)
}

func (m *Manager) burnInNetwork(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	options, err := burnInOptions(call, burnin.NetworkOptionsOf)
	if err != nil {
		return nil, err
	}
	report, err := burnin.Network(ctx, h, options, call.Progress)
	for _, nic := range report.Traffic {
		for _, counter := range nic.Troubles() {
			h.Log.WithField("step", report.Step).Warnf("%s counted %d %s", nic.Name, nic.Grown[counter], counter)
		}
	}
	return concluded(h, options.Output, &report.Run, report, err)
}

// burnInDisk writes over the disks that erase_devices would erase, after the same
// checks of all of them.
func (m *Manager) burnInDisk(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	options, err := burnInOptions(call, burnin.DiskOptionsOf)
	if err != nil {
		return nil, err
	}
	internal, err := object(call.Node, "driver_internal_info")
	if err != nil {
		return nil, ipa.InvalidCommandParams.New("%v", err)
	}
	skipReadOnly := false
	if err := boolOption(internal, "agent_erase_skip_read_only", &skipReadOnly); err != nil {
		return nil, ipa.InvalidCommandParams.New("%v", err)
	}
	disks, err := m.eraseTargets(ctx, h, call.Node, skipReadOnly)
	if err != nil {
		return nil, err
	}
	var targets []burnin.DiskTarget
	for _, d := range disks {
		if d.skip != "" {
			continue
		}
		target, err := h.Fence(d.device)
		if err != nil {
			return nil, err
		}
		targets = append(targets, burnin.DiskTarget{Name: d.device.Name, Target: target})
	}
	report, err := burnin.Disks(ctx, h, options, targets, call.Progress)
	for _, d := range disks {
		if d.skip == "" {
			forgetPartitions(ctx, h, d)
		}
	}
	return concluded(h, options.Output, &report.Run, report, err)
}

// burnInOptions reads the options of a step, which takes no arguments.
func burnInOptions[O any](call hwmanager.StepCall, read func(map[string]any) (O, error)) (O, error) {
	var none O
	if err := onlyArgs(call.Args); err != nil {
		return none, err
	}
	info, err := driverInfo(call.Node)
	if err != nil {
		return none, err
	}
	options, err := read(info)
	if err != nil {
		return none, ipa.InvalidCommandParams.New("%v", err)
	}
	return options, nil
}

// concluded logs how a burn-in ended and writes its report where the node wants
// it, which is also the result of the step. A report that cannot be written
// fails the step: somebody waits for it.
func concluded(h *hwmanager.Host, output string, run *burnin.Run, report any, failed error) (any, error) {
	log := h.Log.WithField("step", run.Step).WithField("seconds", run.Seconds)
	if run.Health != nil {
		for _, grown := range run.Health.Grown() {
			log.Warn(grown)
		}
	}
	if err := errors.Join(failed, burnin.WriteReport(output, report)); err != nil {
		return nil, err
	}
	if text, err := json.Marshal(report); err == nil {
		log = log.WithField("report", string(text))
	}
	log.Info("burned in, nothing wrong was found")
	return report, nil
}
