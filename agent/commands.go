package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ferric/agent/command"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// commands is the table of all commands (agent contract, section "Extensions
// and commands"). A parameter with "!" is required.
func (a *Agent) commands() command.Table {
	table := command.Table{
		"standby": {
			"prepare_image": {Async: true, Params: []string{"image_info!", "configdrive"}, Validate: a.validateImage, Run: a.prepareImage},
			"execute_bootc_install": {
				Async:  true,
				Params: []string{"image_source!", "instance_info", "pull_secret", "configdrive"},
				Run:    a.executeBootcInstall,
			},
			"get_partition_uuids": {Run: a.partitionUUIDs},
			"sync":                {Run: a.sync},
			"run_image":           {Async: true, Run: a.runImage},
			"power_off":           {Async: true, Run: a.powerOff},
		},
		"image": {
			"install_bootloader": {
				Async:  true,
				Params: []string{"root_uuid!", "efi_system_part_uuid", "prep_boot_part_uuid", "target_boot_mode", "ignore_bootloader_failure"},
				Run:    a.installBootloader,
			},
		},
		"clean":   a.stepCommands(hwmanager.Clean),
		"deploy":  a.stepCommands(hwmanager.Deploy),
		"service": a.stepCommands(hwmanager.Service),
		"rescue": {
			"finalize_rescue": {Params: []string{"rescue_password", "hashed"}, Run: a.finalizeRescue, After: a.handOver},
		},
		"system": {
			"lockdown": {Run: nothing, After: a.wantSilence},
		},
		"log": {
			"collect_system_logs": {Run: a.collectLogs},
		},
		"poll": {
			"get_hardware_info": {Run: a.hardwareInfo},
			"set_node_info":     {Params: []string{"node_info"}, Validate: a.onlyStandalone, Run: a.setNodeInfo},
		},
	}
	table["flow"] = a.flowExtension(table)
	return table
}

// Arguments of a command: parameters and where progress is reported.
type (
	params   = map[string]any
	progress = func(ipa.Progress)
)

func nothing(context.Context, params, progress) (any, error) { return nil, nil }

// wantSilence ends the serving of requests (system.lockdown).
func (a *Agent) wantSilence() {
	select {
	case a.lockdown <- struct{}{}:
	default: // already wanted
	}
}

// standalone: no conductor told the agent what it has to know.
func (a *Agent) standalone() bool { return len(a.cfg.APIURLs) == 0 }

func (a *Agent) onlyStandalone(params) error {
	if a.standalone() {
		return nil
	}
	return ipa.InvalidCommand.New("Node lookup data can only be set when the Ironic Python Agent is in standalone mode.")
}

// setNodeInfo takes what a lookup would have answered (poll.set_node_info).
func (a *Agent) setNodeInfo(_ context.Context, p params, _ progress) (any, error) {
	encoded, err := json.Marshal(p["node_info"])
	if err != nil {
		return nil, fmt.Errorf("node_info: %w", err)
	}
	var answer ipa.LookupResponse
	if err := json.Unmarshal(encoded, &answer); err != nil {
		return nil, ipa.CommandExecution.New("node_info is not the answer to a lookup: %v", err)
	}
	if uuid, _ := answer.Node["uuid"].(string); uuid == "" {
		return nil, ipa.CommandExecution.New("node_info has no node with a uuid")
	}
	a.setNode(answer.Node)
	a.applyLookup(answer.Config)
	return nil, nil
}

// executeBootcInstall installs a bootable container onto the root disk
// (standby.execute_bootc_install).
func (a *Agent) executeBootcInstall(ctx context.Context, p params, report progress) (any, error) {
	req := hwmanager.BootcRequest{}
	var problems [3]error
	req.Source, problems[0] = text(p, "image_source")
	req.PullSecret, problems[1] = text(p, "pull_secret")
	req.ConfigDrive, problems[2] = text(p, "configdrive")
	info, ok := p["instance_info"].(map[string]any)
	if !ok && p["instance_info"] != nil {
		problems[2] = errors.Join(problems[2], ipa.InvalidCommandParams.New("instance_info must be an object"))
	}
	if err := errors.Join(problems[:]...); err != nil {
		return nil, err
	}
	req.InstanceInfo = info
	device, err := a.installDevice(ctx)
	if err != nil {
		return nil, err
	}
	a.host.Image.Set(nil)
	result, err := hwmanager.First(a.set, "execute_bootc_install", func(b hwmanager.BootcInstaller) (*hwmanager.ImageResult, error) {
		return b.InstallBootc(ctx, a.host, device, req, a.currentNode(), report)
	})
	if err != nil {
		return nil, err
	}
	a.host.Image.Set(result)
	return result.Text, nil
}

func (a *Agent) validateImage(p params) error {
	_, err := hwmanager.ParseImageInfo(p["image_info"], a.host.Settings.MD5Enabled)
	return err
}

