package hwmanager

import "encoding/json"

// Reboot is what a step returns as its error to have the machine rebooted and
// be called again afterwards, with State, as JSON, in StepCall.Resume:
//
//	return nil, &hwmanager.Reboot{State: state{Before: version}}
//
// A ramdisk forgets everything: what the second call has to know is in State.
// At most 64 KiB of it are kept; without any, Resume is an empty object. A step
// may ask for five reboots, one after the other; the state of the last one is
// what it is called with.
//
// A step that was called after a reboot that it has asked for is not followed
// by another, though it be declared with reboot_requested: it asks for all that
// it needs. One that ends without asking is, if it is declared so and its result
// is no NoReboot.
//
// Conductors other than ferric's cannot go on with a step. Under them a step
// that returns a Reboot succeeds if it is declared with reboot_requested, with a
// result that says that nothing was verified, and fails if it is not. Ironic then
// reboots the machine if the step ran automatically, and leaves it on if it was
// asked for by name. Steps are therefore to be idempotent: run again, they find
// the new state.
type Reboot struct {
	State any
	// Warm asks for a reboot that does not switch the machine off, for what lies in
	// its memory until then, such as a capsule with firmware: its kernel restarts
	// it, or the BMC resets it. Where neither is possible it is switched off and on
	// all the same: the step sees then what became of it. Since 1.1.
	Warm bool
}

// Error implements error.
func (r *Reboot) Error() string { return "the step needs a reboot to go on" }

// NoReboot is the result of a step that is declared with RebootRequested and needs
// none this time: ferric's conductor does not reboot the machine then. Others do
// what they do after such steps. Since 1.1.
type NoReboot struct {
	Result any
}

// MarshalJSON is that of the result.
func (n NoReboot) MarshalJSON() ([]byte, error) { return json.Marshal(n.Result) }
