package rules_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/inspection/rules"
)

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func subject(t testing.TB) *rules.Subject {
	t.Helper()
	return &rules.Subject{
		Node:  object(t, `{"uuid": "n1", "driver_info": {"ipmi_address": "10.0.0.5"}, "properties": {"capabilities": "a:1,b:2"}, "extra": {"list": ["x"]}, "traits": ["CUSTOM_OLD"], "description": null}`),
		Ports: []map[string]any{object(t, `{"uuid": "p1", "extra": {}, "pxe_enabled": true}`)},
		Inventory: object(t, `{"cpu": {"count": 8, "architecture": "x86_64", "flags": ["vmx", "aes"]}, "bmc_address": "10.1.2.3", "memory": {"physical_mb": 4096},
			"interfaces": [{"name": "eth0", "mac_address": "aa"}, {"name": "eth1", "mac_address": "bb"}], "hostname": "{node.driver_info[ipmi_address]}", "bmc_password": "hush", "on": true}`),
		PluginData: object(t, `{"a": {"b": 1}, "only": {"one": 1}, "auth_token": "hush", "list": [1]}`),
	}
}

// TestConditions holds a row for each operator, its opposite, and each way to
// loop.
func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		condition string
		want      bool
		wantErr   string
	}{
		{`{"op": "eq", "args": {"values": ["{inventory[cpu][architecture]}", "x86_64"]}}`, true, ""},
		{`{"op": "eq", "args": [["{inventory[cpu][architecture]}", "x86_64"]]}`, true, ""},
		{`{"op": "eq", "args": ["{inventory[cpu][architecture]}", "x86_64"]}`, true, ""},
		{`{"op": "!eq", "args": {"values": ["{inventory[cpu][architecture]}", "x86_64"]}}`, false, ""},
		{`{"op": " ! eq ", "args": {"values": ["a", "b"]}}`, true, ""},
		{`{"op": "eq", "args": {"values": [1, 1.0, true]}}`, true, ""},
		{`{"op": "eq", "args": {"values": ["8", 8]}}`, false, ""},
		{`{"op": "eq", "args": {"values": ["8", 8], "force_strings": true}}`, true, ""},
		{`{"op": "eq", "args": {"values": ["alone"]}}`, true, ""},
		{`{"op": "eq", "args": {"values": "text"}}`, false, "has to be a list"},
		{`{"op": "ne", "args": {"values": [1, 2, 1]}}`, true, ""},
		{`{"op": "lt", "args": {"values": [1, 2, 3]}}`, true, ""},
		{`{"op": "lt", "args": {"values": [1, 3, 2]}}`, false, ""},
		{`{"op": "gt", "args": {"values": ["{inventory[memory][physical_mb]}", 1024]}}`, true, ""},
		{`{"op": "gt", "args": {"values": ["b", "a"]}}`, true, ""},
		{`{"op": "le", "args": {"values": [1, 1]}}`, true, ""},
		{`{"op": "ge", "args": {"values": ["{inventory[cpu][count]}", 8]}}`, true, ""},
		{`{"op": "ge", "args": {"values": ["{inventory[cpu][flags]}", 8]}}`, false, "cannot be compared"},
		{`{"op": "is-empty", "args": {"value": "{inventory[nothing]}"}}`, true, ""},
		{`{"op": "is-empty", "args": {"value": "{node.description}"}}`, true, ""},
		{`{"op": "is-empty", "args": {"value": "{inventory[cpu][count]}"}}`, false, ""},
		{`{"op": "is-empty", "args": {"value": []}}`, true, ""},
		{`{"op": "in-net", "args": {"address": "{inventory[bmc_address]}", "subnet": "10.1.0.0/16"}}`, true, ""},
		{`{"op": "in-net", "args": {"address": "10.2.0.1", "subnet": "10.1.0.0/255.255.0.0"}}`, false, ""},
		{`{"op": "in-net", "args": {"address": "fd00::1", "subnet": "fd00::/8"}}`, true, ""},
		{`{"op": "in-net", "args": {"address": "x", "subnet": "fd00::/8"}}`, false, "invalid address"},
		{`{"op": "matches", "args": {"value": "{inventory[cpu][architecture]}", "regex": "x\\d{2}_\\d+"}}`, true, ""},
		{`{"op": "matches", "args": {"value": "{inventory[cpu][architecture]}", "regex": "x86"}}`, false, ""},
		{`{"op": "contains", "args": {"value": "{inventory[cpu][architecture]}", "regex": "86"}}`, true, ""},
		{`{"op": "contains", "args": {"value": "{inventory[cpu][flags]}", "regex": "'aes'"}}`, true, ""},
		{`{"op": "contains", "args": {"value": "` + strings.Repeat("a", 20000) + `", "regex": "(a*)*(a*)*(a*)*b"}}`, false, ""},
		{`{"op": "one-of", "args": {"value": "{inventory[cpu][architecture]}", "values": ["aarch64", "x86_64"]}}`, true, ""},
		{`{"op": "!one-of", "args": {"value": "riscv", "values": ["aarch64", "x86_64"]}}`, true, ""},
		{`{"op": "is-none", "args": {"value": null}}`, true, ""},
		{`{"op": "is-none", "args": {"value": "x"}}`, false, ""},
		{`{"op": "is-true", "args": {"value": "{inventory[on]}"}}`, true, ""},
		{`{"op": "is-true", "args": {"value": 0}}`, false, ""},
		{`{"op": "is-false", "args": {"value": "no"}}`, true, ""},
		{`{"op": "is-false", "args": {"value": null}}`, true, ""},
		{`{"op": "is-false", "args": {"value": "maybe"}}`, false, ""},
		{`{"op": "eq", "args": {"values": ["{item}", "b"]}, "loop": ["a", "b"]}`, true, ""},
		{`{"op": "eq", "args": {"values": ["{item}", "b"]}, "loop": ["a", "b"], "multiple": "all"}`, false, ""},
		{`{"op": "eq", "args": {"values": ["{item}", "b"]}, "loop": ["a", "b"], "multiple": "last"}`, true, ""},
		{`{"op": "eq", "args": {"values": ["{item}", "b"]}, "loop": ["b", "a"], "multiple": "last"}`, false, ""},
		{`{"op": "eq", "args": {"values": ["{item}", "b"]}, "loop": ["a", "b"], "multiple": "first"}`, true, ""},
		{`{"op": "eq", "args": {"values": ["{item[k]}", 8]}, "loop": {"k": "{inventory[cpu][count]}"}}`, true, ""},
		{`{"op": "eq", "args": {"values": ["{inventory[interfaces][1][name]}", "eth1"]}, "loop": []}`, true, ""},
	} {
		s := subject(t)
		condition := object(t, tt.condition)
		mark := map[string]any{"op": "set-plugin-data", "args": map[string]any{"path": "held", "value": true}}
		if err := rules.Check([]map[string]any{condition}, []map[string]any{mark}); err != nil {
			t.Errorf("%.200s is refused: %v", tt.condition, err)
		}
		err := rules.Apply(t.Context(), []rules.Rule{{Conditions: []map[string]any{condition}, Actions: []map[string]any{mark}}}, s, rules.Environment{})
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%.200s fails with %v, want %q", tt.condition, err, tt.wantErr)
		}
		if got := s.PluginData["held"] == true; got != tt.want {
			t.Errorf("%.200s holds: %v, want %v", tt.condition, got, tt.want)
		}
	}
}

