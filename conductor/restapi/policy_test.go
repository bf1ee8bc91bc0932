package restapi_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/restapi"
	"ferric/conductor/restapi/auth"
)

// roles are what Keystone lists for a role with those that it implies.
func roles(name string) []string {
	ladder := []string{"reader", "member", "manager", "admin"}
	if i := slices.Index(ladder, name); i >= 0 {
		return ladder[:i+1]
	}
	return []string{name}
}

// withKeystone makes the API ask a Keystone whose tokens are "<project> <role>";
// the project "system" is the system.
func withKeystone(t *testing.T) func(*restapi.Config) {
	end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	k := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		project, role, ok := strings.Cut(r.Header.Get("X-Subject-Token"), " ")
		switch {
		case r.Method == "POST":
			w.Header().Set("X-Subject-Token", "own")
			w.WriteHeader(201)
			project, role = "service", "service"
		case !ok:
			w.WriteHeader(404)
			return
		}
		scope := fmt.Sprintf(`"project": {"id": %q, "name": %q}`, project, project)
		if project == "system" {
			scope = `"system": {"all": true}`
		}
		var list []string
		for _, r := range roles(role) {
			list = append(list, fmt.Sprintf(`{"name": %q}`, r))
		}
		_, _ = fmt.Fprintf(w, `{"token": {"user": {"id": "u", "name": "u"}, "expires_at": %q, %s, "roles": [%s]}}`, end, scope, strings.Join(list, ","))
	}))
	t.Cleanup(k.Close)
	return func(c *restapi.Config) {
		c.Auth.Strategy, c.Auth.AuthURL, c.Auth.Username, c.Auth.Password = "keystone", k.URL, "ironic", "x"
	}
}

// as makes a request with a token.
func (s *service) as(token, method, path, body string) answer {
	s.Helper()
	h := http.Header{"X-Openstack-Ironic-Api-Version": {"1.109"}, "X-Auth-Token": {token}}
	return s.callWith(h, method, path, body)
}

const systemAdmin = "system admin"

