package process_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/crash"
)

// TestCrashAroundWrites kills the conductor right before and right after its
// writes in what it does with a real agent: cleaning, deployment and
// its repetition, the end of the instance. All of it comes to
// its goal. With FERRIC_FAULTS=1 there is no write that it survives; else it is
// killed around as many, those of a seed, as fit into a while.
func TestCrashAroundWrites(t *testing.T) {
	t.Parallel()
	all := os.Getenv("FERRIC_FAULTS") != ""
	// The same moments in each short run: who has changed something can tell what it
	// broke from what nobody has tried before.
	seed := uint64(1)
	if all {
		seed = uint64(time.Now().UnixNano())
	}
	if text := os.Getenv("FERRIC_CRASH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("FERRIC_CRASH_SEED=%d", seed)
	lanes := 1
	if all { // each of which mostly waits
		lanes = 4
	}
	for lane := range lanes {
		t.Run(fmt.Sprintf("lane %d of %d", lane+1, lanes), func(t *testing.T) {
			t.Parallel()
			crashAroundWrites(t, all, rand.New(rand.NewPCG(seed, 0)), lane, lanes)
		})
	}
}

// crashAroundWrites has a conductor of its own, which is killed in every round
// of the lane.
func crashAroundWrites(t *testing.T, all bool, random *rand.Rand, lane, lanes int) {
	// The machines here follow their power a moment late: an agent that should be
	// off already may be given the token of the next boot.
	c, images := newConductor(t, "[ferric]", "agent_rejoin_timeout = 3"), newShop(t)
	c.stop(t)
	c.mortal = true
	c.start(t)
	var m *machine
	phases := []struct {
		verb, goal string
		ready      func() // what comes before it
	}{
		{ironic.VerbProvide, ironic.StateAvailable, func() {}},
		{ironic.VerbActive, ironic.StateActive, func() { m.setGood(t, images) }},
		{ironic.VerbRebuild, ironic.StateActive, func() {}},
		{ironic.VerbDeleted, ironic.StateAvailable, func() {}},
		{ironic.VerbManage, ironic.StateManageable, func() {}},
	}
	kills, survived := 0, map[string]int{} // the number of writes of a phase
	for round, began := lane, time.Now(); round == lane || all && len(survived) < len(phases) || !all && time.Since(began) < 10*time.Second; round += lanes {
		m = newMachine(t, c, spec{automated: true}) // of whose events all are kept
		for _, ph := range phases {
			n, when := 1+round/2, []string{"after", "before"}[round%2]
			if !all {
				n, when = 1+random.IntN(25), []string{"after", "before"}[random.IntN(2)]
			} else if survived[ph.verb] > 0 {
				n = 0
			}
			ph.ready()
			label := fmt.Sprintf("%s, killed %s write %d", ph.verb, when, n)
			if err := crash.Arm(c.dir, n, when); err != nil {
				t.Fatal(err)
			}
			request := ironic.ProvisionRequest{Target: ph.verb}
			asked := time.Now()
			err := c.api.SetProvisionState(t.Context(), m.name, request)
			died := m.restOrDeath(t, ph.goal, asked)
			writes, disarmed := crash.Disarm(c.dir)
			if disarmed != nil {
				t.Fatal(disarmed)
			}
			if died {
				kills++
				c.start(t)
				if n := m.node(t); err != nil && n.Reservation == nil && !n.ProvisionUpdatedAt.After(asked) { // it was not taken
					m.verb(t, request)
				}
			} else if all && n > 0 {
				survived[ph.verb] = writes
				t.Logf("%s: %d writes", ph.verb, writes)
			}
			node := m.wait(t, ph.goal)
			if node.LastError != nil || node.Maintenance {
				t.Fatalf("%s: %s with last_error %q, maintenance %v", label, node.ProvisionState, *node.LastError, node.Maintenance)
			}
			if ph.goal == ironic.StateActive && (ph.verb == ironic.VerbActive || ph.verb == ironic.VerbRebuild) {
				m.holds(t)
			}
			if t.Failed() {
				t.Fatal(label)
			}
		}
	}
	t.Logf("killed %d times in work with an agent; all of it came to its goal", kills)
}

// restOrDeath waits until the conductor has ended, or the node has come to rest
// in the state after the request.
func (m *machine) restOrDeath(t *testing.T, state string, asked time.Time) (died bool) {
	t.Helper()
	eventually(t, "rest or death", func() bool {
		select {
		case <-m.c.ended:
			died = true
			return true
		default:
		}
		n, err := m.c.api.Node(t.Context(), m.name)
		return err == nil && n.ProvisionState == state && n.Reservation == nil && n.ProvisionUpdatedAt.After(asked)
	})
	return died
}
