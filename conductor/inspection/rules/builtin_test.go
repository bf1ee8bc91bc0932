package rules_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/conductor/inspection/rules"
)

func TestLoad(t *testing.T) {
	const good = `
- uuid: site-a
  priority: 10000
  sensitive: true
  conditions:
  - op: ge
    args: ["{inventory[memory][physical_mb]}", 4096]
  actions:
  - op: set-attribute
    args: {path: extra/site, value: a}
`
	for name, tt := range map[string]struct{ text, want string }{
		"good":        {good, ""},
		"empty":       {"", ""},
		"no list":     {"uuid: x", "is no list of rules"},
		"no YAML":     {"- [", "yaml"},
		"twice":       {good + good, "rule 2: uuid has to be a name"},
		"no action":   {"- uuid: x", "rule 1: actions needs"},
		"other phase": {strings.Replace(good, "sensitive: true", "phase: early", 1), `rule 1: phase is "early"`},
		"unknown op":  {strings.Replace(good, "op: ge", "op: fly", 1), "rule 1: conditions[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rules.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := rules.Load(path)
			if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("error %v; want %q", err, tt.want)
			}
			if name == "good" && (len(list) != 1 || list[0].Priority != 10000 || !list[0].Sensitive || list[0].Conditions[0]["args"].([]any)[1] != 4096.0) {
				t.Errorf("rules %+v", list)
			}
		})
	}
	if _, err := rules.Load("/nonexistent/rules.yaml"); err == nil {
		t.Error("a file that is not there is read")
	}
}
