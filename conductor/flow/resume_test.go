package flow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// flashing is a way to have an agent flash firmware, which takes reboots.
type flashing struct {
	name         string
	begin        func(r *rig)
	phase        string
	wait, failed provision.State
	// done goes on after the step, to where the node ends.
	done func(r *rig)
}

var flash = flow.Step{Interface: "firmware", Step: "flash_nic"}

// flashings are all phases in which there are steps of agents.
var flashings = []flashing{
	{"automated cleaning", func(r *rig) {
		r.must("manage", provision.Manageable)
		r.must("provide", provision.CleanWait)
	}, "clean", provision.CleanWait, provision.CleanFailed, func(r *rig) { r.reach(provision.Available) }},
	{"manual cleaning", func(r *rig) {
		r.must("manage", provision.Manageable)
		r.ask("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{flash}})
	}, "clean", provision.CleanWait, provision.CleanFailed, func(r *rig) { r.reach(provision.Manageable) }},
	{"deployment", func(r *rig) {
		r.change(in(provision.Available))
		r.change(func(n *store.Node) { n.DriverInternalInfo = store.Object{} })
		r.must("active", provision.WaitCallback)
	}, "deploy", provision.WaitCallback, provision.DeployFailed, func(r *rig) {
		if got, want := r.agent.last(), "execute_deploy_step deploy.write_image"; got != want {
			r.t.Fatalf("after the step the agent was told %q; want %q", got, want)
		}
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
		r.reach(provision.Active)
	}},
	{"service", func(r *rig) {
		r.change(byAgent)
		r.change(in(provision.Active))
		r.change(func(n *store.Node) { n.DriverInternalInfo = store.Object{} })
		r.ask("service", flow.ProvisionRequest{ServiceSteps: []flow.Step{flash}})
	}, "service", provision.ServiceWait, provision.ServiceFailed, func(r *rig) { r.reach(provision.Active) }},
}

// ask performs a verb.
func (r *rig) ask(target string, req flow.ProvisionRequest) {
	r.t.Helper()
	if err := r.do(target, req); err != nil {
		r.t.Fatal(err)
	}
	r.tasks.Wait()
}

// flasher is a rig whose agent offers the step.
func flasher(t *testing.T, declared bool) *rig {
	r := newRig(t, nil)
	r.agent.resumes = true
	step := ipa.Step{Step: "flash_nic", Interface: "firmware", Priority: 90, RebootRequested: declared}
	for phase, others := range map[string][]ipa.Step{"clean": nil, "deploy": {{Step: "write_image", Interface: "deploy"}}, "service": nil} {
		r.agent.offers[phase] = append([]ipa.Step{step}, others...)
	}
	return r
}

// told wants the agent to have been told the step, with what it left.
func (r *rig) told(phase, state string) {
	r.t.Helper()
	if got, want := r.agent.last(), "execute_"+phase+"_step firmware.flash_nic"; got != want {
		r.t.Fatalf("agent was told %q; want %q (last_error %v)", got, want, r.row().LastError)
	}
	if got := r.agent.resume(); got != state {
		r.t.Fatalf("the step was sent with %q; want %q", got, state)
	}
}

// asksForReboot ends the step that runs, with the wish to go on with state after
// a reboot.
func (r *rig) asksForReboot(state any) {
	r.t.Helper()
	r.agent.left = state
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.agent.left = nil
	r.beat()
}

// stepEvents are the node's, as they are shown.
func (r *rig) stepEvents() []string {
	r.t.Helper()
	list, err := r.db.Events(r.t.Context(), r.node)
	if err != nil {
		r.t.Fatal(err)
	}
	var texts []string
	for _, e := range list {
		if e.Kind == event.Step && strings.Contains(e.Detail, "firmware.flash_nic") {
			texts = append(texts, e.Detail)
		}
	}
	return texts
}

// left is what the row still holds of steps that go on after a reboot.
func left(n *store.Node) []string {
	var keys []string
	for key := range n.DriverInternalInfo {
		if strings.HasSuffix(key, "_step_secret_state") || strings.HasSuffix(key, "_step_reboots") || strings.HasSuffix(key, "_step_busy") {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestStepGoesOnAfterReboots: a step that asks for reboots is told again after
// each, with what it left; what it is declared to be does not add one.
func TestStepGoesOnAfterReboots(t *testing.T) {
	for _, w := range flashings {
		for _, declared := range []bool{false, true} {
			for _, reboots := range []int{1, 2, 5} {
				t.Run(fmt.Sprintf("%s, declared %v, %d", w.name, declared, reboots), func(t *testing.T) {
					t.Parallel()
					r := flasher(t, declared)
					w.begin(r)
					r.boot()
					r.told(w.phase, "null")
					for i := 1; i <= reboots; i++ {
						booted := len(r.power())
						r.asksForReboot(map[string]any{"run": i})
						n := r.reach(w.wait)
						if n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || len(r.power()) == booted {
							t.Fatal("the machine was not rebooted")
						}
						if got := n.DriverInternalInfo.String(w.phase + "_step_secret_state"); got != fmt.Sprintf(`{"run":%d}`, i) {
							t.Fatalf("the row keeps %s", got)
						}
						r.again() // and a crash of the conductor besides
						r.boot()
						r.told(w.phase, fmt.Sprintf(`{"run":%d}`, i))
						r.beat() // changes nothing while it runs
					}
					booted := len(r.power())
					r.agent.finish(ipa.StatusSucceeded, nil)
					r.beat()
					if n := r.row(); n.ProvisionState == w.wait && n.DriverInternalInfo.String(driver.KeyAgentURL) == "" || w.phase == "deploy" && len(r.power()) != booted {
						t.Fatal("the machine was rebooted once more")
					}
					w.done(r)
					n := r.row()
					if n.LastError != nil || len(left(n)) > 0 {
						t.Errorf("last_error %v, left %v", n.LastError, left(n))
					}
					want := []string{w.phase + " step firmware.flash_nic started"}
					for i := 1; i <= reboots; i++ {
						want = append(want, fmt.Sprintf("%s step firmware.flash_nic asked for a reboot (%d of 5)", w.phase, i), want[0])
					}
					if got := r.stepEvents(); !slices.Equal(got, append(want, w.phase+" step firmware.flash_nic done")) {
						t.Errorf("events %q", got)
					}
				})
			}
		}
	}
}

// TestTooManyReboots: the sixth is refused, as is a state that is too large;
// what fails after a reboot says so.
func TestTooManyReboots(t *testing.T) {
	for _, w := range flashings {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			r := flasher(t, false)
			w.begin(r)
			r.boot()
			for range 5 {
				r.asksForReboot("again")
				r.reach(w.wait)
				r.boot()
				r.told(w.phase, `"again"`)
			}
			r.asksForReboot("again")
			n := r.reach(w.failed)
			if n.LastError == nil || !strings.Contains(*n.LastError, w.phase+" step firmware.flash_nic: it asks for another reboot after 5") || len(left(n)) > 0 {
				t.Errorf("last_error %v, left %v", n.LastError, left(n))
			}
		})
	}
	r := flasher(t, false)
	flashings[0].begin(r)
	r.boot()
	r.asksForReboot(strings.Repeat("x", ipa.MaxResumeState-1))
	if n := r.reach(provision.CleanFailed); n.LastError == nil || !strings.Contains(*n.LastError, "leaves 65537 bytes for then, of which at most 65536 are kept") {
		t.Errorf("last_error %v", n.LastError)
	}
	r = flasher(t, false)
	flashings[1].begin(r)
	r.boot()
	r.asksForReboot("again")
	r.reach(provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusFailed, ipa.Cleaning.New("the new firmware is not there"))
	r.beat()
	if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "firmware.flash_nic, after reboot 1 of at most 5 that it asked for: ") || !strings.Contains(*n.LastError, "is not there") || len(left(n)) > 0 {
		t.Errorf("last_error %v, left %v", *n.LastError, left(n))
	}
}

// TestForeignAgentsAreNotResumed: agents that do not say that they know of it are
// not sent what they would give the step as an argument, and a member of the same
// name in their results is theirs. Their steps are rebooted after as declared.
func TestForeignAgentsAreNotResumed(t *testing.T) {
	r := flasher(t, true)
	r.agent.resumes = false
	flashings[0].begin(r)
	r.boot()
	r.told("clean", "")
	r.asksForReboot("mine")
	if n := r.reach(provision.CleanWait); n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || len(left(n)) > 0 {
		t.Fatalf("not rebooted after the step, or left %v", left(n))
	}
	r.boot()
	if n := r.reach(provision.Available); n.LastError != nil {
		t.Errorf("last_error %q", *n.LastError)
	}

	// An agent of another make that boots in the middle is told nothing.
	r = flasher(t, false)
	flashings[0].begin(r)
	r.boot()
	r.asksForReboot("mine")
	r.reach(provision.CleanWait)
	r.agent.resumes = false
	r.boot()
	if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "which the agent that was booted does not know how to") || r.agent.count("execute_clean_step") != 0 {
		t.Errorf("last_error %q", *n.LastError)
	}
}

