package restapi_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// bundleOf is a plugin, signed by a key that is always the same.
func bundleOf(t *testing.T, name, version string, size int) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run"), bytes.Repeat([]byte("x"), size), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	manifest := plugin.Manifest{Name: name, Version: version, SDK: "1.0", Executable: "run"}
	if _, err := plugin.Sign(&out, dir, manifest, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// upload adds a bundle.
func (s *service) upload(query string, content []byte) answer {
	s.Helper()
	return s.callWith(http.Header{"X-Auth-Token": {systemAdmin}}, "POST", "/ferric/v1/plugins?"+query, string(content))
}

// agent makes the node wait for an agent and gives the token of one.
func (s *service) agent(node string) string {
	s.Helper()
	s.edit(node, in(provision.CleanWait))
	config := s.want(200, "115", "GET", "/v1/lookup?node_uuid="+node, "").object["config"].(map[string]any)
	return config["agent_token"].(string)
}

func (s *service) offers(node string) (list []string) {
	s.Helper()
	config := s.want(200, "115", "GET", "/v1/lookup?node_uuid="+node, "").object["config"].(map[string]any)
	offers, _ := config["ferric_plugins"].([]any)
	for _, o := range offers {
		o := o.(map[string]any)
		list = append(list, fmt.Sprint(o["name"], " ", o["version"]))
	}
	return list
}

// TestPlugins lives through the life of plugins: added, offered, fetched, pinned, removed.
func TestPlugins(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	token := s.agent(id)
	before := s.want(200, "115", "GET", "/v1/lookup?node_uuid="+id, "").object["config"].(map[string]any)
	if _, there := before["ferric_plugins"]; there {
		t.Errorf("without plugins lookup has ferric_plugins: %v", before)
	}

	content := bundleOf(t, "acme", "1.0.0", 3000)
	a := s.upload("drivers=fake-hardware,nonsense&dmi_vendor=Acme&required=true", content)
	if a.status != 201 || !strings.HasSuffix(a.header.Get("Location"), "/ferric/v1/plugins/acme/1.0.0") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if !strings.Contains(a.body, "was not verified") || !strings.Contains(a.body, "No hardware type nonsense") {
		t.Errorf("warnings: %s", a.body)
	}
	config := s.want(200, "115", "GET", "/v1/lookup?node_uuid="+id, "").object["config"].(map[string]any)
	offer := config["ferric_plugins"].([]any)[0].(map[string]any)
	delete(config, "ferric_plugins")
	config["agent_token"], before["agent_token"] = nil, nil
	if diff := cmp.Diff(before, config); diff != "" {
		t.Errorf("what foreign agents see has changed: %s", diff)
	}
	if _, old := s.want(200, "61", "GET", "/v1/lookup?node_uuid="+id, "").object["config"].(map[string]any)["ferric_plugins"]; old {
		t.Error("an agent without a token is offered plugins, which it could not fetch")
	}
	if offer["url"] != "/ferric/v1/plugins/acme/1.0.0/bundle" || offer["dmi_vendor"] != "Acme" || offer["required"] != true || offer["size"] != float64(len(content)) {
		t.Errorf("the offer is %v", offer)
	}

	// The agent fetches it, whole, in parts, and not again.
	path := offer["url"].(string) + "?node_uuid=" + id
	get := func(method string, header ...string) answer {
		t.Helper()
		h := http.Header{ipa.HeaderAgentToken: {token}}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return s.callWith(h, method, path, "")
	}
	whole := get("GET")
	etag := whole.header.Get("ETag")
	if whole.status != 200 || whole.body != string(content) || etag != `"`+offer["sha256"].(string)+`"` {
		t.Errorf("the bundle: %d, %d bytes of %d, etag %s", whole.status, len(whole.body), len(content), etag)
	}
	part := get("GET", "Range", "bytes=1000-1009", "If-Range", etag)
	if part.status != 206 || part.body != string(content[1000:1010]) || part.header.Get("Content-Range") != fmt.Sprintf("bytes 1000-1009/%d", len(content)) {
		t.Errorf("a range: %d %q %v", part.status, part.body, part.header)
	}
	if rest := get("GET", "Range", "bytes=4000-"); rest.status != 206 || rest.body != string(content[4000:]) {
		t.Errorf("the rest: %d, %d bytes", rest.status, len(rest.body))
	}
	if a := get("GET", "Range", "bytes=99999999-"); a.status != 416 {
		t.Errorf("a range behind the end: %d", a.status)
	}
	if a := get("GET", "If-None-Match", etag); a.status != 304 || a.body != "" {
		t.Errorf("what the agent has already: %d", a.status)
	}
	if a := get("HEAD"); a.status != 200 || a.body != "" || a.header.Get("Content-Length") != fmt.Sprint(len(content)) {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}

	// Newer ones are offered, unless one is pinned; what is offered no more can
	// still be fetched by an agent that looked up before.
	for _, v := range []string{"1.1.0", "2.0.0"} {
		if a := s.upload("drivers=fake-hardware", bundleOf(t, "acme", v, 10)); a.status != 201 {
			t.Fatal(a.body)
		}
	}
	if a := s.upload("", bundleOf(t, "acme", "1.0.5", 10)); a.status != 409 || !strings.Contains(a.fault(), "allow_older") {
		t.Errorf("an older one: %d %s", a.status, a.body)
	}
	if a := s.upload("allow_older=true&disabled=true", bundleOf(t, "acme", "1.0.5", 10)); a.status != 201 {
		t.Errorf("an older one that is asked for: %d %s", a.status, a.body)
	}
	steps := []struct {
		method, path, body string
		status             int
		want               []string
	}{
		{"GET", "", "", 200, []string{"acme 2.0.0"}},
		{"PATCH", "/acme", `{"pinned": "1.1.0"}`, 200, []string{"acme 1.1.0"}},
		{"DELETE", "/acme/1.1.0", "", 409, []string{"acme 1.1.0"}},
		{"PATCH", "/acme/1.1.0", `{"pinned": "2.0.0"}`, 400, []string{"acme 1.1.0"}},
		{"PATCH", "/acme/1.1.0", `{"traits": ["CUSTOM_X"]}`, 200, nil},
		{"PATCH", "/acme/1.1.0", `{"traits": []}`, 200, []string{"acme 1.1.0"}},
		{"PATCH", "/acme/1.1.0", `{"traits": ["odd"]}`, 400, []string{"acme 1.1.0"}},
		{"PATCH", "/acme", `{"pinned": null}`, 200, []string{"acme 2.0.0"}},
		{"PATCH", "/acme/2.0.0", `{"disabled": true}`, 200, []string{"acme 1.1.0"}},
		{"PATCH", "/acme", `{"pinned": "9.9.9"}`, 409, []string{"acme 1.1.0"}},
		{"PATCH", "/acme", `{}`, 400, []string{"acme 1.1.0"}},
		{"PATCH", "/nobody", `{"disabled": true}`, 404, []string{"acme 1.1.0"}},
		{"DELETE", "/acme/1.1.0", "", 200, []string{"acme 1.0.0"}},
		{"GET", "/acme/1.1.0", "", 404, []string{"acme 1.0.0"}},
		{"GET", "/acme/1.0.0", "", 200, []string{"acme 1.0.0"}},
		{"DELETE", "/nobody", "", 404, []string{"acme 1.0.0"}},
	}
	for _, c := range steps {
		s.want(c.status, "115", c.method, "/ferric/v1/plugins"+c.path, c.body)
		if diff := cmp.Diff(c.want, s.offers(id)); diff != "" {
			t.Errorf("after %s %s %s is offered %s", c.method, c.path, c.body, diff)
		}
	}
	if a := get("GET"); a.status != 200 {
		t.Errorf("an older version that is there: %d", a.status)
	}
	shown := s.want(200, "115", "GET", "/ferric/v1/plugins/acme/1.0.0", "").object
	if shown["manifest"].(map[string]any)["executable"] != "run" || shown["verified"] != false {
		t.Errorf("shown is %v", shown)
	}

	// An agent that has it keeps it when it is removed, which is said.
	report := `{"node_uuid": "` + id + `", "agent_token": "` + token + `", "loaded": {"acme": "1.0.0"}}`
	s.want(204, "1", "POST", "/ferric/v1/plugins/report", report)
	removed := s.want(200, "115", "DELETE", "/ferric/v1/plugins/acme", "")
	if !strings.Contains(removed.body, "keep it until they end: node n1") {
		t.Errorf("the removal says %s", removed.body)
	}
	if list := s.want(200, "115", "GET", "/ferric/v1/plugins", ""); list.body != `{"plugins":[]}` && len(list.object["plugins"].([]any)) != 0 {
		t.Errorf("left are %s", list.body)
	}
	if a := get("GET"); a.status != 404 {
		t.Errorf("what was removed is served: %d", a.status)
	}
}

// TestBundleTokens: nobody gets a bundle, or reports, but the agent of a node that
// the plugin is for; and whoever asks for another learns nothing.
func TestBundleTokens(t *testing.T) {
	s := newService(t)
	id, other, idle := s.enrol("n1"), s.enrol("n2"), s.enrol("n3")
	token, others := s.agent(id), s.agent(other)
	if a := s.upload("", bundleOf(t, "acme", "1.0.0", 10)); a.status != 201 {
		t.Fatal(a.body)
	}
	if a := s.upload("traits=CUSTOM_X", bundleOf(t, "special", "1.0.0", 10)); a.status != 201 {
		t.Fatal(a.body)
	}
	refusals := map[string]int{}
	for _, c := range []struct {
		plugin, node, token string
		want                int
	}{
		{"acme/1.0.0", id, token, 200},
		{"acme/1.0.0", other, others, 200},
		{"acme/1.0.0", id, others, 400},
		{"acme/1.0.0", id, token[:42], 400},
		{"acme/1.0.0", id, token + "x", 400},
		{"acme/1.0.0", id, "******", 400},
		{"acme/1.0.0", idle, "x", 400}, // has no agent
		{"acme/1.0.0", uuid1, "x", 400},
		{"acme/1.0.0", id, "", 400},
		{"acme/1.0.0", "", token, 400},
		{"acme/1.0.0", "n1", token, 400},
		{"special/1.0.0", id, token, 404},
		{"nobody/1.0.0", id, token, 404},
		{"acme/0.0.1", id, token, 404},
	} {
		h := http.Header{}
		if c.token != "" {
			h.Set(ipa.HeaderAgentToken, c.token)
		}
		a := s.callWith(h, "GET", "/ferric/v1/plugins/"+c.plugin+"/bundle?node_uuid="+c.node, "")
		if a.status != c.want {
			t.Errorf("%+v: %d %s", c, a.status, a.body)
		}
		if strings.Contains(a.body, token) {
			t.Errorf("%+v is told the token", c)
		}
		if a.status == 400 && len(c.token) > 0 && len(c.node) == 36 {
			refusals[strings.ReplaceAll(a.fault(), c.node, "NODE")]++
		}
	}
	if len(refusals) != 1 {
		t.Errorf("who shows a wrong token is told things apart: %v", refusals)
	}
	for body, want := range map[string]int{
		`{"node_uuid": "` + id + `", "agent_token": "` + others + `", "loaded": {"a": "1"}}`: 400,
		`{"node_uuid": "` + uuid1 + `", "agent_token": "x", "loaded": {"a": "1"}}`:           400,
		`{"node_uuid": "` + id + `", "loaded": {"a": "1"}}`:                                  400,
		`{"agent_token": "` + token + `"}`:                                                   400,
		`[]`:                                                                                 400,
		``:                                                                                   400,
		`{"node_uuid": "` + id + `", "agent_token": "` + token + `", "refused": ["a"]}`:     400,
		`{"node_uuid": "` + id + `", "agent_token": "` + token + `", "refused": {"": "x"}}`: 400,
	} {
		if a := s.call("1", "POST", "/ferric/v1/plugins/report", body); a.status != want {
			t.Errorf("report %s: %d %s", body, a.status, a.body)
		}
	}
	closed := newService(t, func(c *restapi.Config) { c.EnableRamdiskEndpoints = false })
	if a := closed.callWith(http.Header{ipa.HeaderAgentToken: {token}}, "GET", "/ferric/v1/plugins/acme/1.0.0/bundle?node_uuid="+id, ""); a.status != 403 {
		t.Errorf("without endpoints for agents: %d", a.status)
	}
}

// TestPluginReport: what an agent tells is kept, and what is bad of it becomes
// part of the node's history.
func TestPluginReport(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	token := s.agent(id)
	if a := s.upload("", bundleOf(t, "acme", "1.0.0", 10)); a.status != 201 {
		t.Fatal(a.body)
	}
	node := s.want(200, "115", "GET", "/ferric/v1/nodes/n1/plugins", "").object
	if list := node["plugins"].([]any); len(list) != 1 || list[0].(map[string]any)["state"] != "offered" || node["reported_at"] != nil {
		t.Errorf("before the report: %v", node)
	}
	report := func(parts string) answer {
		t.Helper()
		return s.call("1", "POST", "/ferric/v1/plugins/report", `{"node_uuid": "`+id+`", "agent_token": "`+token+`", `+parts+`}`)
	}
	if a := report(`"loaded": {"acme": "1.0.0"}, "not_here": {"far": "of another vendor"}`); a.status != 204 {
		t.Fatal(a.body)
	}
	if h := s.want(200, "115", "GET", "/v1/nodes/n1/history?detail=true", "").body; strings.Contains(h, "plugin") {
		t.Errorf("what is good is in the history: %s", h)
	}
	long := strings.Repeat("é", 5000)
	if a := report(`"loaded": {"fine": "2.0.0"}, "refused": {"acme": "wrong signature\u001b[31m"}, "set_aside": {"generic": "` + long + `"}`); a.status != 204 {
		t.Fatal(a.body)
	}
	got := s.want(200, "115", "GET", "/ferric/v1/nodes/n1/plugins", "").object
	var states []string
	for _, p := range got["plugins"].([]any) {
		p := p.(map[string]any)
		states = append(states, fmt.Sprintf("%v %v %v %v %.20v", p["name"], p["offered"], p["loaded"], p["state"], p["reason"]))
	}
	want := []string{"acme 1.0.0  refused wrong signature\x1b[31m", "fine  2.0.0 loaded ", "generic   set aside " + strings.Repeat("é", 20)}
	if diff := cmp.Diff(want, states); diff != "" || got["current"] != true || got["reported_at"] == nil {
		t.Errorf("%s%v", diff, got)
	}
	var reason string
	for _, p := range got["set_aside"].(map[string]any) {
		reason, _ = p.(string)
	}
	if len(reason) > 2000 || !strings.HasSuffix(reason, " …") {
		t.Errorf("a reason of %d bytes is kept", len(reason))
	}
	entries := s.want(200, "115", "GET", "/v1/nodes/n1/history?detail=true", "").object["history"].([]any)
	last := entries[len(entries)-1].(map[string]any)
	if text, _ := last["event"].(string); !strings.HasPrefix(text, "plugin acme was refused: wrong signature") || last["severity"] != "ERROR" || last["event_type"] != "cleaning" {
		t.Errorf("the history is %v", last)
	}
	events := s.want(200, "115", "GET", "/ferric/v1/events?kind=plugins&node=n1", "").object["events"].([]any)
	if len(events) != 2 || !strings.Contains(events[1].(map[string]any)["detail"].(string), "plugin acme was refused") {
		t.Errorf("events: %v", events)
	}
	why := s.want(200, "115", "GET", "/ferric/v1/nodes/n1/explain?probe=false", "").body
	if !strings.Contains(why, "plugin acme was refused: wrong signature") {
		t.Errorf("explain does not say it: %s", why)
	}
	// The next agent has said nothing so far.
	s.edit("n1", func(n *store.Node) { n.DriverInternalInfo["agent_secret_token"] = "another" })
	if got := s.want(200, "115", "GET", "/ferric/v1/nodes/n1/plugins", "").object; got["current"] != false {
		t.Errorf("what an agent of an earlier boot said is taken for that of this one: %v", got)
	}
	token = "another"
	status := 0
	for range 60 {
		status = report(`"refused": {}`).status
	}
	if status != 429 {
		t.Errorf("the 60th report of an agent: %d", status)
	}
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf(`"p%d": "1"`, i)
	}
	if a := report(`"loaded": {` + strings.Join(many, ",") + `}`); a.status != 400 {
		t.Errorf("65 plugins: %d", a.status)
	}
}