// tenants is a service with a node that blue owns and green leases.
func tenants(t *testing.T, configure ...func(*restapi.Config)) (s *service, node, port string) {
	t.Helper()
	s = newService(t, append(configure, withKeystone(t))...)
	a := s.as(systemAdmin, "POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "n", "owner": "blue", "lessee": "green", "driver_info": {"x": "y"}}`)
	if a.status != 201 {
		t.Fatal(a.body)
	}
	node = a.object["uuid"].(string)
	a = s.as(systemAdmin, "POST", "/v1/ports", `{"address": "52:54:00:00:00:01", "node_uuid": "`+node+`"}`)
	if a.status != 201 {
		t.Fatal(a.body)
	}
	return s, node, a.object["uuid"].(string)
}

// TestRoles is the matrix of who may do what. 0 stands for success of
// whatever kind, or for a refusal that is not about permissions.
func TestRoles(t *testing.T) {
	who := []string{"system admin", "system member", "system reader", "blue admin", "blue manager", "blue member", "blue reader", "blue service",
		"green admin", "green manager", "green member", "green reader", "red admin"}
	const no, gone = http.StatusForbidden, http.StatusNotFound
	for _, c := range []struct {
		method, path, body string
		want               []int
	}{
		//                                                           system      | owner              | lessee        | other
		{"GET", "/v1/nodes/NODE", "", []int{ /*     */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, gone}},
		{"GET", "/v1/nodes/NODE/states", "", []int{ /**/ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, gone}},
		{"GET", "/v1/ports/PORT", "", []int{ /*     */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, gone}},
		{"GET", "/v1/nodes/NODE/ports", "", []int{ /* */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, gone}},
		{"GET", "/v1/nodes/NODE/validate", "", []int{0, 0, no, 0, 0, 0, no, 0, 0, 0, no, no, gone}},
		{"GET", "/v1/nodes/NODE/management/boot_device", "", []int{0, 0, no, 0, 0, no, no, 0, no, no, no, no, gone}},
		{"PUT", "/v1/nodes/NODE/maintenance", `{}`, []int{0, 0, no, 0, 0, 0, no, 0, 0, 0, no, no, gone}},
		{"PUT", "/v1/nodes/NODE/states/power", `{"target": "nonsense"}`, []int{0, 0, no, 0, 0, 0, no, no, 0, 0, 0, no, gone}},
		{"PUT", "/v1/nodes/NODE/states/provision", `{"target": "nonsense"}`, []int{0, 0, no, 0, 0, 0, no, 0, 0, 0, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/extra/a", "value": 1}]`, []int{0, 0, no, 0, 0, 0, no, no, 0, 0, 0, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/description", "value": "d"}]`, []int{0, 0, no, 0, 0, 0, no, no, 0, 0, 0, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/instance_info/a", "value": 1}]`, []int{0, 0, no, 0, 0, 0, no, 0, 0, 0, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/driver_info/a", "value": 1}]`, []int{0, 0, no, 0, 0, 0, no, 0, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/extra/a", "value": 1}, {"op": "add", "path": "/driver_info/a", "value": 1}]`, []int{0, 0, no, 0, 0, 0, no, no, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/owner", "value": "blue"}]`, []int{0, 0, no, no, no, no, no, no, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/lessee", "value": "green"}]`, []int{0, 0, no, 0, 0, 0, no, 0, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/shard", "value": "s"}]`, []int{0, no, no, no, no, no, no, no, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/boot_interface", "value": "fake"}]`, []int{0, 0, no, 0, 0, no, no, 0, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/automated_clean", "value": false}]`, []int{0, no, no, no, no, no, no, no, no, no, no, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/automated_clean", "value": true}]`, []int{0, 0, no, 0, 0, 0, no, no, 0, 0, 0, no, gone}},
		{"PATCH", "/v1/nodes/NODE", `[{"op": "add", "path": "/disable_power_off", "value": true}]`, []int{0, no, no, no, no, no, no, no, no, no, no, no, gone}},
		{"PATCH", "/v1/ports/PORT", `[{"op": "add", "path": "/extra/a", "value": 1}]`, []int{0, 0, no, 0, 0, no, no, 0, no, no, no, no, gone}},
		{"POST", "/v1/ports", `{"address": "nonsense", "node_uuid": "NODE"}`, []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"GET", "/v1/chassis", "", []int{0, 0, 0, no, no, no, no, no, no, no, no, no, no}},
		{"POST", "/v1/chassis", `{}`, []int{0, no, no, no, no, no, no, no, no, no, no, no, no}},
		{"GET", "/v1/drivers", "", []int{0, 0, 0, no, no, no, no, no, no, no, no, no, no}},
		{"GET", "/v1/conductors", "", []int{0, 0, 0, no, no, no, no, no, no, no, no, no, no}},
		{"GET", "/v1/shards", "", []int{0, 0, 0, no, no, no, no, no, no, no, no, no, no}},
		{"GET", "/v1/deploy_templates", "", []int{0, 0, 0, no, no, no, no, no, no, no, no, no, no}},
		{"GET", "/v1/nodes", "", []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"GET", "/v1/ports", "", []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"GET", "/v1/", "", []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		t.Run(c.method+" "+c.path+" "+c.body, func(t *testing.T) {
			s, node, port := tenants(t)
			fill := strings.NewReplacer("NODE", node, "PORT", port)
			for i, token := range who {
				a := s.as(token, c.method, fill.Replace(c.path), fill.Replace(c.body))
				got := a.status
				if got != no && got != gone {
					got = 0
				}
				if got != c.want[i] || a.status >= 500 {
					t.Errorf("%s: %d %s, want %d", token, a.status, a.body, c.want[i])
				}
			}
		})
	}
}

func TestProjectsSeeTheirOwn(t *testing.T) {
	s, node, port := tenants(t)
	other := s.as(systemAdmin, "POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "other"}`).object["uuid"].(string)
	for token, want := range map[string][]string{"blue reader": {node}, "green reader": {node}, "red reader": {}, "system reader": {node, other}} {
		for _, path := range []string{"/v1/nodes", "/v1/nodes?detail=true", "/v1/nodes/detail?sort_key=name", "/v1/nodes?fields=uuid"} {
			got := []string{}
			for _, n := range s.as(token, "GET", path, "").object["nodes"].([]any) {
				got = append(got, n.(map[string]any)["uuid"].(string))
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: -want +got:\n%s", path, token, diff)
			}
		}
		body := s.as(token, "GET", "/v1/ports", "").body
		if seen := strings.Contains(body, port); seen != slices.Contains(want, node) {
			t.Errorf("ports as %s: %s", token, body)
		}
	}
	// What does not exist and what is somebody else's cannot be told apart.
	strange := s.as("red admin", "GET", "/v1/nodes/"+node, "")
	missing := s.as("red admin", "GET", "/v1/nodes/00000000-0000-4000-8000-000000000000", "")
	if strings.ReplaceAll(strange.body, node, "X") != strings.ReplaceAll(missing.body, "00000000-0000-4000-8000-000000000000", "X") {
		t.Errorf("%s\n%s", strange.body, missing.body)
	}
	if a := s.as("blue reader", "PUT", "/v1/nodes/"+node+"/maintenance", "{}"); a.fault() != "Access was denied to the following resource: baremetal:node:set_maintenance" {
		t.Errorf("text of a refusal: %s", a.body)
	}
	for _, token := range []string{"blue reader", "system admin"} {
		if a := s.as(token, "GET", "/v1/nodes/"+node, ""); strings.Contains(a.body, "Redacted") {
			t.Errorf("%s sees %s", token, a.body)
		}
	}
	for _, path := range []string{"/v1/nodes/" + node, "/v1/nodes/detail"} {
		a := s.as("green admin", "GET", path, "")
		for _, name := range []string{"last_error", "reservation", "driver_internal_info", "driver_info"} {
			if !strings.Contains(a.body, "requires baremetal:node:get:"+name+" permission") {
				t.Errorf("%s shows the lessee %s: %s", path, name, a.body)
			}
		}
	}
}

