package restapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTransport holds the rules of REST contract, sections 1, 1.1 and 1.2.
func TestTransport(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	deep := strings.Repeat(`{"a":`, 26) + "1" + strings.Repeat("}", 26)
	large := `{"driver": "` + strings.Repeat("x", 1<<20) + `"}`
	for _, tc := range []struct {
		minor, method, path, body string
		status                    int
		fault                     string // part of the text; "" for none
	}{
		{"82", "GET", "/v1/nodes", "", 200, ""},
		{"82", "GET", "/v1/nodes/", "", 200, ""},
		{"82", "GET", "/nodes", "", 200, ""},
		{"82", "GET", "/nodes/" + id, "", 200, ""},
		{"82", "GET", "/v1/", "", 200, ""},
		{"82", "HEAD", "/v1/nodes", "", 200, ""},
		{"82", "HEAD", "/", "", 200, ""},
		{"82", "GET", "/v1/nodes/n1.json", "", 200, ""},
		{"82", "GET", "/v1/nonsense", "", 404, "could not be found"},
		{"82", "GET", "/v1/v1/nodes", "", 404, "could not be found"},
		{"82", "GET", "/v1/nodes/n1/nonsense", "", 404, "could not be found"},
		{"82", "DELETE", "/v1/nodes/n1/nonsense", "", 404, "could not be found"},
		{"82", "GET", "/v1/nodes/n1/nonsense", "", 404, "could not be found"},
		{"22", "GET", "/v1/portgroups", "", 404, "could not be found"},
		{"82", "POST", "/", "{}", 405, "not allowed"},
		{"82", "POST", "/v1", "{}", 405, "not allowed"},
		{"82", "PUT", "/v1/nodes/n1", "{}", 405, "not allowed"},
		{"82", "POST", "/v1/nodes", large, 413, "larger than 1048576 bytes"},
		{"82", "POST", "/v1/nodes", deep, 400, "deeper than 25"},
		{"82", "POST", "/v1/nodes", `{"driver": `, 400, "not a JSON object"},
		{"82", "POST", "/v1/nodes", `[]`, 400, "not a JSON object"},
		{"82", "POST", "/v1/nodes", `{} {}`, 400, "not a JSON object"},
		{"82", "POST", "/v1/nodes", ``, 400, "not a JSON object"},
		{"82", "GET", "/v1/nodes?colour=red&size=2", "", 400, "Unexpected arguments: colour, size"},
		{"82", "PUT", "/v1/nodes/n1/states/power", `{"target": "power on", "force": true}`, 400, "Unexpected arguments: force"},
		{"82", "PUT", "/v1/nodes/n1/maintenance?reason=test", "", 202, ""},
		{"82", "GET", "/v1/nodes?maintenance=maybe", "", 400, "Invalid maintenance"},
		{"82", "GET", "/v1/nodes?maintenance=ON", "", 200, ""},
		{"82", "GET", "/v1/nodes?limit=ten", "", 400, "integer"},
		{"82", "GET", "/v1/nodes?instance_uuid=x", "", 400, "Expected UUID for instance_uuid: x"},
		{"82", "GET", "/v1/nodes/" + strings.ReplaceAll(id, "-", ""), "", 200, ""},
		{"82", "GET", "/v1/nodes/" + strings.ToUpper(id), "", 200, ""},
		{"82", "GET", "/v1/nodes/a%20b", "", 400, "Expected a logical name or UUID"},
		{"82", "GET", "/v1/nodes/a%2Fb", "", 404, "could not be found"},
		{"82", "GET", "/v1/nodes/nobody", "", 404, "Node nobody could not be found."},
		{"4", "GET", "/v1/nodes/n1", "", 406, "1.5"},
		{"116", "GET", "/v1/nodes", "", 406, "[1.1, 1.115]"},
		{"x", "GET", "/v1", "", 406, "Invalid value for X-OpenStack-Ironic-API-Version"},
		{"999", "GET", "/", "", 200, ""}, // discovery answers whatever is asked for
	} {
		a := s.call(tc.minor, tc.method, tc.path, tc.body)
		name := tc.method + " " + tc.path + " at 1." + tc.minor
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("%s: %d %.300s, want %d %q", name, a.status, a.body, tc.status, tc.fault)
		}
		for header, want := range map[string]string{
			"X-Openstack-Ironic-Api-Minimum-Version": "1.1", "X-Openstack-Ironic-Api-Maximum-Version": "1.115",
		} {
			if got := a.header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		if !strings.HasPrefix(a.header.Get("Openstack-Request-Id"), "req-") || a.header.Get("X-Openstack-Request-Id") == "" {
			t.Errorf("%s: no request id", name)
		}
		empty := a.body == ""
		if kind := a.header.Get("Content-Type"); tc.method != "HEAD" && (kind == "application/json") == empty {
			t.Errorf("%s: Content-Type %q of body %.40q", name, kind, a.body)
		}
	}
}

