// Package provision is the provisioning state machine as two literal tables:
// which state is what, and which event leads where. It is pure: it knows no
// node, no database and no clock. docs/state-machine.md is rendered from it.
package provision

import "ferric/api/ironic"

// State is a provision state as it stands on the wire and in the database.
type State string

// All machine states.
const (
	Enroll         State = "enroll"
	Verifying      State = "verifying"
	Manageable     State = "manageable"
	Available      State = "available"
	Inspecting     State = "inspecting"
	InspectWait    State = "inspect wait"
	InspectFailed  State = "inspect failed"
	Cleaning       State = "cleaning"
	CleanWait      State = "clean wait"
	CleanHold      State = "clean hold"
	CleanFailed    State = "clean failed"
	Deploying      State = "deploying"
	WaitCallback   State = "wait call-back"
	DeployHold     State = "deploy hold"
	DeployFailed   State = "deploy failed"
	Active         State = "active"
	Deleting       State = "deleting"
	Error          State = "error"
	Adopting       State = "adopting"
	AdoptFailed    State = "adopt failed"
	Rescuing       State = "rescuing"
	RescueWait     State = "rescue wait"
	RescueFailed   State = "rescue failed"
	Rescue         State = "rescue"
	Unrescuing     State = "unrescuing"
	UnrescueFailed State = "unrescue failed"
	Servicing      State = "servicing"
	ServiceWait    State = "service wait"
	ServiceHold    State = "service hold"
	ServiceFailed  State = "service failed"
)

// Event moves a node from one state to another. Those that a client may name
// as the target of PUT states/provision are listed in Verbs.
type Event string

// All events.
const (
	Manage    Event = "manage"
	Provide   Event = "provide"
	Inspect   Event = "inspect"
	Clean     Event = "clean"
	Deploy    Event = "deploy"
	Rebuild   Event = "rebuild"
	Delete    Event = "delete"
	Abort     Event = "abort"
	Adopt     Event = "adopt"
	RescueIt  Event = "rescue"
	Unrescue  Event = "unrescue"
	Unhold    Event = "unhold"
	Service   Event = "service"
	Done      Event = "done"
	Fail      Event = "fail"
	Wait      Event = "wait"
	Resume    Event = "resume"
	HoldEvent Event = "hold"
)

// Kind says who moves a node on.
type Kind int

const (
	// Stable states stay until a request comes.
	Stable Kind = iota
	// Transient states belong to a conductor's worker, which holds the lock.
	Transient
	// Waiting states hold no lock; a heartbeat or a timer goes on.
	Waiting
	// Hold states wait for an operator.
	Hold
	// Failed states keep their target and wait for a request.
	Failed
)

// Attributes of a state.
type Attributes struct {
	State  State
	Kind   Kind
	Target State  // target_provision_state on entry, unless the event brings one
	Doc    string // for the rendered page
}

// States lists every machine state (state-machine contract, section 1).
// Literal table.
var States = []Attributes{
	{Enroll, Stable, "", "created, not verified"},
	{Verifying, Transient, Manageable, "checking power credentials"},
	{Manageable, Stable, "", "verified, not schedulable"},
	{Available, Stable, "", "clean, schedulable"},
	{Inspecting, Transient, Manageable, "starting or processing inspection"},
	{InspectWait, Waiting, Manageable, "the ramdisk is collecting"},
	{InspectFailed, Failed, Manageable, ""},
	{Cleaning, Transient, Available, "running clean steps"},
	{CleanWait, Waiting, Available, "waiting for the agent"},
	{CleanHold, Hold, Available, ""},
	{CleanFailed, Failed, Available, ""},
	{Deploying, Transient, Active, "running deploy steps"},
	{WaitCallback, Waiting, Active, "waiting for the agent"},
	{DeployHold, Hold, Active, ""},
	{DeployFailed, Failed, Active, ""},
	{Active, Stable, "", "workload deployed"},
	{Deleting, Transient, Available, "tearing down"},
	{Error, Stable, "", "delete failed"},
	{Adopting, Transient, Active, "taking over without touching the disk"},
	{AdoptFailed, Failed, Active, ""},
	{Rescuing, Transient, Rescue, ""},
	{RescueWait, Waiting, Rescue, ""},
	{RescueFailed, Failed, Rescue, ""},
	{Rescue, Stable, "", "rescue ramdisk running"},
	{Unrescuing, Transient, Active, ""},
	{UnrescueFailed, Failed, Active, ""},
	{Servicing, Transient, Active, ""},
	{ServiceWait, Waiting, Active, ""},
	{ServiceHold, Hold, Active, ""},
	{ServiceFailed, Failed, Active, ""},
}

// Transition is one row of the machine.
type Transition struct {
	From State
	On   Event
	To   State
}

