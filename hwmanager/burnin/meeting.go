package burnin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// addresses of the partner, which alone may connect.
func (l *networkLoad) addresses(ctx context.Context) ([]net.IP, error) {
	ctx, cancel := context.WithTimeout(ctx, introTime)
	defer cancel()
	found, err := net.DefaultResolver.LookupIPAddr(ctx, l.options.Partner)
	if err != nil {
		return nil, err
	}
	ips := make([]net.IP, len(found))
	for i, a := range found {
		ips[i] = a.IP
	}
	return ips, nil
}

// accept waits until the partner has made all connections. One that it makes anew
// takes the place of the former. Whatever else comes is refused.
func (l *networkLoad) accept(ctx context.Context, r *NetworkRun, listener net.Listener, wait time.Duration) (conns []net.Conn, err error) {
	deadline := time.Now().Add(wait)
	stop := context.AfterFunc(ctx, func() { _ = listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var partner []net.IP
	conns = make([]net.Conn, l.wiring.jobs)
	var trouble error // the last of them, for who waits in vain
	missing := l.wiring.jobs
	for missing > 0 {
		if ctx.Err() != nil {
			return conns, context.Cause(ctx)
		}
		if !time.Now().Before(deadline) {
			return conns, errors.Join(fmt.Errorf("%d of %d connections were made within %s", l.wiring.jobs-missing, l.wiring.jobs, wait), trouble)
		}
		if partner == nil {
			if partner, err = l.addresses(ctx); err != nil {
				trouble = err
				pause(ctx, min(l.wiring.retry, time.Until(deadline)))
				continue
			}
		}
		_ = listener.(*net.TCPListener).SetDeadline(deadline)
		if ctx.Err() != nil {
			continue // its end came before the deadline was set
		}
		c, err := listener.Accept()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
				return conns, err
			}
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).IP
		if !slices.ContainsFunc(partner, from.Equal) {
			r.Refused++
			trouble = fmt.Errorf("connections of %s were refused: it is not the partner", from)
			c.Close()
			continue
		}
		intro, err := introduction(ctx, c)
		if err == nil && int64(intro.number) >= int64(len(conns)) {
			err = fmt.Errorf("%w: connection %d of %d", errStranger, intro.number, len(conns))
		}
		if err != nil {
			r.Refused++
			trouble = fmt.Errorf("introduction of a connection: %w", err)
			c.Close()
			continue
		}
		if former := conns[intro.number]; former != nil {
			former.Close()
		} else {
			missing--
		}
		conns[intro.number] = c
		if missing == 0 {
			missing = dropDead(conns)
		}
	}
	return conns, nil
}

// introduction reads the first hello of a connection.
func introduction(ctx context.Context, c net.Conn) (hello, error) {
	defer interrupting(ctx, []net.Conn{c})()
	_ = c.SetDeadline(time.Now().Add(introTime))
	if ctx.Err() != nil {
		return hello{}, context.Cause(ctx)
	}
	return receiveHello(c)
}

// dropDead closes connections that the partner has given up meanwhile, to try
// again later, and counts them.
func dropDead(conns []net.Conn) (dead int) {
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		var none [1]byte
		if _, err := c.Read(none[:]); !isTimeout(err) {
			c.Close()
			conns[i] = nil
			dead++
		}
	}
	return dead
}

// connect makes all connections, again and again until the partner is there.
func (l *networkLoad) connect(ctx context.Context, wait time.Duration) ([]net.Conn, hello, error) {
	deadline := time.Now().Add(wait)
	for {
		conns, run, err := l.dial(ctx)
		if err == nil {
			return conns, run, nil
		}
		closeAll(conns)
		switch {
		case ctx.Err() != nil:
			return nil, hello{}, context.Cause(ctx)
		case errors.Is(err, errStranger), errors.Is(err, errTooLong):
			return nil, hello{}, err
		case time.Until(deadline) <= 0:
			return nil, hello{}, fmt.Errorf("the partner did not come within %s: %w", wait, err)
		}
		pause(ctx, min(l.wiring.retry, time.Until(deadline)))
	}
}

// errTooLong: the partner wants to send for longer than this node is told to take part.
var errTooLong = errors.New("the partner has a longer runtime configured")

// dial makes all connections and reads what the partner says of its run.
func (l *networkLoad) dial(ctx context.Context) (conns []net.Conn, run hello, err error) {
	dialer := net.Dialer{Timeout: introTime, LocalAddr: l.wiring.local}
	for i := range l.wiring.jobs {
		c, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(l.options.Partner, fmt.Sprint(l.wiring.port)))
		if err != nil {
			return conns, run, err
		}
		conns = append(conns, c)
		_ = c.SetDeadline(time.Now().Add(introTime))
		if err := (hello{number: uint32(i)}).send(c); err != nil {
			return conns, run, err
		}
	}
	stop := interrupting(ctx, conns)
	defer stop()
	for i, c := range conns {
		_ = c.SetDeadline(time.Now().Add(stallTime))
		if ctx.Err() != nil {
			return conns, run, context.Cause(ctx)
		}
		answer, err := receiveHello(c)
		switch {
		case err != nil:
			return conns, run, fmt.Errorf("answer to connection %d: %w", i, err)
		case answer.number != uint32(i) || i > 0 && (answer.run != run.run || answer.value != run.value):
			return conns, run, fmt.Errorf("%w: the answer to connection %d is that to another one", errStranger, i)
		case answer.value > uint64(l.options.Time.Milliseconds()):
			return conns, run, fmt.Errorf("%w: %d ms, not %d", errTooLong, answer.value, l.options.Time.Milliseconds())
		}
		run = answer
	}
	return conns, run, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
