package conductor_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// row is what a node looks like when what was asked for has ended.
type row struct {
	State, Target string
	Error         string // part of last_error; "" is none at all
	Maintenance   bool
	Fault         string
	Power         string
	History       string
}

const (
	provide   = `{"target": "provide"}`
	clean     = `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "polish"}]}`
	cleanHeld = `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "hold"}]}`
	active    = `{"target": "active"}`
	rebuild   = `{"target": "rebuild"}`
	held      = `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "hold", "args": {}, "priority": 60}]}`
	deleted   = `{"target": "deleted"}`
	inspect   = `{"target": "inspect"}`
	rescue    = `{"target": "rescue", "rescue_password": "secret"}`
	unrescue  = `{"target": "unrescue"}`
	service   = `{"target": "service", "service_steps": [{"interface": "deploy", "step": "polish"}]}`
	serveHeld = `{"target": "service", "service_steps": [{"interface": "deploy", "step": "hold"}]}`
	abort     = `{"target": "abort"}`
	unhold    = `{"target": "unhold"}`

	on, off = driver.PowerOn, driver.PowerOff
)

// flows are the verbs on hardware that does not exist, each to its good end, its
// failure, its timeout and its abort. Literal table.
var flows = []struct {
	name     string
	from     provision.State
	verbs    string // one request a line; "timeout" ends a wait
	hardware func(*driver.Interfaces)
	waits    string // the state before the last line
	want     row
}{
	{"manage", provision.Enroll, `{"target": "manage"}`, nil, "enroll", row{State: "manageable", Power: on, History: "INFO verify in verifying"}},
	{"manage fails", provision.Enroll, `{"target": "manage"}`, func(i *driver.Interfaces) { i.Power = deadPower{i.Power} }, "enroll",
		row{State: "enroll", Error: "Failed to get power state for node", Power: on, History: "ERROR verify in verifying"}},
	{"manage available", provision.Available, `{"target": "manage"}`, nil, "available", row{State: "manageable", Power: on}},
	{"manage clean failed", provision.CleanFailed, `{"target": "manage"}`, nil, "clean failed", row{State: "manageable", Power: on}},
	{"manage inspect failed", provision.InspectFailed, `{"target": "manage"}`, nil, "inspect failed", row{State: "manageable", Power: on}},
	{"manage adopt failed", provision.AdoptFailed, `{"target": "manage"}`, nil, "adopt failed", row{State: "manageable", Power: on}},

	{"provide", provision.Manageable, provide, nil, "manageable", row{State: "available", Power: on, History: "INFO cleaning in cleaning"}},
	{"provide by a step", provision.Manageable, provide, deploys(deployment{cleanSteps: step(driver.Finished, nil, true)}), "manageable",
		row{State: "available", Power: on, History: "INFO cleaning in cleaning"}},
	{"provide cannot be prepared", provision.Manageable, provide, deploys(deployment{cleaning: errBroken}), "manageable",
		row{State: "clean failed", Target: "available", Error: "the hardware is broken", Power: on, History: "ERROR cleaning in cleaning"}},
	{"provide fails in a step", provision.Manageable, provide, deploys(deployment{cleanSteps: step(driver.Finished, errBroken, true)}), "manageable",
		row{State: "clean failed", Target: "available", Error: "failed clean step deploy.polish: the hardware is broken", Maintenance: true, Fault: "clean failure", Power: on, History: "ERROR cleaning in cleaning"}},
	{"provide, no agent comes", provision.Manageable, provide + "\ntimeout", deploys(deployment{agent: true}), "clean wait",
		row{State: "clean failed", Target: "available", Error: "Timeout reached while waiting for callback", Power: on, History: "ERROR cleaning in clean wait"}},
	{"provide, a step does not end", provision.Manageable, provide + "\ntimeout", deploys(deployment{cleanSteps: step(driver.Waiting, nil, true)}), "clean wait",
		row{State: "clean failed", Target: "available", Error: "Timeout reached while waiting for callback", Maintenance: true, Fault: "clean failure", Power: on, History: "ERROR cleaning in clean wait"}},
	{"provide is aborted while the agent boots", provision.Manageable, provide + "\n" + abort, deploys(deployment{agent: true}), "clean wait",
		row{State: "clean failed", Target: "available", Error: "By request, the clean operation was aborted.", Power: on, History: "ERROR cleaning in clean wait"}},
	{"provide is aborted in a step", provision.Manageable, provide + "\n" + abort, deploys(deployment{cleanSteps: step(driver.Waiting, nil, true)}), "clean wait",
		row{State: "clean failed", Target: "available", Error: `aborted during or after the completion of step "polish"`, Power: on, History: "ERROR cleaning in clean wait"}},

	{"clean", provision.Manageable, clean, deploys(deployment{cleanSteps: step(driver.Finished, nil, true)}), "manageable",
		row{State: "manageable", Power: on, History: "INFO cleaning in cleaning"}},
	{"clean fails", provision.Manageable, clean, deploys(deployment{cleanSteps: step(driver.Finished, errBroken, true)}), "manageable",
		row{State: "clean failed", Target: "manageable", Error: "the hardware is broken", Maintenance: true, Fault: "clean failure", Power: on, History: "ERROR cleaning in cleaning"}},
	{"clean by an unknown step", provision.Manageable, clean, nil, "manageable",
		row{State: "clean failed", Target: "manageable", Error: "does not support the step deploy.polish", Power: on, History: "ERROR cleaning in cleaning"}},
	{"clean is not in time", provision.Manageable, clean + "\ntimeout", deploys(deployment{cleanSteps: step(driver.Waiting, nil, true)}), "clean wait",
		row{State: "clean failed", Target: "manageable", Error: "Timeout reached", Maintenance: true, Fault: "clean failure", Power: on, History: "ERROR cleaning in clean wait"}},
	{"clean is aborted", provision.Manageable, clean + "\n" + abort, deploys(deployment{cleanSteps: step(driver.Waiting, nil, true)}), "clean wait",
		row{State: "clean failed", Target: "manageable", Error: "By request", Power: on, History: "ERROR cleaning in clean wait"}},
	{"clean is held", provision.Manageable, cleanHeld + "\n" + unhold, nil, "clean hold", row{State: "manageable", Power: on, History: "INFO cleaning in cleaning"}},
	{"clean is held and aborted", provision.Manageable, cleanHeld + "\n" + abort, nil, "clean hold",
		row{State: "clean failed", Target: "manageable", Error: `aborted during or after the completion of step "hold"`, Power: on, History: "ERROR cleaning in clean hold"}},

	{"inspect", provision.Manageable, inspect, nil, "manageable", row{State: "manageable", Power: on, History: "INFO introspection in inspecting"}},
	{"inspect again", provision.InspectFailed, inspect, nil, "inspect failed", row{State: "manageable", Power: on, History: "INFO introspection in inspecting"}},
	{"inspect fails", provision.Manageable, inspect, inspects("", errBroken), "manageable",
		row{State: "inspect failed", Target: "manageable", Error: "the hardware is broken", Power: on, History: "ERROR introspection in inspecting"}},
	{"inspect is not in time", provision.Manageable, inspect + "\ntimeout", inspects(provision.InspectWait, nil), "inspect wait",
		row{State: "inspect failed", Target: "manageable", Error: "Timeout reached", Power: on, History: "ERROR introspection in inspect wait"}},
	{"inspect is aborted", provision.Manageable, inspect + "\n" + abort, inspects(provision.InspectWait, nil), "inspect wait",
		row{State: "inspect failed", Target: "manageable", Error: "Inspection was aborted by request.", Power: on, History: "ERROR introspection in inspect wait"}},

	{"adopt", provision.Manageable, `{"target": "adopt"}`, nil, "manageable", row{State: "active", Power: on, History: "INFO adopting in adopting"}},
	{"adopt again", provision.AdoptFailed, `{"target": "adopt"}`, nil, "adopt failed", row{State: "active", Power: on, History: "INFO adopting in adopting"}},
	{"adopt fails", provision.Manageable, `{"target": "adopt"}`, func(i *driver.Interfaces) { i.Power = deadPower{i.Power} }, "manageable",
		row{State: "adopt failed", Target: "active", Error: "the hardware is broken", History: "ERROR adopting in adopting"}},

	{"deploy", provision.Available, active, nil, "available", row{State: "active", Power: on, History: "INFO provisioning in deploying"}},
	{"deploy again", provision.DeployFailed, active, nil, "deploy failed", row{State: "active", Power: on, History: "INFO provisioning in deploying"}},
	{"deploy cannot be prepared", provision.Available, active, deploys(deployment{prepare: errBroken}), "available",
		row{State: "deploy failed", Target: "active", Error: "Failed to prepare node", Power: off, History: "ERROR provisioning in deploying"}},
	{"deploy fails in a step", provision.Available, active, deploys(deployment{steps: step(driver.Finished, errBroken, false)}), "available",
		row{State: "deploy failed", Target: "active", Error: "failed deploy step deploy.polish: the hardware is broken", Power: off, History: "ERROR provisioning in deploying"}},
	{"deploy is not in time", provision.Available, active + "\ntimeout", deploys(deployment{steps: step(driver.Waiting, nil, false)}), "wait call-back",
		row{State: "deploy failed", Target: "active", Error: "Timeout reached while waiting for callback for node", Power: off, History: "ERROR provisioning in wait call-back"}},
	{"deploy is aborted", provision.Available, active + "\n" + abort, deploys(deployment{steps: step(driver.Waiting, nil, false)}), "wait call-back",
		row{State: "deploy failed", Target: "active", Error: "By request, the deploy operation was aborted", Power: off, History: "ERROR provisioning in wait call-back"}},
	{"deploy is held", provision.Available, held + "\n" + unhold, nil, "deploy hold", row{State: "active", Power: on, History: "INFO provisioning in deploying"}},
	{"deploy is held and aborted", provision.Available, held + "\n" + abort, nil, "deploy hold",
		row{State: "deploy failed", Target: "active", Error: "By request, the deploy operation was aborted", Power: off, History: "ERROR provisioning in deploy hold"}},
	{"deploy is held and waits", provision.Available, held + "\n" + unhold + "\ntimeout", deploys(deployment{steps: step(driver.Waiting, nil, false)}), "wait call-back",
		row{State: "deploy failed", Target: "active", Error: "Timeout reached", Power: off, History: "ERROR provisioning in wait call-back"}},
	{"rebuild", provision.Active, rebuild, nil, "active", row{State: "active", Power: on, History: "INFO provisioning in deploying"}},
	{"rebuild of what failed", provision.DeployFailed, rebuild, nil, "deploy failed", row{State: "active", Power: on, History: "INFO provisioning in deploying"}},
	{"rebuild of an error", provision.Error, rebuild, nil, "error", row{State: "active", Power: on, History: "INFO provisioning in deploying"}},
	{"rebuild fails", provision.Active, rebuild, deploys(deployment{prepare: errBroken}), "active",
		row{State: "deploy failed", Target: "active", Error: "the hardware is broken", Power: off, History: "ERROR provisioning in deploying"}},

	{"delete", provision.Active, deleted, nil, "active", row{State: "available", Power: on, History: "INFO cleaning in cleaning"}},
	{"delete fails", provision.Active, deleted, deploys(deployment{tearDown: errBroken}), "active",
		row{State: "error", Error: "Failed to tear down node", Power: on, History: "ERROR provisioning in deleting"}},
	{"delete, cleaning fails", provision.Active, deleted, deploys(deployment{cleaning: errBroken}), "active",
		row{State: "clean failed", Target: "available", Error: "the hardware is broken", Power: on, History: "ERROR cleaning in cleaning"}},
	{"delete, no agent comes", provision.Active, deleted + "\ntimeout", deploys(deployment{agent: true}), "clean wait",
		row{State: "clean failed", Target: "available", Error: "Timeout reached", Power: on, History: "ERROR cleaning in clean wait"}},
	{"delete while the agent boots", provision.Available, active + "\n" + deleted, deploys(deployment{steps: step(driver.Waiting, nil, false)}), "wait call-back",
		row{State: "available", Power: on, History: "INFO cleaning in cleaning"}},

	{"rescue", provision.Active, rescue, nil, "active", row{State: "rescue", Power: on, History: "INFO rescue in rescuing"}},
	{"rescue fails", provision.Active, rescue, rescues(rescuer{rescueErr: errBroken}), "active",
		row{State: "rescue failed", Target: "rescue", Error: "the hardware is broken", Power: on, History: "ERROR rescue in rescuing"}},
	{"rescue is not in time", provision.Active, rescue + "\ntimeout", rescues(rescuer{outcome: driver.Waiting}), "rescue wait",
		row{State: "rescue failed", Target: "rescue", Error: "Timeout reached", Power: on, History: "ERROR rescue in rescue wait"}},
	{"rescue is aborted", provision.Active, rescue + "\n" + abort, rescues(rescuer{outcome: driver.Waiting}), "rescue wait",
		row{State: "rescue failed", Target: "rescue", Error: "By request, the rescue operation was aborted.", Power: on, History: "ERROR rescue in rescue wait"}},
	{"rescue cannot be aborted", provision.Active, rescue + "\n" + abort, rescues(rescuer{outcome: driver.Waiting, cleanUpErr: errBroken}), "rescue wait",
		row{State: "rescue failed", Target: "rescue", Error: "Cleaning up failed too: the hardware is broken", Maintenance: true, Fault: "rescue abort failure", Power: on,
			History: "ERROR rescue in rescue wait; ERROR rescue in rescue wait"}},
	{"rescue is deleted", provision.Active, rescue + "\n" + deleted, rescues(rescuer{outcome: driver.Waiting}), "rescue wait",
		row{State: "available", Power: on, History: "INFO cleaning in cleaning"}},
	{"unrescue", provision.Rescue, unrescue, nil, "rescue", row{State: "active", Power: on, History: "INFO unrescue in unrescuing"}},
	{"unrescue fails", provision.Rescue, unrescue, rescues(rescuer{unrescueErr: errBroken}), "rescue",
		row{State: "unrescue failed", Target: "active", Error: "the hardware is broken", Power: on, History: "ERROR unrescue in unrescuing"}},
	{"unrescue again", provision.UnrescueFailed, unrescue, nil, "unrescue failed", row{State: "active", Power: on, History: "INFO unrescue in unrescuing"}},

	{"service", provision.Active, service, deploys(deployment{serviceSteps: step(driver.Finished, nil, true)}), "active",
		row{State: "active", Power: on, History: "INFO servicing in servicing"}},
	{"service fails", provision.Active, service, deploys(deployment{serviceSteps: step(driver.Finished, errBroken, true)}), "active",
		row{State: "service failed", Target: "active", Error: "the hardware is broken", Maintenance: true, Fault: "service failure", Power: on, History: "ERROR servicing in servicing"}},
	{"service is not in time", provision.Active, service + "\ntimeout", deploys(deployment{serviceSteps: step(driver.Waiting, nil, true)}), "service wait",
		row{State: "service failed", Target: "active", Error: "Timeout reached", Maintenance: true, Fault: "service failure", Power: on, History: "ERROR servicing in service wait"}},
	{"service is aborted", provision.Active, service + "\n" + abort, deploys(deployment{serviceSteps: step(driver.Waiting, nil, true)}), "service wait",
		row{State: "active", Error: "By request, the service operation was aborted", Power: on, History: "ERROR servicing in service wait"}},
	{"service is held", provision.Active, serveHeld + "\n" + unhold, nil, "service hold", row{State: "active", Power: on, History: "INFO servicing in servicing"}},
	{"service is held and aborted", provision.Active, serveHeld + "\n" + abort, nil, "service hold",
		row{State: "active", Error: "By request, the service operation was aborted", Power: on, History: "ERROR servicing in service hold"}},
	{"service is held and served again", provision.Active, serveHeld + "\n" + service, deploys(deployment{serviceSteps: step(driver.Finished, nil, true)}), "service hold",
		row{State: "active", Power: on, History: "INFO servicing in servicing"}},
	{"service is deleted", provision.Active, service + "\n" + deleted, deploys(deployment{serviceSteps: step(driver.Waiting, nil, true)}), "service wait",
		row{State: "available", Power: on, History: "INFO cleaning in cleaning"}},
	{"service that failed is aborted", provision.ServiceFailed, abort, nil, "service failed", row{State: "active", Power: on}},
}

