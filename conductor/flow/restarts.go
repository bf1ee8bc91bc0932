package flow

import (
	"context"
	"fmt"
	"io"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Restart is a row of the table of what becomes of a node that the conductor
// finds in a working state when it starts.
type Restart struct {
	State provision.State
	Found string // what the row shows
	Then  string // what is done
	// Ends says that the work is not taken up but ends, in the failed state.
	Ends bool

	found func(n *store.Node) bool // nil is always
	do    func(f *Flow, ctx context.Context, t *task.Task) error
}

// Restarts is the table. Of the rows of a state the first that fits holds; the
// last one always does. It replaces section 11 of the state-machine contract,
// where all of this fails.
func Restarts() []Restart {
	var table []Restart
	add := func(state provision.State, rows ...Restart) {
		rows = append([]Restart{{
			Found: "it was failing or being stopped", Then: "that goes on, with the reason that is in last_error", Ends: true,
			found: isEnding, do: (*Flow).goOnEnding,
		}}, rows...)
		for _, r := range rows {
			r.State = state
			table = append(table, r)
		}
	}
	add(provision.Verifying, Restart{Found: "whatever was done", Then: "it is verified again", do: (*Flow).verify})
	add(provision.Inspecting,
		Restart{Found: "what was found is kept", Then: "the machine's agent is ended", do: (*Flow).finishInspection,
			found: func(n *store.Node) bool { return n.DriverInternalInfo.Bool(keyInspectionSaved) }},
		Restart{Found: "the agent's data was taken", Then: "the data is processed again", do: (*Flow).resumeInspection,
			found: func(n *store.Node) bool { return n.DriverInternalInfo.Bool(keyInspectionData) }},
		Restart{Found: "the inspection was beginning", Then: "it begins again", do: (*Flow).startInspection})
	add(provision.Cleaning, stepRestarts(steps.Clean, (*Flow).startCleaning)...)
	add(provision.Deploying, stepRestarts(steps.Deploy, (*Flow).startDeploy)...)
	add(provision.Servicing, stepRestarts(steps.Service, (*Flow).startService)...)
	add(provision.Deleting, Restart{Found: "the instance was being torn down", Then: "that begins again", do: (*Flow).tearDown})
	add(provision.Rescuing,
		Restart{Found: "users can log in already", Then: "the rescue is finished", do: (*Flow).endRescueSetUp,
			found: func(n *store.Node) bool { return n.DriverInternalInfo.Bool(keyRescueFinalized) }},
		Restart{Found: "the machine was being brought to the rescue ramdisk", Then: "that begins again", do: (*Flow).startRescue})
	add(provision.Unrescuing, Restart{Found: "the machine was being brought back to its instance", Then: "that begins again", do: (*Flow).startUnrescue})
	add(provision.Adopting, Restart{Found: "whatever was done", Then: "it is adopted again", do: (*Flow).adopt})
	return table
}

// stepRestarts are the rows of a state that works through steps.
func stepRestarts(kind steps.Kind, begin func(f *Flow, ctx context.Context, t *task.Task) error) []Restart {
	with := func(do func(f *Flow, ctx context.Context, t *task.Task, kind steps.Kind) error) func(*Flow, context.Context, *task.Task) error {
		return func(f *Flow, ctx context.Context, t *task.Task) error { return do(f, ctx, t, kind) }
	}
	is := func(key string) func(n *store.Node) bool {
		return func(n *store.Node) bool { return n.DriverInternalInfo.Bool(key) }
	}
	return []Restart{
		{Found: "no list of steps was made yet, or none of it had begun", Then: "the phase begins again", do: begin,
			found: func(n *store.Node) bool { return len(*currentStep(n, kind)) == 0 }},
		{Found: "the machine was being booted for a step that asked for it in its middle", Then: "it is booted again, its agent waited for, and told the step with what that left", do: with((*Flow).resumeBoot),
			found: func(n *store.Node) bool {
				return is(kind.Busy)(n) && n.DriverInternalInfo[kind.State] != nil && n.DriverInternalInfo.String(driver.KeyPowerRequest) != ""
			}},
		{Found: "a step was to go on after its reboot", Then: "the agent is waited for, and told the step with what that left", do: (*Flow).waitAgain,
			found: func(n *store.Node) bool { return is(kind.Busy)(n) && n.DriverInternalInfo[kind.State] != nil }},
		{Found: "the machine was being booted between two steps, or for a step to be repeated", Then: "it is booted again, and its agent waited for", do: with((*Flow).resumeBoot),
			found: func(n *store.Node) bool {
				info := n.DriverInternalInfo
				return info.Bool(kind.Reboot) || info.Bool(kind.Busy) && info.String(driver.KeyPowerRequest) != ""
			}},
		{Found: "the agent may have been told a step", Then: "the agent is waited for, asked what became of the step, and told if it knows of none", do: (*Flow).waitAgain,
			found: func(n *store.Node) bool { return is(kind.Running)(n) || is(kind.Busy)(n) }},
		{Found: "a step was over", Then: "the next one runs", do: with((*Flow).resumeNext), found: is(kind.Done)},
		{Found: "a step of the conductor that may be repeated had begun", Then: "it runs again", do: with((*Flow).resumeStep),
			found: func(n *store.Node) bool {
				current, ok, err := currentOf(n, kind)
				return err == nil && ok && current.Restartable
			}},
		{Found: "a step of the conductor that may not be repeated had begun", Then: "the phase fails", Ends: true, do: with((*Flow).failStep)},
	}
}

// RestartOf finds the row of a node that is in a working state, or is about to
// leave one.
func RestartOf(n *store.Node) (Restart, error) {
	for _, r := range Restarts() {
		if r.State == n.ProvisionState && (r.found == nil || r.found(n)) {
			return r, nil
		}
	}
	return Restart{}, fmt.Errorf("node %s in state %s is in no row of the table of restarts", n.UUID, n.ProvisionState)
}

// waitAgain waits for the heartbeat of an agent that may have been told its step.
func (f *Flow) waitAgain(ctx context.Context, t *task.Task) error {
	return t.Process(ctx, provision.Wait, "")
}

// resumeBoot boots the machine once more, for whatever is to follow.
func (f *Flow) resumeBoot(ctx context.Context, t *task.Task, kind steps.Kind) error {
	ifs, err := f.drivers.Interfaces(t.Node)
	if err == nil {
		err = f.bootAgentAnew(ctx, t, ifs, true)
	}
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to boot node %s after a restart of the conductor: %v", t.Node.UUID, err)
	}
	return t.Process(ctx, provision.Wait, "")
}