// TestPluginRoles: administrators of the system change plugins, its readers see them.
func TestPluginRoles(t *testing.T) {
	s, node, _ := tenants(t)
	if a := s.upload("", bundleOf(t, "acme", "1.0.0", 10)); a.status != 201 {
		t.Fatal(a.body)
	}
	for who, want := range map[string]int{"system reader": 200, "blue reader": 200, "green reader": 403, "red admin": 404} {
		if a := s.as(who, "GET", "/ferric/v1/nodes/"+node+"/plugins", ""); a.status != want {
			t.Errorf("%s and the plugins of a node: %d, want %d", who, a.status, want)
		}
	}
	for who, want := range map[string][]int{
		"system admin": {200, 200, 400, 200, 200}, "system member": {200, 200, 403, 403, 403}, "system reader": {200, 200, 403, 403, 403},
		"blue admin": {403, 403, 403, 403, 403}, "blue reader": {403, 403, 403, 403, 403}, "nonsense": {401, 401, 401, 401, 401},
	} {
		got := []int{
			s.as(who, "GET", "/ferric/v1/plugins", "").status,
			s.as(who, "GET", "/ferric/v1/plugins/acme/1.0.0", "").status,
			s.as(who, "POST", "/ferric/v1/plugins", "no bundle").status,
			s.as(who, "PATCH", "/ferric/v1/plugins/acme/1.0.0", `{"disabled": false}`).status,
			s.as(who, "PATCH", "/ferric/v1/plugins/acme", `{"disabled": false}`).status,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", who, diff)
		}
	}
	for _, path := range []string{"/ferric/v1/plugins/acme", "/ferric/v1/plugins/acme/1.0.0", "/ferric/v1/plugins/report", "/ferric/v1/plugins/acme/1.0.0/bundle"} {
		if a := s.as("system reader", "DELETE", path, ""); a.status < 400 {
			t.Errorf("a reader deletes %s: %d", path, a.status)
		}
	}
}

