package steps

import (
	"encoding/json"
	"errors"
	"fmt"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// MaxReboots is how many reboots a step may ask for.
const MaxReboots = 5

// noteResumes keeps whether the agent of this boot goes on with steps after a
// reboot. Others than ferric's do not say so, and are not sent what they do not
// know: they would hand it to the step as an argument.
func noteResumes(info store.Object, answer map[string]json.RawMessage) {
	var resumes bool
	if json.Unmarshal(answer[ipa.ResumesKey], &resumes) == nil && resumes {
		info[driver.KeyAgentResumes] = true
	} else {
		delete(info, driver.KeyAgentResumes)
	}
}

// addResume adds to the parameters of a step what it left before its reboot,
// null in its first run.
func addResume(params map[string]any, info store.Object, kind Kind) error {
	state := info.String(kind.State)
	switch {
	case info.Bool(driver.KeyAgentResumes) && state != "":
		params[ipa.ResumeKey] = json.RawMessage(state)
	case info.Bool(driver.KeyAgentResumes):
		params[ipa.ResumeKey] = nil
	case state != "":
		return errors.New("the step is to go on after its reboot, which the agent that was booted does not know how to: it is of another ramdisk than the one before")
	}
	return nil
}

// RebootRequest is what a step asks for in its middle.
type RebootRequest struct {
	State json.RawMessage // to go on with afterwards
	Warm  bool            // without the machine being switched off
}

// AskedReboot says whether the step of a kind that ended with result asks for a
// reboot.
func AskedReboot(result *ipa.Result, info store.Object) (reboot RebootRequest, asked bool) {
	var answer map[string]json.RawMessage
	if !info.Bool(driver.KeyAgentResumes) || json.Unmarshal(result.Result, &answer) != nil {
		return reboot, false
	}
	reboot.State, asked = answer[ipa.ResumeKey]
	reboot.Warm = string(answer[ipa.WarmKey]) == "true"
	return reboot, asked
}

// NeedsReboot says whether the machine is to be rebooted after a step that is
// declared so and ended with result: it had the reboots that it asked for, or
// says that it needs none.
func NeedsReboot(result *ipa.Result, info store.Object, kind Kind) bool {
	var answer map[string]json.RawMessage
	none := info.Bool(driver.KeyAgentResumes) && json.Unmarshal(result.Result, &answer) == nil && string(answer[ipa.NoRebootKey]) == "true"
	return Reboots(info, kind) == 0 && !none
}

// KeepState makes room in the row for another reboot that the current step asks
// for, and what it left. The caller saves.
func KeepState(info store.Object, kind Kind, state json.RawMessage) error {
	reboots := Reboots(info, kind) + 1
	if reboots > MaxReboots {
		return fmt.Errorf("it asks for another reboot after %d, which is as many as a step may ask for", MaxReboots)
	}
	if len(state) > ipa.MaxResumeState {
		return fmt.Errorf("it asks for a reboot and leaves %d bytes for then, of which at most %d are kept", len(state), ipa.MaxResumeState)
	}
	info[kind.State], info[kind.Reboots] = string(state), float64(reboots)
	return nil
}

// Reboots is how many reboots the current step has asked for.
func Reboots(info store.Object, kind Kind) int {
	reboots, _ := info[kind.Reboots].(float64)
	return int(reboots)
}

// ForgetState goes with the step that left it.
func ForgetState(info store.Object, kind Kind) {
	delete(info, kind.State)
	delete(info, kind.Reboots)
}
