package flow_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// switches is a power interface that notes what it is told, and can reset the
// machine if resets is not nil.
type switches struct {
	driver.Power
	told *[]string
	off  bool
}

func (s switches) SetPowerState(_ context.Context, _ *task.Task, target string, _ time.Duration) error {
	*s.told = append(*s.told, target)
	return nil
}

func (s switches) PowerState(ctx context.Context, n *store.Node) (string, error) {
	if s.off {
		return driver.PowerOff, nil
	}
	return s.Power.PowerState(ctx, n)
}

type resets struct{ switches }

func (s resets) Reset(context.Context, *task.Task, time.Duration) error {
	*s.told = append(*s.told, "reset")
	return nil
}

// TestWarmReboot: where a step asks for a reboot that keeps the memory, the agent
// restarts its machine; where it does not, the power interface resets it, or
// switches it off and on, which is said.
func TestWarmReboot(t *testing.T) {
	const reset, lost = "the agent does not restart the machine, which is reset: ", "so that what lies in its memory is lost: "
	for _, tt := range []struct {
		name     string
		stays    bool // the agent does
		canReset bool
		gone     bool // the agent, before it is told
		crash    bool // of the conductor when the machine has gone
		off      bool // is the machine then
		told     []string
		says     string
	}{
		{name: "by the agent", canReset: true},
		{name: "reset", stays: true, canReset: true, told: []string{"reset"}, says: reset},
		{name: "switched", stays: true, told: []string{driver.Rebooting}, says: lost},
		{name: "nobody listens", gone: true, canReset: true, told: []string{"reset"}, says: reset},
		{name: "crash", crash: true, canReset: true},
		{name: "crash, and the machine is off", crash: true, off: true, canReset: true, told: []string{"reset"}, says: reset},
		{name: "crash, and the agent stays", crash: true, stays: true, told: []string{driver.Rebooting}, says: lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := flasher(t, false)
			var told []string
			power := func(off bool) {
				r.with(func(ifs *driver.Interfaces) {
					s := switches{ifs.Power, &told, off}
					if ifs.Power = s; tt.canReset {
						ifs.Power = resets{s}
					}
				})
			}
			power(false)
			flashings[1].begin(r)
			r.boot()
			r.told("clean", "null")
			url, token := r.agent.URL, r.agent.token()
			r.agent.warm, r.agent.stays = true, tt.stays
			told = nil
			if tt.gone {
				r.with(func(ifs *driver.Interfaces) {
					ifs.Power = resets{switches{ifs.Power, &told, false}}
					ifs.Boot = leaving{ifs.Boot, func() { r.agent.Listener.Close() }}
				})
			} else if !tt.stays {
				r.agent.goAfter("run_image")
			}
			r.asksForReboot("half")
			n := r.reach(provision.CleanWait)
			r.tasks.Wait()
			if tt.crash {
				told = nil
				power(tt.off)
				r.crash(func(n *store.Node) {
					n.ProvisionState = provision.Cleaning
					n.DriverInternalInfo[driver.KeyPowerRequest], n.DriverInternalInfo[driver.KeyAgentURL], n.DriverInternalInfo[driver.KeyAgentToken] = driver.WarmRebooting, url, token
					n.DriverInternalInfo[driver.KeyAgentVerifyCA] = r.agent.certificate()
				})
				n = r.reach(provision.CleanWait)
			}
			if n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || n.DriverInternalInfo.String(driver.KeyPowerRequest) != "" || *n.PowerState != driver.PowerOn {
				t.Errorf("after the reboot the row has %v, %s", n.DriverInternalInfo, *n.PowerState)
			}
			if !slices.Equal(told, tt.told) {
				t.Errorf("the power interface was told %q; want %q", told, tt.told)
			}
			list, err := r.db.Events(t.Context(), r.node)
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			for _, e := range list {
				if e.Kind == event.Power && (strings.Contains(e.Detail, reset) || strings.Contains(e.Detail, lost)) {
					said = e.Detail
				}
			}
			if !strings.Contains(said, tt.says) || tt.says == "" && said != "" {
				t.Errorf("the events say %q; want %q", said, tt.says)
			}
			if !tt.stays {
				r.agent.comeBack()
			}
			r.agent.warm = false
			r.boot()
			r.told("clean", `"half"`)
			r.agent.finish(ipa.StatusSucceeded, nil)
			r.beat()
			if n := r.reach(provision.Manageable); n.LastError != nil {
				t.Error(*n.LastError)
			}
		})
	}
}

// leaving is a boot interface during whose work the agent goes away.
type leaving struct {
	driver.Boot
	leave func()
}

func (l leaving) PrepareRamdisk(ctx context.Context, t *task.Task, params map[string]string) error {
	l.leave()
	return l.Boot.PrepareRamdisk(ctx, t, params)
}

// TestNoReboot: a step that is declared with a reboot and says that it needs none
// is not followed by one, unless its agent has never said that it knows of that.
func TestNoReboot(t *testing.T) {
	t.Parallel()
	for _, resumes := range []bool{true, false} {
		r := flasher(t, true)
		r.agent.resumes, r.agent.settled = resumes, true
		flashings[0].begin(r)
		r.boot()
		booted := len(r.power())
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
		if !resumes {
			r.reach(provision.CleanWait)
			if power := r.power(); len(power) == booted {
				t.Error("the machine of a foreign agent was not rebooted")
			}
			continue
		}
		r.reach(provision.Available)
		if power := r.power()[booted:]; slices.Contains(power, "rebooting requested") {
			t.Errorf("the power was asked for %q", power)
		}
	}
}
