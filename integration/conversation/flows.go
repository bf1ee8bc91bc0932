package conversation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
)

// Phases whose steps an agent executes.
const (
	Clean   = "clean"
	Deploy  = "deploy"
	Service = "service"
)

// Steps asks for the steps of a phase and keeps the versions of the hardware managers, which go with each step.
func (c *Conductor) Steps(ctx context.Context, phase string) (map[string][]ipa.Step, error) {
	result, err := done(c.Command(ctx, phase+".get_"+phase+"_steps", map[string]any{"node": c.nodeWith(""), "ports": c.Ports}, true))
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(result.Result, &members); err != nil {
		return nil, fmt.Errorf("%s steps: %w", phase, err)
	}
	var steps map[string][]ipa.Step
	var versions map[string]any
	if err := json.Unmarshal(members[phase+"_steps"], &steps); err != nil {
		return nil, fmt.Errorf("%s_steps %.200q: %w", phase, members[phase+"_steps"], err)
	}
	if err := json.Unmarshal(members["hardware_manager_version"], &versions); err != nil || len(versions) == 0 {
		return nil, fmt.Errorf("hardware_manager_version %.200q: %v", members["hardware_manager_version"], err)
	}
	for manager, list := range steps {
		if len(list) == 0 {
			return nil, fmt.Errorf("%s_steps: %s has none", phase, manager)
		}
		for _, step := range list {
			if step.Step == "" || step.Interface == "" {
				return nil, fmt.Errorf("%s_steps: %s has a step without step or interface: %+v", phase, manager, step)
			}
		}
	}
	c.SetVersions(versions)
	return steps, nil
}

// SetVersions replaces the versions of the hardware managers that the next steps go with.
func (c *Conductor) SetVersions(versions map[string]any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions = versions
}

// Versions are those of the hardware managers.
func (c *Conductor) Versions() map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.versions
}

// Begin sends a step to be executed, without waiting for its end.
func (c *Conductor) Begin(ctx context.Context, phase string, step map[string]any) (ipa.Result, error) {
	configDrive := ""
	if args, ok := step["args"].(map[string]any); ok && phase == Deploy {
		configDrive, _ = args["configdrive"].(string)
	}
	return c.Command(ctx, phase+".execute_"+phase+"_step", map[string]any{
		"step": step, "node": c.nodeWith(configDrive), "ports": c.Ports, phase + "_version": c.Versions(),
	}, false)
}

// End waits for the end of the step that runs: at each heartbeat the list of commands is fetched, and the last
// execute_<phase>_step in it looked at (deploy flow 3).
func (c *Conductor) End(ctx context.Context, phase string) (ipa.Result, error) {
	name := "execute_" + phase + "_step"
	for {
		if _, err := c.NextHeartbeat(ctx); err != nil {
			return ipa.Result{}, fmt.Errorf("%s step: %w", phase, err)
		}
		list, err := c.Commands(ctx)
		if err != nil {
			return ipa.Result{}, err
		}
		last := -1
		for i, r := range list {
			if r.Name == name {
				last = i
			}
		}
		if last < 0 {
			return ipa.Result{}, fmt.Errorf("the agent's list has no %s", name)
		}
		if list[last].Status != ipa.StatusRunning {
			return list[last], nil
		}
	}
}

// Step executes a step to its end. The echoed step is to be the same by interface and name.
func (c *Conductor) Step(ctx context.Context, phase string, step map[string]any) (ipa.Result, error) {
	begun, err := c.Begin(ctx, phase, step)
	if err != nil {
		return ipa.Result{}, err
	}
	if begun.Status != ipa.StatusRunning {
		return begun, fmt.Errorf("step %s of %s: %s at once: %w", step["step"], phase, begun.Status, failure(begun))
	}
	ended, err := done(c.End(ctx, phase))
	if err != nil {
		return ended, fmt.Errorf("step %s of %s: %w", step["step"], phase, err)
	}
	var echo map[string]json.RawMessage
	var same struct{ Interface, Step string }
	if err := json.Unmarshal(ended.Result, &echo); err != nil {
		return ended, fmt.Errorf("step %s of %s: %w", step["step"], phase, err)
	}
	if err := json.Unmarshal(echo[phase+"_step"], &same); err != nil || same.Interface != step["interface"] || same.Step != step["step"] {
		return ended, fmt.Errorf("step %s of %s is echoed as %s", step["step"], phase, echo[phase+"_step"])
	}
	return ended, nil
}

