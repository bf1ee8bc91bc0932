// Package event names the kinds of events that are kept of nodes. It is pure,
// and used by all: what is not in its table is not recorded.
package event

// Kinds that the conductor records itself. Those of the network boot are the
// constants of the package netboot.
const (
	Created     = "created"
	Verb        = "verb"
	State       = "state"
	Step        = "step"
	Provision   = "provision"
	Power       = "power"
	PowerState  = "power-state"
	BootDevice  = "boot-device"
	Lookup      = "lookup"
	Heartbeat   = "heartbeat"
	FastTrack   = "fast-track"
	Inspection  = "inspection"
	Image       = "image"
	Logs        = "logs"
	Plugins     = "plugins"
	Progress    = "progress"
	Maintenance = "maintenance"
	Fault       = "fault"
	LastError   = "last-error"
	Error       = "error"
	Restart     = "restart"
)

// Outcomes of a step, and of what consists of steps.
const (
	Started = "started"
	Done    = "done"
	Failed  = "failed"
	// Rebooting is a step's that goes on after a reboot that it asked for.
	Rebooting = "rebooting"
)

// Kind is a line of the table.
type Kind struct {
	Name string
	// Text is a sentence for operators.
	Text string
	// Data are the members of the event's data.
	Data string
	// Private says that only who may see the node's last_error sees the detail.
	Private bool
	// Seen says that it was seen of the machine itself, or that its BMC told it.
	Seen bool
}

// Kinds is the literal table. docs/operations.md is rendered from it.
var Kinds = []Kind{
	{Created, "The node was enrolled.", "driver, user, request", false, false},
	{Verb, "Somebody's request for another provision state was accepted.", "verb, user, project, request", false, false},
	{State, "The provision state has changed.", "from, to, target, user, request", false, false},
	{Step, "A step of a cleaning, a deployment or a service was started, is done, has failed, or asked for a reboot to go on after.", "phase, step, outcome, reboots", false, false},
	{Restart, "What was cut off goes on: the work, after a restart of the conductor, or a step whose machine was lost.", "", false, false},
	{Provision, "What was asked for is reached, in words.", "", false, false},
	{Power, "The power was asked to change, and then seen to have changed.", "", false, true},
	{PowerState, "The recorded power state has changed, by a request or because the machine was found so.", "from, to", false, false},
	{BootDevice, "The boot device was set.", "", false, false},
	{"dhcp", "An address was acknowledged, or boot data given beside another DHCP server.", "", false, true},
	{"tftp", "A file was sent whole by TFTP.", "", false, true},
	{"ipxe-script", "iPXE fetched the script of the machine.", "", false, true},
	{"kernel", "The kernel is being fetched.", "", false, true},
	{"kernel-sent", "The last byte of the kernel was handed to the network.", "", false, true},
	{"ramdisk", "The ramdisk is being fetched.", "", false, true},
	{"ramdisk-sent", "The last byte of the ramdisk was handed to the network.", "", false, true},
	{"mac-conflict", "Two machines use one MAC address.", "", false, true},
	{"dhcp-decline", "The machine found its address in use by another.", "", false, true},
	{Error, "A request of the machine, or one to its agent, could not be served.", "", false, true},
	{Lookup, "The agent asked which node it runs on, and was answered or refused.", "refused", false, true},
	{Heartbeat, "The first heartbeat of an agent since the machine booted, or one that was refused.", "refused", false, true},
	{FastTrack, "An agent that ran already was gone on with, or why the machine was booted instead.", "", false, false},
	{Inspection, "An agent told what it found out about its machine.", "", false, true},
	{Image, "The image is on the disk.", "", false, true},
	{Logs, "The logs of an agent were kept.", "", false, false},
	{Plugins, "An agent told which plugins it has loaded, refused or set aside.", "loaded, refused, set_aside, not_here", true, true},
	{Progress, "How far a transfer was when somebody looked, at most once in ten seconds.", "step, done, total, bytes_per_second", false, true},
	{Maintenance, "Maintenance was switched on or off, by somebody or by the conductor.", "maintenance, reason", false, false},
	{Fault, "The conductor found a fault that keeps the node in maintenance, or found it gone.", "fault", false, false},
	{LastError, "Something failed; the text is the node's last_error.", "", true, false},
	{"network.bind_port", "The network service has bound a port.", "", false, false},
	{"network.unbind_port", "The network service has unbound a port.", "", false, false},
	{"network.delete_port", "The network service has deleted a port.", "", false, false},
}

// Known finds a kind.
func Known(name string) (Kind, bool) {
	for _, k := range Kinds {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}
