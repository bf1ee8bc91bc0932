package restapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"ferric/conductor/store"
)

// nodeField is a row of the table in section 3.1, written down once more as a
// check on the table in the code. value is a JSON value that a client may set.
type nodeField struct {
	name   string
	since  int
	create bool
	patch  bool
	sort   bool
	value  string
}

var contractFields = []nodeField{
	{"uuid", 1, true, false, true, `"` + uuid1 + `"`},
	{"name", 5, true, true, true, `"n"`},
	{"driver", 1, true, true, true, `"fake-hardware"`},
	{"driver_info", 1, true, true, false, `{"a": "b"}`},
	{"driver_internal_info", 3, false, false, false, `{}`},
	{"properties", 1, true, true, false, `{"cpu_arch": "x86_64"}`},
	{"instance_info", 1, true, true, false, `{"image_source": "x"}`},
	{"extra", 1, true, true, false, `{"a": 1}`},
	{"instance_uuid", 1, true, true, true, `"` + uuid1 + `"`},
	{"instance_name", 104, true, true, true, `"web"`},
	{"chassis_uuid", 1, true, true, true, `"` + uuid2 + `"`},
	{"description", 51, true, true, true, `"d"`},
	{"resource_class", 21, true, true, true, `"r"`},
	{"conductor_group", 46, true, true, true, `""`},
	{"owner", 50, true, true, true, `"o"`},
	{"lessee", 65, true, true, true, `"l"`},
	{"shard", 82, true, true, true, `"s"`},
	{"parent_node", 83, true, true, true, `"parent"`},
	{"automated_clean", 47, true, true, true, `false`},
	{"disable_power_off", 95, true, true, true, `true`},
	{"protected", 48, false, true, true, `false`},
	{"protected_reason", 48, false, true, true, `null`},
	{"retired", 61, true, true, true, `true`},
	{"retired_reason", 61, true, true, true, `null`},
	{"maintenance", 1, true, true, true, `true`},
	{"maintenance_reason", 1, false, false, true, `"r"`},
	{"fault", 42, false, false, true, `"power failure"`},
	{"network_data", 66, true, true, false, `{}`},
	{"bios_interface", 40, true, true, true, ""},
	{"boot_interface", 31, true, true, true, ""},
	{"console_interface", 31, true, true, true, ""},
	{"deploy_interface", 31, true, true, true, ""},
	{"inspect_interface", 31, true, true, true, ""},
	{"management_interface", 31, true, true, true, ""},
	{"power_interface", 31, true, true, true, ""},
	{"raid_interface", 31, true, true, true, ""},
	{"vendor_interface", 31, true, true, true, ""},
	{"network_interface", 20, true, true, true, ""},
	{"storage_interface", 33, true, true, true, ""},
	{"rescue_interface", 38, true, true, true, ""},
	{"firmware_interface", 86, true, true, true, ""},
	{"power_state", 1, false, false, true, `"power on"`},
	{"target_power_state", 1, false, false, true, `"power on"`},
	{"provision_state", 1, false, false, true, `"active"`},
	{"target_provision_state", 1, false, false, true, `"active"`},
	{"provision_updated_at", 1, false, false, true, `null`},
	{"last_error", 1, false, false, true, `"e"`},
	{"reservation", 1, false, false, true, `"h"`},
	{"console_enabled", 1, true, false, true, `true`},
	{"inspection_started_at", 6, false, false, true, `null`},
	{"inspection_finished_at", 6, false, false, true, `null`},
	{"clean_step", 7, false, false, false, `{}`},
	{"deploy_step", 44, false, false, false, `{}`},
	{"service_step", 87, false, false, false, `{}`},
	{"raid_config", 12, false, false, false, `{}`},
	{"target_raid_config", 12, false, false, false, `{}`},
	{"traits", 37, false, false, false, `[]`},
	{"boot_mode", 75, true, false, true, `"uefi"`},
	{"secure_boot", 75, true, false, true, `true`},
	{"allocation_uuid", 52, false, false, false, `null`},
	{"conductor", 49, false, false, false, `"h"`},
	{"health", 109, false, false, true, `"OK"`},
	{"created_at", 1, false, false, true, `null`},
	{"updated_at", 1, false, false, true, `null`},
}

// contractLinks are the members of a node that cannot be named in ?fields=.
var contractLinks = map[string]int{"links": 1, "ports": 1, "portgroups": 24, "states": 14, "volume": 32}

