// Command scale holds a conductor under the load of a whole data centre, and
// tells whether it bore it: thousands of nodes whose BMCs are compared, whose
// agents send heartbeats, a few hundred of which are being deployed at any
// time, and clients that read. The conductor is the real program, a process of
// its own; machines and clients are simulated by this one, over real sockets.
//
//	go run ./integration/scale [-nodes 10000] [-time 10m] [-flying 200] [-out docs]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// options are what the load is made of.
type options struct {
	binary    string        // the conductor's program; without it, it is built
	keep      string        // directory for the conductor's files; without it a temporary one
	nodes     int           // how many there are
	flying    int           // deployments in flight
	hold      time.Duration // how long the load is held
	heartbeat time.Duration // between two heartbeats of an agent
	sync      time.Duration // [conductor]sync_power_state_interval
	power     string        // [fake]power_delay, what a BMC takes to answer
	boot      span          // from power on to the agent's first word
	write     span          // of the image
	dwell     span          // of an instance
	powerOff  int           // [agent]post_deploy_get_power_state_retries
	reads     float64       // how often all reads come, of the rates in the table
	config    string        // more options of the conductor
}

// span is a random time between two.
type span struct{ least, most time.Duration }

// The limits that the load is to be borne within.
const (
	maxRead     = 50 * time.Millisecond
	maxResident = 512 << 20
)

func main() {
	o := options{heartbeat: time.Minute, sync: 2 * time.Minute, power: "0.02,0.2", powerOff: 6,
		boot: span{20 * time.Second, 40 * time.Second}, write: span{20 * time.Second, 40 * time.Second}, dwell: span{30 * time.Second, 90 * time.Second}}
	flag.StringVar(&o.binary, "ferric", "", "the conductor's program; without it, it is built")
	flag.StringVar(&o.keep, "keep", "", "directory that the conductor's files are left in")
	flag.IntVar(&o.nodes, "nodes", 10000, "how many nodes there are")
	flag.IntVar(&o.flying, "flying", 200, "how many deployments are in flight")
	flag.DurationVar(&o.hold, "time", 10*time.Minute, "how long the load is held")
	flag.Float64Var(&o.reads, "reads", 1, "factor of the rate of reads")
	flag.StringVar(&o.config, "config", "", "`file` with more options for the conductor")
	out := flag.String("out", "", "directory to write scale.md and scale.svg to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, o, *out); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// measure runs the load, shows what came of it, and fails where a limit is not kept.
func measure(ctx context.Context, o options, out string) error {
	r, err := run(ctx, o, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err != nil {
		return err
	}
	fmt.Print(r.table())
	if out != "" {
		if err := r.write(out); err != nil {
			return err
		}
	}
	return errors.Join(r.lost(), r.slow())
}
