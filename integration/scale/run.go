package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// run goes through the whole life: start, enrolment, the load until all
// deployments are in flight, the time that it is held for, and the landing. The
// result is of the time of holding.
func run(ctx context.Context, o options, say func(format string, args ...any)) (r *result, err error) {
	dir := o.keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "ferric-scale-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	c, err := startConductor(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	f, err := newFleet(o, c.url)
	if err != nil {
		return nil, err
	}
	// The rest is in vain without a conductor.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		<-c.ended
		cancel(errors.New("the conductor ended"))
	}()
	say("conductor %s, process %d", c.url, c.pid())
	began := time.Now()
	if err := f.enrol(ctx); err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	r = &result{o: o, when: time.Now(), enrolled: time.Since(began)}
	say("%d nodes available after %s", o.nodes, r.enrolled.Round(time.Second))
	if err := r.load(ctx, c, f, say); err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	c.stop()
	if r.syncs, r.errors, err = readSyncs(c.log); err != nil {
		return nil, fmt.Errorf("the conductor's log: %w", err)
	}
	return r, nil
}

// load puts the load on, holds it and takes it off again.
func (r *result) load(ctx context.Context, c *conductor, f *fleet, say func(format string, args ...any)) error {
	r.fleet = f
	for _, n := range f.nodes {
		n.compare(true)
	}
	beating, endBeats := context.WithCancel(ctx)
	landing, land := context.WithCancel(ctx)
	defer endBeats()
	defer land()
	var beats, flights, removals sync.WaitGroup
	beats.Go(func() { f.beatAll(beating) })
	// The deployments begin one after the other, as those later on do.
	cycle := f.o.boot.most + f.o.write.most + time.Duration(f.o.powerOff)*5*time.Second
	for range f.o.flying {
		flights.Go(func() { f.fly(ctx, landing, &removals) })
		pause(ctx, cycle/time.Duration(f.o.flying))
	}
	// Each agent has its token when it has sent a heartbeat.
	pause(ctx, f.o.heartbeat*5/4-time.Since(r.when))
	say("%d deployments in flight, the load is held for %s", f.flying.Load(), f.o.hold)

	r.from = time.Now()
	holding, endHold := context.WithTimeout(ctx, f.o.hold)
	defer endHold()
	readers := newReaders(f)
	reading := make(chan struct{})
	go func() {
		readers.run(holding, f.o.reads)
		close(reading)
	}()
	var err error
	r.samples, err = watch(holding, c, f, r.from)
	r.to = time.Now()
	<-reading
	r.answers, r.failedReads, r.readFailure = readers.answers, readers.failed, readers.failure
	say("held; the deployments in flight are brought to their end")
	for _, n := range f.nodes {
		n.compare(false)
	}
	land()
	flights.Wait()
	removals.Wait()
	endBeats()
	beats.Wait()
	return errors.Join(err, ctx.Err())
}

// beatAll has each agent that waits for work send a heartbeat in each period,
// one after the other.
func (f *fleet) beatAll(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	began := time.Now()
	for i := 0; ; i++ {
		at := began.Add(f.o.heartbeat * time.Duration(i) / time.Duration(len(f.nodes)))
		if pause(ctx, time.Until(at)) != nil {
			return
		}
		n := f.nodes[i*7919%len(f.nodes)] // neighbours are not in step
		all.Go(func() {
			if err := f.beat(ctx, n); err != nil && ctx.Err() == nil {
				f.fail(n, "heartbeat", err)
			}
		})
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
