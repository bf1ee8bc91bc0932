package flow_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
)

func fastTrack(c *flow.Config) { c.Agents.FastTrack = true }

// atRest brings a node to manageable whose machine runs an agent, as an
// inspection leaves it.
func atRest(t *testing.T, change func(*flow.Config)) *rig {
	t.Helper()
	r := newRig(t, change)
	r.change(byAgent)
	r.must("manage", provision.Manageable)
	r.must("inspect", provision.InspectWait)
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), false); err != nil {
		t.Fatal(err)
	}
	if n := r.reach(provision.Manageable); *n.PowerState != driver.PowerOn {
		t.Fatalf("after inspection the machine is %s; want it on", *n.PowerState)
	}
	r.boot()
	return r
}

// TestFastTrack: from inspection to the instance the machine boots the agent once.
func TestFastTrack(t *testing.T) {
	r := atRest(t, fastTrack)
	if err := r.do("provide", flow.ProvisionRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"erase_devices_metadata", "erase_devices"} {
		r.reach(provision.CleanWait)
		r.tasks.Wait()
		if got, want := r.agent.last(), "execute_clean_step deploy."+step; got != want {
			t.Fatalf("agent was told %q; want %q", got, want)
		}
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
	}
	n := r.reach(provision.Available)
	if *n.PowerState != driver.PowerOn || n.DriverInternalInfo.String(driver.KeyAgentURL) == "" || n.DriverInternalInfo["agent_cached_clean_steps"] != nil {
		t.Errorf("after cleaning: %s, %v; want an agent that is known, and none of its steps", *n.PowerState, n.DriverInternalInfo)
	}
	r.beat() // recorded only
	r.reach(provision.Available)
	if err := r.do("active", flow.ProvisionRequest{}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.WaitCallback)
	r.tasks.Wait()
	if got, want := r.agent.last(), "execute_deploy_step deploy.write_image"; got != want {
		t.Fatalf("agent was told %q; want %q", got, want)
	}
	if diff := cmp.Diff([]string{"power on requested"}, r.power()); diff != "" {
		t.Errorf("power until the image is written (-want +got):\n%s", diff)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	if n = r.reach(provision.Active); n.DriverInternalInfo.String(driver.KeyAgentToken) != "" || n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		t.Errorf("the agent outlives the deployment: %v", n.DriverInternalInfo)
	}
}

// TestNoFastTrack: whatever rules the fast track out, the machine is booted.
func TestNoFastTrack(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(r *rig)
		why    string // in the node's events; "" where none was wanted
	}{
		"the agent is silent": {func(r *rig) { r.agent.Close() }, "its agent does not answer"},
		"the agent is busy": {func(r *rig) {
			r.agent.mu.Lock()
			defer r.agent.mu.Unlock()
			r.agent.commands = append(r.agent.commands, ipa.Result{ID: "x", Name: "burnin", Status: ipa.StatusRunning})
		}, "its agent is busy with burnin"},
		"its last heartbeat is old": {func(r *rig) {
			r.change(func(n *store.Node) {
				n.DriverInternalInfo[driver.KeyAgentLastHeartbeat] = time.Now().UTC().Add(-6 * time.Minute).Format(store.HeartbeatLayout)
			})
		}, "last heartbeat of its agent is too old"},
		"the machine is off": {func(r *rig) { r.change(func(n *store.Node) { n.PowerState = set(driver.PowerOff) }) }, "not known to be on"},
		"there is no agent":  {func(r *rig) { r.change(driver.WipeAgent) }, "no agent has sent a heartbeat"},
		"the node does not want it": {func(r *rig) {
			r.change(func(n *store.Node) { n.DriverInfo["fast_track"] = "False" })
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t, fastTrack)
			tt.change(r)
			before := len(r.power())
			r.must("provide", provision.CleanWait)
			if n := r.row(); n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || len(n.CleanStep) > 0 {
				t.Errorf("the agent is gone on with: step %v, %v", n.CleanStep, n.DriverInternalInfo)
			}
			if power := r.power()[before:]; !slices.Equal(power, []string{"rebooting requested"}) {
				t.Errorf("power: %q; want a reboot", power)
			}
			events, err := r.db.Events(t.Context(), r.node)
			if err != nil {
				t.Fatal(err)
			}
			told := ""
			for _, e := range events {
				if e.Kind == event.FastTrack {
					told = e.Detail
				}
			}
			if tt.why == "" != (told == "") || !strings.Contains(told, tt.why) {
				t.Errorf("events say %q; want %q", told, tt.why)
			}
		})
	}
}

