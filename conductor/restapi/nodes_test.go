package restapi_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// fullNode is a row with something in every field that has a rule.
func fullNode() *store.Node {
	at := time.Date(2026, 8, 20, 9, 0, 0, 120000000, time.UTC)
	later := time.Date(2026, 8, 20, 9, 5, 31, 0, time.UTC)
	active := provision.Active
	return &store.Node{
		ID: 1, UUID: "6d85703a-565d-469a-96ce-30b6de53079d", Name: ptr("metal3~worker-0"), Driver: "ipmi",
		DriverInfo:         store.Object{"ipmi_address": "10.0.0.5", "ipmi_password": "hunter2", "nested": map[string]any{"snmp_auth_key": "k", "list": []any{map[string]any{"auth_token": "t"}}}, "ipmi_hex_kg_key": nil},
		DriverInternalInfo: store.Object{"agent_url": "https://172.22.0.20:9999", "agent_secret_token": "tok"},
		Properties:         store.Object{"cpu_arch": "x86_64", "memory_mb": 65536.0},
		InstanceInfo:       store.Object{"image_source": "http://172.22.0.1/os.qcow2", "configdrive": "H4sI", "image_url": "http://temp/?sig=x"},
		Extra:              store.Object{"token": "of the user"},
		PowerState:         ptr("power on"), ProvisionState: provision.WaitCallback, TargetProvisionState: &active, ProvisionUpdatedAt: &later,
		CleanStep:  store.Object{},
		DeployStep: store.Object{"interface": "deploy", "step": "deploy", "args": map[string]any{"admin_password": "p"}},
		BootMode:   ptr("uefi"), SecureBoot: ptr(false), BootInterface: ptr("ipxe"), CreatedAt: at, UpdatedAt: &later,
	}
}

func TestNodeViewGolden(t *testing.T) {
	for _, v := range []ironic.Version{1, 31, 82} {
		view := restapi.NodeView(fullNode(), v, restapi.ViewOptions{Base: "http://host:6385", Conductor: ptr("ctl-1")})
		golden(t, fmt.Sprintf("node_1.%d.json", v), view)
	}
	golden(t, "agent_node.json", restapi.AgentNode(fullNode(), true))
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	n := fullNode()
	for name, view := range map[string]any{
		"API": restapi.NodeView(n, 82, restapi.ViewOptions{}), "agent": restapi.AgentNode(n, false), "agent with drive": restapi.AgentNode(n, true),
	} {
		b, err := json.Marshal(view)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{`"hunter2"`, `"k"`, `"t"`, `"tok"`, `"p"`} {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s view shows %s: %s", name, secret, b)
			}
		}
		if shown := strings.Contains(string(b), "H4sI"); shown != (name == "agent with drive") {
			t.Errorf("%s view shows the config drive: %v", name, shown)
		}
	}
	if n.DriverInfo["ipmi_password"] != "hunter2" || n.InstanceInfo["configdrive"] != "H4sI" {
		t.Error("masking changed the row")
	}
}

