package restapi_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferric/conductor/driver/fake"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// enrolHardware makes the node n1 of fake hardware; bare, whose interfaces
// refuse what they can; and locked.
func enrolHardware(t *testing.T) *service {
	s := newService(t)
	s.enrol("n1")
	s.enrol("bare")
	s.edit("bare", func(n *store.Node) {
		n.ManagementInterface, n.VendorInterface, n.ConsoleInterface = ptr("noop"), ptr("no-vendor"), ptr("no-console")
		n.BIOSInterface, n.FirmwareInterface = ptr("no-bios"), ptr("no-firmware")
	})
	s.enrol("locked")
	s.reserve("locked")
	return s
}

// TestHardware holds what the API says of a node's hardware: at which
// microversion, with which arguments, and where the hardware is missing.
func TestHardware(t *testing.T) {
	s := enrolHardware(t)
	const unsupported = "(disabled or not implemented)"
	for _, tc := range []struct {
		minor, method, path, body string
		status                    int
		part                      string // of the body
	}{
		{"1", "GET", "n1/states/console", "", 406, "1.5"}, // a name
		{"5", "GET", "n1/states/console", "", 200, `{"console_enabled":false,"console_info":null}`},
		{"5", "GET", "bare/states/console", "", 200, `{"console_enabled":false,"console_info":null}`},
		{"5", "PUT", "bare/states/console", `{"enabled": true}`, 400, "Driver fake-hardware does not support console " + unsupported},
		{"5", "PUT", "n1/states/console", `{"enabled": "perhaps"}`, 400, "Invalid enabled"},
		{"5", "PUT", "n1/states/console", `{}`, 400, "enabled"},
		{"5", "PUT", "n1/states/console", `{"enabled": false}`, 202, ""},
		{"5", "PUT", "n1/states/console", `{"enabled": true, "now": 1}`, 400, "Unexpected arguments: now"},
		{"5", "PUT", "locked/states/console", `{"enabled": true}`, 409, "is locked by host elsewhere"},
		{"5", "GET", "nobody/states/console", "", 404, "nobody"},

		{"28", "PUT", "n1/management/inject_nmi", "{}", 404, "1.29"},
		{"29", "PUT", "n1/management/inject_nmi", "{}", 400, "does not support inject_nmi " + unsupported},
		{"29", "PUT", "locked/management/inject_nmi", "{}", 409, "is locked"},

		{"62", "GET", "n1/management/indicators", "", 404, "1.63"},
		{"63", "GET", "bare/management/indicators", "", 400, unsupported},
		{"63", "GET", "n1/management/indicators/led-0@chassis", "", 200, `{"state":"on"}`},
		{"63", "GET", "n1/management/indicators/led-0%40chassis", "", 200, `{"state":"on"}`},
		{"63", "GET", "n1/management/indicators/led-0", "", 400, "Malformed indicator name"},
		{"63", "GET", "n1/management/indicators/led-0@nose", "", 400, "Invalid component nose"},
		{"63", "GET", "n1/management/indicators/led-9@chassis", "", 400, "Invalid indicator led-9"},
		{"63", "PUT", "n1/management/indicators/led-0@chassis", `{"state": "off"}`, 400, "can only be read"},
		{"63", "PUT", "n1/management/indicators/led@system", `{"state": "green"}`, 400, `Invalid state \\\"green\\\"`},
		{"63", "PUT", "n1/management/indicators/led@system", `{}`, 400, "state"},
		{"63", "PUT", "n1/management/indicators/led@system", `{"state": "blinking"}`, 204, ""},
		{"63", "GET", "n1/management/indicators/led@system", "", 200, `{"state":"blinking"}`},
		{"63", "PUT", "locked/management/indicators/led@system", `{"state": "on"}`, 409, "is locked"},
		{"63", "PUT", "bare/management/indicators/led@system", `{"state": "on"}`, 400, "set_indicator_state " + unsupported},

		{"88", "POST", "n1/vmedia", `{"device_type": "cdrom", "image_url": "http://a/b"}`, 404, "1.89"},
		{"89", "POST", "n1/vmedia", `{"device_type": "tape", "image_url": "http://a/b"}`, 400, "device_type"},
		{"89", "POST", "n1/vmedia", `{"device_type": "cdrom"}`, 400, "image_url"},
		{"89", "POST", "n1/vmedia", `{"image_url": "http://a/b"}`, 400, "device_type"},
		{"89", "POST", "n1/vmedia", `{"device_type": "cdrom", "image_url": "ftp://a/b"}`, 400, "Unsupported or missing URL scheme: ftp"},
		{"89", "POST", "n1/vmedia", `{"device_type": "cdrom", "image_url": "a b"}`, 400, "Unsupported or missing URL scheme"},
		{"89", "POST", "n1/vmedia", `{"device_type": "cdrom", "image_url": "http://a/b", "image_download_source": "post"}`, 400, "image_download_source"},
		{"89", "POST", "n1/vmedia", `{"device_type": "cdrom", "image_url": "http://a/b", "user": "me"}`, 400, "user"},
		{"89", "POST", "locked/vmedia", `{"device_type": "cdrom", "image_url": "http://a/b"}`, 409, "is locked"},
		{"89", "DELETE", "n1/vmedia?device_types=cdrom,tape", "", 400, "Invalid device type(s) tape"},
		{"88", "DELETE", "n1/vmedia", "", 404, "1.89"},
		{"92", "GET", "n1/vmedia", "", 404, "1.93"},
		{"93", "GET", "n1/vmedia", "", 400, "get_virtual_media " + unsupported},

		{"39", "GET", "n1/bios", "", 404, "1.40"},
		{"40", "GET", "n1/bios", "", 200, `{"bios":[]}`},
		{"40", "GET", "bare/bios", "", 200, `{"bios":[]}`},
		{"40", "GET", "n1/bios/none", "", 404, "doesn't have a BIOS setting 'none'"},
		{"73", "GET", "n1/bios?detail=true", "", 400, "Invalid query parameter ?detail=true received."},
		{"73", "GET", "n1/bios?fields=name", "", 400, "fields"},
		{"74", "GET", "n1/bios?fields=name&detail=true", "", 400, "detail"},
		{"74", "GET", "n1/bios?fields=colour", "", 400, "colour"},
		{"85", "GET", "n1/firmware", "", 404, "1.86"},
		{"86", "GET", "n1/firmware", "", 200, `{"firmware":[]}`},
		{"113", "GET", "n1/firmware?fields=vendor", "", 400, "1.114"},
		{"114", "GET", "n1/firmware?fields=vendor", "", 200, "[]"},
		{"114", "GET", "n1/firmware?fields=colour", "", 400, "colour"},
	} {
		a := s.call(tc.minor, tc.method, "/v1/nodes/"+tc.path, tc.body)
		if a.status != tc.status || !strings.Contains(a.body, tc.part) {
			t.Errorf("%s %s %s at 1.%s: %d %s, want %d %q", tc.method, tc.path, tc.body, tc.minor, a.status, a.body, tc.status, tc.part)
		}
	}
	list := s.want(200, "63", "GET", "/v1/nodes/n1/management/indicators", "").object["indicators"].([]any)
	want := map[string]any{"name": "led-0@chassis", "component": "chassis", "readonly": true, "states": []any{"off", "on"}, "links": []any{
		map[string]any{"rel": "self", "href": s.url + "/v1/nodes/n1/management/indicators/led-0@chassis"},
		map[string]any{"rel": "bookmark", "href": s.url + "/nodes/n1/management/indicators/led-0@chassis"},
	}}
	if diff := cmp.Diff(want, list[0]); diff != "" || len(list) != 2 {
		t.Errorf("%d indicators (-want +got):\n%s", len(list), diff)
	}
}

