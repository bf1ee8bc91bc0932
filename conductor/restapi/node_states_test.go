package restapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func TestStates(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	short := map[string]any{"console_enabled": false, "last_error": nil, "power_state": nil, "provision_state": "enroll", "provision_updated_at": nil,
		"target_power_state": nil, "target_provision_state": nil}
	if diff := cmp.Diff(short, s.want(200, "11", "GET", "/v1/nodes/"+id+"/states", "").object); diff != "" {
		t.Errorf("states at 1.11 (-want +got):\n%s", diff)
	}
	long := s.want(200, "75", "GET", "/v1/nodes/n1/states", "").object
	for _, name := range []string{"raid_config", "target_raid_config", "boot_mode", "secure_boot"} {
		if _, ok := long[name]; !ok {
			t.Errorf("states at 1.75 lack %s", name)
		}
	}
	s.edit("n1", in(provision.InspectWait))
	for minor, want := range map[string]string{"38": "inspecting", "39": "inspect wait"} {
		if got := s.want(200, minor, "GET", "/v1/nodes/n1/states", "").object["provision_state"]; got != want {
			t.Errorf("inspect wait is %v at 1.%s, want %s", got, minor, want)
		}
	}
}

func TestPower(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.enrol("cleaning")
	s.edit("cleaning", in(provision.CleanWait))
	s.enrol("on")
	s.edit("on", func(n *store.Node) { n.DisablePowerOff = true })
	s.enrol("locked")
	s.reserve("locked")
	for _, tc := range []struct {
		minor, node, body string
		status            int
		fault             string
	}{
		{"82", "n1", `{"target": "power on"}`, 202, ""},
		{"82", "n1", `{"target": "power off", "timeout": 5}`, 202, ""},
		{"82", "n1", `{"target": "soft power off", "timeout": 5}`, 202, ""},
		{"26", "n1", `{"target": "soft power off"}`, 406, "1.27"},
		{"26", "n1", `{"target": "power on", "timeout": 5}`, 406, "1.27"},
		{"82", "n1", `{"target": "power on", "timeout": 0}`, 400, "timeout"},
		{"82", "n1", `{"target": "power on", "timeout": "soon"}`, 400, "timeout"},
		{"82", "n1", `{"target": "explode"}`, 400, `"explode"`},
		{"82", "n1", `{}`, 400, "target"},
		{"82", "cleaning", `{"target": "power off"}`, 400, "clean wait"},
		{"82", "nobody", `{"target": "power off"}`, 404, "nobody"},
		{"95", "on", `{"target": "power off"}`, 409, "power off"},
		{"95", "on", `{"target": "soft power off"}`, 409, "soft power off"},
		{"95", "locked", `{"target": "power on"}`, 409, "is locked by host elsewhere"},
		{"1", "n1", `{"target": "rebooting"}`, 406, "1.5"},
		{"82", "n1", `{"target": "power on", "force": 1}`, 400, "Unexpected arguments: force"},
		{"82", "n1", `{"target": "power off"}`, 202, ""},
	} {
		a := s.call(tc.minor, "PUT", "/v1/nodes/"+tc.node+"/states/power", tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("power at 1.%s of %s with %s: %d %s, want %d %q", tc.minor, tc.node, tc.body, a.status, a.body, tc.status, tc.fault)
		}
		if a.status == 202 && a.header.Get("Location") != s.url+"/v1/nodes/n1/states" {
			t.Errorf("Location is %q", a.header.Get("Location"))
		}
		s.tasks.Wait()
	}
	if got := s.want(200, "82", "GET", "/v1/nodes/n1", "").object["power_state"]; got != "power off" {
		t.Errorf("power state is %v, want the last one asked for", got)
	}
}

