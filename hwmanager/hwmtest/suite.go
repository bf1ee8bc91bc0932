package hwmtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"ferric/hwmanager"
)

// Status is how a check ended.
type Status string

// A Warning is what an operator should know and a vendor may have meant.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "FAILED"
	Skipped Status = "skipped"
)

// Outcome is what one check found.
type Outcome struct {
	Check  string
	Status Status
	Detail string // what was found, or why it was skipped
	Advice string // what to do about it, "" if it is well
	Took   time.Duration
}

// options are how managers are checked.
type options struct {
	dir      string
	any      bool
	alone    bool // nothing else runs in this process
	patience time.Duration
	settle   time.Duration
	args     map[string]map[string]any
	node     hwmanager.Node
}

// Option changes how a manager is checked.
type Option func(*options)

// OnHost has Run use the fake host of a directory (Open) that has the manager's
// hardware; without it the server that is built in.
func OnHost(dir string) Option { return func(o *options) { o.dir = dir } }

// AnyMachine says that the manager is for every machine, whatever its hardware.
func AnyMachine() Option { return func(o *options) { o.any = true } }

// WithArgs are good arguments for a step, for those that cannot run without.
func WithArgs(step string, args map[string]any) Option {
	return func(o *options) { o.args[step] = args }
}

// WithNode adds to the node that steps are told of, such as target_raid_config.
func WithNode(node hwmanager.Node) Option {
	return func(o *options) {
		for key, value := range node {
			o.node[key] = value
		}
	}
}

// Patience is how long a call may take to return after its context has ended,
// and how long a question may take at all; 5 s without.
func Patience(d time.Duration) Option { return func(o *options) { o.patience = d } }

// check is one check of the suite.
type check struct {
	name   string
	advice string // for those who fail it
	run    func(*exam) verdict
}

// suite are the checks in their order: what later ones rest on comes first.
func suite() []check {
	return []check{
		{"identity", "Name, ClassName and Version key what conductors keep of a node: letters, digits, '.', '_', '-' only, at most 64 of them, and none of them empty", checkIdentity},
		{"identity is stable", "a version that changes from call to call makes a conductor start cleaning again each time: change it only with the steps", checkStable},
		{"evaluate", "Evaluate answers 0 for machines without its hardware, 1 to 3 or more for those that it knows, and an error only if it cannot tell", checkEvaluate},
		{"evaluate is repeatable", "evaluate the hardware, not what an earlier call left", checkEvaluateAgain},
		{"evaluate changes nothing", "Evaluate runs on every machine, also those that are not the vendor's: move what prepares the hardware to Initialize", checkEvaluateReadOnly},
		{"evaluate ends when cancelled", "pass the context on to everything that takes time, and give tools a limit: the agent waits for each manager before it serves", checkEvaluateCancelled},
		{"no hardware", "on a machine without its hardware Evaluate answers None and no error, also where its tool is missing", checkNoHardware},
		{"initialize", "Initialize may be called again, by an agent that was restarted: what is done already is no error", checkInitialize},
		{"steps are listed", "a manager that cannot tell its steps is set aside with all of them: offer fewer steps, or ErrNotHandled, rather than an error", checkListing},
		{"steps stay the same", "list the same steps in the same order however often, and in whichever order of phases, one asks: RunStep lists them anew in each ramdisk", checkListingAgain},
		{"listing changes nothing", "listing runs before every cleaning and deployment, also those without any of these steps: read only", checkListingReadOnly},
		{"step names", "a step's name is what operators write into clean steps and runbooks: letters, digits, '_', '.', '-', and once per phase", checkStepNames},
		{"step interfaces", "a conductor refuses steps whose interface is none of bios, deploy, firmware, management, power, raid, vendor", checkInterfaces},
		{"step priorities", "0 is for steps that run only when asked for; what has a higher one runs in every cleaning: be sure that it may", checkPriorities},
		{"arguments are described", "the descriptions are what operators see in `driver` and `step` listings: one for each argument, in argsinfo", checkDescriptions},
		{"unknown arguments are refused", "an operator's typing error must not run the step with its defaults: refuse what argsinfo does not list with InvalidCommandParams (NewStep does)", checkUnknownArguments},
		{"missing arguments are refused", "check all arguments before the first program is run, and answer InvalidCommandParams naming what is missing (NewStep does)", checkMissingArguments},
		{"wrong types are refused", "check the types of arguments and answer InvalidCommandParams naming the argument (NewStep does)", checkWrongTypes},
		{"steps do not panic", "a panic fails the step with no word on what to do: return an error that says it", checkPanics},
		{"cancelled steps end", "pass the context on to everything that takes time, with Host.Tool or exec.CommandContext: an abort, or a conductor that gave up, must not leave it running", checkCancelled},
		{"progress", "Done goes from 0 to Total, or Total is 0 where it is not known", checkProgress},
		{"results", "results travel as JSON into the node's history: plain data, at most 1 MiB", checkResults},
		{"reboots", "State is JSON of at most 64 KiB that the second run takes up, and a step ends after a bounded number of reboots", checkReboots},
		{"errors have words", "an error ends in the node's last_error: say what happened and what to do", checkErrors},
		{"abilities", "on a machine without its hardware each ability answers or passes with ErrNotHandled: an error would end the question for all managers", checkAbilities},
		{"what is collected", "Collect answers quickly, with plain data of at most 1 MiB, and changes nothing", checkCollected},
		{"secrets", "node.driver_info holds credentials: keep them out of results, errors, logs, and of arguments and environment of programs, which the agent's logs show (standard input is safe)", checkSecrets},
		{"no goroutines are left", "end with the call's context whatever a call has started", checkGoroutines},
		{"no processes are left", "wait for what was started, and have it end with the context: programs in the background outlive the agent's commands", checkProcesses},
	}
}