// TestRebootDeclared: a step that is declared with a reboot and ends without
// asking for one is followed by it.
func TestRebootDeclared(t *testing.T) {
	r := flasher(t, true)
	flashings[0].begin(r)
	r.boot()
	r.told("clean", "null")
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	if n := r.reach(provision.CleanWait); n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		t.Fatal("the machine was not rebooted")
	}
	r.boot()
	r.reach(provision.Available)
}

// TestAbortInReboot: a step that must not be aborted is not left half done
// because its machine boots; one that may be is.
func TestAbortInReboot(t *testing.T) {
	for _, when := range []string{"before", "in the reboot", "after"} {
		t.Run(when, func(t *testing.T) {
			r := flasher(t, false)
			flashings[1].begin(r)
			r.boot()
			abort := func(at string) {
				if at == when {
					r.ask("abort", flow.ProvisionRequest{})
				}
			}
			abort("before")
			r.asksForReboot("half")
			r.reach(provision.CleanWait)
			abort("in the reboot")
			r.again()
			r.boot()
			r.told("clean", `"half"`)
			abort("after")
			r.agent.finish(ipa.StatusSucceeded, nil)
			r.beat()
			if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "By request") || n.Maintenance || len(left(n)) > 0 {
				t.Errorf("last_error %v, maintenance %v, left %v", *n.LastError, n.Maintenance, left(n))
			}
		})
	}
	r := flasher(t, false)
	r.agent.offers["clean"][0].Abortable = true
	flashings[1].begin(r)
	r.boot()
	r.asksForReboot("half")
	r.reach(provision.CleanWait)
	r.ask("abort", flow.ProvisionRequest{})
	if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "By request") || len(left(n)) > 0 {
		t.Errorf("last_error %v, left %v", *n.LastError, left(n))
	}
}

