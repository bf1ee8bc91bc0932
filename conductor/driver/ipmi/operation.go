package ipmi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/sirupsen/logrus"
)

// operation is one call of the driver: a few commands to one BMC. Between its commands other operations may
// have theirs.
type operation struct {
	bmcs     *BMCs
	bmc      *bmc
	info     Info
	endpoint string
	name     string
	contact  *contact
	log      *logrus.Entry
	login    func(context.Context) (session, error)
	// isWalk is an operation of many small commands that read on: min_command_interval goes before the first.
	isWalk, hasBegun bool
}

// Pauses between attempts of one command, and how often a login is begun anew when it went out of step.
const (
	firstPause  = 200 * time.Millisecond
	longestWait = 5 * time.Second
	maxRestarts = 3
)

// command sends one command when the BMC's queue lets it and tries again for CommandRetryTimeout if the BMC is
// silent or busy. All commands that ferric sends this way may be repeated.
func (o *operation) command(ctx context.Context, cmd types.Command, data []byte) (response []byte, err error) {
	leave, err := o.queue(ctx, cmd)
	if err != nil {
		return nil, err
	}
	defer leave()
	defer func() { o.contact.note(o.name, err) }()
	began := time.Now()
	if observe := o.bmcs.cfg.Observe; observe != nil {
		defer func() { observe(o.name, time.Since(began), err) }()
	}
	budget, cancel := context.WithTimeout(ctx, o.bmcs.cfg.CommandRetryTimeout)
	defer cancel()
	wait, restarts := firstPause, 0
	for attempt := 1; ; attempt++ {
		response, err := o.attempt(budget, cmd, data)
		if err == nil {
			return response, nil
		}
		if errors.Is(err, errRestartLogin) {
			restarts++
		}
		again := errors.Is(err, ErrUnreachable) || errors.Is(err, errBusyBMC) || errors.Is(err, errRestartLogin) && restarts < maxRestarts
		if !again {
			return nil, o.explain(o.interrupted(ctx, err))
		}
		o.log.WithError(err).WithField("attempt", attempt).Debug("IPMI command failed, trying again")
		if pause(budget, wait) != nil {
			if attempt > 1 {
				err = fmt.Errorf("%w (%d attempts in %s)", err, attempt, time.Since(began).Round(100*time.Millisecond))
			}
			return nil, o.explain(o.interrupted(ctx, err))
		}
		wait = min(2*wait, longestWait)
	}
}

// queue waits for the command's turn at the BMC, which lasts until leave.
func (o *operation) queue(ctx context.Context, cmd types.Command) (leave func(), err error) {
	if err := o.bmc.queue.Acquire(ctx, 1); err != nil {
		return nil, o.explain(o.interrupted(ctx, fmt.Errorf("%w: %s waited for other commands", ErrBusy, cmd.Name)))
	}
	leave = func() {
		o.bmc.lastCommand = time.Now()
		o.bmc.queue.Release(1)
	}
	interval := o.bmcs.cfg.MinCommandInterval
	if o.isWalk && o.hasBegun {
		interval = 0
	}
	o.hasBegun = true
	if err := pause(ctx, time.Until(o.bmc.lastCommand.Add(interval))); err != nil {
		leave()
		return nil, o.explain(o.interrupted(ctx, fmt.Errorf("%w: %s waited for min_command_interval", ErrBusy, cmd.Name)))
	}
	return leave, nil
}

// attempt is one try, in the session of an earlier command if there is one. A session that the BMC has
// forgotten, as after a restart, is one that it does not answer in: the try goes on with a login.
func (o *operation) attempt(ctx context.Context, cmd types.Command, data []byte) ([]byte, error) {
	if s := o.take(ctx); s != nil {
		response, err := o.send(ctx, s, cmd, data)
		if outcome(err) {
			o.keep(ctx, s)
			return response, err
		}
		o.bmcs.abandon(ctx, s)
		if ctx.Err() != nil {
			return nil, err
		}
		o.log.WithError(err).Debug("IPMI session is dead, logging in anew")
	}
	return o.attemptAnew(ctx, cmd, data)
}

