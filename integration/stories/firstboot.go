package stories

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ferric/api/ipa"
	"ferric/api/ironic"
)

// firstBootLimit bounds the story for one machine; a slow host needs a few
// times the minute that it takes.
const firstBootLimit = 20 * time.Minute

// FirstBoot takes machines that are off and unknown to running what was asked
// for: enrol, manage, provide, deploy, first boot of the deployed system. All
// go at the same time. It writes progress and, at the end, a timeline of each.
func FirstBoot(ctx context.Context, machines []*Machine, debian bool, out io.Writer) error {
	report := &report{w: out, begin: time.Now()}
	timelines := make([][]Mark, len(machines))
	group, ctx := errgroup.WithContext(ctx)
	for i, m := range machines {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, firstBootLimit)
			defer cancel()
			var err error
			timelines[i], err = m.firstBoot(ctx, debian, report)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, m := range machines {
		fmt.Fprintln(out)
		printTimeline(out, fmt.Sprintf("%s: %s, disk %s", m.Name, m.Config.Firmware, m.Config.Disks[0].Kind), timelines[i])
	}
	fmt.Fprintf(out, "\nAll machines run what was deployed, %.0f s after the first request.\n", time.Since(report.begin).Seconds())
	return nil
}

func (m *Machine) firstBoot(ctx context.Context, debian bool, r *report) ([]Mark, error) {
	m.watch = func(n *ironic.Node) {
		r.changed(m.Name, n)
		if err := m.Agree(ctx); err != nil && m.differ == nil {
			m.differ = fmt.Errorf("in state %s: %w", n.ProvisionState, err)
		}
	}
	stop := m.followProgress(ctx, r)
	defer stop()
	if err := m.Enrol(ctx); err != nil {
		return nil, err
	}
	r.say(m.Name, "enrolled, BMC at %s", m.Config.BMC.Address)
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable); err != nil {
		return nil, err
	}
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable); err != nil {
		return nil, err
	}
	begin, line := time.Now(), m.Console.Mark()
	if err := m.Deploy(ctx, debian); err != nil {
		return nil, err
	}
	last, err := m.Booted(ctx, line)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(m.differ, m.Agree(ctx)); err != nil {
		return nil, err
	}
	r.say(m.Name, "the deployed system is up: hostname, nonce, disk serial and firmware are right")
	r.say(m.Name, "conductor, machine and ipmitool agreed about power and boot selector each of %d times", m.agreed)
	return m.timeline(ctx, begin, line, last)
}

// followProgress shows transfers of the agent until it is stopped.
func (m *Machine) followProgress(ctx context.Context, r *report) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			p, err := m.site.API.Progress(ctx, m.Name)
			if err != nil { // no agent, or no transfer: nothing to show
				continue
			}
			r.say(m.Name, "%s", describe(p))
		}
	})
	return func() { cancel(); wg.Wait() }
}

// describe tells how far a transfer is, and what holds it up.
func describe(p *ipa.Progress) string {
	left := "unknown"
	if p.SecondsLeft >= 0 {
		left = fmt.Sprintf("%.0f s", p.SecondsLeft)
	}
	phase := p.Step
	if p.Phase != "" {
		phase += ", " + p.Phase
	}
	text := fmt.Sprintf("%s: %.1f MB written, %.1f of %.1f MB fetched, %.1f MB/s, time left %s", phase,
		float64(p.Written)/1e6, float64(p.Done)/1e6, float64(p.Total)/1e6, p.BytesPerSec/1e6, left)
	if p.Bottleneck != "" {
		text += ", bottleneck: " + p.Bottleneck
	}
	return text
}

// report writes lines with the time since the beginning.
type report struct {
	w     io.Writer
	begin time.Time
	mu    sync.Mutex
}

func (r *report) say(name, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.w, "%6.1f s  %-8s %s\n", time.Since(r.begin).Seconds(), name, fmt.Sprintf(format, args...))
}

// changed tells a change of state.
func (r *report) changed(name string, n *ironic.Node) {
	step := n.DeployStep
	if len(step) == 0 {
		step = n.CleanStep
	}
	text := n.ProvisionState
	if s, ok := step["step"].(string); ok {
		text += ", step " + s
	}
	if n.PowerState != nil {
		text += ", " + *n.PowerState
	}
	if n.LastError != nil {
		text += ": " + *n.LastError
	}
	r.say(name, "%s", text)
}
