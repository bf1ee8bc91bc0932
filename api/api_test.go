package api_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api"
	"ferric/api/ironic"
)

func TestNegotiateVersion(t *testing.T) {
	const legacy, standard = "X-OpenStack-Ironic-API-Version", "OpenStack-API-Version"
	for _, tc := range []struct {
		header, value string
		want          ironic.Version
		refusal       string
	}{
		{"", "", 1, ""},
		{legacy, "1.1", 1, ""},
		{legacy, "1.40", 40, ""},
		{legacy, " 1.40 ", 40, ""},
		{legacy, "1.82", 82, ""},
		{legacy, "latest", 115, ""},
		{legacy, "LATEST", 115, ""},
		{standard, "baremetal 1.31", 31, ""},
		{standard, "baremetal latest", 115, ""},
		{standard, "compute 2.1, baremetal 1.11", 11, ""},
		{standard, "compute 2.1", 1, ""},
		{standard, "baremetal", 1, ""},
		{legacy, "1.116", 0, "Version 1.116 was requested, which is not supported by this service. The supported version range is: [1.1, 1.115]."},
		{legacy, "1.0", 0, "Version 1.0 was requested"},
		{legacy, "2.1", 0, "Version 2.1 was requested"},
		{legacy, "0.5", 0, "Version 0.5 was requested"},
		{standard, "baremetal 1.999", 0, "Version 1.999 was requested"},
		{legacy, "x", 0, "Invalid value for X-OpenStack-Ironic-API-Version header"},
		{legacy, "1", 0, "Invalid value"},
		{legacy, "1.2.3", 0, "Invalid value"},
		{legacy, "1.-2", 0, "Invalid value"},
		{legacy, "1.99999999999999999999", 0, "Invalid value"},
		{legacy, "1.", 0, "Invalid value"},
	} {
		h := http.Header{}
		if tc.header != "" {
			h.Set(tc.header, tc.value)
		}
		got, err := api.NegotiateVersion(h)
		if tc.refusal == "" {
			if err != nil || got != tc.want {
				t.Errorf("%s: %q = %v, %v; want %v", tc.header, tc.value, got, err, tc.want)
			}
			continue
		}
		var e *api.Error
		if !errors.As(err, &e) || e.Status != http.StatusNotAcceptable || !strings.HasPrefix(e.Text, tc.refusal) {
			t.Errorf("%s: %q: error %v, want 406 %q", tc.header, tc.value, err, tc.refusal)
		}
	}
}

