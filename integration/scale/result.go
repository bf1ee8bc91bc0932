package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is what a run came to.
type result struct {
	o        options
	when     time.Time
	enrolled time.Duration
	fleet    *fleet
	syncs    syncs
	errors   []string // of the conductor's log

	from, to    time.Time // the load was held
	samples     []sample
	answers     [][]answer // by kind of read
	failedReads int
	readFailure error
}

// held is how long the load was.
func (r *result) held() time.Duration { return r.to.Sub(r.from) }

// missed counts the nodes that a pass of the power sync left out although they
// were to be compared from its begin to its end, and the passes.
func (r *result) missed() (nodes, passes int) {
	for _, p := range r.syncs.passes {
		begin := p.end.Add(-p.took)
		if p.end.Before(r.from) || begin.After(r.to) {
			continue
		}
		passes++
		for _, n := range r.fleet.nodes {
			within := slices.ContainsFunc(n.eligible, func(e ofTime) bool { return e.from.Before(begin) && e.to.After(p.end) })
			compared := slices.ContainsFunc(r.syncs.compared[n.uuid], func(at time.Time) bool { return !at.Before(begin.Add(-time.Millisecond)) && !at.After(p.end) })
			if within && !compared {
				nodes++
			}
		}
	}
	return nodes, passes
}

// late are the nodes that were not compared for longer than an interval and a pass.
func (r *result) late() (nodes int, longest time.Duration) {
	var pass time.Duration
	for _, p := range r.syncs.passes {
		pass = max(pass, p.took)
	}
	for _, gap := range r.syncs.gaps(r.fleet.nodes, r.from, r.to) {
		longest = max(longest, gap)
		if gap > r.o.sync+pass {
			nodes++
		}
	}
	return nodes, longest
}

// lost says what must not happen however slow the machine is.
func (r *result) lost() error {
	var errs []error
	if missed, passes := r.missed(); missed > 0 || passes == 0 {
		errs = append(errs, fmt.Errorf("power sync: %d nodes were left out of %d passes", missed, passes))
	}
	if n := len(r.fleet.failures); n > 0 {
		errs = append(errs, fmt.Errorf("%d deployments or heartbeats failed, as in: %s", n, strings.Join(r.fleet.failures[:min(n, 5)], "; ")))
	}
	if r.failedReads > 0 {
		errs = append(errs, fmt.Errorf("%d reads failed, the first: %w", r.failedReads, r.readFailure))
	}
	if n := len(r.errors); n > 0 {
		errs = append(errs, fmt.Errorf("the conductor logged %d errors, as in: %s", n, strings.Join(r.errors[:min(n, 3)], "\n")))
	}
	if n := r.fleet.deployed.between(r.from, r.to.Add(time.Hour)); n == 0 {
		errs = append(errs, errors.New("nothing was deployed"))
	}
	return errors.Join(errs...)
}

// slow says which limits were not kept.
func (r *result) slow() error {
	var errs []error
	if p99 := quantile(times(r.answers, 0, r.held()), 0.99); p99 > maxRead {
		errs = append(errs, fmt.Errorf("p99 of reads is %s, more than %s", p99, maxRead))
	}
	if most := r.most(func(s sample) float64 { return float64(s.resident) }); most > maxResident {
		errs = append(errs, fmt.Errorf("%.0f MiB are resident, more than %d", most/(1<<20), maxResident>>20))
	}
	if nodes, longest := r.late(); nodes > 0 {
		errs = append(errs, fmt.Errorf("%d nodes were compared late, up to %s after the time before", nodes, longest))
	}
	return errors.Join(errs...)
}

// most is the largest of the samples.
func (r *result) most(of func(s sample) float64) (most float64) {
	for _, s := range r.samples {
		most = max(most, of(s))
	}
	return most
}

// share of one processor that something took over the time.
func (r *result) share(of func(s sample) time.Duration) float64 {
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	return 100 * float64(of(last)-of(first)) / float64(last.at-first.at)
}