// TestRefusedBeforeVersions: who may not set the state of a node, or not see
// the node, is told so also where the microversion is too old for it.
func TestRefusedBeforeVersions(t *testing.T) {
	s, node, _ := tenants(t)
	for _, tc := range []struct {
		token, minor, method, path, body string
		status                           int
	}{
		{"system reader", "75", "PUT", "states/boot_mode", `{"target": "uefi"}`, 403},
		{"system reader", "75", "PUT", "states/secure_boot", `{"target": true}`, 403},
		{"system reader", "11", "PUT", "states/raid", `{}`, 403},
		{"red reader", "75", "PUT", "states/boot_mode", `{"target": "uefi"}`, 404},
		{"red reader", "11", "PUT", "states/raid", `{}`, 404},
		{"red reader", "36", "GET", "traits", "", 404},
		{systemAdmin, "75", "PUT", "states/boot_mode", `{"target": "uefi"}`, 404},
		{systemAdmin, "11", "PUT", "states/raid", `{}`, 406},
		{systemAdmin, "36", "GET", "traits", "", 406},
	} {
		h := http.Header{"X-Openstack-Ironic-Api-Version": {"1." + tc.minor}, "X-Auth-Token": {tc.token}}
		if a := s.callWith(h, tc.method, "/v1/nodes/"+node+"/"+tc.path, tc.body); a.status != tc.status {
			t.Errorf("%s: %s %s at 1.%s: %d %s, want %d", tc.token, tc.method, tc.path, tc.minor, a.status, a.body, tc.status)
		}
	}
}

func TestProjectAdminsOwnNodes(t *testing.T) {
	create := func(owner string) string { return `{"driver": "fake-hardware"` + owner + `}` }
	for _, allowed := range []bool{true, false} {
		s, node, _ := tenants(t, func(c *restapi.Config) { c.ProjectAdminsOwnNodes = allowed })
		for _, c := range []struct {
			token, owner string
			status       int
		}{
			{"blue admin", "", 201}, {"blue admin", `, "owner": "blue"`, 201}, {"blue admin", `, "owner": "red"`, 400},
			{"blue service", "", 201}, {"blue manager", "", 403}, {"blue reader", "", 403},
		} {
			if !allowed {
				c.status = 403
			}
			a := s.as(c.token, "POST", "/v1/nodes", create(c.owner))
			if a.status != c.status || a.status == 201 && a.object["owner"] != "blue" {
				t.Errorf("allowed %t, %s creates with %q: %d %s", allowed, c.token, c.owner, a.status, a.body)
			}
		}
		for _, token := range []string{"blue manager", "green admin", "red admin", "blue admin"} {
			want := map[string]int{"red admin": 404, "blue admin": 204}[token]
			if want == 0 || !allowed && want == 204 {
				want = 403
			}
			if a := s.as(token, "DELETE", "/v1/nodes/"+node, ""); a.status != want {
				t.Errorf("allowed %t, %s deletes: %d %s, want %d", allowed, token, a.status, a.body, want)
			}
		}
	}
}

