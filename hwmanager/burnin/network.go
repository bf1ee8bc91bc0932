package burnin

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// NetworkReport is what burnin_network found.
type NetworkReport struct {
	Run
	Partner string          `json:"partner"`
	Runs    []NetworkRun    `json:"runs"` // one in each role
	Traffic []InterfaceLoad `json:"interfaces,omitempty"`
}

// NetworkRun is the traffic of one direction.
type NetworkRun struct {
	Role        string  `json:"role"` // "writer" or "reader"
	Peer        string  `json:"peer,omitempty"`
	Local       string  `json:"local,omitempty"`
	Connections int     `json:"connections"`
	Seconds     float64 `json:"seconds"` // without the wait for the partner
	Bytes       int64   `json:"bytes"`   // sent, or received and verified
	Rate        float64 `json:"bytes_per_second"`
	Retransmits int64   `json:"retransmits"` // segments that this end had to send again
	Refused     int     `json:"refused_connections,omitempty"`
}

// wiring is how nodes find each other; tests have another one.
type wiring struct {
	listen string // address to listen at
	port   int    // of the partner
	local  net.Addr
	jobs   int
	retry  time.Duration
}

// Of the agent contract: port 9000, 16 jobs, a reader that retries every 30 s.
func defaultWiring() wiring {
	return wiring{listen: ":9000", port: 9000, jobs: 16, retry: 30 * time.Second}
}

const (
	introTime    = 10 * time.Second // for a new connection to say what it is
	stallTime    = 30 * time.Second // without any progress
	handoverTime = 5 * time.Minute  // for the second run: the partner is there
	graceTime    = time.Minute      // that a run may last longer than its time
)

type networkLoad struct {
	options NetworkOptions
	wiring  wiring
	report  *NetworkReport
	bytes   atomic.Int64 // sent or verified, in both runs
	before  atomic.Int64 // nanoseconds of the runs that have ended
	began   atomic.Int64 // of the load, when the present run began, in nanoseconds; 0 for none
}

// Network exchanges verified traffic with another node that does the same, first in
// the role that o says, then in the other one. The first failure ends it: the error
// names run and connection. The report is never nil.
func Network(ctx context.Context, h *hwmanager.Host, o NetworkOptions, progress func(ipa.Progress)) (*NetworkReport, error) {
	return loadNetwork(ctx, h, o, defaultWiring(), progress)
}

func loadNetwork(ctx context.Context, h *hwmanager.Host, o NetworkOptions, w wiring, progress func(ipa.Progress)) (*NetworkReport, error) {
	l := &networkLoad{options: o, wiring: w, report: &NetworkReport{Run: begin("burnin_network"), Partner: o.Partner}}
	watch, traffic := sensors{h.Sys, h.Proc}.watch(), trafficOf(h.Sys)
	stop := follow(progress, l.amount)
	err := l.load(ctx)
	stop()
	l.report.Health = watch.end()
	for _, run := range l.report.Runs {
		l.report.Traffic = traffic.since(h.Sys, run.Local, l.report.Traffic)
	}
	if err == nil {
		err = l.report.Health.fault()
	}
	l.report.end(err)
	return l.report, err
}

// amount is by time, of both runs, without the waits.
func (l *networkLoad) amount() amount {
	elapsed := time.Duration(l.before.Load())
	if began := l.began.Load(); began != 0 {
		elapsed += min(time.Since(l.report.began)-time.Duration(began), l.options.Time)
	}
	return amount{done: int64(elapsed.Seconds()), total: int64((2 * l.options.Time).Seconds()), bytes: l.bytes.Load()}
}

func (l *networkLoad) load(ctx context.Context) error {
	var listener net.Listener
	open := func() (err error) {
		if listener == nil {
			var config net.ListenConfig
			listener, err = config.Listen(ctx, "tcp", l.wiring.listen)
		}
		return err
	}
	defer func() {
		if listener != nil {
			listener.Close()
		}
	}()
	wait := l.options.Wait
	for i, writer := range []bool{l.options.Writer, !l.options.Writer} {
		l.report.Runs = append(l.report.Runs, NetworkRun{Role: "reader"})
		r := &l.report.Runs[i]
		var err error
		if writer {
			r.Role = "writer"
			if err = open(); err == nil {
				err = l.write(ctx, r, listener, wait)
			}
		} else {
			// The listener for the second run is there before the first ends, so that
			// the partner does not come too early.
			err = l.read(ctx, r, wait, open)
		}
		if err != nil {
			if cause := failure(ctx); cause != nil {
				return cause
			}
			return fmt.Errorf("run %d, as %s, with %s: %w", i+1, r.Role, l.options.Partner, err)
		}
		wait = handoverTime
	}
	return nil
}

