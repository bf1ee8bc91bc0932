package flow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"ferric/api/agentclient"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// isManualClean tells manual cleaning, which ends in manageable, from the
// automated one, which ends in available.
func isManualClean(n *store.Node) bool {
	return n.TargetProvisionState != nil && *n.TargetProvisionState == provision.Manageable
}

// startCleaning boots the agent for cleaning. The node is cleaning.
func (f *Flow) startCleaning(ctx context.Context, t *task.Task) error {
	n := t.Node
	if !isManualClean(n) && !f.wantsAutomatedClean(n) {
		t.Log.Info("automated cleaning is off for this node")
		return f.cleaned(ctx, t)
	}
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = errors.Join(ifs.Power.Validate(ctx, n), ifs.Boot.Validate(ctx, n))
	}
	if err != nil {
		return f.cleanFailed(ctx, t, fmt.Sprintf("Failed to prepare node %s for cleaning: %v", n.UUID, err))
	}
	info := n.DriverInternalInfo
	info["agent_erase_devices_iterations"] = float64(f.cfg.EraseDevicesIterations)
	info["agent_erase_devices_zeroize"] = f.cfg.EraseDevicesZeroize
	info["agent_enable_ata_secure_erase"] = f.cfg.EnableATASecureErase
	info["agent_enable_nvme_secure_erase"] = f.cfg.EnableNVMeSecureErase
	info["agent_erase_skip_read_only"] = f.cfg.EraseSkipReadOnly
	info["agent_continue_if_secure_erase_failed"] = f.cfg.ContinueIfSecureEraseFailed
	info["disk_erasure_concurrency"] = float64(f.cfg.DiskErasureConcurrency)
	if !isManualClean(n) {
		if err := f.chooseCleaning(ctx, n); err != nil {
			return f.cleanFailed(ctx, t, fmt.Sprintf("Cannot clean node %s: %v", n.UUID, err))
		}
	}
	if cleansAsAsked(n) && !info.Bool(steps.Clean.NoRamdisk) {
		asked, err := askedSteps(n, steps.Clean)
		if err != nil {
			return f.cleanFailed(ctx, t, fmt.Sprintf("Cannot clean node %s: %v", n.UUID, err))
		}
		info[steps.Clean.NoRamdisk] = !needsAgent(ifs, steps.Clean, asked)
	}
	if !info.Bool(steps.Clean.NoRamdisk) {
		agent, err := ifs.Deploy.PrepareCleaning(ctx, t)
		if err != nil {
			return f.cleanFailed(ctx, t, fmt.Sprintf("Failed to prepare node %s for cleaning: %v", n.UUID, err))
		}
		switch {
		case !agent:
			info[steps.Clean.NoRamdisk] = true
		case info.String(driver.KeyAgentURL) == "": // its machine boots
			return t.Process(ctx, provision.Wait, "")
		}
	}
	return f.loadCleanSteps(ctx, t)
}

// wantsAutomatedClean: the node's own choice, else the configuration's.
func (f *Flow) wantsAutomatedClean(n *store.Node) bool {
	if n.AutomatedClean != nil {
		return *n.AutomatedClean
	}
	return f.cfg.AutomatedClean
}

// loadCleanSteps finds out what can be cleaned, by asking the agent too where
// there is one, decides what is, and starts. The node is cleaning.
func (f *Flow) loadCleanSteps(ctx context.Context, t *task.Task) error {
	n := t.Node
	offered, err := f.offeredSteps(ctx, t, steps.Clean)
	if errors.Is(err, agentclient.ErrUnreachable) {
		f.notAsked(ctx, t, err)
		return t.Process(ctx, provision.Wait, "")
	}
	if err != nil {
		return f.cleanFailed(ctx, t, fmt.Sprintf("Failed to find the clean steps of node %s: %v", n.UUID, err))
	}
	var list []steps.Step
	if cleansAsAsked(n) {
		list, err = manualSteps(n, steps.Clean, offered)
		err = f.namePlugins(ctx, n, err)
	} else {
		steps.Override(offered, f.cleanPriorities())
		list = steps.Automatic(offered)
	}
	if err != nil {
		return f.cleanFailed(ctx, t, fmt.Sprintf("Cannot clean node %s: %v", n.UUID, err))
	}
	if err := setSteps(n, steps.Clean, list, -1); err != nil {
		return err
	}
	return f.runSteps(ctx, t, steps.Clean)
}