// TestStrangers: whatever route there is, the administrator of a project that has
// nothing to do with a node gets nothing of it.
func TestStrangers(t *testing.T) {
	s, node, port := tenants(t)
	fill := map[string]string{":node": node, ":port": port}
	for name, c := range map[string][2]string{
		":portgroup": {"/v1/portgroups", `{"node_uuid": "` + node + `"}`},
		":connector": {"/v1/volume/connectors", `{"node_uuid": "` + node + `", "type": "iqn", "connector_id": "i"}`},
		":target":    {"/v1/volume/targets", `{"node_uuid": "` + node + `", "volume_type": "iscsi", "boot_index": 0, "volume_id": "v"}`},
		":chassis":   {"/v1/chassis", `{}`},
	} {
		a := s.as(systemAdmin, "POST", c[0], c[1])
		if a.status != 201 {
			t.Fatalf("%s: %s", c[0], a.body)
		}
		fill[name] = a.object["uuid"].(string)
	}
	// Those that have owners are made by their owner.
	for name, c := range map[string][2]string{
		":allocation": {"/v1/allocations", `{"resource_class": "none", "name": "a"}`},
		":runbook":    {"/v1/runbooks", `{"name": "CUSTOM_X", "steps": [{"interface": "bios", "step": "s", "args": {}, "order": 1}]}`},
	} {
		a := s.as("blue admin", "POST", c[0], c[1])
		if a.status != 201 {
			t.Fatalf("%s: %s", c[0], a.body)
		}
		fill[name] = a.object["uuid"].(string)
	}
	// These a project's administrator may always ask for.
	own := []string{"baremetal:node:create", "baremetal:allocation:create", "baremetal:runbook:create", auth.Public}
	for _, line := range restapi.RouteLines() {
		method, path, policy := line[0], line[1], line[2]
		if slices.Contains(own, policy) {
			continue
		}
		segments := strings.Split(path, "/")
		for i, p := range segments {
			if strings.HasPrefix(p, ":") {
				segments[i] = fill[p]
				if segments[i] == "" {
					segments[i] = "x"
				}
			}
		}
		target := strings.Join(segments, "/")
		for _, body := range []string{"", "{}", "[]", `{"target": "power on", "enabled": true}`, `[{"op": "add", "path": "/extra", "value": {}}]`} {
			if method == "GET" && body != "" {
				continue
			}
			a := s.as("red admin", method, target, body)
			empty := !strings.Contains(a.body, node) && !strings.Contains(a.body, port) && method == "GET" && strings.HasSuffix(policy, ":list")
			if a.status/100 == 2 && !empty || a.status >= 500 {
				t.Errorf("%s %s (%s) with %q: %d %s", method, path, policy, body, a.status, a.body)
			}
			if b := s.callWith(http.Header{"X-Openstack-Ironic-Api-Version": {"1.109"}}, method, target, body); b.status != 401 {
				t.Errorf("%s %s without a token: %d %s", method, path, b.status, b.body)
			}
		}
	}
}

func TestUnauthenticated(t *testing.T) {
	s, _, _ := tenants(t, func(c *restapi.Config) { c.Edge.HealthCheck = true })
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 200}, {"GET", "/v1", 200}, {"GET", "/v1/", 200}, {"GET", "/v1/lookup?addresses=52:54:00:00:00:99", 404},
		{"POST", "/v1/heartbeat/n", 400}, {"GET", "/healthcheck", 200},
		{"GET", "/v1/nodes", 401}, {"GET", "/v1/nonsense", 401}, {"POST", "/v1/nodes", 401}, {"GET", "/v1/heartbeats", 401}, {"GET", "/nodes", 401},
		{"GET", "/v1/lookup/../nodes", 401}, {"GET", "//v1/nodes", 401}, {"GET", "/healthcheck/nodes", 401},
	} {
		a := s.callWith(http.Header{"X-Openstack-Ironic-Api-Version": {"1.82"}}, c.method, c.path, "")
		if a.status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, c.status)
		}
		if c.status == 401 && (!strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Keystone uri=") || a.object["error"] == nil) {
			t.Errorf("%s %s: %v %s", c.method, c.path, a.header, a.body)
		}
	}
}

