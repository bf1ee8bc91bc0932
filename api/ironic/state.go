package ironic

// Provision states (state machine contract, section 1).
const (
	StateEnroll         = "enroll"
	StateVerifying      = "verifying"
	StateManageable     = "manageable"
	StateAvailable      = "available"
	StateInspecting     = "inspecting"
	StateInspectWait    = "inspect wait"
	StateInspectFailed  = "inspect failed"
	StateCleaning       = "cleaning"
	StateCleanWait      = "clean wait"
	StateCleanHold      = "clean hold"
	StateCleanFailed    = "clean failed"
	StateDeploying      = "deploying"
	StateDeployWait     = "wait call-back"
	StateDeployHold     = "deploy hold"
	StateDeployFailed   = "deploy failed"
	StateActive         = "active"
	StateDeleting       = "deleting"
	StateError          = "error"
	StateAdopting       = "adopting"
	StateAdoptFailed    = "adopt failed"
	StateRescuing       = "rescuing"
	StateRescueWait     = "rescue wait"
	StateRescueFailed   = "rescue failed"
	StateRescue         = "rescue"
	StateUnrescuing     = "unrescuing"
	StateUnrescueFailed = "unrescue failed"
	StateServicing      = "servicing"
	StateServiceWait    = "service wait"
	StateServiceHold    = "service hold"
	StateServiceFailed  = "service failed"
)

// Targets of PUT /v1/nodes/<node>/states/provision (section 2.1).
const (
	VerbManage   = "manage"
	VerbProvide  = "provide"
	VerbInspect  = "inspect"
	VerbClean    = "clean"
	VerbActive   = "active"
	VerbDeploy   = "deploy" // active, since 1.73
	VerbRebuild  = "rebuild"
	VerbDeleted  = "deleted"
	VerbUndeploy = "undeploy" // deleted, since 1.73
	VerbAbort    = "abort"
	VerbAdopt    = "adopt"
	VerbRescue   = "rescue"
	VerbUnrescue = "unrescue"
	VerbUnhold   = "unhold"
	VerbService  = "service"
)

// Power states, which are also targets of PUT …/states/power, and the targets
// that are not states.
const (
	PowerOn         = "power on"
	PowerOff        = "power off"
	PowerError      = "error"
	PowerReboot     = "rebooting"
	PowerSoftReboot = "soft rebooting"
	PowerSoftOff    = "soft power off"
)

// Faults of a node in maintenance.
const (
	FaultPower       = "power failure"
	FaultClean       = "clean failure"
	FaultRescueAbort = "rescue abort failure"
	FaultService     = "service failure"
)