// eventually repeats a GET until its answer has the part.
func (s *service) eventually(minor, path, part string) {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := s.want(200, minor, "GET", path, "")
		if strings.Contains(a.body, part) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("GET %s answers %s, want %q", path, a.body, part)
		}
	}
}

// What goes on in the background is seen in the node's row.
func TestHardwareInBackground(t *testing.T) {
	s := enrolHardware(t)
	a := s.want(202, "5", "PUT", "/v1/nodes/n1/states/console", `{"enabled": true}`)
	if location := a.header.Get("Location"); location != s.url+"/v1/nodes/n1/states/console" || a.body != "" {
		t.Errorf("console: Location %q, body %q", location, a.body)
	}
	s.eventually("5", "/v1/nodes/n1/states/console", `{"console_enabled":true,"console_info":{}}`)
	s.eventually("82", "/v1/nodes/n1", `"console_enabled":true`)

	// A console that was said to be on when the node was created.
	s.edit("bare", func(n *store.Node) { n.ConsoleEnabled = true })
	s.want(400, "5", "GET", "/v1/nodes/bare/states/console", "")

	// Like Ironic, the conductor finds out later that there are no such drives.
	s.want(204, "89", "POST", "/v1/nodes/n1/vmedia", `{"device_type": "cdrom", "image_url": "https://a/b"}`)
	s.eventually("82", "/v1/nodes/n1", "attaching virtual media cdrom to node")
	s.until("n1", "enroll") // unharmed
	s.eventually("82", "/v1/nodes/n1", `"reservation":null`)
	s.want(204, "89", "DELETE", "/v1/nodes/n1/vmedia?device_types=cdrom", "")
	s.eventually("82", "/v1/nodes/n1", "does not support detach_virtual_media")
	s.edit("n1", func(n *store.Node) { n.Maintenance, n.Fault = true, ptr("power failure") })
	s.want(503, "89", "DELETE", "/v1/nodes/n1/vmedia", "")
}

