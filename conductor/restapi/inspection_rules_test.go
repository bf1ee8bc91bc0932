package restapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func TestInspectionRules(t *testing.T) {
	s := newService(t)
	const id = "bbb45f41-d4bc-4307-8d1d-32f95ce1e920"
	const path = "/v1/inspection_rules/" + id
	const actions = `"actions": [{"op": "set-attribute", "args": {"path": "extra/x", "value": "1"}}]`
	make := func(rest string) string { return `{` + actions + `, ` + rest + `}` }
	s.calls([]call{
		{404, "95", "GET", "/v1/inspection_rules", "", ""},
		{404, "95", "POST", "/v1/inspection_rules", "{}", ""},
		{404, "95", "DELETE", "/v1/inspection_rules", "", ""},
		{404, "95", "GET", path, "", ""},
		{400, "96", "POST", "/v1/inspection_rules", `{}`, "at least one action"},
		{400, "96", "POST", "/v1/inspection_rules", `{"actions": []}`, "at least one action"},
		{400, "96", "POST", "/v1/inspection_rules", `{"actions": {}}`, "list of objects"},
		{400, "96", "POST", "/v1/inspection_rules", `{"actions": [{"op": "dance", "args": {}}]}`, "unsupported action dance"},
		{400, "96", "POST", "/v1/inspection_rules", `{"actions": [{"op": "fail", "args": {}}]}`, "missing required argument(s): msg"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"conditions": [{"op": "xx", "args": {}}]`), "unsupported operator"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"conditions": [{"op": "eq"}]`), "args"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"priority": -1`), "between 0 and 9999"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"priority": 10000`), "between 0 and 9999"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"priority": "1"`), "whole number"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"phase": "early"`), "invalid phase"},
		{400, "96", "POST", "/v1/inspection_rules", make(`"bogus": 1`), "bogus"},
		{201, "96", "POST", "/v1/inspection_rules", make(`"uuid": "` + id + `", "priority": 9999, "description": "d", "conditions": [{"op": "!eq", "args": {"values": ["{item}", 1]}, "loop": [1, 2], "multiple": "all"}]`), ""},
		{409, "96", "POST", "/v1/inspection_rules", make(`"uuid": "` + id + `"`), "already exists"},
		{201, "96", "POST", "/v1/inspection_rules", make(`"priority": 0`), ""},
		{400, "96", "GET", "/v1/inspection_rules/some-name", "", "UUID"},
		{404, "96", "GET", "/v1/inspection_rules/11111111-2222-4333-8444-555555555555", "", "could not be found"},
		{400, "96", "PATCH", path, `[{"op": "replace", "path": "/uuid", "value": "x"}]`, "Only the following"},
		{400, "96", "PATCH", path, `[{"op": "replace", "path": "/actions/0/op", "value": "dance"}]`, "unsupported action"},
		{400, "96", "PATCH", path, `[{"op": "remove", "path": "/actions"}]`, "at least one action"},
		{400, "96", "GET", "/v1/inspection_rules?sort_key=actions", "", ""},
		{200, "96", "GET", "/v1/inspection_rules?phase=whatever", "", ""},
	})
	want := map[string]any{"uuid": id, "priority": 9999.0, "description": "d", "sensitive": false, "phase": "main",
		"conditions": []any{map[string]any{"op": "!eq", "args": map[string]any{"values": []any{"{item}", 1.0}}, "loop": []any{1.0, 2.0}, "multiple": "all"}},
		"actions":    []any{map[string]any{"op": "set-attribute", "args": map[string]any{"path": "extra/x", "value": "1"}}},
		"links":      s.links("inspection/" + id)}
	if diff := cmp.Diff(want, withoutTimes(s.want(200, "96", "GET", path, "").object)); diff != "" {
		t.Errorf("the rule differs (-want +got):\n%s", diff)
	}
	s.want(200, "96", "PATCH", path, `[{"op": "replace", "path": "/priority", "value": 5}, {"op": "remove", "path": "/description"}, {"op": "add", "path": "/sensitive", "value": true}]`)
	want["priority"], want["description"], want["sensitive"], want["conditions"], want["actions"] = 5.0, nil, true, nil, nil
	if diff := cmp.Diff(want, withoutTimes(s.want(200, "96", "GET", path, "").object)); diff != "" {
		t.Errorf("the sensitive rule differs (-want +got):\n%s", diff)
	}
	s.calls([]call{
		{400, "96", "PATCH", path, `[{"op": "replace", "path": "/sensitive", "value": false}]`, "cannot have the sensitive flag unset"},
		{400, "96", "PATCH", path, `[{"op": "remove", "path": "/sensitive"}]`, "cannot have the sensitive flag unset"},
		{200, "96", "PATCH", path, `[{"op": "add", "path": "/actions/-", "value": {"op": "fail", "args": {"msg": "m"}}}]`, ""},
	})
	if i, err := s.store.InspectionRule(t.Context(), id); err != nil || len(i.Actions) != 2 {
		t.Errorf("the sensitive rule is kept as %v, %v", i, err)
	}
	list := s.want(200, "96", "GET", "/v1/inspection_rules", "").object["inspection_rules"].([]any)
	short := map[string]any{"uuid": id, "priority": 5.0, "phase": "main", "description": nil, "links": want["links"]}
	if diff := cmp.Diff(short, list[0]); diff != "" || len(list) != 2 {
		t.Errorf("%d rules, of which the first differs (-want +got):\n%s", len(list), diff)
	}
	s.want(204, "96", "DELETE", path, "")
	s.want(404, "96", "DELETE", path, "")
	s.want(204, "96", "DELETE", "/v1/inspection_rules", "")
	if list := s.want(200, "96", "GET", "/v1/inspection_rules", "").object["inspection_rules"].([]any); len(list) != 0 {
		t.Errorf("after all were deleted there are %d", len(list))
	}
}

