package steps

import (
	"fmt"
	"slices"
)

// Names of the steps that exist in every phase and belong to no interface
// (deploy flow, section 4).
const (
	PowerOn  = "power_on"
	PowerOff = "power_off"
	Reboot   = "reboot"
	Hold     = "hold" // until the verb unhold
	Wait     = "wait" // for some seconds, or for the next heartbeat
)

// MaxWait bounds the seconds of a step wait: a worker waits with it.
const MaxWait = 30

// Reserved says that the step belongs to no interface.
func (s Step) Reserved() bool {
	return slices.Contains([]string{PowerOn, PowerOff, Reboot, Hold, Wait}, s.Step)
}

// Seconds are the ones that a step wait waits for; 0 is until the next heartbeat.
func (s Step) Seconds() float64 {
	seconds, _ := s.Args["seconds"].(float64)
	return seconds
}

// reserved makes the step if it is one of those that belong to no interface.
func (a Requested) reserved() (step Step, ok bool, err error) {
	step = Step{Interface: a.Interface, Step: a.Step, Priority: a.Priority, Args: a.Args, Restartable: true}
	if !step.Reserved() {
		return Step{}, false, nil
	}
	// Nothing is under way in a machine that is held or waits.
	step.Abortable = a.Step == Hold || a.Step == Wait
	for name, value := range a.Args {
		if a.Step != Wait || name != "seconds" {
			return Step{}, false, fmt.Errorf("step %s has no argument %q", step.ID(), name)
		}
		if n, ok := value.(float64); !ok || n < 0 || n > MaxWait {
			return Step{}, false, fmt.Errorf("step %s waits for 0 to %d seconds, not for %v", step.ID(), MaxWait, value)
		}
	}
	return step, true, nil
}
