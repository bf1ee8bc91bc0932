package restapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// call is one request of a table, with what has to come back.
type call struct {
	status                    int
	minor, method, path, body string
	fault                     string
}

func (s *service) calls(calls []call) {
	s.Helper()
	for _, c := range calls {
		a := s.want(c.status, c.minor, c.method, c.path, c.body)
		if !strings.Contains(a.fault(), c.fault) {
			s.Errorf("%s %s %s: %q, want %q", c.method, c.path, c.body, a.fault(), c.fault)
		}
	}
}

// withoutTimes is an object whose times are not what is looked at.
func withoutTimes(o map[string]any) map[string]any {
	delete(o, "created_at")
	delete(o, "updated_at")
	return o
}

func (s *service) links(path string) []any {
	return []any{map[string]any{"href": s.url + "/v1/" + path, "rel": "self"}, map[string]any{"href": s.url + "/" + path, "rel": "bookmark"}}
}

func TestDeployTemplates(t *testing.T) {
	s := newService(t)
	const id = "bbb45f41-d4bc-4307-8d1d-32f95ce1e920"
	const step = `{"interface": "bios", "step": "apply", "args": {"a": 1, "password": "x"}, "priority": "5"}`
	make := func(rest string) string { return `{"name": "CUSTOM_A", ` + rest + `}` }
	s.calls([]call{
		{404, "54", "GET", "/v1/deploy_templates", "", ""},
		{405, "54", "POST", "/v1/deploy_templates", "{}", ""},
		{405, "54", "PATCH", "/v1/deploy_templates/CUSTOM_A", "[]", ""},
		{405, "54", "DELETE", "/v1/deploy_templates/CUSTOM_A", "", ""},
		{400, "55", "POST", "/v1/deploy_templates", `{"steps": [` + step + `]}`, "name"},
		{400, "55", "POST", "/v1/deploy_templates", `{"name": "lower", "steps": [` + step + `]}`, "trait"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"extra": {}`), "steps"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": []`), "at least one step"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": {}`), "at least one step"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [` + step + `, ` + step + `]`), "Duplicates: interface: bios, step: apply"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [{"interface": "radio", "step": "x", "args": {}, "priority": 1}]`), "interface"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [{"interface": "bios", "args": {}, "priority": 1}]`), "name of a step"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [{"interface": "bios", "step": "x", "priority": 1}]`), "args"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [{"interface": "bios", "step": "x", "args": {}}]`), "priority"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [{"interface": "bios", "step": "x", "args": {}, "priority": -1}]`), "priority"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [{"interface": "bios", "step": "x", "args": {}, "priority": 1, "order": 1}]`), "unknown member order"},
		{400, "55", "POST", "/v1/deploy_templates", make(`"steps": [` + step + `], "bogus": 1`), "bogus"},
		{201, "55", "POST", "/v1/deploy_templates", make(`"steps": [` + step + `], "uuid": "` + id + `", "extra": {"k": "v"}`), ""},
		{409, "55", "POST", "/v1/deploy_templates", make(`"steps": [` + step + `]`), "A deploy template with name CUSTOM_A already exists"},
		{201, "55", "POST", "/v1/deploy_templates", `{"name": "CUSTOM_B", "steps": [` + step + `]}`, ""},
		{404, "55", "GET", "/v1/deploy_templates/CUSTOM_C", "", "Deploy template CUSTOM_C could not be found"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "add", "path": "/uuid", "value": "x"}]`, "Only the following"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "remove", "path": "/steps"}]`, "at least one step"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "remove", "path": "/steps/0"}]`, "at least one step"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "remove", "path": "/name"}]`, "name"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "replace", "path": "/name", "value": "x"}]`, "trait"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "replace", "path": "/steps/7", "value": {}}]`, "apply patch"},
		{400, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "add", "path": "/steps/-", "value": ` + step + `}]`, "Duplicates"},
		{409, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "replace", "path": "/name", "value": "CUSTOM_B"}]`, "already exists"},
		{200, "55", "PATCH", "/v1/deploy_templates/CUSTOM_A", `[{"op": "replace", "path": "/steps/0/priority", "value": 7}, {"op": "add", "path": "/steps/-", "value": {"interface": "raid", "step": "x", "args": {}, "priority": 0}}]`, ""},
		{200, "55", "PATCH", "/v1/deploy_templates/" + id, `[{"op": "remove", "path": "/extra"}]`, ""},
		{400, "55", "GET", "/v1/deploy_templates?sort_key=steps", "", ""},
		{400, "55", "GET", "/v1/deploy_templates?fields=uuid&detail=true", "", ""},
	})
	want := map[string]any{"uuid": id, "name": "CUSTOM_A", "extra": map[string]any{}, "links": s.links("deploy_templates/" + id), "steps": []any{
		map[string]any{"interface": "bios", "step": "apply", "args": map[string]any{"a": 1.0, "password": "******"}, "priority": 7.0},
		map[string]any{"interface": "raid", "step": "x", "args": map[string]any{}, "priority": 0.0},
	}}
	if diff := cmp.Diff(want, withoutTimes(s.want(200, "55", "GET", "/v1/deploy_templates/CUSTOM_A", "").object)); diff != "" {
		t.Errorf("the template differs (-want +got):\n%s", diff)
	}
	if p, err := s.store.DeployTemplate(t.Context(), id); err != nil || p.Steps[0].Args["password"] != "x" {
		t.Errorf("the secret is lost in the database: %v, %v", p, err)
	}
	list := s.want(200, "55", "GET", "/v1/deploy_templates?limit=1", "").object
	if diff := cmp.Diff([]any{map[string]any{"uuid": id, "name": "CUSTOM_A", "links": s.links("deploy_templates/" + id)}}, list["deploy_templates"]); diff != "" || list["next"] == nil {
		t.Errorf("the list has next %v and differs (-want +got):\n%s", list["next"], diff)
	}
	s.want(204, "55", "DELETE", "/v1/deploy_templates/CUSTOM_A", "")
	s.want(404, "55", "DELETE", "/v1/deploy_templates/CUSTOM_A", "")
}