// TestLostInReboot: a machine that boots once more before its agent is told the
// step loses nothing; one that is lost while the step runs does, unless the step
// may be repeated: then it goes on with what it left.
func TestLostInReboot(t *testing.T) {
	quick := func(r *rig) {
		r.cfg.AgentSilenceTimeout, r.cfg.AgentRejoinTimeout = 50_000_000, 50_000_000
		r.again()
	}
	for _, restartable := range []bool{false, true} {
		r := flasher(t, false)
		quick(r)
		r.agent.offers["clean"][0].Restartable = &restartable
		flashings[0].begin(r)
		r.boot()
		r.asksForReboot("half")
		r.reach(provision.CleanWait)
		for range 2 { // its agent is not heard before the next boot
			if _, _, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true); err != nil {
				t.Fatal(err)
			}
		}
		r.check()
		if n := r.reach(provision.CleanWait); n.DriverInternalInfo.String(driver.KeyAgentToken) != "" {
			t.Fatal("the token of the boot that was lost is left")
		}
		r.boot()
		r.told("clean", `"half"`)

		// The agent forgets what it was told.
		r.asksForReboot("most")
		r.reach(provision.CleanWait)
		r.boot()
		r.told("clean", `"most"`)
		r.agent.reboot()
		r.beat()
		if !restartable {
			if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "must not be repeated") || len(left(n)) > 0 {
				t.Errorf("last_error %q, left %v", *n.LastError, left(n))
			}
			continue
		}
		r.told("clean", `"most"`)
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
		r.reach(provision.Available)
	}
}

// TestVersionsInReboot: an agent of other managers goes on with the step, too.
func TestVersionsInReboot(t *testing.T) {
	r := flasher(t, false)
	r.agent.offers["clean"] = append([]ipa.Step{{Step: "erase_devices_metadata", Interface: "deploy", Priority: 99}}, r.agent.offers["clean"]...)
	flashings[0].begin(r)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.asksForReboot("half")
	r.reach(provision.CleanWait)
	r.boot()
	r.told("clean", `"half"`)
	r.agent.finish(ipa.StatusVersionMismatch, ipa.VersionMismatch.New("1.2 is not 1.3"))
	r.beat()
	r.told("clean", `"half"`)
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Available)
}

