package restapi_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/task"
)

// TestHistory brings a node through something that ends well and something that
// does not.
func TestHistory(t *testing.T) {
	s := newService(t)
	id := s.enrol("a")
	if got := s.want(200, "78", "GET", "/v1/nodes/a/history", "").object; !cmp.Equal(got, map[string]any{"history": []any{}}) {
		t.Errorf("a new node has the history %v", got)
	}
	s.want(202, "82", "PUT", "/v1/nodes/a/states/provision", `{"target": "manage"}`)
	s.until("a", provision.Manageable)
	n, err := s.store.Node(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ü", 300)
	ctx := task.WithActor(t.Context(), task.Actor{User: "me", Project: "mine"})
	err = s.tasks.Do(ctx, n.ID, "test", func(ctx context.Context, w *task.Task) error {
		w.SetError("%s", long)
		return w.Save(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	list := s.want(200, "78", "GET", "/v1/nodes/a/history", "").object["history"].([]any)
	if len(list) != 2 {
		t.Fatalf("the history has %d entries: %v", len(list), list)
	}
	first, second := list[0].(map[string]any), list[1].(map[string]any)
	if first["severity"] != "INFO" || first["event"] != `Node moved from provision state "verifying" to "manageable".` {
		t.Errorf("the verification is remembered as %v", first)
	}
	event := second["uuid"].(string)
	want := map[string]any{"uuid": event, "created_at": second["created_at"], "severity": "ERROR", "event": strings.Repeat("ü", 252) + "...",
		"links": s.links("nodes/" + id + "/history/" + event)}
	if diff := cmp.Diff(want, second); diff != "" {
		t.Errorf("the error in the list differs (-want +got):\n%s", diff)
	}
	want["event"], want["event_type"], want["conductor"], want["user"] = long, "monitoring", host, "me"
	for _, step := range []struct {
		minor string
		more  map[string]any
	}{
		{"78", nil}, {"112", nil}, {"113", map[string]any{"project": "mine"}}, {"114", nil},
		{"115", map[string]any{"state": "manageable", "target_provision_state": nil, "duration_seconds": 0.0}},
	} {
		for name, value := range step.more {
			want[name] = value
		}
		if diff := cmp.Diff(want, s.want(200, step.minor, "GET", "/v1/nodes/a/history/"+event, "").object); diff != "" {
			t.Errorf("the entry at 1.%s differs (-want +got):\n%s", step.minor, diff)
		}
		detailed := s.want(200, step.minor, "GET", "/v1/nodes/a/history?detail=true", "").object["history"].([]any)
		if diff := cmp.Diff(want, detailed[1]); diff != "" {
			t.Errorf("the detailed list at 1.%s differs (-want +got):\n%s", step.minor, diff)
		}
	}
	page := s.want(200, "115", "GET", "/v1/nodes/a/history?limit=1", "").object
	next := s.url + "/v1/nodes/" + id + "/history?sort_key=id&sort_dir=asc&fields="
	if got, _ := page["next"].(string); !strings.HasPrefix(got, strings.TrimSuffix(next, "&fields=")) || !strings.Contains(got, "marker="+first["uuid"].(string)) {
		t.Errorf("next is %q", got)
	}
	if rest := s.want(200, "115", "GET", "/v1/nodes/a/history?marker="+first["uuid"].(string), "").object["history"].([]any); len(rest) != 1 {
		t.Errorf("after the first come %d", len(rest))
	}
	s.enrol("b")
	s.calls([]call{
		{404, "77", "GET", "/v1/nodes/a/history", "", ""},
		{404, "77", "GET", "/v1/nodes/a/history/" + event, "", ""},
		{404, "78", "GET", "/v1/nodes/b/history/" + event, "", "could not be found"},
		{404, "78", "GET", "/v1/nodes/nobody/history", "", ""},
		{404, "78", "GET", "/v1/nodes/a/history?marker=" + id, "", ""},
		{400, "78", "GET", "/v1/nodes/a/history?limit=0", "", ""},
		{400, "78", "GET", "/v1/nodes/a/history?detail=perhaps", "", ""},
		{400, "78", "GET", "/v1/nodes/a/history/x", "", ""},
	})
}