// drives are a machine with virtual drives, which can be interrupted, and whose
// drive "floppy" is broken.
type drives struct {
	fake.Management
	mu     sync.Mutex
	images map[string]string
	nmis   int
}

func (d *drives) InjectNMI(context.Context, *task.Task) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nmis++; d.nmis > 1 {
		return errors.New("the BMC is on fire")
	}
	return nil
}

func (d *drives) GetVirtualMedia(context.Context, *store.Node) ([]map[string]any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []map[string]any
	for device, image := range d.images {
		list = append(list, map[string]any{"media_types": []string{device}, "inserted": true, "image": image})
	}
	return list, nil
}

func (d *drives) AttachVirtualMedia(_ context.Context, _ *task.Task, device, image string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if device == "floppy" {
		return errors.New("the drive is broken")
	}
	d.images = map[string]string{device: image}
	return nil
}

func (d *drives) DetachVirtualMedia(_ context.Context, _ *task.Task, devices []string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if devices == nil || slices.Contains(devices, "cdrom") {
		d.images = nil
	}
	return nil
}

func TestVirtualMedia(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.edit("n1", func(n *store.Node) { n.ManagementInterface = ptr("drives") })
	idle := func() { t.Helper(); s.eventually("82", "/v1/nodes/n1", `"reservation":null`) }
	s.eventually("93", "/v1/nodes/n1/vmedia", "[]")
	s.want(204, "89", "POST", "/v1/nodes/n1/vmedia", `{"device_type": "cdrom", "image_url": "nfs://a/b.iso", "image_download_source": "http"}`)
	s.eventually("93", "/v1/nodes/n1/vmedia", `[{"image":"nfs://a/b.iso","inserted":true,"media_types":["cdrom"]}]`)
	idle()
	s.want(204, "89", "DELETE", "/v1/nodes/n1/vmedia?device_types=disk", "")
	idle()
	s.eventually("93", "/v1/nodes/n1/vmedia", `"inserted":true`)
	s.want(204, "89", "DELETE", "/v1/nodes/n1/vmedia", "")
	s.eventually("93", "/v1/nodes/n1/vmedia", "[]")
	idle()
	s.want(204, "89", "POST", "/v1/nodes/n1/vmedia", `{"device_type": "floppy", "image_url": "http://a/b"}`)
	s.eventually("82", "/v1/nodes/n1", "the drive is broken")
	idle()

	s.want(204, "29", "PUT", "/v1/nodes/n1/management/inject_nmi", "{}")
	a := s.want(500, "29", "PUT", "/v1/nodes/n1/management/inject_nmi", "")
	if !strings.Contains(a.fault(), "on fire") {
		t.Errorf("NMI: %s", a.body)
	}
}

