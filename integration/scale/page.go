package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// write makes the page and its chart.
func (r *result) write(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "scale.svg"), []byte(r.chart()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "scale.md"), []byte(r.page()), 0o644)
}

const pageHead = `# Scale

Written by ` + "`make scale`" + `, not by hand: one conductor under the load of %d nodes.

![Read times, memory, deployments, heartbeats and processor time while the load was held](scale.svg)

Measured on %s, %s, %d processors, Linux %s, %s. The conductor is the program as it is built, in a process of its own,
with SQLite on the machine's disk; all machines and clients are simulated by one other process on the same processors, over loopback.%s

## What the load is

* Nodes of the hardware type fake-hardware with the deploy interface ` + "`direct`" + `, each with a port. Their BMCs take %s seconds (random, rather near the first) for each
  power or management request, the comparisons of the power sync included, which is at its default interval of %s.
* The agent of every machine that is not deployed looks its node up and sends a heartbeat each %s, from an address and over a connection of its own.
* %d deployments are in flight at any time: the node is given its instance, the machine "boots" for %s, its agent looks the node up, sends heartbeats, serves the command API
  over TLS, offers deploy steps, "writes" the image for %s, installs the boot loader and is powered off; the node becomes active. Its instance is removed %s later, and the node is used again.
  The fake power interface knows nothing of what the agent switches off: the conductor waits for it in vain, %s in a worker, before it does so itself. That is part of the time in flight.
* Clients read at the rates in the table, each request sent at its time, whether or not earlier ones have been answered. Pages begin at random nodes.
* Automated cleaning is off. The log is at debug, for the syncs are counted by it: a sync is missed when a pass leaves out a node that was to be compared from the begin to the end of the pass.

## Figures

`

func (r *result) page() string {
	var b strings.Builder
	seconds := func(s span) string { return fmt.Sprintf("%.0f–%.0f s", s.least.Seconds(), s.most.Seconds()) }
	fmt.Fprintf(&b, pageHead, r.o.nodes, r.from.UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), kernel(), runtime.Version(), precedence(),
		strings.ReplaceAll(r.o.power, ",", "–"), plain(r.o.sync), plain(r.o.heartbeat), r.o.flying, seconds(r.o.boot), seconds(r.o.write), seconds(r.o.dwell), plain(time.Duration(r.o.powerOff)*5*time.Second))
	b.WriteString("| | |\n|---|---|\n")
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	fmt.Fprintf(&b, "\n| %s |\n|---|%s\n", strings.Join(readHead, " | "), strings.Repeat("---:|", len(readHead)-1))
	for _, row := range r.readRows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

// plain is a duration in seconds.
func plain(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// precedence says, in a sentence, whether the run went before other work of the
// machine: then what that work took is in the figures, but not what it would
// have taken.
func precedence() string {
	text, err := os.ReadFile("/proc/self/autogroup")
	var group, nice int
	if err != nil {
		return ""
	}
	if _, err := fmt.Sscanf(string(text), "/autogroup-%d nice %d", &group, &nice); err != nil || nice == 0 {
		return ""
	}
	return fmt.Sprintf(" Other work was done on the machine at the same time; both\nprocesses went before it (nice %d of their scheduling group).", nice)
}

// processor is the name of the first one.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of unknown release"
	}
	return strings.TrimSpace(string(text))
}
