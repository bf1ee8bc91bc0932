package execplugin

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/plugin"
)

// limits of one call.
type limits struct {
	memory      int64 // bytes, of all its processes
	scratch     int64 // bytes in its scratch directory; they count as memory, too
	processes   int
	step, query time.Duration
	grace       time.Duration
}

// maxProcesses bounds processes and threads of a call.
const maxProcesses = 1024

// longest bounds limits of time, in seconds: what is longer is a mistake.
const longest = 30 * 24 * 3600

func limitsOf(m plugin.Limits, opts Options) (limits, error) {
	l := limits{processes: maxProcesses, grace: cmp.Or(opts.Grace, defaultGrace)}
	ram := physicalMemory()
	wanted := cmp.Or(m.Memory, opts.Limits.Memory)
	step := cmp.Or(m.Step, opts.Limits.Step, defaultStep.Seconds())
	query := cmp.Or(m.Query, opts.Limits.Query, defaultQuery.Seconds())
	if wanted < 0 || wanted > math.MaxInt64>>20 {
		return l, fmt.Errorf("limits: memory_mib is %d", wanted)
	}
	for name, seconds := range map[string]float64{"step_seconds": step, "query_seconds": query} {
		if !(seconds > 0 && seconds <= longest) {
			return l, fmt.Errorf("limits: %s is %v; want more than 0 and at most %d", name, seconds, longest)
		}
	}
	l.step, l.query = time.Duration(step*float64(time.Second)), time.Duration(query*float64(time.Second))
	// The agent has to live beside it, whatever the plugin asks for.
	l.memory = min(cmp.Or(wanted, defaultMemory)<<20, ram/4*3)
	if wanted == 0 {
		l.memory = min(l.memory, ram/2)
	}
	l.scratch = l.memory / 2
	return l, nil
}

// physicalMemory is the machine's, in bytes.
func physicalMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return math.MaxInt64
	}
	return int64(info.Totalram) * int64(info.Unit)
}
