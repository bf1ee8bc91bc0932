package restapi_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"ferric/api"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// change is one line of the table of microversions (REST contract, section 10):
// how a request is answered just before and from then on. An answer is a status
// with, after a colon, text that the body has, or with "!" that it has not.
type change struct {
	minor              int
	method, path, body string
	before, from       string
	prepare            func(s *service, node string)
	because            string // why there is no difference to be seen
}

// changes has at least one line for each microversion. {node} and the like are
// put in by the test.
var changes = []change{
	{minor: 2, method: "GET", path: "/v1/nodes/{node}", prepare: as(provision.Available), before: `200:"provision_state":null`, from: `200:"provision_state":"available"`},
	{minor: 3, method: "GET", path: "/v1/nodes/{node}", before: "200:!driver_internal_info", from: "200:driver_internal_info"},
	{minor: 4, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "manage"}`, before: "406:1.4", from: "202"},
	{minor: 5, method: "GET", path: "/v1/nodes/{name}", before: "406", from: "200:\"name\""},
	{minor: 6, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "inspect"}`, prepare: as(provision.Manageable), before: "406", from: "202"},
	{minor: 6, method: "GET", path: "/v1/nodes/{node}", before: "200:!inspection_started_at", from: "200:inspection_finished_at"},
	{minor: 7, method: "GET", path: "/v1/nodes/{node}", before: "200:!clean_step", from: `200:"clean_step":{}`},
	{minor: 8, method: "GET", path: "/v1/nodes?fields=uuid", before: "406", from: "200:!maintenance"},
	{minor: 9, method: "GET", path: "/v1/nodes?provision_state=enroll", before: "406", from: "200"},
	{minor: 10, method: "POST", path: "/v1/nodes", body: `{"driver": "fake-hardware", "name": "a_b~c"}`, before: "400", from: "201"},
	{minor: 11, method: "POST", path: "/v1/nodes", body: `{"driver": "fake-hardware"}`, before: `201:"provision_state":"available"`, from: `201:"provision_state":"enroll"`},
	{minor: 12, method: "PUT", path: "/v1/nodes/{node}/states/raid", body: `{}`, before: "406", from: "204"},
	{minor: 12, method: "GET", path: "/v1/nodes/{node}/states", before: "200:!raid_config", from: "200:target_raid_config"},
	{minor: 13, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "abort"}`, prepare: as(provision.CleanHold), before: "406", from: "202"},
	{minor: 14, method: "GET", path: "/v1/nodes/{node}", before: `200:!"states":`, from: `200:"states":[`},
	{minor: 14, method: "GET", path: "/v1/drivers/fake-hardware", before: `200:!"properties":`, from: `200:"properties":[`},
	{minor: 15, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "clean", "clean_steps": [{"interface": "power", "step": "x"}]}`, prepare: as(provision.Manageable), before: "406", from: "202"},
	{minor: 16, method: "GET", path: "/v1/nodes?driver=fake-hardware", before: "406", from: "200"},
	{minor: 17, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "adopt"}`, prepare: as(provision.Manageable), before: "406", from: "202"},
	{minor: 18, method: "GET", path: "/v1/ports/{port}", before: "200:!internal_info", from: "200:internal_info"},
	{minor: 19, method: "GET", path: "/v1/ports/{port}", before: "200:!pxe_enabled", from: "200:local_link_connection"},
	{minor: 20, method: "GET", path: "/v1/nodes/{node}", before: "200:!network_interface", from: "200:network_interface"},
	{minor: 21, method: "GET", path: "/v1/nodes?resource_class=x", before: "406", from: "200"},
	{minor: 22, method: "GET", path: "/v1/lookup?addresses=52:54:00:00:00:99", before: "404:before API version", from: "404:!before API version"},
	{minor: 22, method: "GET", path: "/v1", before: "200:!heartbeat", from: "200:heartbeat"},
	{minor: 23, method: "GET", path: "/v1/portgroups", before: "404", from: "200"},
	{minor: 24, method: "GET", path: "/v1/nodes/{node}/portgroups", before: "404", from: "200"},
	{minor: 24, method: "GET", path: "/v1/ports/{port}", before: "200:!portgroup_uuid", from: "200:portgroup_uuid"},
	{minor: 25, method: "PATCH", path: "/v1/nodes/{node}", body: `[{"op": "remove", "path": "/chassis_uuid"}]`, prepare: withChassis, before: "406", from: `200:"chassis_uuid":null`},
	{minor: 26, method: "GET", path: "/v1/portgroups/{portgroup}", before: "200:!mode", from: `200:"mode"`},
	{minor: 27, method: "PUT", path: "/v1/nodes/{node}/states/power", body: `{"target": "soft power off"}`, before: "406", from: "202"},
	{minor: 27, method: "PUT", path: "/v1/nodes/{node}/states/power", body: `{"target": "power on", "timeout": 5}`, before: "406", from: "202"},
	{minor: 28, method: "GET", path: "/v1/nodes/{node}/vifs", before: "404", from: "200"},
	{minor: 29, method: "PUT", path: "/v1/nodes/{node}/management/inject_nmi", body: `{}`, before: "404", from: "400:inject_nmi"}, // which fake hardware lacks
	{minor: 30, method: "GET", path: "/v1/drivers?type=dynamic", before: "406", from: "200"},
	{minor: 31, method: "GET", path: "/v1/nodes/{node}", before: "200:!power_interface", from: "200:power_interface"},
	{minor: 32, method: "GET", path: "/v1/volume", before: "404", from: "200"},
	{minor: 33, method: "GET", path: "/v1/nodes/{node}", before: "200:!storage_interface", from: "200:storage_interface"},
	{minor: 34, method: "GET", path: "/v1/ports/{port}", before: "200:!physical_network", from: "200:physical_network"},
	{minor: 35, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "rebuild", "configdrive": "http://h/x"}`, prepare: as(provision.Active), before: "406", from: "202"},
	{minor: 36, method: "POST", path: "/v1/heartbeat/{node}", body: `{"callback_url": "http://192.0.2.1:9999", "agent_version": "1"}`, before: "400:agent_version", from: "400:!agent_version"},
	{minor: 37, method: "GET", path: "/v1/nodes/{node}/traits", before: "406", from: "200"},
	{minor: 38, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "unrescue"}`, prepare: as(provision.Rescue), before: "406", from: "202"},
	{minor: 38, method: "GET", path: "/v1/nodes/{node}", before: "200:!rescue_interface", from: "200:rescue_interface"},
	{minor: 39, method: "GET", path: "/v1/nodes/{node}", prepare: as(provision.InspectWait), before: `200:"provision_state":"inspecting"`, from: `200:"provision_state":"inspect wait"`},
	{minor: 39, method: "PATCH", path: "/v1/nodes/{node}", body: `[{"op": "add", "path": "/extra/a", "value": 1}]`, prepare: as(provision.Inspecting), before: "200", from: "409"},
	{minor: 40, method: "GET", path: "/v1/nodes/{node}/bios", before: "404", from: "200"},
	{minor: 41, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "abort"}`, prepare: as(provision.InspectWait), before: "406", from: "202"},
	{minor: 42, method: "GET", path: "/v1/nodes/{node}", before: `200:!"fault"`, from: `200:"fault"`},
	{minor: 42, method: "GET", path: "/v1/nodes?fault=power+failure", before: "406", from: "200"},
	{minor: 43, method: "GET", path: "/v1/nodes?detail=true", before: "400:Invalid query parameter ?detail=", from: "200:driver_info"},
	{minor: 44, method: "GET", path: "/v1/nodes/{node}", before: "200:!deploy_step", from: "200:deploy_step"},
	{minor: 45, method: "PATCH", path: "/v1/nodes/{node}?reset_interfaces=true", body: `[{"op": "add", "path": "/driver", "value": "fake-hardware"}]`, before: "406", from: "200"},
	{minor: 46, method: "GET", path: "/v1/nodes?conductor_group=x", before: "406", from: "200"},
	{minor: 47, method: "GET", path: "/v1/nodes/{node}", before: "200:!automated_clean", from: "200:automated_clean"},
	{minor: 48, method: "GET", path: "/v1/nodes/{node}", before: "200:!protected", from: "200:protected_reason"},
	{minor: 49, method: "GET", path: "/v1/conductors", before: "404", from: "200"},
	{minor: 49, method: "GET", path: "/v1/nodes/{node}", before: `200:!"conductor":`, from: `200:"conductor":"test-conductor"`},
	{minor: 50, method: "GET", path: "/v1/nodes?owner=x", before: "406", from: "200"},
	{minor: 51, method: "GET", path: "/v1/nodes?description_contains=x", before: "406", from: "200"},
	{minor: 52, method: "GET", path: "/v1/allocations", before: "404", from: "200"},
	{minor: 52, method: "POST", path: "/v1/allocations", body: `{"resource_class": "none"}`, before: "405", from: "201"},
	{minor: 53, method: "GET", path: "/v1/ports/{port}", before: "200:!is_smartnic", from: "200:is_smartnic"},
	{minor: 54, method: "POST", path: "/v1/events", body: `{"events": [{"event": "network.bind_port", "port_id": "{port}", "mac_address": "52:54:00:00:00:01", "status": "ACTIVE"}]}`, before: "404", from: "204"},
	{minor: 55, method: "GET", path: "/v1/deploy_templates", before: "404", from: "200"},
	{minor: 56, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "active", "configdrive": {"meta_data": {}}}`, prepare: as(provision.Available), before: "406", from: "202"},
	{minor: 57, method: "PATCH", path: "/v1/allocations/{allocation}", body: `[{"op": "add", "path": "/extra/a", "value": 1}]`, before: "405", from: "200"},
	{minor: 58, method: "POST", path: "/v1/allocations", body: `{"node": "{node}"}`, prepare: as(provision.Active), before: "400:API version", from: "201"},
	{minor: 59, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "active", "configdrive": {"vendor_data": {}}}`, prepare: as(provision.Available), before: "406", from: "202"},
	{minor: 60, method: "GET", path: "/v1/allocations/{allocation}", before: "200:!owner", from: "200:owner"},
	{minor: 61, method: "GET", path: "/v1/nodes?retired=false", before: "406", from: "200"},
	{minor: 62, method: "GET", path: "/v1/lookup?node_uuid={node}", prepare: as(provision.CleanWait), before: "200:!agent_token\":", from: "200:agent_token"},
	{minor: 63, method: "GET", path: "/v1/nodes/{node}/management/indicators", before: "404", from: "200"},
	{minor: 64, method: "PATCH", path: "/v1/ports/{port}", body: `[{"op": "add", "path": "/local_link_connection", "value": {"network_type": "unmanaged"}}]`, before: "406", from: "200"},
	{minor: 65, method: "GET", path: "/v1/nodes?lessee=x", before: "406", from: "200"},
	{minor: 66, method: "GET", path: "/v1/nodes/{node}", before: "200:!network_data", from: "200:network_data"},
	{minor: 67, method: "POST", path: "/v1/nodes/{node}/vifs", body: `{"id": "v", "port_uuid": "{port}", "portgroup_uuid": "{portgroup}"}`, before: "204", from: "400"},
	{minor: 68, method: "POST", path: "/v1/heartbeat/{node}", body: `{"callback_url": "http://192.0.2.1:9999", "agent_version": "1", "agent_verify_ca": "x"}`, before: "400:agent_verify_ca", from: "400:!agent_verify_ca"},
	{minor: 69, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "active", "deploy_steps": [{"interface": "deploy", "step": "log_passthrough", "args": {}, "priority": 0}]}`, prepare: as(provision.Available), before: "406", from: "!406"},
	{minor: 70, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "clean", "disable_ramdisk": true, "clean_steps": [{"interface": "power", "step": "x"}]}`, prepare: as(provision.Manageable), before: "406", from: "202"},
	{minor: 71, because: "marks that scopes of tokens are honoured, which is always so (policy_test.go)"},
	{minor: 72, method: "POST", path: "/v1/heartbeat/{node}", body: `{"callback_url": "http://192.0.2.1:9999", "agent_version": "1", "agent_status": "start"}`, before: "400:agent_status", from: "400:!agent_status"},
	{minor: 73, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "deploy"}`, prepare: as(provision.Available), before: "406", from: "202"},
	{minor: 74, method: "GET", path: "/v1/nodes/{node}/bios?detail=true", before: "400:detail", from: "200"},
	{minor: 75, method: "GET", path: "/v1/nodes/{node}/states", before: "200:!boot_mode", from: "200:secure_boot"},
	{minor: 76, method: "PUT", path: "/v1/nodes/{node}/states/boot_mode", body: `{"target": "uefi"}`, prepare: as(provision.Manageable), before: "404", from: "202"},
	{minor: 77, method: "GET", path: "/v1/drivers?fields=name", before: "406", from: "200"},
	{minor: 78, method: "GET", path: "/v1/nodes/{node}/history", before: "404", from: "200"},
	{minor: 79, because: "chooses the node that an allocation is named after (allocations_test.go)"},
	{minor: 80, because: "lets administrators of projects create nodes of theirs (policy_test.go)"},
	{minor: 81, method: "GET", path: "/v1/nodes/{node}/inventory", prepare: withInventory, before: "404", from: "200:plugin_data"},
	{minor: 82, method: "GET", path: "/v1/shards", before: "404", from: "200"},
	{minor: 82, method: "GET", path: "/v1/ports?shard=x", before: "406", from: "200"},
	{minor: 83, method: "GET", path: "/v1/nodes/{node}/children", before: "404", from: "200"},
	{minor: 84, method: "POST", path: "/v1/continue_inspection?node_uuid={node}", body: `{"inventory": {"interfaces": [{"mac_address": "52:54:00:00:00:77"}]}}`, prepare: as(provision.InspectWait), before: "404", from: "202"},
	{minor: 85, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "unhold"}`, prepare: as(provision.CleanHold), before: "406", from: "202"},
	{minor: 86, method: "GET", path: "/v1/nodes/{node}/firmware", before: "404", from: "200"},
	{minor: 87, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "service", "service_steps": [{"interface": "power", "step": "x"}]}`, prepare: as(provision.Active), before: "406", from: "202"},
	{minor: 87, method: "GET", path: "/v1/nodes/{node}", before: "200:!service_step", from: "200:service_step"},
	{minor: 88, method: "GET", path: "/v1/ports/{port}", before: `200:!"name"`, from: `200:"name"`},
	{minor: 89, method: "DELETE", path: "/v1/nodes/{node}/vmedia", before: "404", from: "!404"},
	{minor: 90, method: "PATCH", path: "/v1/ports/{port}", body: `[{"op": "add", "path": "/local_link_connection", "value": {"vtep-logical-switch": "a", "vtep-physical-switch": "b", "port_id": "c"}}]`, before: "!200", from: "200"},
	{minor: 91, method: "GET", path: "/v1/nodes/{name}.json", before: "200", from: "404"},
	{minor: 92, method: "GET", path: "/v1/runbooks", before: "404", from: "200"},
	{minor: 93, method: "GET", path: "/v1/nodes/{node}/vmedia", before: "404", from: "!404"},
	{minor: 94, method: "POST", path: "/v1/ports", body: `{"node_ident": "{name}", "address": "52:54:00:00:00:55"}`, before: "406", from: "201"},
	{minor: 95, method: "GET", path: "/v1/nodes/{node}", before: "200:!disable_power_off", from: "200:disable_power_off"},
	{minor: 96, method: "GET", path: "/v1/inspection_rules", before: "404", from: "200"},
	{minor: 97, method: "GET", path: "/v1/ports/{port}", before: "200:!description", from: "200:description"},
	{minor: 98, method: "PATCH", path: "/v1/nodes/{node}", body: `[{"op": "add", "path": "/extra/a~1b", "value": 1}]`, before: "400", from: `200:"a/b":1`},
	{minor: 99, method: "GET", path: "/v1/ports?conductor_groups=x", before: "406", from: "200"},
	{minor: 100, method: "GET", path: "/v1/ports/{port}", before: `200:!"vendor"`, from: `200:"vendor"`},
	{minor: 101, method: "GET", path: "/v1/ports/{port}", before: "200:!category", from: "200:category"},
	{minor: 102, method: "GET", path: "/v1/portgroups/{portgroup}", before: "200:!physical_network", from: "200:physical_network"},
	{minor: 103, method: "GET", path: "/v1/portgroups/{portgroup}", before: "200:!category", from: "200:category"},
	{minor: 104, method: "GET", path: "/v1/nodes?instance_name=x", before: "406", from: "200"},
	{minor: 105, method: "PATCH", path: "/v1/ports/{port}", body: `[{"op": "add", "path": "/local_link_connection", "value": {"vtep-logical-switch": "a", "vtep-physical-switch": "b", "port_id": "c"}}]`, before: "200", from: "!200"},
	{minor: 106, method: "GET", path: "/v1/portgroups?shard=x", before: "406", from: "200"},
	{minor: 107, because: "announces a header that is always sent (transport_test.go)"},
	{minor: 108, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "service", "disable_ramdisk": true, "service_steps": [{"interface": "power", "step": "x"}]}`, prepare: as(provision.Active), before: "406", from: "202"},
	{minor: 109, method: "GET", path: "/v1/nodes/{node}", before: `200:!"health"`, from: `200:"health"`},
	{minor: 110, method: "PUT", path: "/v1/nodes/{node}/states/provision", body: `{"target": "abort"}`, prepare: as(provision.WaitCallback), before: "406", from: "202"},
	{minor: 111, method: "GET", path: "/v1/ports/{port}", before: "200:!available_for_dynamic_portgroup", from: "200:available_for_dynamic_portgroup"},
	{minor: 111, method: "GET", path: "/v1/portgroups/{portgroup}", before: "200:!dynamic_portgroup", from: "200:dynamic_portgroup"},
	{minor: 112, method: "GET", path: "/v1/runbooks/{runbook}", before: "200:!description", from: "200:description"},
	{minor: 113, method: "GET", path: "/v1/nodes/{node}/history?detail=true", prepare: withHistory, before: "200:!project", from: "200:project"},
	{minor: 114, method: "GET", path: "/v1/nodes/{node}/firmware", prepare: withFirmware, before: "200:!serial_number", from: "200:serial_number"},
	{minor: 115, method: "GET", path: "/v1/nodes/{node}/history?detail=true", prepare: withHistory, before: "200:!duration_seconds", from: "200:duration_seconds"},
}