// Check has the managers that factory makes pass the suite, each check with new
// managers on new machines of newHost, nil for the server that is built in. It
// takes a few seconds, and ends early with ctx.
func Check(ctx context.Context, factory func() hwmanager.Manager, newHost func() (*Fake, error), opts ...Option) []Outcome {
	o := collectOptions(opts)
	if newHost == nil {
		newHost = func() (*Fake, error) { return Open(o.dir) }
	}
	x := &exam{options: o, ctx: ctx, factory: factory, newHost: newHost}
	x.begin()
	var outcomes []Outcome
	for _, c := range suite() {
		outcomes = append(outcomes, x.check(c))
	}
	x.end()
	return outcomes
}

func collectOptions(opts []Option) options {
	o := options{patience: 5 * time.Second, settle: 200 * time.Millisecond, args: map[string]map[string]any{}, node: sampleNode()}
	for _, option := range opts {
		option(&o)
	}
	return o
}

// check runs one check; what it panics with is the suite's own fault.
func (x *exam) check(c check) Outcome {
	began := time.Now()
	v := verdict{Skipped, fmt.Sprintf("ended early: %v", context.Cause(x.ctx))}
	if x.ctx.Err() == nil {
		v = c.run(x)
	}
	x.closeHosts()
	outcome := Outcome{Check: c.name, Status: v.status, Detail: v.detail, Took: time.Since(began)}
	if v.status == Failed || v.status == Warning {
		outcome.Advice = c.advice
	}
	return outcome
}

// Run is Check as subtests of t, one a check: what fails there fails here, what
// is skipped is skipped, and warnings are logged.
func Run(t *testing.T, factory func() hwmanager.Manager, opts ...Option) {
	t.Helper()
	for _, o := range Check(t.Context(), factory, nil, opts...) {
		t.Run(o.Check, func(t *testing.T) {
			switch o.Status {
			case Failed:
				t.Errorf("%s\n%s", o.Detail, o.Advice)
			case Warning:
				t.Logf("warning: %s\n%s", o.Detail, o.Advice)
			default:
				// A check that has nothing to look at (no step takes arguments) is no
				// test that was left out.
				t.Log(o.Status, o.Detail)
			}
		})
	}
}

// verdict is what a check says.
type verdict struct {
	status Status
	detail string
}

func ok(format string, args ...any) verdict     { return verdict{OK, fmt.Sprintf(format, args...)} }
func failed(format string, args ...any) verdict { return verdict{Failed, fmt.Sprintf(format, args...)} }
func warned(format string, args ...any) verdict {
	return verdict{Warning, fmt.Sprintf(format, args...)}
}
func skipped(format string, args ...any) verdict {
	return verdict{Skipped, fmt.Sprintf(format, args...)}
}