// TestFlows runs each flow through the API and looks at all that it leaves.
func TestFlows(t *testing.T) {
	for _, tt := range flows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, tt.hardware)
			s.change(in(tt.from))
			lines := strings.Split(tt.verbs, "\n")
			for i, line := range lines {
				if n := s.row(); i == len(lines)-1 && string(n.ProvisionState) != tt.waits {
					t.Fatalf("before %s the node is in %q (%v); want %q", line, n.ProvisionState, said(n), tt.waits)
				}
				if line == "timeout" {
					s.timeOut()
				} else {
					s.must(line)
				}
			}
			s.check(tt.want)
		})
	}
}

func said(n *store.Node) string {
	if n.LastError == nil {
		return ""
	}
	return *n.LastError
}

// check compares all that a flow leaves in the node's row, and its history.
func (s *stand) check(want row) {
	s.t.Helper()
	n := s.row()
	got := row{State: string(n.ProvisionState), Maintenance: n.Maintenance, History: strings.Join(s.history(), "; ")}
	for from, to := range map[**string]*string{&n.Fault: &got.Fault, &n.PowerState: &got.Power} {
		if *from != nil {
			*to = **from
		}
	}
	if n.TargetProvisionState != nil {
		got.Target = string(*n.TargetProvisionState)
	}
	if got.Error = said(n); want.Error != "" && strings.Contains(got.Error, want.Error) {
		got.Error = want.Error
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("row (-want +got):\n%s", diff)
	}
	if n.Maintenance && (n.MaintenanceReason == nil || *n.MaintenanceReason != said(n)) {
		s.t.Errorf("maintenance_reason is %v; want last_error", n.MaintenanceReason)
	}
	if n.Reservation != nil || n.TargetPowerState != nil || len(n.CleanStep)+len(n.DeployStep)+len(n.ServiceStep) > 0 {
		s.t.Errorf("left: lock %v, target power state %v, steps %v %v %v", n.Reservation, n.TargetPowerState, n.CleanStep, n.DeployStep, n.ServiceStep)
	}
	for _, kind := range stepKinds {
		for _, key := range []string{kind.List, kind.Index, kind.Asked(), kind.NoRamdisk, kind.Running} {
			if v, ok := n.DriverInternalInfo[key]; ok {
				s.t.Errorf("left in driver_internal_info: %s %v", key, v)
			}
		}
	}
	if v, ok := n.DriverInternalInfo["abort_requested"]; ok || n.InstanceInfo["hashed_rescue_password"] != nil {
		s.t.Errorf("left: abort_requested %v, instance_info %v", v, n.InstanceInfo)
	}
}