// TestBIOSAndFirmware makes the settings that the API shows by cleaning.
func TestBIOSAndFirmware(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	s.want(202, "115", "PUT", "/v1/nodes/n1/states/provision", `{"target": "manage"}`)
	s.until("n1", "manageable")
	clean := func(step string) {
		t.Helper()
		s.want(202, "115", "PUT", "/v1/nodes/n1/states/provision", `{"target": "clean", "clean_steps": [`+step+`]}`)
		s.until("n1", "manageable")
		if got := s.want(200, "115", "GET", "/v1/nodes/n1", "").object["last_error"]; got != nil {
			t.Fatalf("%s: %v", step, got)
		}
	}
	clean(`{"interface": "bios", "step": "apply_configuration", "args": {"settings": [{"name": "virtualization", "value": "on"}, {"name": "boot order", "value": 3}]}}`)
	link := func(name string) []any {
		return []any{map[string]any{"rel": "self", "href": s.url + "/v1/nodes/" + id + "/bios/" + name}, map[string]any{"rel": "bookmark", "href": s.url + "/nodes/" + id + "/bios/" + name}}
	}
	undated := cmpopts.IgnoreMapEntries(func(name string, _ any) bool { return name == "created_at" })
	short := map[string]any{"name": "virtualization", "value": "on", "updated_at": nil, "links": link("virtualization")}
	full := map[string]any{"name": "virtualization", "value": "on", "updated_at": nil, "links": link("virtualization"), "attribute_type": nil, "allowable_values": nil,
		"lower_bound": nil, "max_length": nil, "min_length": nil, "read_only": nil, "reset_required": nil, "unique": nil, "upper_bound": nil}
	for _, tc := range []struct {
		minor, query string
		want         map[string]any
	}{
		{"40", "", short}, {"115", "", short}, {"74", "?detail=true", full},
		{"74", "?fields=read_only", map[string]any{"read_only": nil, "updated_at": nil, "links": link("virtualization")}},
	} {
		list := s.want(200, tc.minor, "GET", "/v1/nodes/n1/bios"+tc.query, "").object["bios"].([]any)
		if diff := cmp.Diff(tc.want, list[1], undated); diff != "" || len(list) != 2 {
			t.Errorf("%s at 1.%s: %d settings (-want +got):\n%s", tc.query, tc.minor, len(list), diff)
		}
	}
	for minor, want := range map[string]map[string]any{"73": short, "74": full} {
		if diff := cmp.Diff(map[string]any{"virtualization": want}, s.want(200, minor, "GET", "/v1/nodes/n1/bios/virtualization", "").object, undated); diff != "" {
			t.Errorf("at 1.%s (-want +got):\n%s", minor, diff)
		}
	}
	if got := s.want(200, "40", "GET", "/v1/nodes/n1/bios/boot%20order", "").object["boot order"].(map[string]any)["value"]; got != "3" {
		t.Errorf("value of the boot order is %v", got)
	}
	clean(`{"interface": "bios", "step": "factory_reset"}, {"interface": "firmware", "step": "update", "args": {"settings": [{"component": "bmc", "url": "http://a/v2.bin"}]}}`)
	if got := s.want(200, "40", "GET", "/v1/nodes/n1/bios", "").body; got != `{"bios":[]}` {
		t.Errorf("settings after the reset: %s", got)
	}
	component := map[string]any{"component": "bmc", "initial_version": "v2.bin", "current_version": "v2.bin", "last_version_flashed": "v2.bin", "updated_at": nil}
	got := s.want(200, "113", "GET", "/v1/nodes/n1/firmware", "").object
	if diff := cmp.Diff(map[string]any{"firmware": []any{component}}, got, undated); diff != "" {
		t.Errorf("firmware (-want +got):\n%s", diff)
	}
	component["vendor"], component["model"], component["serial_number"] = nil, nil, nil
	got = s.want(200, "114", "GET", "/v1/nodes/n1/firmware", "").object
	if diff := cmp.Diff(map[string]any{"firmware": []any{component}}, got, undated); diff != "" {
		t.Errorf("firmware at 1.114 (-want +got):\n%s", diff)
	}
}

