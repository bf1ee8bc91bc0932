// Package direct is the deploy interface "direct": the agent in the ramdisk
// fetches the image itself and writes it to the disk.
package direct

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Config of the interface; the names are Ironic's.
type Config struct {
	// CommandWaitInterval and CommandWaitAttempts bound the wait for an agent
	// command that the conductor waits for (install_bootloader).
	CommandWaitInterval time.Duration `ini:"agent.command_wait_interval"`
	CommandWaitAttempts int           `ini:"agent.command_wait_attempts"`
	// AgentSilenceTimeout is how long the agent may give no answer meanwhile.
	AgentSilenceTimeout time.Duration `ini:"ferric.agent_silence_timeout"`
	// PostDeployGetPowerStateRetries and …Interval bound the wait for a
	// machine to go off after its agent was told to.
	PowerStateRetries  int           `ini:"agent.post_deploy_get_power_state_retries"`
	PowerStateInterval time.Duration `ini:"agent.post_deploy_get_power_state_retry_interval"`
	// StreamRawImages lets the agent stream raw images to the disk.
	StreamRawImages bool `ini:"agent.stream_raw_images"`
	// AllowMD5Checksum accepts md5 checksums of images.
	AllowMD5Checksum bool `ini:"agent.allow_md5_checksum"`
	// DefaultBootMode is that of nodes that nothing else is said of: "uefi" or "bios".
	DefaultBootMode string `ini:"deploy.default_boot_mode"`
	// PermittedImageFormats are the disk formats that may be deployed.
	PermittedImageFormats []string `ini:"conductor.permitted_image_formats"`
}

// DefaultConfig has Ironic's defaults (deploy flow, sections 1 and 5).
func DefaultConfig() Config {
	return Config{
		CommandWaitInterval:   6 * time.Second,
		CommandWaitAttempts:   100,
		AgentSilenceTimeout:   5 * time.Minute,
		PowerStateRetries:     6,
		PowerStateInterval:    5 * time.Second,
		StreamRawImages:       true,
		DefaultBootMode:       "uefi",
		PermittedImageFormats: []string{"raw", "gpt", "qcow2", "iso"},
	}
}

// Validate names an option whose value is none.
func (c Config) Validate() error {
	if c.DefaultBootMode != "uefi" && c.DefaultBootMode != "bios" {
		return fmt.Errorf("[deploy]default_boot_mode is %q, it must be uefi or bios", c.DefaultBootMode)
	}
	return nil
}

// Deploy implements driver.Deploy. The interfaces that it works through are
// those of the node.
type Deploy struct {
	cfg     Config
	drivers driver.Resolver
	views   steps.Views
}

// New makes the interface.
func New(cfg Config, drivers driver.Resolver, views steps.Views) *Deploy {
	return &Deploy{cfg: cfg, drivers: drivers, views: views}
}

// Properties describes what is read of driver_info.
func (d *Deploy) Properties() map[string]string {
	return map[string]string{
		"deploy_forces_oob_reboot": "Whether the machine is powered off by its BMC at the end of a deployment, rather than by the agent. Default: false.",
		"fast_track":               "Whether an agent that runs already is gone on with. Default: [deploy]fast_track.",
	}
}

// Validate checks what the boot interface and the image need.
func (d *Deploy) Validate(ctx context.Context, n *store.Node) error {
	ifs, err := d.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	if err := errors.Join(d.views.Agents.ValidateFastTrack(n), ifs.Boot.Validate(ctx, n)); err != nil {
		return err
	}
	_, err = d.image(n)
	return err
}

// Steps of a direct deployment (deploy flow, section 4).
func (d *Deploy) Steps() []driver.Step {
	return []driver.Step{
		{Interface: "deploy", Name: "deploy", Priority: 100, Restartable: true, Run: d.deploy},
		{Interface: "deploy", Name: "write_image", Priority: 80, Restartable: true, Run: d.writeImage},
		{Interface: "deploy", Name: "prepare_instance_boot", Priority: 60, Restartable: true, AgentOf: "deploy.write_image", Run: d.prepareInstanceBoot},
		{Interface: "deploy", Name: "tear_down_agent", Priority: 40, Restartable: true, Run: d.tearDownAgent},
		// The network interface noop has nothing to switch.
		{Interface: "deploy", Name: "boot_instance", Priority: 20, Restartable: true, Run: d.bootInstance},
	}
}

// UsesAgent: the agent writes the image.
func (d *Deploy) UsesAgent() bool { return true }