// write waits for the partner's connections and sends as long as is wanted.
func (l *networkLoad) write(ctx context.Context, r *NetworkRun, listener net.Listener, wait time.Duration) error {
	conns, err := l.accept(ctx, r, listener, wait)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	var id [8]byte
	_, _ = crand.Read(id[:]) // never fails (it ends the program instead)
	run := binary.LittleEndian.Uint64(id[:])
	return l.transfer(ctx, r, conns, l.options.Time, func(ctx context.Context, i int, c net.Conn) error {
		return l.send(ctx, c, hello{uint32(i), run, uint64(l.options.Time.Milliseconds())})
	})
}

// read connects to the partner and verifies what it sends. Ready is called when
// all connections are made.
func (l *networkLoad) read(ctx context.Context, r *NetworkRun, wait time.Duration, ready func() error) error {
	conns, run, err := l.connect(ctx, wait)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	length := time.Duration(run.value) * time.Millisecond
	return l.transfer(ctx, r, conns, length, func(ctx context.Context, i int, c net.Conn) error {
		return l.receive(ctx, c, hello{number: uint32(i), run: run.run})
	})
}

// transfer does the same with all connections at once, each with a deadline of its
// own, and notes what came of it. The whole may take a little longer than length.
func (l *networkLoad) transfer(ctx context.Context, r *NetworkRun, conns []net.Conn, length time.Duration, do func(ctx context.Context, i int, c net.Conn) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, length+graceTime, fmt.Errorf("it did not end within %s", length+graceTime))
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	defer interrupting(groupCtx, conns)()
	began, before := time.Now(), l.bytes.Load()
	l.began.Store(int64(began.Sub(l.report.began)))
	for i, c := range conns {
		group.Go(func() error {
			if err := do(groupCtx, i, c); err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			return nil
		})
	}
	err := group.Wait()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	l.began.Store(0)
	l.before.Add(int64(min(time.Since(began), l.options.Time)))
	r.Connections, r.Peer, r.Local = len(conns), conns[0].RemoteAddr().String(), conns[0].LocalAddr().String()
	r.Seconds, r.Bytes = time.Since(began).Seconds(), l.bytes.Load()-before
	r.Rate = float64(r.Bytes) / max(r.Seconds, 1e-9)
	for _, c := range conns {
		r.Retransmits += retransmits(c)
	}
	return err
}

// send answers the introduction, sends blocks, and waits for the word that all of
// them were right.
func (l *networkLoad) send(ctx context.Context, c net.Conn, run hello) error {
	_ = c.SetDeadline(time.Now().Add(stallTime))
	if err := run.send(c); err != nil {
		return err
	}
	end := time.Now().Add(l.options.Time)
	p := make([]byte, streamBlock)
	at := block{run: run.run, generation: run.number}
	for ctx.Err() == nil && time.Now().Before(end) {
		at.stamp(p)
		if err := l.put(ctx, c, p, at.offset); err != nil {
			return err
		}
		at.offset += streamBlock
		l.bytes.Add(streamBlock)
	}
	sent := at.offset
	at.offset += streamEnd
	at.stamp(p)
	if err := l.put(ctx, c, p, sent); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(stallTime))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	word, err := receiveHello(c)
	if err != nil {
		return fmt.Errorf("no word of what was received after %d bytes: %w", sent, err)
	}
	if want := (hello{run.number, run.run, uint64(sent)}); word != want {
		return fmt.Errorf("%d bytes were sent and %d received", sent, word.value)
	}
	return nil
}

func (l *networkLoad) put(ctx context.Context, c net.Conn, p []byte, sent int64) error {
	_ = c.SetWriteDeadline(time.Now().Add(stallTime))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := c.Write(p); err != nil {
		return fmt.Errorf("send after %d bytes: %w", sent, err)
	}
	return nil
}

// receive verifies blocks until the last one, and says so.
func (l *networkLoad) receive(ctx context.Context, c net.Conn, run hello) error {
	p := make([]byte, streamBlock)
	at := block{run: run.run, generation: run.number}
	for {
		_ = c.SetReadDeadline(time.Now().Add(stallTime))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := io.ReadFull(c, p); err != nil {
			return fmt.Errorf("receive after %d bytes: %w", at.offset, err)
		}
		wrong := at.check(p)
		if wrong == nil {
			at.offset += streamBlock
			l.bytes.Add(streamBlock)
			continue
		}
		if last := (block{at.run, at.offset + streamEnd, at.generation}); last.check(p) == nil {
			break
		}
		return fmt.Errorf("%s block after %d bytes: %s", wrong.kind, at.offset, wrong.text)
	}
	_ = c.SetWriteDeadline(time.Now().Add(stallTime))
	run.value = uint64(at.offset)
	if err := run.send(c); err != nil {
		return fmt.Errorf("acknowledge %d bytes: %w", at.offset, err)
	}
	return nil
}

// interrupting makes everything that waits for the connections return when ctx
// ends. Who sets a deadline looks at ctx afterwards: it may have ended before.
func interrupting(ctx context.Context, conns []net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		for _, c := range conns {
			_ = c.SetDeadline(time.Unix(1, 0))
		}
	})
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}