// TestVendorMethods holds the methods of fake hardware, in both spellings.
func TestVendorMethods(t *testing.T) {
	s := enrolHardware(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		part               string
	}{
		{"POST", "nodes/n1/vendor_passthru?method=third_method_sync", `{"bar": "meow"}`, 200, "true"},
		{"POST", "nodes/n1/vendor_passthru/third_method_sync", `{"bar": "woof", "method": "first_method", "any": [1]}`, 200, "false"},
		{"POST", "nodes/n1/vendor_passthru?method=third_method_sync", "", 400, "Parameter 'bar' not passed to method 'third_method_sync'."},
		{"POST", "nodes/n1/vendor_passthru?method=third_method_sync", `[1]`, 400, "not a JSON object"},
		{"POST", "nodes/n1/vendor_passthru?method=third_method_sync&bar=meow", "", 400, "Unexpected arguments: bar"},
		{"POST", "nodes/n1/vendor_passthru?method=first_method", `{"bar": "baz"}`, 202, ""},
		{"POST", "nodes/n1/vendor_passthru?method=second_method", `{}`, 400, "second_method"},
		{"POST", "nodes/n1/vendor_passthru", `{"bar": "baz"}`, 400, "method"},
		{"POST", "nodes/n1/vendor_passthru?method=nothing", `{}`, 400, "No handler for method nothing"},
		{"GET", "nodes/n1/vendor_passthru?method=nothing", "", 400, "No handler for method nothing"},
		{"GET", "nodes/n1/vendor_passthru?method=first_method", "", 400, "The method first_method does not support HTTP GET"},
		{"PUT", "nodes/n1/vendor_passthru/first_method", `{"bar": 1}`, 400, "does not support HTTP PUT"},
		{"PATCH", "nodes/n1/vendor_passthru/first_method", `{"bar": 1}`, 400, "does not support HTTP PATCH"},
		{"DELETE", "nodes/n1/vendor_passthru?method=first_method", `{"bar": 1}`, 400, "does not support HTTP DELETE"},
		{"POST", "nodes/locked/vendor_passthru?method=third_method_sync", `{"bar": "meow"}`, 409, "is locked"},
		{"POST", "nodes/locked/vendor_passthru?method=fourth_method_shared_lock", `{"bar": "woof"}`, 202, ""},
		{"POST", "nodes/bare/vendor_passthru?method=first_method", `{"bar": "baz"}`, 400, "No handler for method first_method"},
		{"POST", "nodes/nobody/vendor_passthru?method=first_method", `{"bar": "baz"}`, 404, "nobody"},
		{"GET", "nodes/bare/vendor_passthru/methods", "", 200, "{}"},
		{"GET", "nodes/nobody/vendor_passthru/methods", "", 404, "nobody"},
		{"GET", "drivers/fake-hardware/vendor_passthru/methods", "", 200, "{}"},
		{"GET", "drivers/nobody/vendor_passthru/methods", "", 404, "nobody"},
		{"POST", "drivers/fake-hardware/vendor_passthru?method=nothing", `{}`, 400, "No handler for method nothing"},
		{"GET", "drivers/fake-hardware/vendor_passthru/nothing", "", 400, "No handler for method nothing"},
		{"GET", "drivers/fake-hardware/vendor_passthru", "", 400, "method"},
		{"POST", "drivers/nobody/vendor_passthru?method=nothing", `{}`, 404, "nobody"},
	} {
		a := s.call("38", tc.method, "/v1/"+tc.path, tc.body)
		if a.status != tc.status || !strings.Contains(a.body, tc.part) || tc.part == "" && a.body != "" {
			t.Errorf("%s %s %s: %d %s, want %d %q", tc.method, tc.path, tc.body, a.status, a.body, tc.status, tc.part)
		}
	}
	methods := s.want(200, "38", "GET", "/v1/nodes/n1/vendor_passthru/methods", "").object
	want := map[string]any{"async": false, "attach": false, "description": "Test if the value of bar is meow", "http_methods": []any{"POST"}, "require_exclusive_lock": true}
	if diff := cmp.Diff(want, methods["third_method_sync"]); diff != "" || len(methods) != 5 {
		t.Errorf("%d methods (-want +got):\n%s", len(methods), diff)
	}
}

// TestValidation holds the twelve interfaces, and those that instance_info names.
func TestValidation(t *testing.T) {
	s := enrolHardware(t)
	yes, missing := map[string]any{"result": true}, map[string]any{"result": nil, "reason": "not supported"}
	all := map[string]any{}
	for _, kind := range []string{"bios", "boot", "console", "deploy", "firmware", "inspect", "management", "network", "power", "raid", "rescue", "storage"} {
		all[kind] = yes
	}
	if diff := cmp.Diff(all, s.want(200, "115", "GET", "/v1/nodes/n1/validate", "").object); diff != "" {
		t.Errorf("n1 (-want +got):\n%s", diff)
	}
	s.edit("n1", func(n *store.Node) {
		n.InstanceInfo = store.Object{"rescue_interface": "no-rescue", "bios_interface": "no-bios"}
	})
	all["rescue"], all["bios"] = missing, missing
	if diff := cmp.Diff(all, s.want(200, "115", "GET", "/v1/nodes/n1/validate", "").object); diff != "" {
		t.Errorf("by instance_info (-want +got):\n%s", diff)
	}
}