// TestAgentRebootsInStep: where only the agent can boot the machine it does, also
// if the conductor dies before it knows that the agent has heard of it.
func TestAgentRebootsInStep(t *testing.T) {
	for _, crash := range []bool{false, true} {
		r := newRig(t, fastTrack)
		r.change(byHand("agent"))
		r.agent.resumes = true
		r.agent.offers["clean"] = []ipa.Step{{Step: "flash_nic", Interface: "firmware", Priority: 90}}
		flashings[0].begin(r)
		r.boot()
		r.told("clean", "null")
		url, token := r.agent.URL, r.agent.token()
		r.asksForReboot("half")
		n := r.reach(provision.CleanWait)
		if got := r.agent.last(); got != "run_image" || n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
			t.Fatalf("the agent was told %q; want to reboot", got)
		}
		if crash {
			r.agent.vanishAt("run_image")
			r.crash(func(n *store.Node) {
				n.ProvisionState = provision.Cleaning
				n.DriverInternalInfo[driver.KeyPowerRequest], n.DriverInternalInfo[driver.KeyAgentURL], n.DriverInternalInfo[driver.KeyAgentToken] = driver.Rebooting, url, token
				n.DriverInternalInfo[driver.KeyAgentVerifyCA] = r.agent.certificate()
			})
			if n := r.reach(provision.CleanWait); n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || n.LastError != nil {
				t.Fatalf("the agent that is gone is at %q, last_error %v", n.DriverInternalInfo.String(driver.KeyAgentURL), n.LastError)
			}
		}
		r.boot()
		r.told("clean", `"half"`)
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
		r.reach(provision.Available)
	}
}

// TestCrashAfterTheLastStep: when the agent was taken away nobody is left to say
// that its step is over.
func TestCrashAfterTheLastStep(t *testing.T) {
	r := flasher(t, false)
	flashings[1].begin(r)
	r.boot()
	r.told("clean", "null")
	var crashed store.Node
	r.with(func(ifs *driver.Interfaces) {
		ifs.Deploy = watched{ifs.Deploy, func() { crashed = *r.row() }}
	})
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.with(func(*driver.Interfaces) {})
	if crashed.ProvisionState != provision.Cleaning || crashed.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		t.Fatalf("at the switch the node was %s, its agent at %q", crashed.ProvisionState, crashed.DriverInternalInfo.String(driver.KeyAgentURL))
	}
	r.crash(func(n *store.Node) {
		n.ProvisionState, n.TargetProvisionState, n.DriverInternalInfo, n.CleanStep = crashed.ProvisionState, crashed.TargetProvisionState, crashed.DriverInternalInfo, crashed.CleanStep
	})
	if n := r.reach(provision.Manageable); n.LastError != nil || *n.PowerState != driver.PowerOff {
		t.Errorf("last_error %v, %s", n.LastError, *n.PowerState)
	}
}

// watched is a deploy interface that is looked at when it has taken the agent of
// a cleaning away.
type watched struct {
	driver.Deploy
	look func()
}

func (w watched) TearDownCleaning(ctx context.Context, t *task.Task) error {
	err := w.Deploy.TearDownCleaning(ctx, t)
	w.look()
	return err
}

// TestStepNotSent: a step that must not be begun twice, and that the agent could
// not be told, is told when the agent is heard again.
func TestStepNotSent(t *testing.T) {
	r := flasher(t, false)
	flashings[0].begin(r)
	r.boot()
	r.asksForReboot("half")
	r.reach(provision.CleanWait)
	r.tasks.Wait()
	r.agent.reboot()
	if _, _, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true); err != nil {
		t.Fatal(err)
	}
	r.agent.goAfter("get_clean_steps")
	r.beat()
	n := r.reach(provision.CleanWait)
	if n.LastError != nil || r.agent.count("execute_clean_step") != 0 {
		t.Fatalf("last_error %v, %d steps were told", n.LastError, r.agent.count("execute_clean_step"))
	}
	r.agent.comeBack()
	r.beat()
	r.told("clean", `"half"`)
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Available)
}

// TestAgentGoneInBootloader: an agent that gives no answer while it installs the
// boot loader is lost long before the command would be overdue; the image is
// written again.
func TestAgentGoneInBootloader(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.images.AgentSilenceTimeout = 10 * time.Millisecond
	r.again()
	r.change(in(provision.Available))
	r.change(func(n *store.Node) {
		n.DriverInternalInfo = store.Object{}
		n.InstanceInfo["capabilities"] = map[string]any{"boot_mode": "uefi"}
	})
	r.must("active", provision.WaitCallback)
	r.boot()
	r.agent.goAfter("install_bootloader")
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	n := r.reach(provision.WaitCallback)
	if n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || n.LastError != nil {
		t.Fatalf("agent at %q, last_error %v; want the machine booted", n.DriverInternalInfo.String(driver.KeyAgentURL), n.LastError)
	}
	r.agent.comeBack()
	r.boot()
	if got, want := r.agent.last(), "execute_deploy_step deploy.write_image"; got != want {
		t.Fatalf("after the loss the agent was told %q; want %q", got, want)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Active)
}