// cleanPriorities are the overrides of the configuration.
func (f *Flow) cleanPriorities() map[string]int {
	overrides := map[string]int{}
	for id, p := range map[string]*int{
		"deploy.erase_devices":          f.cfg.EraseDevicesPriority,
		"deploy.erase_devices_metadata": f.cfg.EraseDevicesMetadataPriority,
		"raid.delete_configuration":     f.cfg.DeleteConfigurationPriority,
		"raid.create_configuration":     f.cfg.CreateConfigurationPriority,
	} {
		if p != nil {
			overrides[id] = *p
		}
	}
	maps.Copy(overrides, priorities(f.cfg.CleanStepPriorityOverride))
	return overrides
}

// priorities reads those of the configuration.
func priorities(texts map[string]string) map[string]int {
	list := map[string]int{}
	for id, text := range texts {
		if p, err := strconv.Atoi(text); err == nil { // as Validate has made sure
			list[id] = p
		}
	}
	return list
}

// cleaned ends cleaning: the agent goes, the node is available, or manageable
// after manual cleaning and for a retired node.
func (f *Flow) cleaned(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil && n.DriverInternalInfo[steps.Clean.List] != nil && !withoutAgent(n, steps.Clean) {
		f.collectLogsOfSuccess(ctx, t, "cleaning")
		err = ifs.Deploy.TearDownCleaning(ctx, t)
	}
	if err != nil {
		return f.cleanFailed(ctx, t, fmt.Sprintf("Failed to tear down node %s after cleaning: %v", n.UUID, err))
	}
	event := provision.Done
	if isManualClean(n) || n.Retired {
		event = provision.Manage
	}
	f.forgetCleaning(n)
	t.Event(ctx, "provision", "cleaned")
	return t.Process(ctx, event, "")
}

// forgetCleaning takes out of the row what only cleaning needs.
func (f *Flow) forgetCleaning(n *store.Node) {
	wipeSteps(n, steps.Clean)
	f.leaveAgent(n)
	for _, key := range []string{
		"agent_erase_devices_iterations", "agent_erase_devices_zeroize", "agent_enable_ata_secure_erase", "agent_enable_nvme_secure_erase",
		"agent_erase_skip_read_only", "agent_continue_if_secure_erase_failed", "disk_erasure_concurrency",
	} {
		delete(n.DriverInternalInfo, key)
	}
}

// cleanFailed ends cleaning with a reason. If a step was running, data may be
// half erased: the node goes into maintenance until an operator has looked
// (state-machine contract, section 4).
func (f *Flow) cleanFailed(ctx context.Context, t *task.Task, text string) error {
	n := t.Node
	t.SetError("%s", text)
	if len(n.CleanStep) > 0 {
		fault := "clean failure"
		n.Maintenance, n.Fault, n.MaintenanceReason = true, &fault, n.LastError
	}
	return f.endCleaning(ctx, t, provision.Fail)
}

// endCleaning tears the agent down as far as that works and leaves cleaning by
// event. A tear-down that fails is told, but does not hold the node.
func (f *Flow) endCleaning(ctx context.Context, t *task.Task, event provision.Event) error {
	n := t.Node
	if err := ending(ctx, t, event); err != nil {
		return err
	}
	if n.DriverInternalInfo.Bool(steps.Clean.Running) { // the agent knows more than the reason, and is about to go
		f.keepEraseReport(ctx, t, nil, *n.LastError)
	}
	if event == provision.Fail {
		f.collectLogs(ctx, t, "cleaning")
	}
	ifs, err := f.drivers.Interfaces(n)
	if err == nil && !withoutAgent(n, steps.Clean) {
		err = ifs.Deploy.TearDownCleaning(ctx, t)
	}
	if err == nil && event == provision.Fail && f.cfg.PowerOffInCleanFail {
		err = driver.SwitchOff(ctx, t, ifs.Power)
	}
	if err != nil {
		t.SetError("%s Tearing down cleaning failed too: %v", *n.LastError, err)
	}
	f.forgetCleaning(n)
	return t.Process(ctx, event, "")
}