// TestActions holds rows for each action: what a place is afterwards.
func TestActions(t *testing.T) {
	for _, tt := range []struct {
		action  string
		place   string // root and key, as JSON afterwards
		want    string
		wantErr string
	}{
		{`{"op": "fail", "args": {"msg": "no {inventory[bmc_address]}"}}`, "", "", "no 10.1.2.3"},
		{`{"op": "set-attribute", "args": {"path": "description", "value": "{inventory[cpu][count]} cores"}}`, "node description", `"8 cores"`, ""},
		{`{"op": "set-attribute", "args": {"path": "driver_info/ipmi_address", "value": "{inventory[bmc_address]}"}}`, "node driver_info", `{"ipmi_address":"10.1.2.3"}`, ""},
		{`{"op": "set-attribute", "args": {"path": "extra.deep.er", "value": {"n": [1]}}}`, "node extra", `{"deep":{"er":{"n":[1]}},"list":["x"]}`, ""},
		{`{"op": "set-attribute", "args": ["description", "by place"]}`, "node description", `"by place"`, ""},
		{`{"op": "set-attribute", "args": {"path": "bogus", "value": 1}}`, "", "", "no attribute"},
		{`{"op": "set-attribute", "args": {"path": "uuid/x", "value": 1}}`, "", "", "no object"},
		{`{"op": "set-attribute", "args": {"path": "{item[path]}", "value": "{item[value]}"}, "loop": [{"path": "extra/a", "value": "{inventory[bmc_address]}"}, {"path": "extra/b", "value": "2"}]}`,
			"node extra", `{"a":"10.1.2.3","b":"2","list":["x"]}`, ""},
		{`{"op": "extend-attribute", "args": {"path": "extra/list", "value": "x"}}`, "node extra", `{"list":["x","x"]}`, ""},
		{`{"op": "extend-attribute", "args": {"path": "extra/list", "value": "x", "unique": true}}`, "node extra", `{"list":["x"]}`, ""},
		{`{"op": "extend-attribute", "args": {"path": "uuid", "value": "x"}}`, "", "", "no list"},
		{`{"op": "del-attribute", "args": {"path": "extra/list"}}`, "node extra", `{}`, ""},
		{`{"op": "del-attribute", "args": {"path": "extra/none"}}`, "", "", "to delete"},
		{`{"op": "del-attribute", "args": {"path": "extra"}}`, "node extra", `null`, ""},
		{`{"op": "set-capability", "args": {"name": "a", "value": "{inventory[cpu][count]}"}}`, "node properties", `{"capabilities":"b:2,a:8"}`, ""},
		{`{"op": "unset-capability", "args": {"name": "a"}}`, "node properties", `{"capabilities":"b:2"}`, ""},
		{`{"op": "add-trait", "args": {"name": "CUSTOM_NEW"}}`, "node traits", `["CUSTOM_OLD","CUSTOM_NEW"]`, ""},
		{`{"op": "add-trait", "args": {"name": "CUSTOM_OLD"}}`, "node traits", `["CUSTOM_OLD"]`, ""},
		{`{"op": "add-trait", "args": {"name": "lower"}}`, "", "", "not the name of a trait"},
		{`{"op": "remove-trait", "args": {"name": "CUSTOM_OLD"}}`, "node traits", `[]`, ""},
		{`{"op": "remove-trait", "args": {"name": "CUSTOM_NONE"}}`, "node traits", `["CUSTOM_OLD"]`, ""},
		{`{"op": "set-plugin-data", "args": {"path": "a.c", "value": "{inventory[cpu][architecture]}"}}`, "data a", `{"b":1,"c":"x86_64"}`, ""},
		{`{"op": "extend-plugin-data", "args": {"path": "list", "value": 2}}`, "data list", `[1,2]`, ""},
		{`{"op": "extend-plugin-data", "args": {"path": "new.list", "value": 2}}`, "data new", `{"list":[2]}`, ""},
		{`{"op": "unset-plugin-data", "args": {"path": "a.b"}}`, "data a", `null`, ""},
		{`{"op": "unset-plugin-data", "args": {"path": "not.there"}}`, "data list", `[1]`, ""},
		{`{"op": "set-port-attribute", "args": {"port_id": "p1", "path": "extra/n", "value": "{inventory[interfaces][0][name]}"}}`, "port extra", `{"n":"eth0"}`, ""},
		{`{"op": "set-port-attribute", "args": {"port_id": "p2", "path": "extra/n", "value": 1}}`, "", "", "could not be found"},
		{`{"op": "extend-port-attribute", "args": {"port_id": "p1", "path": "extra/l", "value": 1}}`, "port extra", `{"l":[1]}`, ""},
		{`{"op": "del-port-attribute", "args": {"port_id": "p1", "path": "pxe_enabled"}}`, "port pxe_enabled", `null`, ""},
		{`{"op": "log", "args": {"msg": "{inventory[cpu][count]}", "level": "WARNING"}}`, "log", `["warning 8"]`, ""},
		{`{"op": "log", "args": {"msg": "{inventory[bmc_password]} {plugin_data[auth_token]} {plugin_data[list]}"}}`, "log", `["info *** *** [1]"]`, ""},
		{`{"op": "log", "args": {"msg": "{inventory[hostname]}"}}`, "log", `["info {node.driver_info[ipmi_address]}"]`, ""},
		{`{"op": "log", "args": {"msg": "{item}"}, "loop": ["{inventory[hostname]}"]}`, "log", `["info {node.driver_info[ipmi_address]}"]`, ""},
		{`{"op": "log", "args": {"msg": "{{}} {inventory[cpu][count]:04d}|{node.uuid:>4}|{node.uuid!r}"}}`, "log", `["info {} 0008|  n1|'n1'"]`, ""},
		{`{"op": "log", "args": {"msg": "x", "level": "loud"}}`, "", "", "invalid log level"},
	} {
		s := subject(t)
		action := object(t, tt.action)
		if err := rules.Check(nil, []map[string]any{action}); err != nil {
			t.Errorf("%s is refused: %v", tt.action, err)
		}
		logged := []string{}
		env := rules.Environment{Log: func(level, text string) { logged = append(logged, level+" "+text) }}
		err := rules.Apply(t.Context(), []rules.Rule{{Actions: []map[string]any{action}}}, s, env)
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s fails with %v, want %q", tt.action, err, tt.wantErr)
		}
		if tt.want == "" {
			continue
		}
		root, key, _ := strings.Cut(tt.place, " ")
		got, err := json.Marshal(map[string]any{"node": s.Node[key], "data": s.PluginData[key], "port": s.Ports[0][key], "log": logged}[root])
		if err != nil || string(got) != tt.want {
			t.Errorf("%s leaves %s as %s, want %s (%v)", tt.action, tt.place, got, tt.want, err)
		}
	}
}

