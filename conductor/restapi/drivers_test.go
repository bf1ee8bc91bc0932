package restapi_test

import (
	"strings"
	"testing"

	"ferric/conductor/restapi"
)

func TestDrivers(t *testing.T) {
	s := newService(t)
	for _, tc := range []struct {
		minor, path string
		status      int
		part        string
	}{
		{"82", "/v1/drivers", 200, `"hosts":["` + host + `"]`},
		{"82", "/v1/drivers?type=dynamic", 200, "fake-hardware"},
		{"82", "/v1/drivers?type=classic", 200, `{"drivers":[]}`},
		{"82", "/v1/drivers?type=other", 400, "classic"},
		{"29", "/v1/drivers?type=dynamic", 406, "1.30"},
		{"29", "/v1/drivers?detail=true", 406, "1.30"},
		{"82", "/v1/drivers?detail=true", 200, `"default_boot_interface":"fake"`},
		{"82", "/v1/drivers?fields=name", 200, `{"drivers":[{"links":`},
		{"76", "/v1/drivers?fields=name", 406, "1.77"},
		{"82", "/v1/drivers?fields=colour", 400, "colour"},
		{"82", "/v1/drivers?fields=name&detail=true", 400, "detail"},
		{"82", "/v1/drivers/fake-hardware", 200, `"enabled_deploy_interfaces":["direct","fake","noop"]`},
		{"82", "/v1/drivers/fake-hardware/properties", 200, "{"},
		{"82", "/v1/drivers/nope", 404, "nope"},
		{"82", "/v1/drivers/nope/properties", 404, "nope"},
	} {
		if a := s.call(tc.minor, "GET", tc.path, ""); a.status != tc.status || !strings.Contains(a.body, tc.part) {
			t.Errorf("%s at 1.%s: %d %s, want %d %q", tc.path, tc.minor, a.status, a.body, tc.status, tc.part)
		}
	}
	for _, tc := range []struct {
		minor, member string
		want          bool
	}{
		{"29", "type", false}, {"30", "type", true}, {"13", "properties", false}, {"14", "properties", true},
		{"39", "default_bios_interface", false}, {"40", "default_bios_interface", true}, {"37", "enabled_rescue_interfaces", false},
		{"85", "default_firmware_interface", false}, {"86", "default_firmware_interface", true},
	} {
		if _, got := s.want(200, tc.minor, "GET", "/v1/drivers/fake-hardware", "").object[tc.member]; got != tc.want {
			t.Errorf("%s shown at 1.%s: %v", tc.member, tc.minor, got)
		}
	}
}

func TestConductors(t *testing.T) {
	s := newService(t)
	if err := s.store.RegisterConductor(t.Context(), "gone", "rack1", []string{"ipmi"}); err != nil {
		t.Fatal(err)
	}
	if err := s.store.UnregisterConductor(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		minor, path string
		status      int
		part        string
	}{
		{"82", "/v1/conductors", 200, `{"alive":true,"conductor_group":"","hostname":"` + host + `","links":`},
		{"82", "/v1/conductors?sort_key=hostname", 200, `{"conductors":[{"alive":false,"conductor_group":"rack1","hostname":"gone"`},
		{"82", "/v1/conductors?limit=1", 200, `&limit=1&marker=` + host + `"`},
		{"82", "/v1/conductors?marker=" + host, 200, `{"conductors":[{"alive":false`},
		{"82", "/v1/conductors?marker=nobody", 404, "nobody"},
		{"82", "/v1/conductors?detail=true", 200, `"drivers":["fake-hardware"]`},
		{"82", "/v1/conductors?fields=drivers", 200, `"drivers":["fake-hardware"]`},
		{"82", "/v1/conductors?fields=colour", 400, "colour"},
		{"82", "/v1/conductors/gone", 200, `"drivers":["ipmi"]`},
		{"82", "/v1/conductors/nobody", 404, "nobody"},
		{"48", "/v1/conductors", 404, "1.49"},
	} {
		if a := s.call(tc.minor, "GET", tc.path, ""); a.status != tc.status || !strings.Contains(a.body, tc.part) {
			t.Errorf("%s at 1.%s: %d %s, want %d %q", tc.path, tc.minor, a.status, a.body, tc.status, tc.part)
		}
	}
	s.enrol("n1")
	if got := s.want(200, "82", "GET", "/v1/nodes/n1", "").object["conductor"]; got != host {
		t.Errorf("conductor of the node is %v", got)
	}
}

func TestConfiguration(t *testing.T) {
	s := newService(t, func(c *restapi.Config) {
		c.PublicEndpoint, c.MaxLimit, c.DefaultResourceClass = "https://api.example/", 2, "small"
	})
	for range 3 {
		s.want(201, "82", "POST", "/v1/nodes", `{"driver": "fake-hardware"}`)
	}
	a := s.want(200, "82", "GET", "/v1/nodes?limit=50&fields=resource_class", "")
	if len(a.object["nodes"].([]any)) != 2 || !strings.HasPrefix(a.object["next"].(string), "https://api.example/v1/nodes?") || !strings.Contains(a.body, `"small"`) {
		t.Errorf("page %s", a.body)
	}
}
