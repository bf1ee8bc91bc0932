package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A sweep meets every node once, in order, over several pages, with what jobs
// judge it by and without its config drive.
func TestSweep(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db.sqlite"))
	const nodes = 2*sweepPage + 7
	for i := range nodes {
		n := &Node{UUID: fmt.Sprint(i), Driver: "fake-hardware", ProvisionState: "active", Maintenance: i == 3,
			InstanceInfo:       Object{"configdrive": strings.Repeat("x", 1000), "power_interface": "fake"},
			DriverInternalInfo: Object{"aborting": true}, CleanStep: Object{"step": "hold"}}
		if err := s.CreateNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	met := 0
	err := s.Sweep(t.Context(), Query{}, func(n *Node) {
		if n.UUID != fmt.Sprint(met) {
			t.Fatalf("node %s is met as number %d", n.UUID, met)
		}
		if len(n.InstanceInfo) != 1 || n.InstanceInfo.String("power_interface") != "fake" || !n.DriverInternalInfo.Bool("aborting") || n.CleanStep.String("step") != "hold" {
			t.Errorf("node %s: %v, %v, %v", n.UUID, n.InstanceInfo, n.DriverInternalInfo, n.CleanStep)
		}
		met++
	})
	if err != nil || met != nodes {
		t.Errorf("%d of %d nodes were met: %v", met, nodes, err)
	}
	powered := Powered("enroll")
	count, err := s.CountSelected(t.Context(), powered)
	if err != nil || count != nodes-1 {
		t.Errorf("%d nodes are counted, but one is in maintenance: %v", count, err)
	}
}
