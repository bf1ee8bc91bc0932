package restapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

const (
	uuid1 = "11111111-2222-3333-4444-555555555555"
	uuid2 = "66666666-7777-8888-9999-000000000000"
)

// op is a patch of one operation.
func op(op, path, value string) string {
	if value == "" {
		return `[{"op": "` + op + `", "path": "` + path + `"}]`
	}
	return `[{"op": "` + op + `", "path": "` + path + `", "value": ` + value + `}]`
}

// TestUpdate holds sections 1.5 and 3.3 for PATCH /v1/nodes.
func TestUpdate(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.DisallowedEnrollmentBootModes = []string{"bios"} })
	other := s.enrol("other")
	if err := s.store.CreateChassis(t.Context(), &store.Chassis{UUID: uuid2}); err != nil {
		t.Fatal(err)
	}
	allocated := func(n *store.Node) { n.InstanceUUID, n.AllocationUUID = ptr(uuid1), ptr(uuid1) }
	both := func(changes ...func(*store.Node)) func(*store.Node) {
		return func(n *store.Node) {
			for _, c := range changes {
				c(n)
			}
		}
	}
	maintenance := func(n *store.Node) {
		n.Maintenance, n.MaintenanceReason, n.Fault = true, ptr("why"), ptr("clean failure")
	}
	assigned := func(n *store.Node) { n.InstanceUUID = ptr(uuid1) }
	for _, tc := range []struct {
		name   string
		row    func(n *store.Node)
		minor  string
		query  string
		patch  string
		status int
		fault  string
		want   map[string]any // members of the answer
	}{
		{"set name", nil, "82", "", op("add", "/name", `"renamed"`), 200, "", map[string]any{"name": "renamed"}},
		{"unset name", nil, "82", "", op("remove", "/name", ""), 200, "", map[string]any{"name": nil}},
		{"name taken", nil, "82", "", op("add", "/name", `"other"`), 409, "A node with name other already exists.", nil},
		{"reserved name", nil, "82", "", op("add", "/name", `"detail"`), 400, "invalid or reserved name", nil},
		{"uuid as name", nil, "82", "", op("add", "/name", `"`+uuid1+`"`), 400, "invalid or reserved name", nil},
		{"name too early", nil, "4", "", op("add", "/name", `"x"`), 406, "1.5", nil},
		{"extra key", nil, "82", "", op("add", "/extra/a", `{"b": [1]}`), 200, "", map[string]any{"extra": map[string]any{"a": map[string]any{"b": []any{1.0}}}}},
		{"extra as text", nil, "82", "", op("add", "/extra", `"x"`), 400, "an object is expected", nil},
		{"extra reset", func(n *store.Node) { n.Extra = store.Object{"a": 1} }, "82", "", op("remove", "/extra", ""), 200, "", map[string]any{"extra": map[string]any{}}},
		{"extra too deep", nil, "82", "", deepPatch(), 400, "nested deeper than 25", nil},
		{"secret kept", func(n *store.Node) { n.DriverInfo = store.Object{"ipmi_password": "s"} }, "82", "", op("add", "/driver_info/x", "1"), 200, "",
			map[string]any{"driver_info": map[string]any{"ipmi_password": "******", "x": 1.0}}},
		{"properties", nil, "82", "", op("add", "/properties/cpus", `-1`), 400, "cpus", nil},
		{"boolean default", func(n *store.Node) { n.Retired, n.RetiredReason = true, ptr("x") }, "82", "", op("remove", "/retired", ""), 200, "", map[string]any{"retired": false, "retired_reason": nil}},
		{"replace missing key", nil, "82", "", op("replace", "/extra/a", "1"), 400, "Couldn't apply patch", nil},
		{"remove missing key", nil, "82", "", op("remove", "/extra/a", ""), 400, "Couldn't apply patch", nil},
		{"read only root", nil, "82", "", op("add", "/provision_state", `"active"`), 400, "Cannot patch /provision_state. Only the following can be updated: automated_clean, bios_interface,", nil},
		{"unknown root", nil, "82", "", op("add", "/colour", `1`), 400, "Cannot patch /colour", nil},
		{"uuid", nil, "82", "", op("replace", "/uuid", `"`+uuid1+`"`), 400, "Cannot patch /uuid", nil},
		{"root too new", nil, "49", "", op("add", "/owner", `"x"`), 406, `"owner"`, nil},
		{"malformed", nil, "82", "", `{"op": "add"}`, 400, "Invalid patch", nil},
		{"truncated", nil, "82", "", `[{"op": "add", "path": "/na`, 400, "Invalid patch", nil},
		{"unknown driver", nil, "82", "", op("replace", "/driver", `"nope"`), 400, "hardware type(s): nope.", nil},
		{"driver removed", nil, "82", "", op("remove", "/driver", ""), 400, "driver", nil},
		{"unsupported interface", nil, "82", "", op("add", "/boot_interface", `"nope"`), 400, `"nope"`, nil},
		{"interface", nil, "82", "", op("add", "/deploy_interface", `"direct"`), 200, "", map[string]any{"deploy_interface": "direct"}},
		{"interface default", func(n *store.Node) { n.DeployInterface = ptr("direct") }, "82", "", op("remove", "/deploy_interface", ""), 200, "", map[string]any{"deploy_interface": "fake"}},

		{"reset_interfaces early", nil, "44", "?reset_interfaces=true", op("add", "/driver", `"fake-hardware"`), 406, "1.45", nil},
		{"reset_interfaces alone", nil, "82", "?reset_interfaces=true", op("add", "/extra/a", `1`), 400, "changing the node's driver", nil},
		{"reset_interfaces", func(n *store.Node) { n.DeployInterface = ptr("direct") }, "82", "?reset_interfaces=true", op("add", "/driver", `"fake-hardware"`), 200, "", map[string]any{"deploy_interface": "fake"}},
		{"other argument", nil, "82", "?force=true", op("add", "/extra/a", `1`), 400, "Unexpected arguments: force", nil},

		{"in transition", in(provision.Deploying), "82", "", op("add", "/extra/a", "1"), 409, "state transition is in progress", nil},
		{"waiting", in(provision.CleanWait), "82", "", op("add", "/extra/a", "1"), 409, "state transition is in progress", nil},
		{"failed", in(provision.DeployFailed), "82", "", op("add", "/extra/a", "1"), 200, "", nil},
		{"inspect wait", in(provision.InspectWait), "82", "", op("add", "/extra/a", "1"), 200, "", nil},
		{"unassign in transition", both(in(provision.Deploying), maintenance, assigned), "82", "", op("remove", "/instance_uuid", ""), 200, "", map[string]any{"instance_uuid": nil}},
		{"unassign without maintenance", both(in(provision.Deploying), assigned), "82", "", op("remove", "/instance_uuid", ""), 409, "state transition", nil},
		{"inspecting", in(provision.Inspecting), "39", "", op("add", "/extra/a", "1"), 409, `while it is in state "inspecting"`, nil},
		{"inspecting, old client", in(provision.Inspecting), "38", "", op("add", "/extra/a", "1"), 200, "", nil},
		{"driver with console", func(n *store.Node) { n.ConsoleEnabled = true }, "82", "", op("add", "/driver", `"ipmi"`), 409, "console", nil},
		{"interface of active", in(provision.Active), "82", "", op("add", "/deploy_interface", `"direct"`), 409, "deploy_interface", nil},
		{"same interface of active", in(provision.Active), "82", "", op("add", "/deploy_interface", `"fake"`), 200, "", nil},
		{"interface of active in maintenance", both(in(provision.Active), maintenance), "82", "", op("add", "/deploy_interface", `"direct"`), 200, "", nil},
		{"first resource class of active", in(provision.Active), "82", "", op("add", "/resource_class", `"a"`), 200, "", nil},
		{"resource class of active", both(in(provision.Active), maintenance, func(n *store.Node) { n.ResourceClass = ptr("b") }), "82", "", op("add", "/resource_class", `"a"`), 409, "resource_class", nil},
		{"instance", nil, "82", "", op("add", "/instance_uuid", `"`+uuid1+`"`), 200, "", map[string]any{"instance_uuid": uuid1}},
		{"instance again", assigned, "82", "", op("add", "/instance_uuid", `"`+uuid1+`"`), 200, "", nil},
		{"other instance", assigned, "82", "", op("replace", "/instance_uuid", `"`+uuid2+`"`), 409, "is associated with instance " + uuid1, nil},
		{"protected", in(provision.Active), "82", "", `[{"op":"add","path":"/protected","value":true},{"op":"add","path":"/protected_reason","value":"r"}]`, 200, "", map[string]any{"protected": true, "protected_reason": "r"}},
		{"protected in enroll", nil, "82", "", op("add", "/protected", `true`), 409, "protected", nil},
		{"protected reason alone", in(provision.Active), "82", "", op("add", "/protected_reason", `"r"`), 400, "protected_reason", nil},
		{"unprotected", both(in(provision.Active), func(n *store.Node) { n.Protected, n.ProtectedReason = true, ptr("r") }), "82", "", op("add", "/protected", `false`), 200, "", map[string]any{"protected_reason": nil}},
		{"retired in available", in(provision.Available), "82", "", op("add", "/retired", `true`), 409, "retired", nil},
		{"retired", nil, "82", "", op("add", "/retired", `"True"`), 200, "", map[string]any{"retired": true}},
		{"retired reason alone", nil, "82", "", op("add", "/retired_reason", `"r"`), 400, "retired_reason", nil},
		{"end of maintenance", maintenance, "82", "", op("replace", "/maintenance", `false`), 200, "", map[string]any{"maintenance": false, "maintenance_reason": nil, "fault": nil}},
		{"nothing", nil, "82", "", `[]`, 200, "", nil},

		{"replace of null", nil, "115", "", op("replace", "/description", `"d"`), 200, "", map[string]any{"description": "d"}},
		{"remove of null", nil, "115", "", op("remove", "/description", ""), 200, "", map[string]any{"description": nil}},
		{"remove twice", nil, "115", "", `[{"op":"remove","path":"/description"},{"op":"remove","path":"/description"}]`, 400, "Couldn't apply patch", nil},
		{"add and remove", nil, "115", "", `[{"op":"add","path":"/extra/a","value":1},{"op":"remove","path":"/extra/a"}]`, 200, "", map[string]any{"extra": map[string]any{}}},
		{"nested", nil, "115", "", `[{"op":"add","path":"/driver_info/x","value":{}},{"op":"add","path":"/driver_info/x/y","value":1}]`, 200, "", map[string]any{"driver_info": map[string]any{"x": map[string]any{"y": 1.0}}}},
		{"nested in nothing", nil, "115", "", op("add", "/driver_info/x/y", "1"), 400, "Couldn't apply patch", nil},
		{"nested in text", nil, "115", "", op("add", "/description/x", `"y"`), 400, "Couldn't apply patch", nil},
		{"list index", func(n *store.Node) { n.Extra = store.Object{"l": []any{1, 2, 3}} }, "115", "",
			`[{"op":"replace","path":"/extra/l/0","value":7},{"op":"remove","path":"/extra/l/1"},{"op":"add","path":"/extra/l/-","value":9},{"op":"add","path":"/extra/l/1","value":8}]`, 200, "",
			map[string]any{"extra": map[string]any{"l": []any{7.0, 8.0, 3.0, 9.0}}}},
		{"list index too high", func(n *store.Node) { n.Extra = store.Object{"l": []any{1}} }, "115", "", op("add", "/extra/l/2", "1"), 400, "Couldn't apply patch", nil},
		{"list index negative", func(n *store.Node) { n.Extra = store.Object{"l": []any{1}} }, "115", "", op("remove", "/extra/l/-1", ""), 400, "Couldn't apply patch", nil},
		{"escapes", nil, "98", "", op("add", "/extra/a~1b~0c", "1"), 200, "", map[string]any{"extra": map[string]any{"a/b~c": 1.0}}},
		{"escapes too early", nil, "97", "", op("add", "/extra/a~1b", "1"), 400, "path", nil},
		{"bad escape", nil, "98", "", op("add", "/extra/a~2b", "1"), 400, "path", nil},
		{"escaped root", nil, "98", "", op("add", "/extra~1x", "1"), 400, "Cannot patch /extra", nil},
		{"move", nil, "115", "", `[{"op":"move","from":"/extra","path":"/properties"}]`, 400, "Invalid patch", nil},
		{"copy", nil, "115", "", `[{"op":"copy","from":"/extra","path":"/properties"}]`, 400, "Invalid patch", nil},
		{"test", nil, "115", "", op("test", "/name", "null"), 400, "Invalid patch", nil},
		{"no value", nil, "115", "", `[{"op":"add","path":"/name"}]`, 400, "Invalid patch", nil},
		{"no path", nil, "115", "", `[{"op":"add","value":1}]`, 400, "Invalid patch", nil},
		{"root of everything", nil, "115", "", op("replace", "/", "{}"), 400, "Invalid patch", nil},
		{"dotted path", nil, "115", "", op("add", "/extra/a.b", "1"), 400, "Invalid patch", nil},
		{"long description", nil, "115", "", op("add", "/description", `"`+strings.Repeat("d", 4097)+`"`), 400, "longer than 4096", nil},
		{"resource class reset", func(n *store.Node) { n.ResourceClass = ptr("x") }, "115", "", op("remove", "/resource_class", ""), 200, "", map[string]any{"resource_class": nil}},
		{"automated_clean reset", func(n *store.Node) { n.AutomatedClean = ptr(true) }, "115", "", op("remove", "/automated_clean", ""), 200, "", map[string]any{"automated_clean": nil}},
		{"disable_power_off reset", func(n *store.Node) { n.DisablePowerOff = true }, "115", "", op("remove", "/disable_power_off", ""), 200, "", map[string]any{"disable_power_off": false}},
		{"maintenance reset", maintenance, "115", "", op("remove", "/maintenance", ""), 200, "", map[string]any{"maintenance": false, "maintenance_reason": nil, "fault": nil}},
		{"maintenance set", nil, "1", "", op("replace", "/maintenance", "true"), 200, "", map[string]any{"maintenance": true, "maintenance_reason": nil}},
		{"protected reset", both(in(provision.Active), func(n *store.Node) { n.Protected = true }), "115", "", op("remove", "/protected", ""), 200, "", map[string]any{"protected": false}},
		{"group served by nobody", nil, "115", "", op("add", "/conductor_group", `"rack1"`), 400, "No valid host was found", nil},
		{"group reset", func(n *store.Node) { n.ConductorGroup = "rack1" }, "115", "", op("remove", "/conductor_group", ""), 200, "", map[string]any{"conductor_group": ""}},
		{"chassis", nil, "115", "", op("add", "/chassis_uuid", `"`+uuid2+`"`), 200, "", map[string]any{"chassis_uuid": uuid2}},
		{"chassis unknown", nil, "115", "", op("add", "/chassis_uuid", `"`+uuid1+`"`), 400, "Chassis " + uuid1, nil},
		{"chassis removed", func(n *store.Node) { n.ChassisUUID = ptr(uuid2) }, "25", "", op("remove", "/chassis_uuid", ""), 200, "", map[string]any{"chassis_uuid": nil}},
		{"chassis removed early", func(n *store.Node) { n.ChassisUUID = ptr(uuid2) }, "24", "", op("remove", "/chassis_uuid", ""), 406, "1.25", nil},
		{"no chassis removed early", nil, "24", "", op("remove", "/chassis_uuid", ""), 200, "", nil},
		{"parent by name", nil, "115", "", op("add", "/parent_node", `"other"`), 200, "", map[string]any{"parent_node": other}},
		{"parent unknown", nil, "115", "", op("add", "/parent_node", `"nobody"`), 400, "Unable to apply the requested parent_node", nil},
		{"parent removed", func(n *store.Node) { n.ParentNode = ptr(uuid1) }, "115", "", op("remove", "/parent_node", ""), 200, "", map[string]any{"parent_node": nil}},
		{"name of the instance", nil, "115", "", op("add", "/instance_info", `{"display_name": "web"}`), 200, "", map[string]any{"instance_name": "web"}},
		{"name of the instance kept", func(n *store.Node) { n.InstanceName = ptr("db") }, "115", "", op("add", "/instance_info/display_name", `"web"`), 200, "", map[string]any{"instance_name": "db"}},
		{"capabilities of a refused mode", nil, "115", "", op("add", "/properties/capabilities", `"boot_mode:bios"`), 400, "'bios' boot mode is not allowed", nil},
		{"console", nil, "115", "", op("add", "/console_enabled", "true"), 400, "Cannot patch /console_enabled", nil},
		{"traits", nil, "115", "", op("add", "/traits", "[]"), 400, "Cannot patch /traits", nil},
		{"boot mode", nil, "115", "", op("add", "/boot_mode", `"uefi"`), 400, "Cannot patch /boot_mode", nil},
		{"unassign with allocation", both(in(provision.Active), allocated), "115", "", op("remove", "/instance_uuid", ""), 409, "allocation", nil},
		{"unassign with allocation in maintenance", both(in(provision.Active), allocated, maintenance), "115", "", op("remove", "/instance_uuid", ""), 200, "", map[string]any{"instance_uuid": nil, "allocation_uuid": nil}},
		{"unassign available with allocation", both(in(provision.Available), allocated), "115", "", op("remove", "/instance_uuid", ""), 200, "", map[string]any{"allocation_uuid": nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := s.want(201, "82", "POST", "/v1/nodes", `{"driver": "fake-hardware"}`).object["uuid"].(string)
			defer func() {
				s.edit(id, func(n *store.Node) { n.Maintenance, n.Protected = true, false })
				s.want(204, "82", "DELETE", "/v1/nodes/"+id, "")
			}()
			if tc.row != nil {
				s.edit(id, tc.row)
			}
			before := s.want(200, "115", "GET", "/v1/nodes/"+id, "").object
			a := s.call(tc.minor, "PATCH", "/v1/nodes/"+id+tc.query, tc.patch)
			if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
				t.Fatalf("%d %.400s, want %d %q", a.status, a.body, tc.status, tc.fault)
			}
			now := s.want(200, "115", "GET", "/v1/nodes/"+id, "").object
			for name, want := range tc.want {
				if diff := cmp.Diff(want, now[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
			if after := s.want(200, "115", "GET", "/v1/nodes/"+id, "").object; a.status != 200 {
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("a refused patch changed the node (-before +after):\n%s", diff)
				}
			}
		})
	}
}

// deepPatch builds a value level by level that no single request could hold.
func deepPatch() string {
	var ops []string
	path := "/extra"
	for range 30 {
		path += "/x"
		ops = append(ops, `{"op":"add","path":"`+path+`","value":{}}`)
	}
	return "[" + strings.Join(ops, ",") + "]"
}

func TestUpdateLocked(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.reserve("n1")
	if a := s.call("82", "PATCH", "/v1/nodes/n1", op("add", "/extra/a", "1")); a.status != 409 || !strings.Contains(a.fault(), "is locked by host elsewhere") {
		t.Errorf("patch of a locked node: %d %s", a.status, a.body)
	}
	if a := s.call("82", "PATCH", "/v1/nodes/n1", op("remove", "/extra/a", "")); a.status != 400 {
		t.Errorf("wrong patch of a locked node: %d %s, want 400 at once", a.status, a.body)
	}
}
