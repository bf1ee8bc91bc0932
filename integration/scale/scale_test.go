package main

import (
	"os"
	"testing"
	"time"
)

// A few seconds of the load, on a few nodes: no sync is missed, nothing that
// was begun is lost. How fast it is does not matter.
func TestLoad(t *testing.T) {
	o := options{nodes: 150, flying: 10, hold: 5 * time.Second, heartbeat: 2 * time.Second, sync: 2 * time.Second, power: "0,0.02", powerOff: 0,
		boot: span{200 * time.Millisecond, 400 * time.Millisecond}, write: span{200 * time.Millisecond, 400 * time.Millisecond},
		dwell: span{100 * time.Millisecond, 200 * time.Millisecond}, reads: 0.5}
	if bin := os.Getenv("FERRIC_BIN"); bin != "" {
		o.binary = bin + "/ferric"
	}
	r, err := run(t.Context(), o, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + r.table())
	if err := r.lost(); err != nil {
		t.Error(err)
	}
}