// TestOrder runs rules by priority, and stops at the first that fails.
func TestOrder(t *testing.T) {
	rule := func(priority int, op, arg string) rules.Rule {
		return rules.Rule{UUID: arg, Priority: priority, Actions: []map[string]any{{"op": op, "args": map[string]any{"msg": arg}}}}
	}
	var logged []string
	env := rules.Environment{Log: func(_, text string) { logged = append(logged, text) }}
	err := rules.Apply(t.Context(), []rules.Rule{rule(1, "log", "late"), rule(50, "log", "early"), rule(5, "fail", "stop"), rule(50, "log", "second")}, subject(t), env)
	if !errors.Is(err, rules.ErrFailed) {
		t.Errorf("the rules end with %v", err)
	}
	if diff := cmp.Diff([]string{"early", "second"}, logged); diff != "" {
		t.Errorf("what was done differs (-want +got):\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	const action = `{"op": "fail", "args": {"msg": "x"}}`
	for _, tt := range []struct{ condition, action, want string }{
		{"", "", "at least one action"},
		{"", `{"op": "dance", "args": {}}`, "unsupported action dance"},
		{"", `{"op": "fail"}`, "args are missing"},
		{"", `{"op": "fail", "args": {}}`, "missing required argument(s): msg"},
		{"", `{"op": "fail", "args": {"msg": "x", "more": 1}}`, "unexpected argument(s): more"},
		{"", `{"op": "fail", "args": "x"}`, "either a list or an object"},
		{"", `{"op": "fail", "args": ["x", "y"]}`, "too many"},
		{"", `{"op": "fail", "args": ["x"], "loop": "abc"}`, "loop has to be"},
		{`{"op": "sounds-like", "args": {}}`, action, "unsupported operator"},
		{`{"op": "!!eq", "args": {"values": []}}`, action, "exclamation"},
		{`{"op": 5, "args": {}}`, action, "name of an operator"},
		{`{"op": "matches", "args": {"value": "x", "regex": "("}}`, action, "invalid regular expression"},
		{`{"op": "eq", "args": {"values": []}, "loop": [1], "multiple": "some"}`, action, "multiple is some"},
	} {
		var conditions, actions []map[string]any
		if tt.condition != "" {
			conditions = append(conditions, object(t, tt.condition))
		}
		if tt.action != "" {
			actions = append(actions, object(t, tt.action))
		}
		if err := rules.Check(conditions, actions); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %v, want %q", tt.condition, tt.action, err, tt.want)
		}
	}
}

// TestCall has a server that fails at first, and hosts that only the data names.
func TestCall(t *testing.T) {
	var asked atomic.Int32
	var path atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path.Store(r.URL.Path + " " + r.Header.Get("X-Key"))
		switch {
		case r.URL.Path == "/away":
			http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
		case r.URL.Path == "/never" || asked.Add(1) == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	call := func(args map[string]any, loop any) error {
		s := subject(t)
		s.Inventory["evil"] = server.URL
		return rules.Apply(t.Context(), []rules.Rule{{Actions: []map[string]any{{"op": "api-call", "args": args, "loop": loop}}}}, s, rules.Environment{Call: rules.Get})
	}
	if err := call(map[string]any{"url": server.URL + "/{node.uuid}", "headers": map[string]any{"X-Key": "k"}, "backoff_factor": 0.01}, nil); err != nil {
		t.Error(err)
	}
	if got := path.Load(); got != "/n1 k" || asked.Load() != 2 {
		t.Errorf("the server was asked for %v, %d times", got, asked.Load())
	}
	if err := call(map[string]any{"url": "{item}/x"}, []any{server.URL}); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		args map[string]any
		want string
	}{
		{map[string]any{"url": "{inventory[evil]}/x"}, "not named by the rule"},
		{map[string]any{"url": "file:///etc/passwd"}, "not an http or https address"},
		{map[string]any{"url": server.URL + "/never", "retries": 1, "backoff_factor": 0}, "status 503"},
		{map[string]any{"url": server.URL + "/away", "retries": 0}, "another host"},
		{map[string]any{"url": server.URL, "timeout": 0}, "timeout"},
		{map[string]any{"url": server.URL, "proxies": "x"}, "proxies"},
		{map[string]any{"url": server.URL, "headers": []any{}}, "headers"},
	} {
		if err := call(tt.args, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// TestBounds makes rules grow what they can: it ends with an error, soon.
func TestBounds(t *testing.T) {
	s := subject(t)
	s.Inventory["long"] = strings.Repeat("x", 60<<10)
	var items []any
	for i := range 1000 {
		items = append(items, float64(i))
	}
	action := map[string]any{"op": "extend-plugin-data", "args": map[string]any{"path": "grown", "value": "{inventory[long]}{item}"}, "loop": items}
	err := rules.Apply(t.Context(), []rules.Rule{{Actions: []map[string]any{action}}}, s, rules.Environment{})
	if err == nil || !strings.Contains(err.Error(), "formatted texts have more") {
		t.Errorf("60 MB grow: %v", err)
	}
	if err := rules.Check(nil, []map[string]any{{"op": "log", "args": []any{"x"}, "loop": append(items, 1.0)}}); err == nil {
		t.Error("a loop of 1001 is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rules.Apply(ctx, []rules.Rule{{Actions: []map[string]any{action}}}, subject(t), rules.Environment{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was cancelled goes on: %v", err)
	}
}

// FuzzFormat formats any text: it neither panics nor makes what is too long.
func FuzzFormat(f *testing.F) {
	for _, seed := range []string{"{inventory[cpu][count]:>08d}", "{{}}", "{", "}", "{a!r:s}", "{node.x[", "{inventory[interfaces][0][name]!s:^9}", "{inventory[a]b}", "{item[!:]}", "{inventory:999}"} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, format, data string) {
		s := subject(t)
		s.Inventory["data"] = data
		longest := 0
		env := rules.Environment{Log: func(_, text string) { longest = max(longest, len(text)) }}
		action := map[string]any{"op": "log", "args": map[string]any{"msg": format + "{inventory[data]}"}, "loop": []any{format}}
		if err := rules.Apply(t.Context(), []rules.Rule{{Actions: []map[string]any{action}}}, s, env); err != nil {
			return
		}
		if longest > 64<<10+len(format)+1024 {
			t.Errorf("a text of %d bytes", longest)
		}
	})
}

// FuzzConditions checks and evaluates any condition and action: what Check
// takes never panics.
func FuzzConditions(f *testing.F) {
	f.Add(`{"op": "eq", "args": [["{item}", 1]], "loop": [1, "2"], "multiple": "all"}`, `{"op": "set-attribute", "args": ["extra/x", {"a": 1}]}`)
	f.Add(`{"op": "in-net", "args": ["10.0.0.1", "10.0.0.0/255.0.255.0"]}`, `{"op": "unset-plugin-data", "args": ["a.b"]}`)
	f.Add(`{"op": "matches", "args": ["aa", "a{1,1000}"]}`, `{"op": "add-trait", "args": ["X"]}`)
	f.Fuzz(func(t *testing.T, condition, action string) {
		var c, a map[string]any
		if json.Unmarshal([]byte(condition), &c) != nil || json.Unmarshal([]byte(action), &a) != nil {
			return
		}
		if rules.Check([]map[string]any{c}, []map[string]any{a}) != nil {
			return
		}
		call := func(context.Context, rules.Call) error { return nil }
		err := rules.Apply(t.Context(), []rules.Rule{{Conditions: []map[string]any{c}, Actions: []map[string]any{a}}}, subject(t), rules.Environment{Call: call})
		if err != nil && fmt.Sprint(err) == "" {
			t.Error("an error without a text")
		}
	})
}