// TestTemplateUse deploys with templates; that a step of theirs is run is seen
// by the state that it brings the node into.
func TestTemplateUse(t *testing.T) {
	template := func(name, step, priority string) string {
		return `{"name": "` + name + `", "steps": [{"interface": "deploy", "step": "` + step + `", "args": {}, "priority": ` + priority + `}]}`
	}
	for _, tt := range []struct {
		name, traits, steps string
		status              int
		want                string // state, or a part of the refusal
	}{
		{"no traits", `[]`, ``, 202, "active"},
		{"a trait that is no template", `["CUSTOM_OTHER"]`, ``, 202, "active"},
		{"a template that holds", `["CUSTOM_HOLD"]`, ``, 202, "deploy hold"},
		{"a trait that the node does not have", `["CUSTOM_NONE"]`, ``, 400, "CUSTOM_NONE"},
		{"an unknown step", `["CUSTOM_BAD"]`, ``, 400, "deploy.polish"},
		{"two templates with the same step", `["CUSTOM_HOLD", "CUSTOM_HOLD2"]`, ``, 400, "both have the step deploy.hold"},
		{"the step that cannot be changed", `["CUSTOM_CORE"]`, ``, 400, "deploy.deploy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			for _, body := range []string{template("CUSTOM_HOLD", "hold", "90"), template("CUSTOM_HOLD2", "hold", "80"), template("CUSTOM_BAD", "polish", "1"), template("CUSTOM_CORE", "deploy", "1")} {
				s.want(201, "55", "POST", "/v1/deploy_templates", body)
			}
			s.available("a", "large", "CUSTOM_HOLD", "CUSTOM_HOLD2", "CUSTOM_BAD", "CUSTOM_CORE", "CUSTOM_OTHER")
			s.want(200, "82", "PATCH", "/v1/nodes/a", `[{"op": "add", "path": "/instance_info/traits", "value": `+tt.traits+`}]`)
			a := s.want(tt.status, "115", "PUT", "/v1/nodes/a/states/provision", `{"target": "active"`+tt.steps+`}`)
			if tt.status != 202 {
				if !strings.Contains(a.fault(), tt.want) {
					t.Errorf("refused with %q, want %q", a.fault(), tt.want)
				}
				return
			}
			s.until("a", provision.State(tt.want))
			if tt.want == "deploy hold" {
				s.want(202, "115", "PUT", "/v1/nodes/a/states/provision", `{"target": "unhold"}`)
				s.until("a", provision.Active)
			}
		})
	}
}