// as puts the node into a state.
func as(state provision.State) func(*service, string) {
	return func(s *service, node string) { s.edit(node, in(state)) }
}

func withChassis(s *service, node string) {
	id := s.want(201, "115", "POST", "/v1/chassis", `{}`).object["uuid"].(string)
	s.edit(node, func(n *store.Node) { n.ChassisUUID = &id })
}

func withInventory(s *service, node string) {
	if err := s.store.SetInventory(s.Context(), s.id(node), store.Inventory{Inventory: []byte(`{}`), PluginData: []byte(`{}`)}); err != nil {
		s.Fatal(err)
	}
}

func withFirmware(s *service, node string) {
	if err := s.store.SetFirmwareComponents(s.Context(), s.id(node), []store.FirmwareComponent{{Component: "bmc"}}); err != nil {
		s.Fatal(err)
	}
}

// withHistory has a node fail at something.
func withHistory(s *service, node string) {
	s.edit(node, in(provision.Active))
	s.want(202, "115", "PUT", "/v1/nodes/"+node+"/states/provision", `{"target": "service", "service_steps": [{"interface": "power", "step": "none"}]}`)
	s.until(node, provision.ServiceFailed)
}

// id is the row of a node.
func (s *service) id(node string) int64 {
	s.Helper()
	n, err := s.store.Node(s.Context(), node)
	if err != nil {
		s.Fatal(err)
	}
	return n.ID
}

