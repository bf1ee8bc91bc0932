package inspection

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
)

// collects is a vendor's manager with something to add.
type collects struct {
	site
	name     string
	required bool
	collect  func() (map[string]any, error)
}

func (c *collects) Name() string   { return c.name }
func (c *collects) Required() bool { return c.required }
func (c *collects) Collect(context.Context, *hwmanager.Host) (map[string]any, error) {
	return c.collect()
}

func says(value any) func() (map[string]any, error) {
	return func() (map[string]any, error) { return map[string]any{"fans": value}, nil }
}

// TestManagersCollect: each manager's data stand under its name; one that fails
// is named, and costs nobody else anything.
func TestManagersCollect(t *testing.T) {
	managers := []hwmanager.Manager{
		&collects{name: "acme", collect: says([]int{1, 2})},
		&collects{name: "passes", collect: func() (map[string]any, error) { return nil, hwmanager.ErrNotHandled }},
		&collects{name: "idle", collect: func() (map[string]any, error) { return nil, nil }},
		&collects{name: "fails", collect: func() (map[string]any, error) { return nil, errors.New("sensor is gone") }},
		&collects{name: "panics", collect: func() (map[string]any, error) { panic("no such bus") }},
		&collects{name: "root_disk", collect: says("a lie")},
		&collects{name: "parsed_lldp", collect: says("a lie")},
		&collects{name: "large", collect: says(strings.Repeat("x", maxCollected))},
		&collects{name: "rubbish", collect: says(make(chan int))},
	}
	want := map[string]string{
		"fails": "sensor is gone", "panics": "panic: no such bus", "root_disk": "member of this name already", "parsed_lldp": "member of this name already",
		"large": "more than 1048576", "rubbish": "unsupported type",
	}
	for _, names := range [][]string{nil, {"acme", "default"}, {"default"}} {
		o, s := options(t, "lab.machine", managers...)
		o.Collectors = names
		logged := false
		o.Logs = func(context.Context) (string, error) { logged = true; return "H4sI", nil }
		uuid, err := Run(t.Context(), o)
		if err != nil || uuid != "1be26c0b" {
			t.Errorf("collectors %q: UUID %q, %v", names, uuid, err)
		}
		body := posted(t, s)
		if diff := cmp.Diff(map[string]any{"fans": []any{1.0, 2.0}}, body["acme"]); diff != "" {
			t.Errorf("collectors %q: acme (-want +got):\n%s", names, diff)
		}
		failed, _ := body[failedCollectors].(map[string]any)
		for name, reason := range want {
			if text, _ := failed[name].(string); !strings.Contains(text, reason) {
				t.Errorf("collectors %q: %s failed with %q; want %q", names, name, text, reason)
			}
		}
		disk, _ := body["root_disk"].(map[string]any)
		if len(failed) != len(want) || body["error"] != nil || body["passes"] != nil || disk["name"] != "/dev/vda" || logged != (names == nil) {
			t.Errorf("collectors %q: failed %v, error %v, root disk %v", names, failed, body["error"], disk["name"])
		}
		if _, there := body["idle"]; there {
			t.Errorf("collectors %q: there is a member for nothing", names)
		}
	}
}

// TestRequiredManagerFails: its failure is one of the inspection.
func TestRequiredManagerFails(t *testing.T) {
	o, s := options(t, "lab.machine", &collects{name: "acme", required: true, collect: func() (map[string]any, error) { return nil, errors.New("sensor is gone") }})
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "sensor is gone") {
		t.Errorf("Run = %v", err)
	}
	body := posted(t, s)
	if text, _ := body["error"].(string); !strings.Contains(text, "\n* collector hardware managers failed: acme: sensor is gone") || body["inventory"] == nil {
		t.Errorf("error %v", body["error"])
	}
}