func TestRunbooks(t *testing.T) {
	s := newService(t)
	const id = "bbb45f41-d4bc-4307-8d1d-32f95ce1e920"
	const steps = `"steps": [{"interface": "bios", "step": "apply", "order": 1}]`
	const path = "/v1/runbooks/CUSTOM_A"
	s.calls([]call{
		{404, "91", "GET", "/v1/runbooks", "", ""},
		{405, "91", "POST", "/v1/runbooks", "{}", ""},
		{405, "91", "PATCH", path, "[]", ""},
		{405, "91", "DELETE", path, "", ""},
		{400, "92", "POST", "/v1/runbooks", `{` + steps + `}`, "name"},
		{400, "92", "POST", "/v1/runbooks", `{"name": "free-name", ` + steps + `}`, "trait"},
		{400, "112", "POST", "/v1/runbooks", `{"name": "with space", ` + steps + `}`, "not a valid name"},
		{201, "112", "POST", "/v1/runbooks", `{"name": "free-name", "description": "d", ` + steps + `}`, ""},
		{406, "111", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "description": "d", ` + steps + `}`, "1.112"},
		{400, "112", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "traits": ["CUSTOM_X"], ` + steps + `}`, "traits"},
		{400, "92", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "steps": []}`, "at least one step"},
		{400, "92", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "steps": [{"interface": "bios", "step": "x"}]}`, "order"},
		{400, "92", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "steps": [{"interface": "bios", "step": "x", "order": 1, "args": []}]}`, "args"},
		{400, "92", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "owner": "me", "public": true, ` + steps + `}`, "cannot be an owner"},
		{201, "92", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", "uuid": "` + id + `", "owner": "me", ` + steps + `}`, ""},
		{409, "92", "POST", "/v1/runbooks", `{"name": "CUSTOM_A", ` + steps + `}`, "A runbook with name CUSTOM_A already exists"},
		{406, "111", "PATCH", path, `[{"op": "add", "path": "/description", "value": "x"}]`, "1.112"},
		{400, "112", "PATCH", path, `[{"op": "add", "path": "/traits", "value": []}]`, "Only the following"},
		{200, "92", "PATCH", path, `[{"op": "add", "path": "/steps/-", "value": {"interface": "raid", "step": "x", "order": "0"}}]`, ""},
		{400, "92", "PATCH", path, `[{"op": "add", "path": "/public", "value": true}, {"op": "add", "path": "/owner", "value": "you"}]`, "cannot be an owner"},
		{200, "92", "PATCH", path, `[{"op": "add", "path": "/public", "value": true}]`, ""},
		{400, "92", "PATCH", path, `[{"op": "add", "path": "/owner", "value": "you"}]`, "cannot be an owner"},
		{200, "92", "PATCH", path, `[{"op": "add", "path": "/disable_ramdisk", "value": true}]`, ""},
		{404, "111", "GET", path + "/traits", "", ""},
		{404, "111", "PUT", path + "/traits", `{"traits": []}`, ""},
		{400, "112", "PUT", path + "/traits", `{}`, "traits"},
		{400, "112", "PUT", path + "/traits", `{"traits": ["lower"]}`, "trait"},
		{204, "112", "PUT", path + "/traits", `{"traits": ["CUSTOM_Y", "CUSTOM_X", "CUSTOM_Y"]}`, ""},
		{400, "112", "PUT", path + "/traits/CUSTOM_Z", `{"traits": []}`, ""},
		{400, "112", "PUT", path + "/traits/lower", ``, "trait"},
		{204, "112", "PUT", path + "/traits/CUSTOM_Z", ``, ""},
		{204, "112", "DELETE", path + "/traits/CUSTOM_Y", ``, ""},
		{204, "112", "DELETE", path + "/traits/CUSTOM_NONE", ``, ""},
	})
	want := map[string]any{"uuid": id, "name": "CUSTOM_A", "description": nil, "owner": nil, "public": true, "disable_ramdisk": true,
		"traits": []any{"CUSTOM_X", "CUSTOM_Z"}, "extra": map[string]any{}, "links": s.links("runbooks/" + id), "steps": []any{
			map[string]any{"interface": "bios", "step": "apply", "args": map[string]any{}, "order": 1.0},
			map[string]any{"interface": "raid", "step": "x", "args": map[string]any{}, "order": 0.0},
		}}
	if diff := cmp.Diff(want, withoutTimes(s.want(200, "112", "GET", path, "").object)); diff != "" {
		t.Errorf("the runbook differs (-want +got):\n%s", diff)
	}
	delete(want, "traits")
	delete(want, "description")
	if diff := cmp.Diff(want, withoutTimes(s.want(200, "111", "GET", path, "").object)); diff != "" {
		t.Errorf("the runbook at 1.111 differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"traits": []any{"CUSTOM_X", "CUSTOM_Z"}}, s.want(200, "112", "GET", path+"/traits", "").object); diff != "" {
		t.Errorf("the traits differ (-want +got):\n%s", diff)
	}
	s.calls([]call{
		{204, "112", "DELETE", path + "/traits", ``, ""},
		{204, "92", "DELETE", "/v1/runbooks/" + id, "", ""},
		{404, "92", "GET", path, "", "Runbook CUSTOM_A could not be found"},
	})
}

