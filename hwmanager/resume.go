package hwmanager

// Reboot is what a step returns as its error to have the machine rebooted and
// be called again afterwards, with State, as JSON, in StepCall.Resume:
//
//	return nil, &hwmanager.Reboot{State: state{Before: version}}
//
// A ramdisk forgets everything: what the second call has to know is in State.
type Reboot struct {
	State any
}

// Error implements error.
func (r *Reboot) Error() string { return "the step needs a reboot to go on" }
