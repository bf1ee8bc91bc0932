package provision_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
)

// contractTransitions is the transition table of the state machine's contract,
// section 2, as it stands there: it is compared with the one that is used, not
// made from it.
const contractTransitions = `
| enroll | manage → verifying |
| verifying | done → manageable; fail → enroll |
| manageable | provide → cleaning; clean → cleaning; inspect → inspecting; adopt → adopting |
| available | deploy → deploying; manage → manageable |
| inspecting | done → manageable; fail → inspect failed; wait → inspect wait |
| inspect wait | done → manageable; resume → inspecting; fail → inspect failed; abort → inspect failed |
| inspect failed | manage → manageable; inspect → inspecting |
| cleaning | done → available; manage → manageable; wait → clean wait; hold → clean hold; fail → clean failed |
| clean wait | resume → cleaning; hold → clean hold; fail → clean failed; abort → clean failed |
| clean hold | unhold → clean wait; abort → clean failed |
| clean failed | manage → manageable |
| deploying | done → active; wait → wait call-back; hold → deploy hold; fail → deploy failed |
| wait call-back | resume → deploying; hold → deploy hold; fail → deploy failed; abort → deploy failed; delete → deleting |
| deploy hold | unhold → wait call-back; abort → deploy failed |
| deploy failed | deploy → deploying; rebuild → deploying; delete → deleting |
| active | delete → deleting; rebuild → deploying; rescue → rescuing; service → servicing |
| deleting | clean → cleaning; fail → error |
| error | rebuild → deploying; delete → deleting |
| adopting | done → active; fail → adopt failed |
| adopt failed | adopt → adopting; manage → manageable |
| rescuing | done → rescue; wait → rescue wait; fail → rescue failed |
| rescue wait | resume → rescuing; fail → rescue failed; abort → rescue failed; delete → deleting |
| rescue | rescue → rescuing; unrescue → unrescuing; delete → deleting |
| rescue failed | rescue → rescuing; unrescue → unrescuing; delete → deleting |
| unrescuing | done → active; fail → unrescue failed |
| unrescue failed | rescue → rescuing; unrescue → unrescuing; delete → deleting |
| servicing | done → active; wait → service wait; hold → service hold; fail → service failed |
| service wait | resume → servicing; hold → service hold; fail → service failed; abort → service failed; delete → deleting |
| service hold | unhold → service wait; service → servicing; fail → service failed; abort → service failed |
| service failed | service → servicing; rescue → rescuing; wait → service wait; hold → service hold; delete → deleting; abort → active |
`

// contractStates are kind and target of each state, section 1.
const contractStates = `
| enroll | S | null |
| verifying | T | manageable |
| manageable | S | null |
| available | S | null |
| inspecting | T | manageable |
| inspect wait | W | manageable |
| inspect failed | F | manageable |
| cleaning | T | available |
| clean wait | W | available |
| clean hold | H | available |
| clean failed | F | available |
| deploying | T | active |
| wait call-back | W | active |
| deploy hold | H | active |
| deploy failed | F | active |
| active | S | null |
| deleting | T | available |
| error | S | null |
| adopting | T | active |
| adopt failed | F | active |
| rescuing | T | rescue |
| rescue wait | W | rescue |
| rescue failed | F | rescue |
| rescue | S | null |
| unrescuing | T | active |
| unrescue failed | F | active |
| servicing | T | active |
| service wait | W | active |
| service hold | H | active |
| service failed | F | active |
`

// contractVerbs say which event a verb is and where it is accepted, section 2.1.
const contractVerbs = `
| manage | manage | enroll, available, clean failed, inspect failed, adopt failed |
| provide | provide | manageable |
| inspect | inspect | manageable, inspect failed |
| clean | clean | manageable |
| active, deploy | deploy | available, deploy failed |
| rebuild | rebuild | active, deploy failed, error |
| deleted, undeploy | delete | active, wait call-back, deploy failed, error, rescue, rescue wait, rescue failed, unrescue failed, service wait, service failed |
| abort | abort | clean wait, clean hold, inspect wait, wait call-back, deploy hold, rescue wait, service wait, service hold, service failed |
| adopt | adopt | manageable, adopt failed |
| rescue | rescue | active, rescue, rescue failed, unrescue failed, service failed |
| unrescue | unrescue | rescue, rescue failed, unrescue failed |
| unhold | unhold | clean hold, deploy hold, service hold |
| service | service | active, service hold, service failed |
`

// cells splits the rows of a Markdown table.
func cells(table string) (rows [][]string) {
	for line := range strings.Lines(strings.TrimSpace(table)) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		rows = append(rows, row)
	}
	return rows
}

func TestTransitionsAreTheContracts(t *testing.T) {
	var want, got []string
	for _, row := range cells(contractTransitions) {
		for _, part := range regexp.MustCompile(`;\s*`).Split(row[1], -1) {
			want = append(want, row[0]+": "+part)
		}
	}
	if len(want) != 93 {
		t.Fatalf("the contract's table has %d transitions here; want 93", len(want))
	}
	for _, tr := range provision.Transitions {
		got = append(got, fmt.Sprintf("%s: %s → %s", tr.From, tr.On, tr.To))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("transitions (-contract +table):\n%s", diff)
	}
}

func TestStatesAreTheContracts(t *testing.T) {
	letters := map[provision.Kind]string{provision.Stable: "S", provision.Transient: "T", provision.Waiting: "W", provision.Hold: "H", provision.Failed: "F"}
	want := map[string]string{}
	for _, row := range cells(contractStates) {
		want[row[0]] = row[1] + " " + row[2]
	}
	got := map[string]string{}
	for _, a := range provision.States {
		target := string(a.Target)
		if target == "" {
			target = "null"
		}
		got[string(a.State)] = letters[a.Kind] + " " + target
	}
	if len(want) != 30 {
		t.Fatalf("the contract's table has %d states here; want 30", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kind and target (-contract +table):\n%s", diff)
	}
}

// TestVerbsAreTheContracts: each verb stands for the contract's event and is
// possible exactly where the contract accepts it, except that "manage" while a
// node is cleaned and "clean" while it is torn down are refused by the lock.
func TestVerbsAreTheContracts(t *testing.T) {
	byLock := map[string]bool{"manage in cleaning": true, "clean in deleting": true}
	named := map[string]bool{}
	for _, row := range cells(contractVerbs) {
		var accepted []string
		for _, state := range strings.Split(row[2], ",") {
			accepted = append(accepted, strings.TrimSpace(state))
		}
		for _, target := range strings.Split(row[0], ",") {
			target = strings.TrimSpace(target)
			named[target] = true
			verb, ok := provision.VerbFor(target)
			if !ok || string(verb.Event) != row[1] {
				t.Errorf("verb %q: %v, event %q; want %q", target, ok, verb.Event, row[1])
				continue
			}
			for _, a := range provision.States {
				_, err := provision.Next(a.State, verb.Event)
				if byLock[target+" in "+string(a.State)] {
					if err != nil || a.Kind != provision.Transient {
						t.Errorf("%s in %s: %v; want it left to the lock", target, a.State, err)
					}
					continue
				}
				if possible := err == nil; possible != slices.Contains(accepted, string(a.State)) {
					t.Errorf("%s in %s: possible is %v, which is not the contract's", target, a.State, possible)
				}
			}
		}
	}
	for _, v := range provision.Verbs {
		if !named[v.Target] {
			t.Errorf("verb %q is none of the contract's", v.Target)
		}
	}
}