// TestCreate holds the rules of section 3.3 for POST /v1/nodes.
func TestCreate(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.DisallowedEnrollmentBootModes = []string{"bios"} })
	s.enrol("taken")
	taken, chassis := uuid1, uuid2
	if err := s.store.CreateChassis(t.Context(), &store.Chassis{UUID: chassis}); err != nil {
		t.Fatal(err)
	}
	s.want(201, "82", "POST", "/v1/nodes", `{"driver": "fake-hardware", "uuid": "`+taken+`", "instance_uuid": "`+taken+`"}`)
	for _, tc := range []struct {
		minor, body string
		status      int
		fault       string
	}{
		{"82", `{"driver": "fake-hardware"}`, 201, ""},
		{"1", `{"driver": "fake-hardware"}`, 201, ""},
		{"82", `{"driver": "fake-hardware", "name": "ns~host-1.x_y"}`, 201, ""},
		{"82", `{"driver": "fake-hardware", "properties": {"memory_mb": "1024", "cpus": 2}, "extra": null, "owner": "me"}`, 201, ""},
		{"49", `{"driver": "fake-hardware", "owner": null}`, 201, ""},
		{"82", `{"driver": "fake-hardware", "retired": true, "retired_reason": "old"}`, 201, ""},
		{"82", `{"driver": "fake-hardware", "network_data": {"links": [], "networks": [], "services": []}}`, 201, ""},
		{"82", `{}`, 400, "driver"},
		{"82", `{"driver": ""}`, 400, "driver is required"},
		{"82", `{"driver": "nope"}`, 400, `Could not find the following driver(s) or hardware type(s): nope.`},
		{"82", `{"driver": "fake-hardware", "boot_interface": "nope"}`, 400, `Could not find the boot interface "nope"`},
		{"82", `{"driver": "fake-hardware", "colour": 1}`, 400, `"colour"`},
		{"82", `{"driver": "fake-hardware", "provision_state": "active"}`, 400, `"provision_state"`},
		{"82", `{"driver": "fake-hardware", "protected": true}`, 400, `"protected"`},
		{"49", `{"driver": "fake-hardware", "owner": "me"}`, 406, `"owner" is not acceptable before API version 1.50`},
		{"4", `{"driver": "fake-hardware", "name": "n"}`, 406, `"name"`},
		{"9", `{"driver": "fake-hardware", "name": "ns~host"}`, 400, "invalid or reserved name"},
		{"82", `{"driver": "fake-hardware", "name": "detail"}`, 400, "invalid or reserved name"},
		{"82", `{"driver": "fake-hardware", "name": "a b"}`, 400, "invalid or reserved name"},
		{"82", `{"driver": "fake-hardware", "name": "` + taken + `"}`, 400, "invalid or reserved name"},
		{"82", `{"driver": "fake-hardware", "name": "` + strings.Repeat("n", 256) + `"}`, 400, "longer than 255"},
		{"82", `{"driver": "fake-hardware", "name": "taken"}`, 409, "A node with name taken already exists."},
		{"82", `{"driver": "fake-hardware", "uuid": "` + taken + `"}`, 409, "A node with UUID " + taken},
		{"82", `{"driver": "fake-hardware", "instance_uuid": "` + taken + `"}`, 409, "A node with instance_uuid " + taken},
		{"82", `{"driver": "fake-hardware", "uuid": "x"}`, 400, "expected a UUID"},
		{"82", `{"driver": "fake-hardware", "instance_uuid": "x"}`, 400, "expected a UUID"},
		{"82", `{"driver": "fake-hardware", "chassis_uuid": "` + taken + `"}`, 400, "Chassis"},
		{"115", `{"driver": "fake-hardware", "chassis_uuid": "` + chassis + `", "owner": null}`, 201, ""},
		{"115", `{"driver": "fake-hardware", "parent_node": "` + taken + `"}`, 201, ""},
		{"115", `{"driver": "fake-hardware", "parent_node": "taken"}`, 201, ""},
		{"115", `{"driver": "fake-hardware", "parent_node": "taken", "owner": "somebody"}`, 400, "Unable to apply the requested parent_node 'taken'"},
		{"115", `{"driver": "fake-hardware", "parent_node": "nobody"}`, 400, "Unable to apply the requested parent_node"},
		{"115", `{"driver": "fake-hardware", "parent_node": "` + chassis + `"}`, 400, "Unable to apply the requested parent_node"},
		{"115", `{"driver": "fake-hardware", "parent_node": "` + strings.Repeat("n", 37) + `"}`, 400, "longer than 36"},
		{"115", `{"driver": "fake-hardware", "uuid": "` + chassis + `", "parent_node": "` + chassis + `"}`, 400, "Unable to apply the requested parent_node"},
		{"115", `{"driver": "fake-hardware", "instance_name": ""}`, 400, "at least one character"},
		{"115", `{"driver": "fake-hardware", "conductor_group": "Nowhere"}`, 400, "No valid host was found"},
		{"115", `{"driver": "fake-hardware", "boot_mode": "uefi", "secure_boot": true, "console_enabled": true, "disable_power_off": "yes"}`, 201, ""},
		{"115", `{"driver": "fake-hardware", "name": "ports"}`, 201, ""},
		{"115", `{"driver": "fake-hardware", "properties": {"cpus": "", "local_gb": null}}`, 201, ""},
		{"115", `{"driver": "fake-hardware", "name": "get_all"}`, 400, "invalid or reserved name"},
		{"9", `{"driver": "fake-hardware", "name": "host-1.rack_2.example"}`, 201, ""},
		{"9", `{"driver": "fake-hardware", "name": "Host"}`, 400, "invalid or reserved name"},
		{"48", `{"driver": "fake-hardware", "owner": "me", "zone": 1}`, 400, `"zone"`},
		{"115", `{"driver": "fake-hardware", "properties": {"capabilities": "cpus:2, boot_mode:BIOS"}}`, 400, "'bios' boot mode is not allowed"},
		{"115", `{"driver": "fake-hardware", "properties": {"capabilities": "boot_mode:uefi"}}`, 201, ""},
		{"115", `[]`, 400, "not a JSON object"},
		{"115", ``, 400, "not a JSON object"},
		{"82", `{"driver": "fake-hardware", "properties": {"memory_mb": -1}}`, 400, "memory_mb"},
		{"82", `{"driver": "fake-hardware", "properties": {"cpus": "two"}}`, 400, "cpus"},
		{"82", `{"driver": "fake-hardware", "properties": 7}`, 400, "an object is expected"},
		{"82", `{"driver": "fake-hardware", "conductor_group": "a b"}`, 400, "conductor_group"},
		{"82", `{"driver": "fake-hardware", "resource_class": "` + strings.Repeat("r", 81) + `"}`, 400, "longer than 80"},
		{"82", `{"driver": "fake-hardware", "maintenance": 7}`, 400, "boolean"},
		{"82", `{"driver": "fake-hardware", "retired_reason": "old"}`, 201, ""},
		{"82", `{"driver": "fake-hardware", "network_data": {"links": [{"id": "l"}]}}`, 400, "links[0] has no type"},
	} {
		a := s.call(tc.minor, "POST", "/v1/nodes", tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("create at 1.%s with %.120s: %d %.300s, want %d %q", tc.minor, tc.body, a.status, a.body, tc.status, tc.fault)
		}
		if a.status == 201 && a.header.Get("Location") != s.url+"/v1/nodes/"+a.object["uuid"].(string) {
			t.Errorf("Location is %q", a.header.Get("Location"))
		}
	}
	if class := s.want(201, "115", "POST", "/v1/nodes", `{"driver": "fake-hardware", "resource_class": ""}`).object["resource_class"]; class != nil {
		t.Errorf("an empty resource class is kept as %v", class)
	}
}