// Prepare powers the machine off and makes its next boot that of the agent, if
// none is at hand that can be gone on with.
func (d *Deploy) Prepare(ctx context.Context, t *task.Task) error {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	image, err := d.image(t.Node)
	if err != nil {
		return err
	}
	t.Node.InstanceInfo["image_url"] = image.URLs[0]
	t.Node.InstanceInfo["image_type"] = image.ImageType
	t.Node.DriverInternalInfo["is_whole_disk_image"] = image.ImageType == ipa.WholeDiskImage
	t.Node.DriverInternalInfo["deploy_boot_mode"] = driver.BootModeOr(t.Node, d.cfg.DefaultBootMode)
	return d.prepareAgent(ctx, t, ifs)
}

// prepareAgent powers the machine off and makes its next boot that of the agent,
// or leaves an agent running that the deployment can go on with.
func (d *Deploy) prepareAgent(ctx context.Context, t *task.Task, ifs driver.Interfaces) error {
	if d.atHand(ctx, t, ifs) {
		return t.Save(ctx)
	}
	if err := driver.SwitchOff(ctx, t, ifs.Power); err != nil {
		return err
	}
	return ifs.Boot.PrepareRamdisk(ctx, t, nil)
}

// atHand says whether an agent can be gone on with; where that was wanted, the
// node's events tell the outcome.
func (d *Deploy) atHand(ctx context.Context, t *task.Task, ifs driver.Interfaces) bool {
	yes, why := d.views.Agents.AtHand(ctx, t.Node, ifs.Power)
	switch {
	case yes:
		t.Event(ctx, event.FastTrack, "the agent that runs already goes on")
	case d.views.Agents.WantsFastTrack(t.Node):
		t.Event(ctx, event.FastTrack, "not possible: %s", why)
	}
	return yes
}

// deploy boots the agent; the heartbeat of the agent goes on. One that Prepare
// has left running is gone on with at once, unless it has vanished since.
func (d *Deploy) deploy(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	if d.views.Agents.WantsFastTrack(t.Node) && t.Node.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		if d.atHand(ctx, t, ifs) {
			return driver.Finished, nil
		}
		if err := ifs.Boot.PrepareRamdisk(ctx, t, nil); err != nil {
			return 0, err
		}
	}
	return driver.Waiting, driver.SwitchPower(ctx, t, ifs.Power, driver.Rebooting, 0)
}

// writeImage has the agent write the image; the heartbeat at its end goes on.
func (d *Deploy) writeImage(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	image, err := d.image(t.Node)
	if err != nil {
		return 0, err
	}
	args := map[string]any{"image_info": image, "configdrive": nil}
	if drive := t.Node.InstanceInfo.String("configdrive"); drive != "" {
		args["configdrive"] = drive
	}
	step := steps.Step{Interface: "deploy", Step: "write_image", Priority: 80, Args: args}
	return driver.Waiting, steps.Execute(ctx, t, steps.Deploy, step, d.views)
}

// prepareInstanceBoot makes the machine boot what was written: boot entries on
// UEFI, the boot device at the BMC, no network boot any more.
func (d *Deploy) prepareInstanceBoot(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	agent, err := d.views.Agents.Of(t.Node)
	if err != nil {
		return 0, err
	}
	answer, err := agent.Execute(ctx, "standby.get_partition_uuids", map[string]any{}, true)
	if err != nil {
		return 0, fmt.Errorf("ask the agent for the partitions' UUIDs: %w", err)
	}
	if answer.Status != ipa.StatusSucceeded {
		return 0, steps.Failure(answer)
	}
	var uuids partitionUUIDs
	if err := json.Unmarshal(answer.Result, &uuids); err != nil {
		return 0, fmt.Errorf("the agent's answer about the partitions' UUIDs: %w", err)
	}
	if uuids.Root != nil && *uuids.Root != "" {
		t.Node.DriverInternalInfo["root_uuid_or_disk_id"] = *uuids.Root
	}
	if driver.BootMode(t.Node) == "uefi" || imageType(t.Node.InstanceInfo) == ipa.PartitionImage || onSoftwareRAID(t.Node) && rootUUID(t.Node) != "" {
		if err := d.installBootloader(ctx, t, uuids); err != nil {
			return 0, err
		}
	}
	t.Event(ctx, "image", "image written")
	return driver.Finished, ifs.Boot.PrepareInstance(ctx, t)
}