// Transitions is the whole machine (state-machine contract, section 2).
// Literal table.
var Transitions = []Transition{
	{Enroll, Manage, Verifying},
	{Verifying, Done, Manageable},
	{Verifying, Fail, Enroll},
	{Manageable, Provide, Cleaning},
	{Manageable, Clean, Cleaning},
	{Manageable, Inspect, Inspecting},
	{Manageable, Adopt, Adopting},
	{Available, Deploy, Deploying},
	{Available, Manage, Manageable},
	{Inspecting, Done, Manageable},
	{Inspecting, Fail, InspectFailed},
	{Inspecting, Wait, InspectWait},
	{InspectWait, Done, Manageable},
	{InspectWait, Resume, Inspecting},
	{InspectWait, Fail, InspectFailed},
	{InspectWait, Abort, InspectFailed},
	{InspectFailed, Manage, Manageable},
	{InspectFailed, Inspect, Inspecting},
	{Cleaning, Done, Available},
	{Cleaning, Manage, Manageable},
	{Cleaning, Wait, CleanWait},
	{Cleaning, HoldEvent, CleanHold},
	{Cleaning, Fail, CleanFailed},
	{CleanWait, Resume, Cleaning},
	{CleanWait, HoldEvent, CleanHold},
	{CleanWait, Fail, CleanFailed},
	{CleanWait, Abort, CleanFailed},
	{CleanHold, Unhold, CleanWait},
	{CleanHold, Abort, CleanFailed},
	{CleanFailed, Manage, Manageable},
	{Deploying, Done, Active},
	{Deploying, Wait, WaitCallback},
	{Deploying, HoldEvent, DeployHold},
	{Deploying, Fail, DeployFailed},
	{WaitCallback, Resume, Deploying},
	{WaitCallback, HoldEvent, DeployHold},
	{WaitCallback, Fail, DeployFailed},
	{WaitCallback, Abort, DeployFailed},
	{WaitCallback, Delete, Deleting},
	{DeployHold, Unhold, WaitCallback},
	{DeployHold, Abort, DeployFailed},
	{DeployFailed, Deploy, Deploying},
	{DeployFailed, Rebuild, Deploying},
	{DeployFailed, Delete, Deleting},
	{Active, Delete, Deleting},
	{Active, Rebuild, Deploying},
	{Active, RescueIt, Rescuing},
	{Active, Service, Servicing},
	{Deleting, Clean, Cleaning},
	{Deleting, Fail, Error},
	{Error, Rebuild, Deploying},
	{Error, Delete, Deleting},
	{Adopting, Done, Active},
	{Adopting, Fail, AdoptFailed},
	{AdoptFailed, Adopt, Adopting},
	{AdoptFailed, Manage, Manageable},
	{Rescuing, Done, Rescue},
	{Rescuing, Wait, RescueWait},
	{Rescuing, Fail, RescueFailed},
	{RescueWait, Resume, Rescuing},
	{RescueWait, Fail, RescueFailed},
	{RescueWait, Abort, RescueFailed},
	{RescueWait, Delete, Deleting},
	{Rescue, RescueIt, Rescuing},
	{Rescue, Unrescue, Unrescuing},
	{Rescue, Delete, Deleting},
	{RescueFailed, RescueIt, Rescuing},
	{RescueFailed, Unrescue, Unrescuing},
	{RescueFailed, Delete, Deleting},
	{Unrescuing, Done, Active},
	{Unrescuing, Fail, UnrescueFailed},
	{UnrescueFailed, RescueIt, Rescuing},
	{UnrescueFailed, Unrescue, Unrescuing},
	{UnrescueFailed, Delete, Deleting},
	{Servicing, Done, Active},
	{Servicing, Wait, ServiceWait},
	{Servicing, HoldEvent, ServiceHold},
	{Servicing, Fail, ServiceFailed},
	{ServiceWait, Resume, Servicing},
	{ServiceWait, HoldEvent, ServiceHold},
	{ServiceWait, Fail, ServiceFailed},
	{ServiceWait, Abort, ServiceFailed},
	{ServiceWait, Delete, Deleting},
	{ServiceHold, Unhold, ServiceWait},
	{ServiceHold, Service, Servicing},
	{ServiceHold, Fail, ServiceFailed},
	{ServiceHold, Abort, ServiceFailed},
	{ServiceFailed, Service, Servicing},
	{ServiceFailed, RescueIt, Rescuing},
	{ServiceFailed, Wait, ServiceWait},
	{ServiceFailed, HoldEvent, ServiceHold},
	{ServiceFailed, Delete, Deleting},
	{ServiceFailed, Abort, Active},
}

// Verb is a target of PUT states/provision: the event it stands for and the
// microversion it appeared in (REST contract, section 3.6).
type Verb struct {
	Target string
	Event  Event
	Since  ironic.Version
}

// Verbs lists all targets. Literal table.
var Verbs = []Verb{
	{"active", Deploy, ironic.VersionMin},
	{"deploy", Deploy, ironic.VersionDeployVerbs},
	{"rebuild", Rebuild, ironic.VersionMin},
	{"deleted", Delete, ironic.VersionMin},
	{"undeploy", Delete, ironic.VersionDeployVerbs},
	{"manage", Manage, ironic.VersionManage},
	{"provide", Provide, ironic.VersionManage},
	{"inspect", Inspect, ironic.VersionInspect},
	{"abort", Abort, ironic.VersionAbort},
	{"clean", Clean, ironic.VersionManualClean},
	{"adopt", Adopt, ironic.VersionAdopt},
	{"rescue", RescueIt, ironic.VersionRescue},
	{"unrescue", Unrescue, ironic.VersionRescue},
	{"unhold", Unhold, ironic.VersionUnhold},
	{"service", Service, ironic.VersionService},
}