// around are the microversions on both sides of where something appears.
func around(since int) []int {
	if since == 1 {
		return []int{1, 115}
	}
	return []int{since - 1, since}
}

// TestFieldsAppearAtTheirVersion holds the column mv of section 3.1 for
// reading: the whole node, ?fields= of a node and of a list, and ?sort_key=.
func TestFieldsAppearAtTheirVersion(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	all := s.want(200, "115", "GET", "/v1/nodes/"+id, "").object
	if got, want := len(all), len(contractFields)+len(contractLinks); got != want {
		t.Errorf("a node has %d members, want %d", got, want)
	}
	for name, since := range contractLinks {
		for _, minor := range around(since) {
			if _, shown := s.want(200, fmt.Sprint(minor), "GET", "/v1/nodes/"+id, "").object[name]; shown != (minor >= since) {
				t.Errorf("%s shown at 1.%d: %v", name, minor, shown)
			}
		}
	}
	for _, f := range contractFields {
		for _, minor := range around(f.since) {
			mv := fmt.Sprint(minor)
			_, shown := s.want(200, mv, "GET", "/v1/nodes/"+id, "").object[f.name]
			if shown != (minor >= f.since) {
				t.Errorf("%s shown at 1.%d: %v", f.name, minor, shown)
			}
			want := 200
			if minor < f.since || minor < 8 {
				want = 406
			}
			for _, path := range []string{"/v1/nodes/" + id, "/v1/nodes"} {
				if a := s.call(mv, "GET", path+"?fields=uuid,"+f.name, ""); a.status != want || a.status == 200 && !strings.Contains(a.body, `"`+f.name+`":`) {
					t.Errorf("GET %s?fields=%s at 1.%d: %d %s, want %d", path, f.name, minor, a.status, a.body, want)
				}
			}
			want = 200
			switch {
			case minor < f.since:
				want = 406
			case !f.sort:
				want = 400
			}
			if a := s.call(mv, "GET", "/v1/nodes?sort_key="+f.name, ""); a.status != want {
				t.Errorf("sort_key=%s at 1.%d: %d %s, want %d", f.name, minor, a.status, a.body, want)
			}
		}
	}
}

// TestFieldsAreWrittenFromTheirVersion holds the columns mv and W of section
// 3.1 for POST and PATCH.
func TestFieldsAreWrittenFromTheirVersion(t *testing.T) {
	s := newService(t)
	s.enrol("parent")
	if err := s.store.CreateChassis(t.Context(), &store.Chassis{UUID: uuid2}); err != nil {
		t.Fatal(err)
	}
	for _, f := range contractFields {
		for _, minor := range around(f.since) {
			mv := fmt.Sprint(minor)
			a := s.want(201, "115", "POST", "/v1/nodes", `{"driver": "fake-hardware"}`)
			id, value := a.object["uuid"].(string), f.value
			if value == "" { // an interface: what is the default is supported
				b, err := json.Marshal(a.object[f.name])
				if err != nil {
					t.Fatal(err)
				}
				value = string(b)
			}
			body := `{"driver": "fake-hardware", "` + f.name + `": ` + value + `}`
			if f.name == "driver" {
				body = `{"driver": "fake-hardware"}`
			}
			check := func(what, method, path, body string, may bool, good int) {
				t.Helper()
				want := good
				switch {
				case !may:
					want = http.StatusBadRequest
				case minor < f.since && (value != "null" || method == "PATCH") && value != `""`:
					want = http.StatusNotAcceptable
				case minor < f.since:
					return // nothing is asked for
				}
				a := s.call(mv, method, path, body)
				if a.status != want {
					t.Errorf("%s %s at 1.%d: %d %s, want %d", what, f.name, minor, a.status, a.body, want)
				}
				if a.status == 201 {
					s.edit(a.object["uuid"].(string), func(n *store.Node) { n.Maintenance = true })
					s.want(204, "115", "DELETE", "/v1/nodes/"+a.object["uuid"].(string), "")
				}
			}
			check("POST", "POST", "/v1/nodes", body, f.create, 201)
			check("PATCH", "PATCH", "/v1/nodes/"+id, op("add", "/"+f.name, value), f.patch, 200)
			s.edit(id, func(n *store.Node) { n.Maintenance = true })
			s.want(204, "115", "DELETE", "/v1/nodes/"+id, "")
		}
	}
}