// tearDownAgent has the agent power the machine off, and does it through the
// BMC if the agent cannot (deploy flow, section 5). An agent whose machine must
// not be powered off is told to take its hands from it: a reset follows.
func (d *Deploy) tearDownAgent(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	if t.Node.DisablePowerOff {
		agent, err := d.views.Agents.Of(t.Node)
		if err != nil {
			return 0, err
		}
		if _, err := agent.Execute(ctx, "system.lockdown", map[string]any{}, false); err != nil {
			t.Log.WithError(err).Warn("the agent did not take the machine down, which is reset all the same")
		}
		return driver.Finished, nil
	}
	if driver.StaysOn(t.Node, ifs.Power) { // it is booted anew through the agent
		return driver.Finished, d.sync(ctx, t)
	}
	if yes, err := strconv.ParseBool(fmt.Sprint(t.Node.DriverInfo["deploy_forces_oob_reboot"])); yes && err == nil {
		return driver.Finished, errors.Join(d.sync(ctx, t), driver.SwitchOff(ctx, t, ifs.Power))
	}
	if err := d.softPowerOff(ctx, t, ifs.Power); err != nil {
		t.Log.WithError(err).Warn("the agent did not power the machine off, the BMC does")
	}
	return driver.Finished, driver.SwitchOff(ctx, t, ifs.Power)
}

// sync has the agent write out what it holds in memory, before the machine is
// cut off.
func (d *Deploy) sync(ctx context.Context, t *task.Task) error {
	agent, err := d.views.Agents.Of(t.Node)
	if err != nil {
		return err
	}
	result, err := agent.Execute(ctx, "standby.sync", map[string]any{}, true)
	if err != nil {
		return fmt.Errorf("have the agent sync the disks: %w", err)
	}
	if result.Status != ipa.StatusSucceeded {
		return steps.Failure(result)
	}
	return nil
}

func (d *Deploy) softPowerOff(ctx context.Context, t *task.Task, power driver.Power) error {
	agent, err := d.views.Agents.Of(t.Node)
	if err != nil {
		return err
	}
	result, err := agent.Execute(ctx, "standby.power_off", map[string]any{}, false)
	if err != nil {
		return err
	}
	if result.Status == ipa.StatusFailed {
		return steps.Failure(result)
	}
	budget := time.Duration(d.cfg.PowerStateRetries) * d.cfg.PowerStateInterval
	return poll(ctx, budget, 500*time.Millisecond, d.cfg.PowerStateInterval, func() (bool, error) {
		state, err := power.PowerState(ctx, t.Node)
		return state == driver.PowerOff, err
	})
}

func (d *Deploy) bootInstance(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	return driver.Finished, driver.BootAnew(ctx, t, ifs.Power)
}

// CleanUp takes back what Prepare and the steps have set up for booting.
func (d *Deploy) CleanUp(ctx context.Context, t *task.Task) error {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	return errors.Join(ifs.Boot.CleanUpRamdisk(ctx, t), ifs.Boot.CleanUpInstance(ctx, t))
}

// TearDown ends the instance: the machine goes off.
func (d *Deploy) TearDown(ctx context.Context, t *task.Task) error {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	return driver.SwitchOff(ctx, t, ifs.Power)
}

// PrepareCleaning boots the agent, if none is at hand.
func (d *Deploy) PrepareCleaning(ctx context.Context, t *task.Task) (bool, error) {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return false, err
	}
	if d.atHand(ctx, t, ifs) {
		return true, nil
	}
	if err := ifs.Boot.PrepareRamdisk(ctx, t, nil); err != nil {
		return false, err
	}
	return true, driver.SwitchPower(ctx, t, ifs.Power, driver.Rebooting, 0)
}

// TearDownCleaning ends the agent: the machine goes off, unless the next
// operation is to go on with it.
func (d *Deploy) TearDownCleaning(ctx context.Context, t *task.Task) error {
	ifs, err := d.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	if d.atHand(ctx, t, ifs) {
		return ifs.Boot.CleanUpRamdisk(ctx, t)
	}
	return errors.Join(driver.SwitchOff(ctx, t, ifs.Power), ifs.Boot.CleanUpRamdisk(ctx, t))
}

// poll asks done until it says yes, with a growing pause, or the budget is
// used up. An error of done is kept for the case that the budget runs out.
func poll(ctx context.Context, budget, first, longest time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	var last error
	for pause := first; ; pause = min(2*pause, longest) {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		last = err
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not done after %v", budget), last)
		case <-time.After(pause):
		}
	}
}

var _ driver.Deploy = (*Deploy)(nil)