// TestAgentVanishesBeforeDeploy: an agent that was at hand when the deployment
// was prepared and is silent when it begins is replaced by a boot.
func TestAgentVanishesBeforeDeploy(t *testing.T) {
	r := atRest(t, func(c *flow.Config) { fastTrack(c); c.AutomatedClean = false })
	r.must("provide", provision.Available)
	r.agent.vanishAfter(1)
	r.must("active", provision.WaitCallback)
	power := r.power()
	if power[len(power)-1] != "rebooting requested" {
		t.Errorf("power: %q; want a reboot at last", power)
	}
}

// TestFastTrackAfterACrash: a deployment that goes on with the agent at hand does
// so in the next process, too, by all the steps that were asked for.
func TestFastTrackAfterACrash(t *testing.T) {
	for name, over := range map[string]bool{"the agent was being joined": false, "it was joined, but not asked": true} {
		t.Run(name, func(t *testing.T) {
			r := atRest(t, func(c *flow.Config) { fastTrack(c); c.AutomatedClean = false })
			r.must("provide", provision.Available)
			r.change(func(n *store.Node) {
				n.ProvisionState = provision.Deploying
				target := provision.Active
				n.TargetProvisionState = &target
				n.DeployStep = store.Object{"interface": "deploy", "step": "deploy", "priority": 100.0}
				info := n.DriverInternalInfo
				info["deploy_steps"] = []any{map[string]any{"interface": "deploy", "step": "deploy", "priority": 100.0, "restartable": true},
					map[string]any{"interface": "deploy", "step": "write_image", "priority": 80.0, "restartable": true}}
				info["deploy_step_index"] = 0.0
				info["user_deploy_steps"] = []any{map[string]any{"Interface": "deploy", "Step": "burnin_cpu", "Priority": 90.0}}
				if over {
					info[steps.Deploy.Done] = true
				}
			})
			r.agent.offers["deploy"] = append(r.agent.offers["deploy"], ipa.Step{Interface: "deploy", Step: "burnin_cpu"})
			before := len(r.power())
			r.kill()
			r.db.Close()
			r.start()
			if err := r.flow.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.tasks.Wait()
			r.reach(provision.WaitCallback)
			if got, want := r.agent.last(), "execute_deploy_step deploy.burnin_cpu"; got != want || len(r.power()) != before {
				t.Errorf("agent was told %q, power %q; want %q and nothing", got, r.power()[before:], want)
			}
		})
	}
}

// TestFastTrackLookup: an agent may find a node at rest where it is to be gone on with.
func TestFastTrackLookup(t *testing.T) {
	for _, wanted := range []bool{false, true} {
		r := newRig(t, func(c *flow.Config) { c.Agents.FastTrack = wanted })
		for _, state := range []provision.State{provision.Enroll, provision.Manageable, provision.Available, provision.ServiceHold} {
			r.change(in(state))
			_, token, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true)
			if wanted != (err == nil && len(token) >= 32) || !wanted && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("fast track %v: lookup in %s: token of %d characters, %v", wanted, state, len(token), err)
			}
		}
		r.change(in(provision.Active))
		if _, _, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("lookup in active: %v", err)
		}
	}
}

// TestFastTrackOption: nonsense in driver_info is refused when it would count.
func TestFastTrackOption(t *testing.T) {
	r := newRig(t, nil)
	r.change(in(provision.Available))
	r.change(func(n *store.Node) { n.DriverInfo["fast_track"] = "perhaps" })
	if err := r.do("active", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), "fast_track") {
		t.Errorf("deployment with fast_track=perhaps: %v", err)
	}
}