// resumeNext goes on after a step that was over.
func (f *Flow) resumeNext(ctx context.Context, t *task.Task, kind steps.Kind) error {
	current, _, err := currentOf(t.Node, kind)
	if err == nil {
		err = f.joinAgent(ctx, t, kind, current)
	}
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to go on with the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
	}
	return f.runSteps(ctx, t, kind)
}

// resumeStep runs the step that had begun.
func (f *Flow) resumeStep(ctx context.Context, t *task.Task, kind steps.Kind) error {
	current, _, err := currentOf(t.Node, kind)
	if err != nil {
		return err
	}
	return f.runAgain(ctx, t, kind, current)
}

// failStep ends a phase whose step may not be run again.
func (f *Flow) failStep(ctx context.Context, t *task.Task, kind steps.Kind) error {
	current, _, err := currentOf(t.Node, kind)
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to read the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
	}
	return f.stepsFailed(ctx, t, kind, "The %s step %s of node %s was interrupted by a restart of the conductor and must not be repeated: what it did is not known. "+
		"Look at the machine before it is used again.", kind.Name, current.ID(), t.Node.UUID)
}

// otherRestarts are the rows of what no working state tells of.
var otherRestarts = [][3]string{
	{"a waiting state", "a hold was ended, and no agent takes part", "the next step runs"},
	{"a waiting or held state", "nothing else", "nothing: the next heartbeat, timer or request goes on"},
	{"a waiting, held or failed state", "an abort was acknowledged, or the work was failing", "that goes on"},
	{"any state of rest", "a change of power was acknowledged", "the hardware is asked, and switched if it is not there; a reboot is made again, of a machine that is off the second half only"},
	{"any state of rest", "a change in the background was acknowledged: console, boot mode, secure boot, virtual media, vendor methods", "last_error says that it is not known whether it was done"},
	{"any", "an allocation was waiting for a node", "the search for one goes on"},
	{"any", "the agent's token was made and no heartbeat has shown it", "the next lookup is given another, once"},
}

// RenderRestarts writes the table as a page.
func RenderRestarts(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Rendered from conductor/flow/restarts.go by `go test ./conductor/flow -run Page -update`. -->\n\n"+
		"# What becomes of nodes when the conductor dies\n\n"+
		"Whatever ends the conductor, the next one finds in its database what each node was in the middle of, and goes on. Of the rows of a state the first\n"+
		"that fits holds. Work that is taken up %d times in a row without coming any further fails, and the node goes into maintenance: the machine is then left as it is.\n\n"+
		"| state | found | then | ends as |\n|---|---|---|---|\n", maxRestarts)
	for _, r := range Restarts() {
		end := "its goal"
		if r.Ends {
			failed, err := provision.Next(r.State, provision.Fail)
			if err != nil {
				return err
			}
			end = string(failed)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.State, r.Found, r.Then, end)
	}
	b.WriteString("\n| state | found | then |\n|---|---|---|\n")
	for _, r := range otherRestarts {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r[0], r[1], r[2])
	}
	b.WriteString("\n## Steps that may be repeated\n\n" +
		"Steps of the conductor say it of themselves (`Restartable` of driver.Step): they bring about a state, such as a boot device, instead of doing something once.\n" +
		"Steps of agents say it with the property `restartable`; of stock agents these are known to be:\n\n")
	for _, id := range steps.Repeatable {
		fmt.Fprintf(&b, "* `%s`\n", id)
	}
	b.WriteString("\nWhen the machine of an agent loses its power, or boots again, while such a step runs, the machine is booted and the step begun again, once; all others fail.\n" +
		"The same holds for an agent that does not answer when it is told the step. Some of the conductor's own steps ask the agent for what only the one knows that ran an\n" +
		"earlier step (`AgentOf` of driver.Step), as prepare_instance_boot does about the image that was written: that earlier step is begun with then.\n" +
		"An agent that crashes and comes back in the same boot reports its step as failed, and that is what becomes of it: it would crash again.\n")
	_, err := io.WriteString(w, b.String())
	return err
}
