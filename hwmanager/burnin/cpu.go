package burnin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// CPUReport is what burnin_cpu found.
type CPUReport struct {
	Run
	Workers []WorkerReport `json:"workers"`
	// Rounds of each computation, by all workers together. In a round
	// everything computed is compared with what is known to be right.
	Rounds     map[string]int64 `json:"rounds"`
	CPUSeconds float64          `json:"cpu_seconds"` // of processor time that the agent took
}

// WorkerReport is one worker of burnin_cpu.
type WorkerReport struct {
	CPU    int   `json:"cpu"` // number of the processor that it was pinned to; -1 if that was refused
	Rounds int64 `json:"rounds"`
}

// CPU computes on all processors for as long as o says, each worker pinned to one. The
// first wrong result ends it: the error names the processor and the computation.
// The report is never nil.
func CPU(ctx context.Context, h *hwmanager.Host, o CPUOptions, progress func(ipa.Progress)) (*CPUReport, error) {
	return loadCPU(ctx, h, o, computations(), progress)
}

func loadCPU(ctx context.Context, h *hwmanager.Host, o CPUOptions, tests []computation, progress func(ipa.Progress)) (*CPUReport, error) {
	report := &CPUReport{Run: begin("burnin_cpu"), Rounds: map[string]int64{}}
	err := report.load(ctx, h, o, tests, progress)
	report.end(err)
	return report, err
}

func (r *CPUReport) load(ctx context.Context, h *hwmanager.Host, o CPUOptions, tests []computation, progress func(ipa.Progress)) error {
	processors, err := allowedProcessors()
	if err != nil {
		return err
	}
	workers := o.Workers
	if workers == 0 {
		workers = len(processors)
	}
	// Else the kernel would end the agent.
	if available, err := MemAvailable(h.Proc); err == nil && int64(workers)*scratchBytes > available/2 {
		return fmt.Errorf("%d workers need %d bytes of memory, and %d are available, of which at most half is taken", workers, int64(workers)*scratchBytes, available)
	}
	ctx, cancel := lasting(ctx, o.Time)
	defer cancel()
	watch, cpuBefore := sensors{h.Sys, h.Proc}.watch(), cpuTime()
	stop := follow(progress, func() amount { return clock(r.began, o.Time, 0) })
	rounds := make([]atomic.Int64, len(tests))
	r.Workers = make([]WorkerReport, workers)
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range workers {
		group.Go(func() error {
			return withFaults(func() error { return r.Workers[i].work(groupCtx, processors[i%len(processors)], i, tests, rounds) })
		})
	}
	err = group.Wait()
	stop()
	r.Health = watch.end()
	r.CPUSeconds = (cpuTime() - cpuBefore).Seconds()
	for i, test := range tests {
		r.Rounds[test.name] = rounds[i].Load()
	}
	if err != nil {
		return err
	}
	if err := failure(ctx); err != nil {
		return err
	}
	if err := r.Health.fault(); err != nil {
		return err
	}
	if i := slices.IndexFunc(r.Workers, func(w WorkerReport) bool { return w.Rounds == 0 }); i >= 0 {
		return fmt.Errorf("processor %d ended no computation within %s", r.Workers[i].CPU, o.Time)
	}
	return nil
}

// work computes on one processor until ctx ends. Its thread ends with it: it is
// never unlocked, so that its affinity goes to nobody else.
func (w *WorkerReport) work(ctx context.Context, cpu, worker int, tests []computation, rounds []atomic.Int64) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	w.CPU = cpu
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		w.CPU = -1
	}
	s, err := newScratch()
	if err != nil {
		return fmt.Errorf("processor %d: %w", cpu, err)
	}
	defer s.release()
	// Workers begin with different computations, so that the machine does not
	// draw its power in step.
	for i := worker; ctx.Err() == nil; i++ {
		at := i % len(tests)
		if err := tests[at].run(s); err != nil {
			return fmt.Errorf("processor %d computed wrongly: %s: %w", cpu, tests[at].name, err)
		}
		rounds[at].Add(1)
		w.Rounds++
	}
	return nil
}

// allowedProcessors are the numbers of those that this process may run on.
func allowedProcessors() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("ask for the processors: %w", err)
	}
	var numbers []int
	for n := 0; len(numbers) < set.Count(); n++ {
		if set.IsSet(n) {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil, errors.New("ask for the processors: there are none")
	}
	return numbers, nil
}

// cpuTime is what this process took of the processors so far.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