// TestInspectionRulesUse sends the data of a machine through rules.
func TestInspectionRulesUse(t *testing.T) {
	const port = `"port_id": "5344a3e2-978a-444e-990a-cbf47c62ef88"`
	for _, tt := range []struct {
		name, conditions, actions string
		state                     provision.State
		want                      string // of last_error, "" is none
	}{
		{"what the machine is goes into the node", `{"op": "eq", "args": {"values": ["{inventory[cpu][architecture]}", "aarch64"]}}`,
			`{"op": "set-attribute", "args": {"path": "resource_class", "value": "{inventory[cpu][architecture]}-{node.name}"}},
			 {"op": "set-attribute", "args": {"path": "driver_info/ipmi_password", "value": "new"}},
			 {"op": "add-trait", "args": {"name": "CUSTOM_ARM"}}, {"op": "set-capability", "args": {"name": "arm", "value": "yes"}},
			 {"op": "set-port-attribute", "args": {` + port + `, "path": "extra/nic", "value": "{inventory[interfaces][0][name]}"}},
			 {"op": "set-plugin-data", "args": {"path": "ruled", "value": true}}`, provision.Manageable, ""},
		{"a condition that does not hold", `{"op": "eq", "args": {"values": ["{inventory[cpu][architecture]}", "x86_64"]}}`,
			`{"op": "fail", "args": {"msg": "wrong"}}`, provision.Manageable, ""},
		{"a rule that fails", ``, `{"op": "set-attribute", "args": {"path": "extra/a", "value": 1}}, {"op": "fail", "args": {"msg": "we do not buy {inventory[cpu][architecture]}"}}`,
			provision.InspectFailed, "we do not buy aarch64"},
		{"what cannot be changed", ``, `{"op": "set-attribute", "args": {"path": "provision_state", "value": "active"}}`, provision.InspectFailed, "cannot change provision_state"},
		{"a value of the wrong kind", ``, `{"op": "set-attribute", "args": {"path": "properties", "value": "x"}}`, provision.InspectFailed, "wrong kind"},
		{"an interface that is none", ``, `{"op": "set-attribute", "args": {"path": "power_interface", "value": "nope"}}`, provision.InspectFailed, "nope"},
		{"a name that is another node's UUID", ``, `{"op": "set-attribute", "args": {"path": "name", "value": "5344a3e2-978a-444e-990a-cbf47c62ef88"}}`, provision.InspectFailed, "cannot be the name"},
		{"a name that is none", ``, `{"op": "set-attribute", "args": {"path": "name", "value": "{inventory[cpu]}"}}`, provision.InspectFailed, "cannot be the name"},
		{"a trait that is none", ``, `{"op": "extend-attribute", "args": {"path": "traits", "value": "{inventory[cpu]}"}}`, provision.InspectFailed, "not the name of a trait"},
		{"a name that is taken", ``, `{"op": "set-attribute", "args": {"path": "name", "value": "other"}}`, provision.InspectFailed, "already exists"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			s.enrol("other")
			s.want(201, "96", "POST", "/v1/inspection_rules", `{"conditions": [`+tt.conditions+`], "actions": [`+tt.actions+`]}`)
			id := s.enrol("n1")
			s.want(201, "82", "POST", "/v1/ports", `{"uuid": "5344a3e2-978a-444e-990a-cbf47c62ef88", "node_uuid": "`+id+`", "address": "52:54:00:00:00:a1"}`)
			s.edit(id, func(n *store.Node) {
				in(provision.InspectWait)(n)
				n.DriverInfo = store.Object{"ipmi_address": "a", "ipmi_username": "secret"}
			})
			s.want(202, "84", "POST", "/v1/continue_inspection", machineData)
			s.until("n1", tt.state)
			s.tasks.Wait()
			n, err := s.store.Node(t.Context(), "n1")
			if err != nil {
				t.Fatal(err)
			}
			if n.LastError != nil && (tt.want == "" || !strings.Contains(*n.LastError, tt.want)) || n.LastError == nil && tt.want != "" {
				t.Errorf("last_error is %v, want %q", n.LastError, tt.want)
			}
			if n.Extra["a"] != nil || *n.Name != "n1" {
				t.Errorf("rules that failed changed the node: %v", n.Extra)
			}
			if !strings.Contains(tt.actions, "CUSTOM_ARM") {
				return
			}
			got := []any{*n.ResourceClass, n.DriverInfo, n.Traits, n.Properties["capabilities"], s.want(200, "115", "GET", "/v1/ports/5344a3e2-978a-444e-990a-cbf47c62ef88?fields=extra", "").object["extra"],
				s.want(200, "81", "GET", "/v1/nodes/n1/inventory", "").object["plugin_data"].(map[string]any)["ruled"]}
			want := []any{"aarch64-n1", store.Object{"ipmi_address": "a", "ipmi_username": "secret", "ipmi_password": "new"}, store.Strings{"CUSTOM_ARM"}, "arm:yes", map[string]any{"nic": "eth0"}, true}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what the rules did differs (-want +got):\n%s", diff)
			}
		})
	}
}