// TestHostileUpload: what is too big is refused before it is read, and a client
// that goes away in the middle leaves nothing.
func TestHostileUpload(t *testing.T) {
	s := newService(t)
	for _, query := range []string{"nonsense=1", "traits=lower", "required=perhaps", "drivers=" + strings.Repeat("x", 256), "dmi_vendor=" + strings.Repeat("x", 256)} {
		if a := s.upload(query, bundleOf(t, "acme", "1.0.0", 10)); a.status != 400 {
			t.Errorf("?%.40s: %d %s", query, a.status, a.body)
		}
	}
	if a := s.upload("", []byte(`{"name": "acme"}`)); a.status != 400 || !strings.Contains(a.fault(), "the bundle is refused") {
		t.Errorf("JSON: %d %s", a.status, a.body)
	}
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	raw := func(head, body string) net.Conn {
		t.Helper()
		conn, err := net.DialTimeout("tcp", u.Host, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, "POST /ferric/v1/plugins HTTP/1.1\r\nHost: x\r\n"+head+"\r\n"+body); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	conn := raw("Content-Length: 999999999999\r\nExpect: 100-continue\r\n", "")
	first := make([]byte, 64)
	n, err := conn.Read(first)
	if err != nil || !strings.HasPrefix(string(first[:n]), "HTTP/1.1 413 ") {
		t.Errorf("who announces too much is answered %q, %v", first[:n], err)
	}
	conn.Close()
	cut := raw("Content-Length: 5000\r\n", "half of it")
	cut.Close()
	content := bundleOf(t, "acme", "1.0.0", 10)
	if a := s.upload("", content); a.status != 201 {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
	list, err := s.store.Plugins(context.Background())
	if err != nil || len(list) != 1 {
		t.Errorf("there are %d plugins, %v", len(list), err)
	}
}

// TestPluginDescription: uploads and bundles are bytes.
func TestPluginDescription(t *testing.T) {
	doc := newService(t).description("1.115")
	post := doc.Paths.Value("/ferric/v1/plugins").Post
	if post.RequestBody.Value.Content.Get("application/octet-stream") == nil || post.Parameters.GetByInAndName("query", "allow_older") == nil {
		t.Errorf("uploads are described as %+v", post)
	}
	get := doc.Paths.Value("/ferric/v1/plugins/{plugin}/{version}/bundle").Get
	if get.Responses.Status(200).Value.Content.Get("application/octet-stream") == nil {
		t.Errorf("bundles are described as %+v", get)
	}
	var names []string
	for name := range doc.Components.Schemas["Plugin"].Value.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	if text, _ := json.Marshal(names); !strings.Contains(string(text), "dmi_vendor") {
		t.Errorf("a plugin has %s", text)
	}
}