// TestRunbookUse cleans by a runbook; that its step is run is seen by the
// state that it brings the node into.
func TestRunbookUse(t *testing.T) {
	const runbook = `{"target": "clean", "runbook": "CUSTOM_BOOK"`
	for _, tt := range []struct {
		name, minor, traits string
		body                string
		status              int
		want                string
	}{
		{"by name", "92", "CUSTOM_BOOK", runbook + `}`, 202, "clean hold"},
		{"by another name", "92", "CUSTOM_X", runbook + `}`, 400, "not been approved"},
		{"by a trait", "112", "CUSTOM_X", runbook + `}`, 202, "clean hold"},
		{"by name, which no longer counts", "112", "CUSTOM_BOOK", runbook + `}`, 400, "not been approved"},
		{"too early", "91", "CUSTOM_BOOK", runbook + `}`, 406, "runbook"},
		{"with steps", "92", "CUSTOM_BOOK", runbook + `, "clean_steps": [{"interface": "deploy", "step": "x"}]}`, 400, "not both"},
		{"unknown", "92", "CUSTOM_BOOK", `{"target": "clean", "runbook": "CUSTOM_NONE"}`, 404, "Runbook CUSTOM_NONE could not be found"},
		{"without traits", "112", "CUSTOM_X", `{"target": "clean", "runbook": "CUSTOM_BARE"}`, 400, "no traits configured"},
		{"of a step that is not allowed", "112", "CUSTOM_X", `{"target": "clean", "runbook": "CUSTOM_RAW"}`, 400, "vendor.send_raw"},
		{"with another verb", "92", "CUSTOM_BOOK", `{"target": "provide", "runbook": "CUSTOM_BOOK"}`, 400, "runbook"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			for name, step := range map[string]string{"CUSTOM_BOOK": `"deploy", "step": "hold"`, "CUSTOM_BARE": `"deploy", "step": "hold"`, "CUSTOM_RAW": `"vendor", "step": "send_raw"`} {
				s.want(201, "112", "POST", "/v1/runbooks", `{"name": "`+name+`", "disable_ramdisk": true, "steps": [{"interface": `+step+`, "order": 1}]}`)
				if name != "CUSTOM_BARE" {
					s.want(204, "112", "PUT", "/v1/runbooks/"+name+"/traits/CUSTOM_X", "")
				}
			}
			s.enrol("a")
			s.edit("a", in(provision.Manageable))
			s.edit("a", func(n *store.Node) { n.Traits, n.TargetProvisionState = store.Strings{tt.traits}, nil })
			a := s.want(tt.status, tt.minor, "PUT", "/v1/nodes/a/states/provision", tt.body)
			if tt.status == 202 {
				s.until("a", provision.State(tt.want))
			} else if !strings.Contains(a.fault(), tt.want) {
				t.Errorf("refused with %q, want %q", a.fault(), tt.want)
			}
		})
	}
}