// TestMicroversions tries every line of the table at the microversion before
// it, at its own, and at the newest.
func TestMicroversions(t *testing.T) {
	s := newService(t)
	seen := map[int]bool{1: true}
	for i, c := range changes {
		seen[c.minor] = true
		if c.because != "" {
			continue
		}
		t.Run(fmt.Sprintf("1.%d %s %s", c.minor, c.method, c.path), func(t *testing.T) {
			s := &service{T: t, url: s.url, store: s.store, tasks: s.tasks}
			s.answered(c, i*2, c.minor-1, c.before)
			s.answered(c, i*2+1, c.minor, c.from)
		})
	}
	for minor := 1; minor <= int(api.MaxVersion); minor++ {
		if !seen[minor] {
			t.Errorf("microversion 1.%d is not tried", minor)
		}
	}
}

// answered makes the request of c at a microversion against a node of its own.
func (s *service) answered(c change, number, minor int, want string) {
	s.Helper()
	name := fmt.Sprintf("node-%d", number)
	mac := fmt.Sprintf("52:54:01:00:%02x:%02x", number/256, number%256)
	node := s.enrol(name)
	id := func(path, body string) string {
		return s.want(201, "115", "POST", path, body).object["uuid"].(string)
	}
	replace := []string{"{node}", node, "{name}", name}
	for _, r := range []struct{ name, path, body string }{
		{"{port}", "/v1/ports", `{"node_uuid": "` + node + `", "address": "` + mac + `"}`},
		{"{portgroup}", "/v1/portgroups", `{"node_uuid": "` + node + `"}`},
		{"{allocation}", "/v1/allocations", `{"resource_class": "none"}`},
		{"{runbook}", "/v1/runbooks", `{"name": "CUSTOM_` + strconv.Itoa(number) + `", "steps": [{"interface": "deploy", "step": "x", "args": {}, "order": 1}]}`},
	} {
		if strings.Contains(c.path+c.body, r.name) {
			replace = append(replace, r.name, id(r.path, r.body))
		}
	}
	if c.prepare != nil {
		c.prepare(s, node)
	}
	fill := strings.NewReplacer(replace...)
	a := s.call(strconv.Itoa(minor), c.method, fill.Replace(c.path), fill.Replace(c.body))
	status, text, _ := strings.Cut(want, ":")
	is := strconv.Itoa(a.status)
	if other, not := strings.CutPrefix(status, "!"); not && other == is || !not && status != is {
		s.Errorf("at 1.%d: %d %s; want %s", minor, a.status, a.body, want)
		return
	}
	if other, not := strings.CutPrefix(text, "!"); not == strings.Contains(a.body, other) && text != "" {
		s.Errorf("at 1.%d: %s; want %s", minor, a.body, want)
	}
}
