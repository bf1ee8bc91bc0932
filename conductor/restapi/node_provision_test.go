package restapi_test

import (
	"fmt"
	"strings"
	"testing"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// TestProvisionLife walks a node through its life by the API alone.
func TestProvisionLife(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	for _, step := range []struct {
		body string
		then provision.State
	}{
		{`{"target": "manage"}`, provision.Manageable},
		{`{"target": "provide"}`, provision.Available},
		{`{"target": "active", "configdrive": {"meta_data": {"a": "b"}, "user_data": "#!/bin/sh"}}`, provision.Active},
		{`{"target": "rebuild"}`, provision.Active},
		{`{"target": "deleted"}`, provision.Available},
		{`{"target": "deploy"}`, provision.Active},
		{`{"target": "undeploy"}`, provision.Available},
		{`{"target": "manage"}`, provision.Manageable},
	} {
		a := s.want(202, "82", "PUT", "/v1/nodes/n1/states/provision", step.body)
		if a.header.Get("Location") != s.url+"/v1/nodes/n1/states" || a.body != "" {
			t.Errorf("%s: Location %q, body %q", step.body, a.header.Get("Location"), a.body)
		}
		s.until("n1", step.then)
		s.tasks.Wait() // the lock is given back a little after the state is reached
	}
	if events, _ := s.want(200, "1", "GET", "/ferric/v1/nodes/n1/events", "").object["events"].([]any); len(events) == 0 {
		t.Error("no events of the node's life")
	}
	s.want(404, "1", "GET", "/ferric/v1/nodes/n1/progress", "")
	if reports, ok := s.want(200, "1", "GET", "/ferric/v1/nodes/n1/erase_report", "").object["reports"].([]any); !ok || len(reports) != 0 {
		t.Errorf("erase reports of a node that was never cleaned: %v", reports)
	}
	s.want(404, "1", "GET", "/ferric/v1/nodes/nobody/erase_report", "")
}

// TestProvisionRefusals holds section 3.6, in the contract's order of evaluation.
func TestProvisionRefusals(t *testing.T) {
	s := newService(t)
	for _, tc := range []struct {
		state       provision.State
		row         func(n *store.Node)
		minor, body string
		status      int
		fault       string
	}{
		{provision.Available, nil, "72", `{"target": "deploy"}`, 406, "1.73"},
		{provision.Active, nil, "72", `{"target": "undeploy"}`, 406, "1.73"},
		{provision.Enroll, nil, "3", `{"target": "manage"}`, 406, "1.4"},
		{provision.Manageable, nil, "3", `{"target": "provide"}`, 406, "1.4"},
		{provision.Manageable, nil, "5", `{"target": "inspect"}`, 406, "1.6"},
		{provision.CleanWait, nil, "12", `{"target": "abort"}`, 406, "1.13"},
		{provision.Manageable, nil, "14", `{"target": "clean"}`, 406, "1.15"},
		{provision.Manageable, nil, "16", `{"target": "adopt"}`, 406, "1.17"},
		{provision.Active, nil, "37", `{"target": "rescue"}`, 406, "1.38"},
		{provision.CleanHold, nil, "82", `{"target": "unhold"}`, 406, "1.85"},
		{provision.Active, nil, "82", `{"target": "service"}`, 406, "1.87"},

		// in maintenance, before the state is looked at
		{provision.Enroll, func(n *store.Node) { n.Maintenance = true }, "82", `{"target": "active"}`, 400, "maintenance mode"},
		{provision.Active, func(n *store.Node) { n.Maintenance = true }, "82", `{"target": "rebuild"}`, 400, "maintenance mode"},
		{provision.Enroll, func(n *store.Node) { n.Maintenance = true }, "82", `{"target": "deploy"}`, 400, `in state "enroll"`},
		{provision.Available, func(n *store.Node) { n.Maintenance = true }, "82", `{"target": "deploy"}`, 400, "maintenance mode"},

		// illegal transitions
		{provision.Enroll, nil, "82", `{"target": "active"}`, 400, `The requested action "active" can not be performed on node`},
		{provision.Available, nil, "82", `{"target": "provide"}`, 400, `while it is in state "available"`},
		{provision.Active, nil, "82", `{"target": "manage"}`, 400, `while it is in state "active"`},
		{provision.Active, nil, "82", `{"target": "dance"}`, 400, `The requested action "dance"`},
		{provision.Deploying, nil, "82", `{"target": "done"}`, 400, "could not be understood"},
		{provision.Enroll, nil, "82", `{}`, 400, "target"},
		{provision.Enroll, nil, "82", `{"target": 7}`, 400, "target"},
		{provision.Enroll, nil, "82", `{"target": "manage", "force": true}`, 400, "Unexpected arguments: force"},
		{provision.InspectWait, nil, "40", `{"target": "abort"}`, 406, "1.41"},
		{provision.WaitCallback, nil, "82", `{"target": "abort"}`, 406, "1.110"},

		// what goes with a verb
		{provision.Manageable, nil, "82", `{"target": "provide", "configdrive": "http://x/"}`, 400, "configdrive"},
		{provision.Active, nil, "34", `{"target": "rebuild", "configdrive": "http://x/"}`, 406, "1.35"},
		{provision.Available, nil, "115", `{"target": "active", "configdrive": []}`, 400, "string or an object"},
		{provision.Available, nil, "115", `{"target": "active", "deploy_steps": {}}`, 400, "deploy_steps"},
		{provision.Available, nil, "115", `{"target": "active", "deploy_steps": ""}`, 400, "deploy_steps"},
		{provision.Available, nil, "55", `{"target": "active", "configdrive": {"meta_data": {}}}`, 406, "1.56"},
		{provision.Available, nil, "58", `{"target": "active", "configdrive": {"vendor_data": {}}}`, 406, "1.59"},
		{provision.Available, nil, "82", `{"target": "active", "configdrive": {"meta_data": "x"}}`, 400, "meta_data"},
		{provision.Available, nil, "82", `{"target": "active", "configdrive": {"user_data": 7}}`, 400, "user_data"},
		{provision.Available, nil, "82", `{"target": "active", "configdrive": {"colour": {}}}`, 400, `"colour"`},
		{provision.Available, nil, "82", `{"target": "active", "configdrive": 7}`, 400, "configdrive"},
		{provision.Manageable, nil, "82", `{"target": "clean"}`, 400, "clean_steps"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": []}`, 400, "clean_steps"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": "all"}`, 400, "list of steps"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": ["all"]}`, 400, "clean_steps[0] is not an object"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": [{"interface": "boot", "step": "x"}]}`, 400, "clean_steps[0] needs an interface"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": [{"interface": "deploy"}]}`, 400, "name of a step"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "args": 1}]}`, 400, "wrong type"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "priority": 1}]}`, 400, "priority"},
		{provision.Manageable, nil, "82", `{"target": "clean", "clean_steps": [{"interface": "vendor", "step": "send_raw"}]}`, 400, "vendor.send_raw, which is disallowed"},
		{provision.Manageable, nil, "82", `{"target": "provide", "clean_steps": [{"interface": "deploy", "step": "x"}]}`, 400, "only valid with the target clean"},
		{provision.Manageable, nil, "69", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x"}], "disable_ramdisk": true}`, 406, "1.70"},
		{provision.Manageable, nil, "82", `{"target": "provide", "disable_ramdisk": true}`, 400, "disable_ramdisk"},
		{provision.Available, nil, "68", `{"target": "active", "deploy_steps": []}`, 406, "1.69"},
		{provision.Available, nil, "82", `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "x", "priority": 1}]}`, 400, "needs args"},
		{provision.Available, nil, "82", `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "x", "args": {}, "priority": -1}]}`, 400, "priority of at least 0"},
		{provision.Available, nil, "82", `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "x", "args": {}, "priority": 1.5}]}`, 400, "wrong type"},
		{provision.Active, nil, "82", `{"target": "rescue"}`, 400, "rescue_password"},
		{provision.Active, nil, "82", `{"target": "rescue", "rescue_password": "  "}`, 400, "rescue_password"},
		{provision.Active, nil, "82", `{"target": "rebuild", "rescue_password": "x"}`, 400, "rescue_password"},
		{provision.Manageable, nil, "82", `{"target": "clean", "runbook": "x"}`, 406, "1.92"},
		{provision.Active, func(n *store.Node) { n.RescueInterface = ptr("no-rescue") }, "82", `{"target": "rescue", "rescue_password": "x"}`, 400, "rescue"},
		{provision.Manageable, func(n *store.Node) { n.InspectInterface = ptr("no-inspect") }, "82", `{"target": "inspect"}`, 400, "inspect"},
		{provision.Active, nil, "115", `{"target": "service"}`, 400, "service_steps"},
		{provision.Active, nil, "115", `{"target": "service", "service_steps": []}`, 400, "service_steps"},
		{provision.Active, nil, "115", `{"target": "service", "clean_steps": [{"interface": "deploy", "step": "x"}]}`, 400, "only valid with the target clean"},
		{provision.Active, nil, "107", `{"target": "service", "service_steps": [{"interface": "deploy", "step": "x"}], "disable_ramdisk": true}`, 406, "1.108"},
		{provision.Active, func(n *store.Node) { n.Maintenance = true }, "115", `{"target": "service", "service_steps": [{"interface": "deploy", "step": "x"}]}`, 400, "maintenance mode"},
		{provision.ServiceFailed, func(n *store.Node) { n.Maintenance = true }, "115", `{"target": "abort"}`, 409, "maintenance"},
		{provision.Available, nil, "115", `{"target": "active", "configdrive": "{\"meta_data\": {}}"}`, 400, "Invalid configdrive format"},
		{provision.Manageable, nil, "115", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "order": "first"}]}`, 400, "wrong type"},
		{provision.Manageable, nil, "115", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "order": -1}]}`, 400, "order of at least 0"},
		{provision.Manageable, nil, "115", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "limit_child_node_execution": ["x"]}]}`, 400, "limit_child_node_execution"},
		{provision.Manageable, nil, "115", `{"target": "clean", "clean_steps": [{"interface": "deploy", "step": "x", "execute_on_child_nodes": "yes"}]}`, 400, "wrong type"},
		{provision.Active, nil, "115", `{"target": "service", "service_steps": [{"interface": "vendor", "step": "send_raw"}]}`, 400, "vendor.send_raw, which is disallowed"},
		{provision.Active, nil, "115", `{"target": "rebuild", "service_steps": [{"interface": "deploy", "step": "x"}]}`, 400, "only valid with the target service"},
		{provision.Active, nil, "115", `{"target": "service", "deploy_steps": [{"interface": "deploy", "step": "x", "args": {}, "priority": 1}]}`, 400, "only valid with the target active"},
		{provision.Manageable, nil, "115", `{"target": "provide", "runbook": "CUSTOM_R"}`, 400, "only valid with the target clean or service"},
		{provision.Manageable, nil, "115", `{"target": "clean", "runbook": "CUSTOM_NONE"}`, 404, "Runbook CUSTOM_NONE could not be found"},
		{provision.Manageable, nil, "115", `{"target": "provide", "rescue_password": ""}`, 400, "rescue_password"},
		// what is wrong with the members comes before what is too new about an abort
		{provision.InspectWait, nil, "40", `{"target": "abort", "clean_steps": [{"interface": "deploy", "step": "x"}]}`, 400, "only valid with the target clean"},
	} {
		name := fmt.Sprintf("%s at 1.%s: %s", tc.state, tc.minor, tc.body)
		id := s.want(201, "82", "POST", "/v1/nodes", `{"driver": "fake-hardware"}`).object["uuid"].(string)
		s.edit(id, in(tc.state))
		if tc.row != nil {
			s.edit(id, tc.row)
		}
		a := s.call(tc.minor, "PUT", "/v1/nodes/"+id+"/states/provision", tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("%s: %d %.300s, want %d %q", name, a.status, a.body, tc.status, tc.fault)
		}
		n, err := s.store.Node(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if n.ProvisionState != tc.state {
			t.Errorf("%s: a refusal moved the node to %s", name, n.ProvisionState)
		}
	}
}

func TestProvisionLocked(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.reserve("n1")
	for _, target := range []string{"manage", "provide"} { // legal and illegal in enroll
		a := s.call("82", "PUT", "/v1/nodes/n1/states/provision", `{"target": "`+target+`"}`)
		if a.status != 409 || !strings.Contains(a.fault(), "is locked by host elsewhere") {
			t.Errorf("%s of a locked node: %d %s", target, a.status, a.body)
		}
	}
}

// TestProvisionBody: config drives may be large, other bodies may not.
func TestProvisionBody(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.edit("n1", in(provision.Available))
	s.want(202, "82", "PUT", "/v1/nodes/n1/states/provision", `{"target": "active", "configdrive": "`+strings.Repeat("A", 8<<20)+`"}`)
	s.until("n1", provision.Active)
}

// TestStepNumbers: numbers of steps may be digits, as untyped clients send them.
func TestStepNumbers(t *testing.T) {
	s := newService(t)
	for state, body := range map[provision.State]string{
		provision.Available:  `{"target": "active", "deploy_steps": [{"interface": "power", "step": "power_on", "args": {}, "priority": "0"}]}`,
		provision.Manageable: `{"target": "clean", "disable_ramdisk": true, "clean_steps": [{"interface": "power", "step": "power_on", "order": "7"}]}`,
	} {
		id := s.want(201, "82", "POST", "/v1/nodes", `{"driver": "fake-hardware"}`).object["uuid"].(string)
		s.edit(id, in(state))
		s.want(202, "115", "PUT", "/v1/nodes/"+id+"/states/provision", body)
		s.tasks.Wait()
	}
}