func TestErrorBody(t *testing.T) {
	fault := map[string]any{"faultcode": "Client", "faultstring": `no "x"`, "debuginfo": nil}
	for _, tc := range []struct {
		name    string
		err     *api.Error
		wrapped bool
		want    map[string]any
	}{
		{"wrapped", api.Errorf(http.StatusBadRequest, "no %q", "x"), true, fault},
		{"flat", api.Flat(http.StatusBadRequest, "no %q", "x"), false, fault},
		{"server", api.Errorf(http.StatusServiceUnavailable, "busy"), true,
			map[string]any{"faultcode": "Server", "faultstring": "busy", "debuginfo": nil}},
		{"routing", api.Routing(http.StatusNotFound, "gone"), true,
			map[string]any{"faultcode": "Client", "faultstring": "gone", "debuginfo": nil, "message": "gone", "code": "404 Not Found", "title": "Not Found"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := tc.err.Body()
			if tc.wrapped {
				var outer map[string]string
				if err := json.Unmarshal(body, &outer); err != nil || len(outer) != 1 {
					t.Fatalf("outer document %s: %v", body, err)
				}
				body = []byte(outer["error_message"])
			}
			var got map[string]any
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("inner document %s: %v", body, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("inner document (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatch(t *testing.T) {
	doc := `{"name": null, "extra": {"a": 1, "list": [1, 2]}, "driver_info": {"password": "secret"}}`
	for _, tc := range []struct {
		name, patch, want, refusal string
	}{
		{"add a key", `[{"op":"add","path":"/extra/b","value":2}]`, `{"name":null,"extra":{"a":1,"b":2,"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"add overwrites", `[{"op":"add","path":"/extra","value":{}}]`, `{"name":null,"extra":{},"driver_info":{"password":"secret"}}`, ""},
		{"replace null root", `[{"op":"replace","path":"/name","value":"x"}]`, `{"name":"x","extra":{"a":1,"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"add null", `[{"op":"add","path":"/extra/a","value":null}]`, `{"name":null,"extra":{"a":null,"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"remove null root", `[{"op":"remove","path":"/name"}]`, `{"extra":{"a":1,"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"remove with a value", `[{"op":"remove","path":"/extra/a","value":7}]`, `{"name":null,"extra":{"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"list end", `[{"op":"add","path":"/extra/list/-","value":3}]`, `{"name":null,"extra":{"a":1,"list":[1,2,3]},"driver_info":{"password":"secret"}}`, ""},
		{"list index", `[{"op":"replace","path":"/extra/list/0","value":9}]`, `{"name":null,"extra":{"a":1,"list":[9,2]},"driver_info":{"password":"secret"}}`, ""},
		{"in order", `[{"op":"add","path":"/extra/b","value":1},{"op":"remove","path":"/extra/b"}]`, `{"name":null,"extra":{"a":1,"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"nothing to do", `[]`, doc, ""},

		{"replace of a missing key", `[{"op":"replace","path":"/extra/b","value":2}]`, "", "Couldn't apply patch 'replace /extra/b'. Reason: "},
		{"remove of a missing key", `[{"op":"remove","path":"/extra/b"}]`, "", "Couldn't apply patch"},
		{"below a number", `[{"op":"add","path":"/extra/a/b","value":2}]`, "", "Couldn't apply patch"},
		{"below nothing", `[{"op":"add","path":"/extra/b/c","value":2}]`, "", "Couldn't apply patch"},
		{"outside a list", `[{"op":"add","path":"/extra/list/7","value":2}]`, "", "Couldn't apply patch"},
		{"an object", `{"op":"add"}`, "", "Invalid patch: the body is not a JSON array"},
		{"null", `null`, "", "Invalid patch: the body is not a JSON array"},
		{"empty body", ``, "", "Invalid patch: the body is not a JSON array"},
		{"cut off", `[{"op":"add"`, "", "Invalid patch: the body is not a JSON array"},
		{"strings", `["add"]`, "", "Invalid patch: the body is not a JSON array"},
		{"other op", `[{"op":"move","path":"/extra/a","from":"/name"}]`, "", `Invalid patch: operation 0 has the unknown member "from"`},
		{"test op", `[{"op":"test","path":"/extra/a","value":1}]`, "", "Invalid patch: operation 0 needs an op"},
		{"no path", `[{"op":"add","value":1}]`, "", "Invalid patch: operation 0 needs a path"},
		{"path without slash", `[{"op":"add","path":"extra","value":1}]`, "", "Invalid patch: operation 0 needs a path"},
		{"escaped path", `[{"op":"add","path":"/extra/a~1b~0c","value":1}]`, `{"name":null,"extra":{"a":1,"a/b~c":1,"list":[1,2]},"driver_info":{"password":"secret"}}`, ""},
		{"bad escape", `[{"op":"add","path":"/extra/a~2b","value":1}]`, "", "Invalid patch: operation 0 needs a path"},
		{"empty segment", `[{"op":"add","path":"/extra//a","value":1}]`, "", "Invalid patch: operation 0 needs a path"},
		{"no value", `[{"op":"add","path":"/extra/a"}]`, "", "Invalid patch: operation 0 needs a value to add"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before map[string]any
			if err := json.Unmarshal([]byte(doc), &before); err != nil {
				t.Fatal(err)
			}
			p, err := api.ParsePatch([]byte(tc.patch))
			var after map[string]any
			if err == nil {
				after, err = p.Apply(before)
			}
			if tc.refusal != "" {
				var e *api.Error
				if !errors.As(err, &e) || e.Status != http.StatusBadRequest || !strings.HasPrefix(e.Text, tc.refusal) {
					t.Fatalf("error %v, want 400 %q", err, tc.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchErrorHidesValues(t *testing.T) {
	p, err := api.ParsePatch([]byte(`[{"op":"add","path":"/a","value":"hunter2"},{"op":"remove","path":"/b/c"}]`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Apply(map[string]any{"a": nil, "b": map[string]any{}})
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "add /a, remove /b/c") {
		t.Errorf("error %v, want the operations without their values", err)
	}
}

func FuzzPatch(f *testing.F) {
	for _, seed := range []string{`[{"op":"add","path":"/extra/a","value":{"b":[1]}},{"op":"remove","path":"/name"}]`,
		`[{"op":"replace","path":"/extra/list/0","value":null}]`, `[{"op":"add","path":"/extra/list/-","value":1e400}]`,
		`[{"op":"add","path":"/extra/list/99999999999","value":1}]`, `null`, `[null]`, `[{"op":null}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := api.ParsePatch(body)
		if err != nil {
			return
		}
		out, err := p.Apply(map[string]any{"name": nil, "extra": map[string]any{"list": []any{1.0}, "a": "x"}})
		if err != nil {
			var e *api.Error
			if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
				t.Fatalf("error %v is not a 400", err)
			}
			return
		}
		if _, err := json.Marshal(out); err != nil {
			t.Fatalf("outcome is no JSON: %v", err)
		}
	})
}

func FuzzNegotiateVersion(f *testing.F) {
	for _, seed := range []string{"1.1", "latest", "baremetal 1.5", "1.999", "-1.2", "1.٣"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, legacy, standard string) {
		v, err := api.NegotiateVersion(http.Header{"X-Openstack-Ironic-Api-Version": {legacy}, "Openstack-Api-Version": {standard}})
		if err == nil && (v < api.MinVersion || v > api.MaxVersion) {
			t.Fatalf("negotiated %v", v)
		}
		var e *api.Error
		if err != nil && (!errors.As(err, &e) || e.Status != http.StatusNotAcceptable) {
			t.Fatalf("error %v is not a 406", err)
		}
	})
}
