// Package hwmanager is the kit for hardware managers: the parts of the agent
// that know one kind of hardware. Every question that the agent has about the
// machine (which disks, which steps, how to erase this device) is put to the
// managers in the order of their support level; the first that handles it
// answers. Vendors add managers of their own.
//
// # The smallest manager
//
// A manager says who it is and how well it fits the machine. That is all it has
// to do (Manager); the package example is one with a step. Evaluate only looks: it
// must not change anything, and is asked on machines of all kinds.
//
//	func (Acme) Evaluate(_ context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
//		id, err := h.DMI()
//		if err != nil || !strings.HasPrefix(id.Vendor, "ACME") {
//			return hwmanager.None, err
//		}
//		return hwmanager.ServiceProvider, nil
//	}
//
// Everything else is optional: a manager has an ability if it has the methods of
// one of the interfaces of this package, such as CleanStepper, DiskEraser,
// DeviceFilter, Collector or LogSource. Initializer prepares the hardware once.
// It is good practice to have the compiler check what is meant to be there:
//
//	var _ hwmanager.CleanStepper = Acme{}
//
// # Dispatch
//
// All managers are evaluated when the agent starts; those with None are
// dropped, the others are asked from the highest level down, equal ones in the
// order in which they were built in. The first answer counts, also an empty one.
// A manager passes a question on by returning ErrNotHandled (wrapped or not):
// a DiskEraser does so for the disks of others. Any other error is the answer.
// The generic manager has the level Generic and the last word.
//
// # Steps and their priorities
//
// A step is a declaration, which goes to the conductor, and a function.
// CleanStepper, DeployStepper and ServiceStepper list those of a phase. Its
// priority says when a step runs by itself in that phase, higher ones first; with
// 0 it runs only when an operator asks for it. If several managers offer a step of
// one name, that of the highest level is taken, then that of the highest
// priority, then that of the first class name: offer "erase_devices" to replace
// the generic one. What a step returns must encode as JSON and is shown to the
// operator. A step may be run again, after an abort or a loss of power: it has
// to cope with finding its work half done, or done.
//
// Abortable steps end when their context does; do not declare a step so that
// must not be cut off, such as one that writes firmware.
//
// Version must change whenever the steps do. A conductor that sees another
// version than the one it planned with begins cleaning anew.
//
// # Arguments
//
// NewStep takes the arguments as a struct. The tags of its fields say what is
// required, the default and what is allowed; the declaration is made of them.
// A call with anything wrong in it is refused before the function is called, with
// one error that names each field.
//
// # Errors
//
// An error of a step fails the step; its text is what the operator reads, so it
// says what happened to what, and what to do. An error of a kind of ferric/api/ipa
// (ipa.InvalidCommandParams.New("…")) stands on the wire as it is; any other is
// wrapped in that of the phase.
//
// A manager that is broken is set aside instead of costing the machine: see Set.
// A panic counts as an error, unless it is in a goroutine that the manager
// started: nobody can recover that one. A manager that protects something, so that
// working without it does harm, says so (Requirer).
//
// # What a manager works with
//
// Host is the machine. A manager that takes all that it touches from its Host runs
// in tests on a made-up machine (package hwmtest), without the hardware:
//
//   - Host.Tool runs a program with a time limit, tells its lines as they come,
//     bounds its output and leaves no process behind.
//   - Host.Download fetches a file, with the agent's certificates and
//     credentials, and gives it out when its digest is right.
//   - Host.DMI and Host.PCI tell what machine and devices these are.
//   - Host.BMC sends a raw IPMI request in-band.
//   - Host.Fence is the way to write to a disk: it keeps off every disk but the
//     one that was chosen.
//   - Host.Sys, Proc, Dev and Etc are where to read everything else.
//   - Host.Log goes to the console and to the logs that the conductor keeps.
//   - StepCall.Progress tells operators how far a step is; StepCall.Percent takes
//     that from the lines of a tool.
//   - First, All and Host.Set ask the other managers.
//
// # Reboot in a step
//
// A step that needs a reboot returns a Reboot with what it has to know
// afterwards. The machine is rebooted and the step called again, with this as
// JSON in StepCall.Resume, which is nil in its first run. Declare such a step
// with RebootRequested: a conductor that cannot call a step again reboots the
// machine after it all the same.
//
//	run := func(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, args updateArgs) (any, error) {
//		if call.Resume != nil {
//			return verify(ctx, h, call.Resume)
//		}
//		before, err := flash(ctx, h, args)
//		if err != nil {
//			return nil, err
//		}
//		return nil, &hwmanager.Reboot{State: state{Before: before}}
//	}
//
// What has to be in memory still when the machine's firmware starts, as a capsule,
// is for a Reboot with Warm. A run that needs no reboot at all says so with
// NoReboot.
//
// # Other ways in
//
// What the package does in Go, an executable in any language does with JSON
// (package execplugin), with the same steps, arguments and errors.
//
// # Compatibility
//
// SDKVersion is the semantic version of this package and of the protocol of
// executables. Within a major version:
//
//   - Nothing exported here, or in the types of other packages of ferric that
//     are in its signatures, is taken away or changes its type: a manager that
//     compiles goes on compiling, one that is an executable goes on running.
//   - Manager gets no further method. New abilities are new interfaces, and so no
//     interface that a manager implements gets one; structs get new fields at
//     most, whose zero value is what was before. Use the names of fields in
//     literals.
//   - What a method, a tag or an error kind means stays, as do the names on the
//     wire.
//   - Texts of errors and logs may change, as may what is unexported.
//
// Additions make a new minor version, repairs a new patch version. What breaks
// any of this makes a new major version. The file testdata/api.txt is the whole
// interface; a test fails if it changes without its version.
package hwmanager
