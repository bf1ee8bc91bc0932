package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// samplePause is between two looks at the conductor's process.
const samplePause = 2 * time.Second

// sample is what the conductor took at a time.
type sample struct {
	at        time.Duration // since the load is held
	resident  int64         // bytes
	shared    int64         // proportional, bytes
	database  int64         // with its log, bytes
	flying    int64
	conductor time.Duration // processor time so far
	load      time.Duration // of this program
	machine   time.Duration // of all processes
}

// watch samples until ctx ends.
func watch(ctx context.Context, c *conductor, f *fleet, began time.Time) ([]sample, error) {
	var all []sample
	ticker := time.NewTicker(samplePause)
	defer ticker.Stop()
	for {
		s, err := look(c, f, began)
		if err != nil {
			return nil, fmt.Errorf("look at the conductor: %w", err)
		}
		all = append(all, s)
		select {
		case <-ctx.Done():
			return all, nil
		case <-ticker.C:
		}
	}
}

func look(c *conductor, f *fleet, began time.Time) (s sample, err error) {
	s = sample{at: time.Since(began), flying: f.flying.Load()}
	if s.resident, err = kibibytes(fmt.Sprintf("/proc/%d/status", c.pid()), "VmRSS:"); err != nil {
		return s, err
	}
	if s.shared, err = kibibytes(fmt.Sprintf("/proc/%d/smaps_rollup", c.pid()), "Pss:"); err != nil {
		return s, err
	}
	for _, name := range []string{"", "-wal"} {
		if info, err := os.Stat(c.database + name); err == nil {
			s.database += info.Size()
		}
	}
	if s.conductor, err = processorTime(c.pid()); err != nil {
		return s, err
	}
	if s.load, err = processorTime(os.Getpid()); err != nil {
		return s, err
	}
	s.machine, err = busyTime()
	return s, err
}

// kibibytes reads a line "Name: 123 kB".
func kibibytes(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut("\n"+string(text), "\n"+name)
	var n int64
	if _, err := fmt.Sscan(rest, &n); err != nil {
		return 0, fmt.Errorf("%s of %s: %w", name, path, err)
	}
	return n << 10, nil
}

// tick is USER_HZ on all platforms of Go.
const tick = time.Second / 100

// processorTime is what a process has taken.
func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// pid (name) state ...; the name may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return sum(fields[11:13])
}

// busyTime is what all processes and the kernel have taken.
func busyTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(strings.SplitN(string(stat), "\n", 2)[0]) // cpu user nice system idle iowait irq softirq steal ...
	if len(fields) < 9 {
		return 0, fmt.Errorf("/proc/stat has %d fields", len(fields))
	}
	return sum(append(fields[1:4:4], fields[6:9]...))
}

func sum(ticks []string) (total time.Duration, err error) {
	for _, text := range ticks {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * tick
	}
	return total, nil
}
