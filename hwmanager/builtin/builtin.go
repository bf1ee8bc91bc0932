// Package builtin is the list of the hardware managers that every agent has.
package builtin

import (
	"ferric/hwmanager"
	"ferric/hwmanager/firmware"
	"ferric/hwmanager/generic"
	"ferric/hwmanager/raidctl"
)

// Managers are new ones, in the order in which those of one level are asked.
func Managers() []hwmanager.Manager {
	return []hwmanager.Manager{generic.New(), firmware.New(), raidctl.New()}
}