// perSecond is the rate of what a counter counted while the load was held.
func (r *result) perSecond(c *counter) float64 {
	return float64(c.between(r.from, r.to)) / r.held().Seconds()
}

// rows are the figures besides those of reads.
func (r *result) rows() [][2]string {
	var rows [][2]string
	add := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	const mib = 1 << 20
	last := r.samples[len(r.samples)-1]
	least, flying := int64(r.o.nodes), int64(0)
	for _, s := range r.samples {
		least, flying = min(least, s.flying), flying+s.flying
	}
	missed, passes := r.missed()
	late, longest := r.late()
	var compared, locked []int
	var took time.Duration
	for _, p := range r.syncs.passes {
		if p.end.After(r.from) && p.end.Add(-p.took).Before(r.to) {
			compared, locked, took = append(compared, p.compared), append(locked, p.locked), max(took, p.took)
		}
	}
	add("Nodes", "%d, enrolled with a port each and brought to available in %s", r.o.nodes, r.enrolled.Round(100*time.Millisecond))
	add("Load held", "%s", r.held().Round(time.Second))
	add("Deployments in flight", "%.0f on average, at least %d", float64(flying)/float64(len(r.samples)), least)
	add("Deployed", "%.1f a minute, %d in all", 60*r.perSecond(&r.fleet.deployed), r.fleet.deployed.between(r.from, r.to))
	add("Undeployed", "%.1f a minute", 60*r.perSecond(&r.fleet.undeployed))
	add("Deployments lost", "%d", len(r.fleet.failures))
	add("Heartbeats", "%.1f a second", r.perSecond(&r.fleet.heartbeats))
	add("Requests refused for a lock, a limit or want of a worker, and repeated", "%d", r.fleet.refused.Load())
	add("Power sync", "%d passes, the longest %s, nodes compared %v, left for their lock %v", passes, took.Round(100*time.Millisecond), compared, locked)
	add("Syncs missed", "%d; later than interval and pass: %d; longest time between two comparisons of a node %s", missed, late, longest.Round(100*time.Millisecond))
	add("Resident", "%.0f MiB at most, %.0f MiB in the end; proportional %.0f MiB at most", r.most(func(s sample) float64 { return float64(s.resident) })/mib, float64(last.resident)/mib, r.most(func(s sample) float64 { return float64(s.shared) })/mib)
	add("Processor time of the conductor", "%.0f %% of one of them", r.share(func(s sample) time.Duration { return s.conductor }))
	add("Processor time of the simulation", "%.0f %%", r.share(func(s sample) time.Duration { return s.load }))
	add("Processor time of others and the kernel", "%.0f %%", r.share(func(s sample) time.Duration { return s.machine - s.conductor - s.load }))
	add("Database", "%.0f MiB with its log", float64(last.database)/mib)
	return rows
}

// readRows are the figures of each kind of read, and of all.
func (r *result) readRows() [][]string {
	row := func(name string, kinds [][]answer) []string {
		t := times(kinds, 0, r.held())
		cells := []string{name, fmt.Sprintf("%.1f", float64(len(t))/r.held().Seconds())}
		for _, q := range []float64{0.5, 0.95, 0.99, 1} {
			cells = append(cells, fmt.Sprintf("%.1f", float64(quantile(t, q).Microseconds())/1000))
		}
		return cells
	}
	rows := [][]string{row("all reads", r.answers)}
	for kind, what := range reads {
		rows = append(rows, row(what.name, r.answers[kind:kind+1]))
	}
	return rows
}

// readHead names the columns of readRows.
var readHead = []string{"read", "1/s", "p50 ms", "p95 ms", "p99 ms", "max ms"}

// table is for a terminal.
func (r *result) table() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range r.rows() {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	_ = t.Flush() // to memory
	b.WriteString("\n")
	t = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{readHead}, r.readRows()...) {
		fmt.Fprintln(t, strings.Join(row, "\t")+"\t")
	}
	_ = t.Flush()
	return b.String()
}