// TestFlowsRefused asks in every state for all that is not possible in it:
// whatever is refused leaves no trace.
func TestFlowsRefused(t *testing.T) {
	s := newStand(t, nil)
	bodies := map[string]string{"clean": clean, "rescue": rescue, "service": service}
	events := []string{"done", "fail", "wait", "resume", "hold", "fly"}
	refused := 0
	for _, a := range provision.States {
		s.change(in(a.State))
		if a.Kind == provision.Transient { // which a worker holds for as long as it lasts
			if _, err := s.db.Reserve(t.Context(), "test", s.node); err != nil {
				t.Fatal(err)
			}
		}
		before := s.row()
		targets := slices.Clone(events)
		for _, verb := range provision.Verbs {
			if _, err := provision.Next(a.State, verb.Event); err != nil || a.Kind == provision.Transient {
				targets = append(targets, verb.Target)
			}
		}
		for _, target := range targets {
			body := bodies[target]
			if body == "" {
				body = fmt.Sprintf(`{"target": %q}`, target)
			}
			// What goes on with a node is why it cannot be done, unless it is
			// an event that would be possible: those are the conductor's own.
			want := http.StatusBadRequest
			_, isVerb := provision.VerbFor(target)
			if _, err := provision.Next(a.State, provision.Event(target)); a.Kind == provision.Transient && (isVerb || err != nil) {
				want = http.StatusConflict
			}
			if status, answer := s.verb(body); status != want {
				t.Errorf("%s in %s: %d %s; want %d", target, a.State, status, answer, want)
			}
			refused++
		}
		if diff := cmp.Diff(before, s.row()); diff != "" {
			t.Errorf("refusals in %s changed the row (-before +after):\n%s", a.State, diff)
		}
		if a.Kind == provision.Transient {
			if err := s.db.Release(t.Context(), "test", s.node); err != nil {
				t.Fatal(err)
			}
		}
	}
	if lines := s.history(); len(lines) > 0 {
		t.Errorf("refusals are in the history: %q", lines)
	}
	t.Logf("%d requests were refused", refused)
}
