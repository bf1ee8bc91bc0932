package direct

import (
	"context"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Ramdisk is the deploy interface "ramdisk": the instance is a kernel and a
// ramdisk, or an ISO image, that the machine boots each time; its disks are left
// alone. Cleaning is that of "direct".
type Ramdisk struct{ *Deploy }

// NewRamdisk makes the interface on top of that of images.
func NewRamdisk(d *Deploy) Ramdisk { return Ramdisk{d} }

// instanceValidator is a boot interface that knows what it can boot an instance from.
type instanceValidator interface {
	ValidateInstance(ctx context.Context, n *store.Node) error
}

// Validate checks what the boot interface needs and what is to be booted.
func (r Ramdisk) Validate(ctx context.Context, n *store.Node) error {
	ifs, err := r.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	if n.InstanceInfo.String("boot_iso") == "" && (n.InstanceInfo.String("kernel") == "" || n.InstanceInfo.String("ramdisk") == "") {
		return driver.Missing("Node %s has nothing to boot: set boot_iso, or kernel and ramdisk, in its instance_info.", n.UUID)
	}
	if v, ok := ifs.Boot.(instanceValidator); ok {
		return v.ValidateInstance(ctx, n)
	}
	return nil
}

// Steps has the one step deploy.deploy.
func (r Ramdisk) Steps() []driver.Step {
	return []driver.Step{{Interface: "deploy", Name: "deploy", Priority: 100, Restartable: true, Run: r.deploy}}
}

// UsesAgent: nobody deploys but the conductor.
func (Ramdisk) UsesAgent() bool { return false }

// Prepare powers the machine off.
func (r Ramdisk) Prepare(ctx context.Context, t *task.Task) error {
	ifs, err := r.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	t.Node.DriverInternalInfo["deploy_boot_mode"] = driver.BootModeOr(t.Node, r.cfg.DefaultBootMode)
	return driver.SwitchOff(ctx, t, ifs.Power)
}

// deploy boots the instance.
func (r Ramdisk) deploy(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	ifs, err := r.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	if err := ifs.Boot.PrepareInstance(ctx, t); err != nil {
		return 0, err
	}
	return driver.Finished, driver.BootAnew(ctx, t, ifs.Power)
}

// TakeOver makes the machine of an instance that is adopted find it whenever it
// boots from the network.
func (r Ramdisk) TakeOver(ctx context.Context, t *task.Task) error {
	ifs, err := r.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	if err := r.Validate(ctx, t.Node); err != nil {
		return err
	}
	return ifs.Boot.PrepareInstance(ctx, t)
}

var (
	_ driver.Deploy     = Ramdisk{}
	_ driver.TakingOver = Ramdisk{}
)