// TestCreateDefaults holds what a new node gets without being told.
func TestCreateDefaults(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.DefaultResourceClass, c.DefaultConductorGroup = "baremetal", "" })
	parent := s.enrol("parent")
	for _, tc := range []struct {
		body string
		want map[string]any
	}{
		{`{}`, map[string]any{"resource_class": "baremetal", "conductor_group": "", "automated_clean": nil, "disable_power_off": false, "protected": false,
			"retired": false, "maintenance": false, "traits": []any{}, "instance_name": nil, "power_state": nil, "network_data": map[string]any{}}},
		{`{, "resource_class": "mine"}`, map[string]any{"resource_class": "mine"}},
		{`{, "instance_info": {"display_name": "web"}}`, map[string]any{"instance_name": "web"}},
		{`{, "instance_info": {"display_name": "web"}, "instance_name": "db"}`, map[string]any{"instance_name": "db"}},
		{`{, "instance_info": {"display_name": 7}}`, map[string]any{"instance_name": nil}},
		{`{, "parent_node": "parent"}`, map[string]any{"parent_node": parent}},
		{`{, "automated_clean": "False"}`, map[string]any{"automated_clean": false}},
	} {
		got := s.want(201, "115", "POST", "/v1/nodes", strings.Replace(tc.body, "{", `{"driver": "fake-hardware"`, 1)).object
		for name, want := range tc.want {
			if diff := cmp.Diff(want, got[name]); diff != "" {
				t.Errorf("%s after %s (-want +got):\n%s", name, tc.body, diff)
			}
		}
	}
}

func TestCreateState(t *testing.T) {
	s := newService(t)
	for minor, want := range map[string]any{"1": nil, "2": "available", "10": "available", "11": "enroll", "82": "enroll"} {
		a := s.want(201, minor, "POST", "/v1/nodes", `{"driver": "fake-hardware"}`)
		if got := a.object["provision_state"]; got != want {
			t.Errorf("state of a node created at 1.%s is %v, want %v", minor, got, want)
		}
	}
}

func TestDelete(t *testing.T) {
	s := newService(t)
	for _, tc := range []struct {
		name   string
		change func(n *store.Node)
		status int
	}{
		{"enroll", in(provision.Enroll), 204},
		{"available", in(provision.Available), 204},
		{"active", in(provision.Active), 409},
		{"resting", func(n *store.Node) { in(provision.Active)(n); n.Maintenance = true }, 204},
		{"instance", func(n *store.Node) { n.InstanceUUID = ptr("11111111-2222-3333-4444-555555555555") }, 409},
		{"protected", func(n *store.Node) { n.Maintenance, n.Protected = true, true }, 403},
	} {
		s.enrol(tc.name)
		s.edit(tc.name, tc.change)
		if a := s.call("82", "DELETE", "/v1/nodes/"+tc.name, ""); a.status != tc.status || a.status == 204 && a.body != "" {
			t.Errorf("delete of %s: %d %s, want %d", tc.name, a.status, a.body, tc.status)
		}
	}
	s.want(404, "82", "DELETE", "/v1/nodes/enroll", "")
	s.reserve("active")
	if a := s.call("82", "DELETE", "/v1/nodes/active", ""); a.status != 409 || !strings.Contains(a.fault(), "is locked by host elsewhere, please retry after the current operation is completed.") {
		t.Errorf("delete of a locked node: %d %s", a.status, a.body)
	}
}
