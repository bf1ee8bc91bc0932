package direct

import (
	"context"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// CustomAgent is the deploy interface "custom-agent": the agent is booted and
// taken down again as by "direct", what it does in between are the steps that a
// user, a template or a hardware manager asks for.
type CustomAgent struct{ *Deploy }

// NewCustomAgent makes the interface on top of that of images.
func NewCustomAgent(d *Deploy) CustomAgent { return CustomAgent{d} }

// Validate checks what the boot interface needs; no image is known here.
func (c CustomAgent) Validate(ctx context.Context, n *store.Node) error {
	ifs, err := c.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	return ifs.Boot.Validate(ctx, n)
}

// Steps are those around the ones that are asked for (deploy flow, section 4).
func (c CustomAgent) Steps() []driver.Step {
	return []driver.Step{
		{Interface: "deploy", Name: "deploy", Priority: 100, NeedsRamdisk: true, Restartable: true, Run: c.deploy},
		{Interface: "deploy", Name: "prepare_instance_boot", Priority: 60, NeedsRamdisk: true, Restartable: true, Run: c.prepareInstanceBoot},
		{Interface: "deploy", Name: "tear_down_agent", Priority: 40, NeedsRamdisk: true, Restartable: true, Run: c.tearDownAgent},
		{Interface: "deploy", Name: "boot_instance", Priority: 20, NeedsRamdisk: true, Restartable: true, Run: c.bootInstance},
	}
}

// Prepare powers the machine off and makes its next boot that of the agent.
func (c CustomAgent) Prepare(ctx context.Context, t *task.Task) error {
	ifs, err := c.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	t.Node.DriverInternalInfo["deploy_boot_mode"] = driver.BootModeOr(t.Node, c.cfg.DefaultBootMode)
	return c.prepareAgent(ctx, t, ifs)
}

// prepareInstanceBoot makes the machine boot its disk; a boot loader is the
// affair of the steps before.
func (c CustomAgent) prepareInstanceBoot(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	ifs, err := c.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	return driver.Finished, ifs.Boot.PrepareInstance(ctx, t)
}

var _ driver.Deploy = CustomAgent{}