// Wait sends a command without wait and polls the list for its end, as for install_bootloader: the newest result of that
// name counts.
func (c *Conductor) Wait(ctx context.Context, command string, params map[string]any) (ipa.Result, error) {
	if _, err := c.Command(ctx, command, params, false); err != nil {
		return ipa.Result{}, err
	}
	_, name, _ := strings.Cut(command, ".")
	for {
		list, err := c.Commands(ctx)
		if err != nil {
			return ipa.Result{}, err
		}
		for _, r := range slices.Backward(list) {
			if r.Name == name && r.Status != ipa.StatusRunning {
				return done(r, nil)
			}
			if r.Name == name {
				break
			}
		}
		select {
		case <-ctx.Done():
			return ipa.Result{}, fmt.Errorf("wait for the end of %s: %w", command, ctx.Err())
		case <-time.After(waitInterval):
		}
	}
}

// Sync sends a command with wait and returns the result of its success.
func (c *Conductor) Sync(ctx context.Context, command string, params map[string]any) (json.RawMessage, error) {
	result, err := done(c.Command(ctx, command, params, true))
	return result.Result, err
}

// done makes an error of every end but success.
func done(r ipa.Result, err error) (ipa.Result, error) {
	if err == nil && r.Status != ipa.StatusSucceeded {
		err = fmt.Errorf("%s is %s: %w", r.Name, r.Status, failure(r))
	}
	return r, err
}

func failure(r ipa.Result) error {
	if r.Error == nil {
		return errors.New("without an error")
	}
	return r.Error
}

// Image is what a direct deploy writes.
type Image struct {
	URL         string
	SHA256      string
	Format      string // disk_format
	Stream      bool   // stream_raw_images
	ConfigDrive string // base64 of the gzipped image, or its URL
}

// WriteImageStep is the step as the direct deploy interface makes it.
func (c *Conductor) WriteImageStep(i Image) map[string]any {
	var configDrive any // null if there is none
	if i.ConfigDrive != "" {
		configDrive = i.ConfigDrive
	}
	return map[string]any{"interface": "deploy", "step": "write_image", "args": map[string]any{
		"image_info": map[string]any{
			"id": i.URL[strings.LastIndex(i.URL, "/")+1:], "urls": []string{i.URL}, "disk_format": i.Format, "container_format": "bare",
			"stream_raw_images": i.Stream, "os_hash_algo": "sha256", "os_hash_value": i.SHA256, "node_uuid": c.uuid(), "image_type": "whole-disk",
		},
		"configdrive": configDrive,
	}}
}

// DirectDeploy deploys a whole-disk image onto a UEFI machine, up to where its power goes off: the sequence of the peer
// notes. The first heartbeat has been waited for.
func (c *Conductor) DirectDeploy(ctx context.Context, i Image) (logs json.RawMessage, err error) {
	if _, err := c.Steps(ctx, Deploy); err != nil {
		return nil, err
	}
	if _, err := c.Commands(ctx); err != nil {
		return nil, err
	}
	if _, err := c.Step(ctx, Deploy, c.WriteImageStep(i)); err != nil {
		return nil, err
	}
	answer, err := c.Sync(ctx, "standby.get_partition_uuids", nil)
	if err != nil {
		return nil, err
	}
	var uuids map[string]any
	if err := json.Unmarshal(answer, &uuids); err != nil {
		return nil, fmt.Errorf("get_partition_uuids: %w", err)
	}
	if _, err := c.Wait(ctx, "image.install_bootloader", map[string]any{
		"root_uuid": uuids["root uuid"], "efi_system_part_uuid": uuids["efi system partition uuid"],
		"prep_boot_part_uuid": uuids["PReP Boot partition uuid"], "target_boot_mode": "uefi",
	}); err != nil {
		return nil, err
	}
	if logs, err = c.Sync(ctx, "log.collect_system_logs", nil); err != nil {
		return nil, err
	}
	_, err = c.Command(ctx, "standby.power_off", nil, false)
	return logs, err
}
