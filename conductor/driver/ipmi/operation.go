package ipmi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/sirupsen/logrus"
)

// operation is one call of the driver: a few commands to one BMC that share a session. Between its commands
// other operations may have theirs.
type operation struct {
	bmcs     *BMCs
	bmc      *bmc
	info     Info
	endpoint string
	name     string
	log      *logrus.Entry

	wire    *wire
	session session
}

// Pauses between attempts of one command, and how often a login is begun anew when it went out of step.
const (
	firstPause  = 200 * time.Millisecond
	longestWait = 5 * time.Second
	maxRestarts = 3
)

// command sends one command when the BMC's queue lets it, in a new session where there is none, and tries
// again for CommandRetryTimeout if the BMC is silent or busy. All commands that ferric sends may be repeated.
func (o *operation) command(ctx context.Context, cmd types.Command, data []byte) ([]byte, error) {
	if err := o.bmc.queue.Acquire(ctx, 1); err != nil {
		return nil, o.explain(o.interrupted(ctx, fmt.Errorf("%w: %s waited for other commands", ErrBusy, cmd.Name)))
	}
	defer o.bmc.queue.Release(1)
	defer func() { o.bmc.lastCommand = time.Now() }()
	if err := pause(ctx, time.Until(o.bmc.lastCommand.Add(o.bmcs.cfg.MinCommandInterval))); err != nil {
		return nil, o.explain(o.interrupted(ctx, fmt.Errorf("%w: %s waited for min_command_interval", ErrBusy, cmd.Name)))
	}
	began := time.Now()
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

// attempt is one try. A session that failed other than by a refused command is given up.
func (o *operation) attempt(ctx context.Context, cmd types.Command, data []byte) ([]byte, error) {
	if o.session == nil {
		if err := o.login(ctx); err != nil {
			return nil, err
		}
	}
	response, err := o.session.command(ctx, cmd, data)
	var refused *CompletionError
	if err != nil && !errors.As(err, &refused) {
		o.abandon()
	}
	return response, err
}

// login opens a session with the pinned suite, the one that worked last, or the first of the configured ones
// that the BMC takes, and remembers it.
func (o *operation) login(ctx context.Context) error {
	w, err := dial(ctx, o.endpoint, o.bmcs.cfg.ResponseTimeout)
	if err != nil {
		return err
	}
	o.wire = w
	if o.info.Version15 {
		s, err := openLAN(ctx, w, o.info)
		if err != nil {
			o.abandon()
			return err
		}
		o.session = s
		return nil
	}
	suites := o.bmcs.cfg.CipherSuites
	switch {
	case o.info.CipherSuite != 0:
		suites = []int{o.info.CipherSuite}
	case o.bmc.suite != 0:
		suites = []int{o.bmc.suite}
	}
	err = o.firstSuite(ctx, suites)
	if errors.Is(err, ErrNoCipherSuite) && o.bmc.suite != 0 && o.info.CipherSuite == 0 {
		o.bmc.suite = 0
		err = o.firstSuite(ctx, o.bmcs.cfg.CipherSuites)
	}
	if err != nil {
		o.abandon()
	}
	return err
}

// firstSuite logs in with the first suite that works. The next one is also tried after a refused login or
// silence, as there are BMCs that answer a suite they lack with either; of the errors, a refused login counts
// most, then the first.
func (o *operation) firstSuite(ctx context.Context, suites []int) error {
	var telling error
	for _, id := range suites {
		s, err := suiteOf(id)
		if err != nil {
			return err
		}
		session, err := openRMCPPlus(ctx, o.wire, o.info, s)
		if err == nil {
			o.session, o.bmc.suite = session, id
			return nil
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
			return err
		}
	}
	if telling != nil {
		return telling
	}
	return fmt.Errorf("%w: the BMC refused %v", ErrNoCipherSuite, suites)
}

// logout ends the session of a finished operation. It needs a little time of its own, as the operation's may
// be over, and its turn in the queue.
func (o *operation) logout(ctx context.Context) {
	if o.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.bmcs.cfg.ResponseTimeout)
	defer cancel()
	if o.bmc.queue.Acquire(ctx, 1) == nil {
		o.session.close(ctx)
		o.bmc.queue.Release(1)
	}
	o.abandon()
}

// abandon forgets the session without a word to the BMC.
func (o *operation) abandon() {
	if s, ok := o.session.(*lan); ok {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		s.close(over)
	}
	o.wire.close()
	o.wire, o.session = nil, nil
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
		hint = "; check ipmi_username and ipmi_password"
	case errors.Is(err, ErrPrivilege):
		hint = "; check ipmi_priv_level and what the user may do on this channel of the BMC"
	case errors.Is(err, ErrNoCipherSuite):
		hint = "; check ipmi_cipher_suite, [ipmi]cipher_suite_versions and the suites enabled on the BMC"
	case errors.Is(err, errBusyBMC):
		hint = "; it may be updating its firmware or have all its sessions in use"
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
