package direct

import (
	"context"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// RAID is the RAID interface "agent": its steps are those of the agent in the
// ramdisk.
type RAID struct{}

// Validate: what the machine can have is found out in it.
func (RAID) Validate(context.Context, *store.Node) error { return nil }

// Properties: nothing is read of driver_info.
func (RAID) Properties() map[string]string { return map[string]string{} }

// ValidateRAIDConfig takes whatever holds for every controller.
func (RAID) ValidateRAIDConfig(context.Context, *store.Node, store.Object) error { return nil }

// ConfiguresRAID is what it is for.
func (RAID) ConfiguresRAID() bool { return true }

var _ driver.RAID = RAID{}