// attemptAnew is one try in a session of its own, which is kept for the next command if the BMC answered.
func (o *operation) attemptAnew(ctx context.Context, cmd types.Command, data []byte) ([]byte, error) {
	s, err := o.login(ctx)
	if err != nil {
		return nil, err
	}
	response, err := o.send(ctx, s, cmd, data)
	if outcome(err) {
		o.keep(ctx, s)
	} else {
		o.bmcs.abandon(ctx, s)
	}
	return response, err
}

// send sends a command in a session: to the BMC, or to the controller behind it.
func (o *operation) send(ctx context.Context, s session, cmd types.Command, data []byte) ([]byte, error) {
	if plus, ok := s.(*rmcpPlus); ok && o.info.Bridge.Kind != "" {
		return plus.bridged(ctx, o.info.Bridge, cmd, data)
	}
	return s.command(ctx, cmd, data)
}

// outcome reports whether a command got an answer, be it a refusal.
func outcome(err error) bool {
	var refused *CompletionError
	return err == nil || errors.As(err, &refused)
}

// open logs in with the pinned suite, the one that worked last, or the first of the configured ones that the BMC
// takes, and remembers it.
func (o *operation) open(ctx context.Context) (session, error) {
	w, err := dial(ctx, o.endpoint, o.bmcs.cfg.ResponseTimeout)
	if err != nil {
		return nil, err
	}
	s, err := o.openOn(ctx, w)
	if err != nil {
		w.close()
		return nil, err
	}
	return s, nil
}

func (o *operation) openOn(ctx context.Context, w *wire) (session, error) {
	switch {
	case o.info.Version15:
		return openLAN(ctx, w, o.info)
	case o.info.CipherSuite != 0:
		return o.firstSuite(ctx, w, []int{o.info.CipherSuite})
	}
	return o.chooseSuite(ctx, w)
}

// firstSuite logs in with the first suite that works. The next one is also tried after a refused login or
// silence, as there are BMCs that answer a suite they lack with either; of the errors, a refused login counts
// most, then the first.
func (o *operation) firstSuite(ctx context.Context, w *wire, suites []int) (session, error) {
	var telling error
	for _, id := range suites {
		algorithms, err := suiteOf(id)
		if err != nil {
			return nil, err
		}
		s, err := openRMCPPlus(ctx, w, o.info, algorithms)
		if err == nil {
			o.bmc.suite = id
			return s, nil
		}
		o.log.WithError(err).WithField("cipher_suite", id).Debug("IPMI login failed")
		switch {
		case errors.Is(err, errRefusedSuite):
		case errors.Is(err, ErrAuth):
			if !errors.Is(telling, ErrAuth) {
				telling = err
			}
		case errors.Is(err, ErrUnreachable):
			if telling == nil {
				telling = err
			}
		default:
			return nil, err
		}
	}
	if telling != nil {
		return nil, telling
	}
	return nil, fmt.Errorf("%w: the BMC refused %v", ErrNoCipherSuite, suites)
}

// interrupted prefers the news that the caller gave up, or that the driver is shut down, over err.
func (o *operation) interrupted(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	select {
	case <-o.bmcs.closed:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// explain says which BMC failed at what, and what to check.
func (o *operation) explain(err error) error {
	hint := ""
	switch {
	case errors.Is(err, ErrUnreachable):
		hint = "; check ipmi_address, ipmi_port, the network between, and that IPMI over LAN is enabled on the BMC"
	case errors.Is(err, ErrAuth):
		hint = "; check ipmi_username, ipmi_password and ipmi_hex_kg_key"
	case errors.Is(err, ErrPrivilege):
		hint = "; check ipmi_priv_level and what the user may do on this channel of the BMC"
	case errors.Is(err, ErrNoCipherSuite):
		hint = "; check ipmi_cipher_suite, [ipmi]cipher_suite_versions and the suites enabled on the BMC"
	case errors.Is(err, errBusyBMC):
		hint = "; it may be updating its firmware or have all its sessions in use"
	}
	if o.info.Bridge.Kind != "" && errors.Is(err, ErrUnreachable) {
		hint += ", and that there is " + o.info.Bridge.String()
	}
	return fmt.Errorf("IPMI %s on BMC %s: %w%s", o.name, o.endpoint, err, hint)
}

// pause waits for d or until ctx ends, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