func TestForwarded(t *testing.T) {
	headers := http.Header{"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"metal.example"}, "X-Forwarded-Prefix": {"/baremetal/"}}
	for on, want := range map[bool]string{true: "https://metal.example/baremetal/v1/", false: ""} {
		s := newService(t, func(c *restapi.Config) { c.Edge.ProxyHeaders = on })
		if want == "" {
			want = s.url + "/v1/"
		}
		a := s.callWith(headers.Clone(), "GET", "/", "")
		if !strings.Contains(a.body, `"href":"`+want+`"`) {
			t.Errorf("proxy headers %t: %s, want links to %s", on, a.body, want)
		}
	}
}

func TestCORS(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.Edge.AllowedOrigins = []string{"https://ui.example"} })
	for origin, want := range map[string]string{"https://ui.example": "https://ui.example", "https://evil.example": "", "": ""} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		if got := s.callWith(h.Clone(), "GET", "/v1/nodes", "").header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%q may call as %q", origin, got)
		}
		if origin == "" {
			continue
		}
		h.Set("Access-Control-Request-Method", "PATCH")
		a := s.callWith(h, "OPTIONS", "/v1/nodes", "")
		if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != want || strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "PATCH") != (want != "") {
			t.Errorf("preflight of %q: %d %v", origin, a.status, a.header)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.Edge.MaxBody, c.Edge.MaxProvisionBody = 4, 8 })
	uuid := s.enrol("n")
	big := func(n int) string { return `{"target": "` + strings.Repeat("x", n) + `"}` }
	deep := strings.Repeat("[", 26) + strings.Repeat("]", 26)
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		flat                     bool
	}{
		{"PUT", "/v1/nodes/" + uuid + "/states/power", "application/json", big(4096), 413, true},
		{"PUT", "/v1/nodes/" + uuid + "/states/power", "text/plain", big(4096), 413, false},
		{"PUT", "/v1/nodes/" + uuid + "/states/provision", "application/json", big(4096), 400, false},
		{"PUT", "/v1/nodes/" + uuid + "/states/provision", "application/json; charset=utf-8", big(8192), 413, true},
		{"POST", "/v1/nodes", "application/json", deep, 400, true},
		{"POST", "/v1/nodes", "text/plain", deep, 400, false},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, s.url+c.path, io.MultiReader(strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || strings.HasPrefix(string(body), `{"faultcode"`) != c.flat {
			t.Errorf("%s %s of %s, %d bytes: %d %s %v, want %d, flat %t", c.method, c.path, c.kind, len(c.body), resp.StatusCode, body, err, c.status, c.flat)
		}
	}
}

// TestScan: who guesses addresses is slowed down, whoever else comes from elsewhere is not.
func TestScan(t *testing.T) {
	s := newService(t, func(c *restapi.Config) {
		c.Edge.FailedLookups, c.Edge.FailedLookupsBurst, c.Edge.ProxyHeaders = 1, 3, true
	})
	look := func(from string) int {
		return s.callWith(http.Header{"X-Openstack-Ironic-Api-Version": {"1.62"}, "X-Forwarded-For": {"10.9.9.9, " + from}}, "GET", "/v1/lookup?addresses=52:54:00:00:00:99", "").status
	}
	var got []int
	for range 5 {
		got = append(got, look("192.0.2.1"))
	}
	if got[0] != 404 || got[2] != 404 || got[4] != 429 {
		t.Errorf("five guesses: %v", got)
	}
	if a := s.callWith(http.Header{"X-Forwarded-For": {"192.0.2.1"}}, "POST", "/v1/continue_inspection", "{}"); a.status != 429 {
		t.Errorf("guesses by inspection: %d %s", a.status, a.body)
	}
	for from, want := range map[string]int{"192.0.2.2": 404, "2001:db8::1": 404} {
		if got := look(from); got != want {
			t.Errorf("from %s: %d, want %d", from, got, want)
		}
	}
}

func TestAgentListener(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.Edge.AgentListen = "127.0.0.1:0" })
	s.want(404, "82", "GET", "/v1/lookup?addresses=52:54:00:00:00:99", "")
	if a := s.call("82", "POST", "/v1/heartbeat/n", "{}"); a.status != 404 || !strings.Contains(a.body, "resource could not be found") {
		t.Errorf("heartbeat: %d %s", a.status, a.body)
	}
	s.want(200, "82", "GET", "/v1/nodes", "")
}