// TestBootMode holds the rows of section 3.5 on boot mode and secure boot.
func TestBootMode(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.enrol("busy")
	s.edit("busy", in(provision.CleanWait))
	s.enrol("locked")
	s.reserve("locked")
	s.enrol("fixed")
	s.edit("fixed", func(n *store.Node) { n.ManagementInterface = ptr("noop") })
	for _, tc := range []struct {
		minor, path, body string
		status            int
		fault             string
	}{
		{"75", "n1/states/boot_mode", `{"target": "uefi"}`, 404, "1.76"},
		{"76", "n1/states/boot_mode", `{"target": "coreboot"}`, 400, "Invalid boot mode"},
		{"76", "n1/states/boot_mode", `{}`, 400, "Invalid boot mode"},
		{"76", "n1/states/boot_mode", `{"target": "uefi", "now": true}`, 400, "Unexpected arguments: now"},
		{"76", "nobody/states/boot_mode", `{"target": "uefi"}`, 404, "nobody"},
		{"76", "busy/states/boot_mode", `{"target": "uefi"}`, 409, "Node is in clean wait state"},
		{"76", "locked/states/boot_mode", `{"target": "uefi"}`, 409, "is locked by host elsewhere"},
		{"75", "n1/states/secure_boot", `{"target": true}`, 404, "1.76"},
		{"76", "n1/states/secure_boot", `{"target": "perhaps"}`, 400, "Invalid target"},
		{"76", "n1/states/secure_boot", `{}`, 400, "target"},
		{"76", "fixed/states/boot_mode", `{"target": "bios"}`, 400, "not supported"},
		{"76", "fixed/states/secure_boot", `{"target": "True"}`, 400, "not supported"},
		{"76", "busy/states/secure_boot", `{"target": true}`, 409, "Node is in clean wait state"},
		{"76", "locked/states/secure_boot", `{"target": true}`, 409, "is locked by host elsewhere"},
	} {
		a := s.call(tc.minor, "PUT", "/v1/nodes/"+tc.path, tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("PUT %s %s at 1.%s: %d %s, want %d %q", tc.path, tc.body, tc.minor, a.status, a.body, tc.status, tc.fault)
		}
	}
}

func TestMaintenance(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.want(202, "82", "PUT", "/v1/nodes/n1/maintenance", `{"reason": "broken"}`)
	got := s.want(200, "82", "GET", "/v1/nodes/n1", "").object
	if got["maintenance"] != true || got["maintenance_reason"] != "broken" {
		t.Errorf("maintenance %v, %v", got["maintenance"], got["maintenance_reason"])
	}
	s.edit("n1", func(n *store.Node) { n.Fault = ptr("clean failure") })
	s.want(202, "82", "DELETE", "/v1/nodes/n1/maintenance", "")
	got = s.want(200, "82", "GET", "/v1/nodes/n1", "").object
	if got["maintenance"] != false || got["maintenance_reason"] != nil || got["fault"] != nil {
		t.Errorf("after maintenance: %v, %v, %v", got["maintenance"], got["maintenance_reason"], got["fault"])
	}
	s.want(202, "82", "PUT", "/v1/nodes/n1/maintenance", "")
	s.want(400, "82", "PUT", "/v1/nodes/n1/maintenance", `{"reason": 7}`)
}

func TestValidateAndBootDevice(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	for _, path := range []string{"/v1/nodes/n1/validate", "/v1/nodes/validate?node=n1", "/v1/nodes/validate?node_uuid=" + id} {
		power, _ := s.want(200, "82", "GET", path, "").object["power"].(map[string]any)
		if diff := cmp.Diff(map[string]any{"result": true}, power); diff != "" {
			t.Errorf("%s: power (-want +got):\n%s", path, diff)
		}
	}
	s.want(400, "82", "GET", "/v1/nodes/validate", "")

	const path = "/v1/nodes/n1/management/boot_device"
	if diff := cmp.Diff(map[string]any{"supported_boot_devices": []any{"pxe"}}, s.want(200, "82", "GET", path+"/supported", "").object); diff != "" {
		t.Errorf("supported (-want +got):\n%s", diff)
	}
	s.want(204, "82", "PUT", path, `{"boot_device": "pxe", "persistent": true}`)
	s.want(400, "82", "PUT", path, `{"boot_device": "toaster"}`)
	s.want(400, "82", "PUT", path, `{"persistent": true}`)
	s.want(400, "82", "PUT", path, `{"boot_device": "pxe", "persistent": "perhaps"}`)
	if got := s.want(200, "82", "GET", path, "").object["boot_device"]; got != "pxe" {
		t.Errorf("boot device is %v", got)
	}
	s.reserve("n1")
	s.want(409, "82", "PUT", path, `{"boot_device": "pxe"}`)
}
