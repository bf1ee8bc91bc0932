package main

import "ferric/api/ironic"

// provisionStates that nodes can be in. Literal table, for the shell.
var provisionStates = []string{
	ironic.StateEnroll, ironic.StateVerifying, ironic.StateManageable, ironic.StateAvailable,
	ironic.StateInspecting, ironic.StateInspectWait, ironic.StateInspectFailed,
	ironic.StateCleaning, ironic.StateCleanWait, ironic.StateCleanHold, ironic.StateCleanFailed,
	ironic.StateDeploying, ironic.StateDeployWait, ironic.StateDeployHold, ironic.StateDeployFailed, ironic.StateActive,
	ironic.StateDeleting, ironic.StateError, ironic.StateAdopting, ironic.StateAdoptFailed,
	ironic.StateRescuing, ironic.StateRescueWait, ironic.StateRescueFailed, ironic.StateRescue,
	ironic.StateUnrescuing, ironic.StateUnrescueFailed,
	ironic.StateServicing, ironic.StateServiceWait, ironic.StateServiceHold, ironic.StateServiceFailed,
}

var (
	bootDevices = []string{"pxe", "disk", "cdrom", "bios", "safe", "wanboot"}
	bootModes   = []string{"bios", "uefi"}
	httpMethods = []string{"POST", "PUT", "GET", "DELETE", "PATCH"}
)
