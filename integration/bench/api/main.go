// Command api measures the API of a conductor: ferric's, and that of a real
// Ironic, that of the distribution, in the same run. Both are one process
// without authentication, with SQLite and fake hardware; the client is a
// process of its own, with 8 connections, on the same processors. It prints
// rates, times of answers, memory, idle load and start-up, and their ratios.
//
//	go run ./integration/bench/api [-ironic=false] [-time 5s] [-nodes 1000]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"text/tabwriter"
	"time"
)

func main() {
	client := flag.Bool("client", false, "be the client, whose work comes by standard input (used by the benchmark itself)")
	peer := flag.Bool("ironic", true, "measure a real Ironic, too")
	python := flag.String("python", "/usr/bin/python3", "the interpreter that finds Ironic")
	binary := flag.String("ferric", "", "the conductor's program; without it, it is built")
	o := options{}
	flag.DurationVar(&o.each, "time", 5*time.Second, "time of each measurement that does not go by number")
	flag.IntVar(&o.nodes, "nodes", 1000, "how many nodes there are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *client {
		err = beClient(ctx, os.Stdin, os.Stdout)
	} else {
		err = bench(ctx, o, *binary, *python, *peer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	each  time.Duration
	nodes int
}

// result of the measurements of one server.
type result struct {
	name        string
	startEmpty  time.Duration // until the first answer
	startFull   time.Duration // with the nodes there
	memoryEmpty int64         // resident, bytes
	memoryFull  int64         // after a restart with the nodes there
	memoryAfter int64         // after all the work
	idle        float64       // of one processor, with the nodes there
	rates       []rate        // in the order of works
}

func bench(ctx context.Context, o options, binary, python string, peer bool) (err error) {
	dir, err := os.MkdirTemp("", "ferric-bench-api-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ours, err := newFerric(ctx, dir, binary)
	if err != nil {
		return err
	}
	servers := []server{ours}
	if peer {
		theirs, err := newIronic(ctx, dir, python)
		if err != nil {
			return err
		}
		servers = append(servers, theirs)
	}
	var results []result
	for _, s := range servers {
		r, err := measure(ctx, s, o)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		results = append(results, r)
	}
	return printTable(os.Stdout, o, results)
}

// measure goes through the life of a server.
func measure(ctx context.Context, s server, o options) (r result, err error) {
	r.name = s.name()
	defer func() { err = errors.Join(err, s.stop()) }()
	if r.startEmpty, err = s.start(ctx); err != nil {
		return r, err
	}
	if err := settle(ctx); err != nil {
		return r, err
	}
	if r.memoryEmpty, err = memory(s.pid()); err != nil {
		return r, err
	}
	var fixture fixture
	for _, w := range works {
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name(), w)
		if w == listNodes { // a fresh process with all the nodes
			if err := s.stop(); err != nil {
				return r, err
			}
			if r.startFull, err = s.start(ctx); err != nil {
				return r, err
			}
			if err := settle(ctx); err != nil {
				return r, err
			}
			if r.memoryFull, err = memory(s.pid()); err != nil {
				return r, err
			}
			if r.idle, err = load(ctx, s.pid()); err != nil {
				return r, err
			}
		}
		got, err := startClient(ctx, job{URL: s.url(), Work: w, Time: o.each, Nodes: o.nodes, Fixture: fixture})
		if err != nil {
			return r, fmt.Errorf("%s: %w", w, err)
		}
		fmt.Fprintf(os.Stderr, "%10.1f/s  p50 %s  p99 %s  (%d answers)\n", got.PerSecond, round(got.P50), round(got.P99), got.Count)
		r.rates, fixture = append(r.rates, got.rate), got.Fixture
	}
	r.memoryAfter, err = memory(s.pid())
	return r, err
}

// startClient runs the work in a process of its own.
func startClient(ctx context.Context, j job) (report, error) {
	var got report
	self, err := os.Executable()
	if err != nil {
		return got, err
	}
	spec, err := json.Marshal(j)
	if err != nil {
		return got, err
	}
	cmd := exec.CommandContext(ctx, self, "-client")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(spec), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(out, &got)
}

func printTable(out io.Writer, o options, results []result) error {
	fmt.Fprintf(out, "API with %d nodes, one client process with %d connections, %s for each row that does not go by number.\n", o.nodes, connections, o.each)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\tp50\tp99\t", r.name)
	}
	if len(results) > 1 {
		fmt.Fprint(t, "ratio\t")
	}
	fmt.Fprintln(t)
	ours := results[0]
	peers := results[1:]
	for i, w := range works {
		fmt.Fprintf(t, "%s (1/s)\t", w)
		for _, r := range results {
			fmt.Fprintf(t, "%.1f\t%s\t%s\t", r.rates[i].PerSecond, round(r.rates[i].P50), round(r.rates[i].P99))
		}
		for _, p := range peers {
			fmt.Fprintf(t, "%.1f\t", ours.rates[i].PerSecond/p.rates[i].PerSecond)
		}
		fmt.Fprintln(t)
	}
	// In these rows less is better: the ratio is how much of the peer's ferric needs.
	for _, row := range []struct {
		name string
		of   func(r result) float64
	}{
		{"resident, no nodes (MiB)", func(r result) float64 { return float64(r.memoryEmpty) / (1 << 20) }},
		{"resident, all nodes (MiB)", func(r result) float64 { return float64(r.memoryFull) / (1 << 20) }},
		{"resident after all this (MiB)", func(r result) float64 { return float64(r.memoryAfter) / (1 << 20) }},
		{"idle load, all nodes (% of a processor)", func(r result) float64 { return 100 * r.idle }},
		{"start to the first answer, no nodes (s)", func(r result) float64 { return r.startEmpty.Seconds() }},
		{"start to the first answer, all nodes (s)", func(r result) float64 { return r.startFull.Seconds() }},
	} {
		fmt.Fprintf(t, "%s\t", row.name)
		for _, r := range results {
			fmt.Fprintf(t, "%.2f\t\t\t", row.of(r))
		}
		for _, p := range peers {
			if row.of(p) > 0 {
				fmt.Fprintf(t, "%.3f\t", row.of(ours)/row.of(p))
			}
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