func (a *Agent) prepareImage(ctx context.Context, p params, report progress) (any, error) {
	info, err := hwmanager.ParseImageInfo(p["image_info"], a.host.Settings.MD5Enabled)
	if err != nil {
		return nil, err
	}
	configDrive, err := text(p, "configdrive")
	if err != nil {
		return nil, err
	}
	device, err := a.installDevice(ctx)
	if err != nil {
		return nil, err
	}
	a.host.Image.Set(nil)
	result, err := hwmanager.First(a.set, "write_image", func(w hwmanager.ImageWriter) (*hwmanager.ImageResult, error) {
		return w.WriteImage(ctx, a.host, device, info, configDrive, a.currentNode(), report)
	})
	if err != nil {
		return nil, err
	}
	a.host.Image.Set(result)
	return result.Text, nil
}

func (a *Agent) installDevice(ctx context.Context) (ipa.BlockDevice, error) {
	a.refreshNode(ctx)
	return hwmanager.First(a.set, "get_os_install_device", func(r hwmanager.RootPicker) (ipa.BlockDevice, error) {
		return r.InstallDevice(ctx, a.host, a.currentNode())
	})
}

// partitionUUIDs is empty before an image was written.
func (a *Agent) partitionUUIDs(context.Context, params, progress) (any, error) {
	last := a.host.Image.Last()
	if last == nil {
		return map[string]any{}, nil
	}
	return last.PartitionUUIDs(), nil
}

func (a *Agent) installBootloader(ctx context.Context, p params, report progress) (any, error) {
	var req hwmanager.BootloaderRequest
	var problems [4]error
	req.RootUUID, problems[0] = text(p, "root_uuid")
	req.ESPUUID, problems[1] = text(p, "efi_system_part_uuid")
	req.PRePUUID, problems[2] = text(p, "prep_boot_part_uuid")
	req.TargetBootMode, problems[3] = text(p, "target_boot_mode")
	if err := errors.Join(problems[:]...); err != nil {
		return nil, err
	}
	switch ignore := p["ignore_bootloader_failure"].(type) {
	case nil:
	case bool:
		req.IgnoreFailure = &ignore
	default:
		return nil, ipa.InvalidCommandParams.New("ignore_bootloader_failure must be a boolean")
	}
	device, err := a.writtenDevice(ctx)
	if err != nil {
		return nil, err
	}
	report(ipa.Progress{Step: "install_bootloader", Phase: ipa.PhaseBootLoader, SecondsLeft: -1})
	return hwmanager.First(a.set, "install_bootloader", func(b hwmanager.BootloaderInstaller) (any, error) {
		return nil, b.InstallBootloader(ctx, a.host, device, req)
	})
}

// writtenDevice is the disk with the image, or the one that it would go to:
// the agent may have been restarted since it was written.
func (a *Agent) writtenDevice(ctx context.Context) (ipa.BlockDevice, error) {
	last := a.host.Image.Last()
	if last == nil {
		return a.installDevice(ctx)
	}
	disks, err := hwmanager.First(a.set, "list_block_devices", func(l hwmanager.DiskLister) ([]ipa.BlockDevice, error) {
		return l.BlockDevices(ctx, a.host, false)
	})
	if err != nil {
		return ipa.BlockDevice{}, err
	}
	for _, disk := range disks {
		if disk.Name == last.Device {
			return disk, nil
		}
	}
	return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%s, which the image was written to, is gone", last.Device)
}

func (a *Agent) hardwareInfo(ctx context.Context, _ params, _ progress) (any, error) {
	return hwmanager.First(a.set, "list_hardware_info", func(i hwmanager.Inventorist) (any, error) {
		return i.Inventory(ctx, a.host)
	})
}

func (a *Agent) sync(ctx context.Context, _ params, _ progress) (any, error) {
	return nil, a.fullSync(ctx)
}

func (a *Agent) fullSync(ctx context.Context) error {
	_, err := hwmanager.All(a.set, "full_sync", func(s hwmanager.Syncer) (any, error) {
		return nil, s.FullSync(ctx, a.host)
	})
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// text is a parameter that is a string, "" if it is absent or null.
func text(p params, name string) (string, error) {
	switch value := p[name].(type) {
	case nil:
		return "", nil
	case string:
		return value, nil
	}
	return "", ipa.InvalidCommandParams.New("%s must be a string", name)
}

// setNode keeps the node as the conductor sent it.
func (a *Agent) setNode(node map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node = node
}

func (a *Agent) currentNode() hwmanager.Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.node
}

func (a *Agent) setToken(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = token
}

// secrets are texts that must not leave the machine in logs.
func (a *Agent) secrets() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var secrets []string
	for _, s := range []string{a.token, a.cfg.AgentToken, a.cfg.ImageServerPassword} {
		if s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}