func TestErrorShapes(t *testing.T) {
	s := newService(t)
	deep := s.call("82", "POST", "/v1/nodes", strings.Repeat("[", 30))
	if deep.object["faultstring"] == nil || deep.object["error_message"] != nil {
		t.Errorf("depth error %s is not flat", deep.body)
	}
	if a := s.call("82", "GET", "/v1/nodes/nobody", ""); a.object["error_message"] == nil || !strings.Contains(a.body, `\"debuginfo\":null`) {
		t.Errorf("error %s is not doubly encoded", a.body)
	}
	if a := s.call("82", "GET", "/v1/nonsense", ""); !strings.Contains(a.body, `\"title\":\"Not Found\"`) || !strings.Contains(a.body, `\"code\":\"404 Not Found\"`) {
		t.Errorf("routing error %s", a.body)
	}
}

// TestPanic: a fault of the program is answered in shape and ends nothing else.
func TestPanic(t *testing.T) {
	h := handler(t) // without conductor
	for range 2 {
		req := httptest.NewRequest("POST", "/v1/nodes", strings.NewReader(`{"driver": "ipmi"}`))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != 500 || !strings.Contains(rec.Body.String(), `\"faultcode\":\"Server\"`) || strings.Contains(rec.Body.String(), "pointer") {
			t.Errorf("answer to a panic: %d %s", rec.Code, rec.Body)
		}
	}
}

func TestDefaultVersion(t *testing.T) {
	s := newService(t)
	a := s.callWith(http.Header{}, "GET", "/v1/nodes", "")
	if got := a.header.Get("X-OpenStack-Ironic-API-Version"); got != "1.1" {
		t.Errorf("version without header is %q, want 1.1", got)
	}
	a = s.callWith(http.Header{"Openstack-Api-Version": {"baremetal latest"}}, "GET", "/v1/nodes", "")
	if got := a.header.Get("X-OpenStack-Ironic-API-Version"); got != "1.115" {
		t.Errorf("latest is %q, want 1.115", got)
	}
}

func TestDiscovery(t *testing.T) {
	s := newService(t)
	a := s.want(200, "1", "GET", "/", "")
	v := a.object["default_version"].(map[string]any)
	if v["version"] != "1.115" || v["min_version"] != "1.1" || v["id"] != "v1" || v["status"] != "CURRENT" {
		t.Errorf("default version %v", v)
	}
	if href := v["links"].([]any)[0].(map[string]any)["href"]; href != s.url+"/v1/" {
		t.Errorf("link %v, want %s/v1/", href, s.url)
	}
	for minor, want := range map[string]bool{"48": false, "49": true} {
		_, got := s.want(200, minor, "GET", "/v1", "").object["conductors"]
		if got != want {
			t.Errorf("conductors shown at 1.%s: %v", minor, got)
		}
	}
}
