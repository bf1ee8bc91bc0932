package ironic

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTime(t *testing.T) {
	for _, tc := range []struct{ in, out string }{
		{`"2026-08-20T09:00:00+00:00"`, `"2026-08-20T09:00:00+00:00"`},
		{`"2026-08-20T09:00:00.120000+00:00"`, `"2026-08-20T09:00:00.120000+00:00"`},
		{`"2026-08-20T11:00:00.000000+02:00"`, `"2026-08-20T09:00:00+00:00"`},
		{`"2026-08-20T09:05:30.000001"`, `"2026-08-20T09:05:30.000001+00:00"`},
		{`"2026-08-20T09:05:30Z"`, `"2026-08-20T09:05:30+00:00"`},
	} {
		var got Time
		if err := json.Unmarshal([]byte(tc.in), &got); err != nil {
			t.Errorf("%s: %v", tc.in, err)
			continue
		}
		if out, err := json.Marshal(got); err != nil || string(out) != tc.out {
			t.Errorf("%s becomes %s, %v, want %s", tc.in, out, err, tc.out)
		}
	}
	for _, in := range []string{`"yesterday"`, `7`, `""`} {
		if err := json.Unmarshal([]byte(in), new(Time)); err == nil {
			t.Errorf("%s is taken for a time", in)
		}
	}
	if out, _ := json.Marshal(struct{ T *Time }{&Time{time.Unix(0, 999).UTC()}}); string(out) != `{"T":"1970-01-01T00:00:00+00:00"}` {
		t.Errorf("nanoseconds show: %s", out)
	}
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]Version{"1.1": 1, "1.82": 82, "1.115": 115} {
		got, err := ParseVersion(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s is read as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "1.0", "2.1", "1.x", "1.-3", "1.99999999", "latest", " 1.1"} {
		if got, err := ParseVersion(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestDriver(t *testing.T) {
	const short = `{"hosts":["ctl-1"],"links":null,"name":"ipmi","properties":null,"type":"dynamic"}`
	const detailed = `{"default_boot_interface":"ipxe","enabled_boot_interfaces":["ipxe","pxe"],"hosts":["ctl-1"],"links":null,"name":"ipmi","properties":null,"type":"dynamic"}`
	for text, want := range map[string]map[string]DriverInterface{
		short:    nil,
		detailed: {"boot": {Default: "ipxe", Enabled: []string{"ipxe", "pxe"}}},
	} {
		var d Driver
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, d.Interfaces); diff != "" {
			t.Errorf("interfaces (-want +got):\n%s", diff)
		}
		if out, err := json.Marshal(d); err != nil || string(out) != text {
			t.Errorf("written as %s, %v, want %s", out, err, text)
		}
	}
}

// TestPatchValues: false, zero and empty values must reach the server.
func TestPatchValues(t *testing.T) {
	patch := Patch{{Op: "add", Path: "/a", Value: false}, {Op: "add", Path: "/b", Value: ""}, {Op: "remove", Path: "/c"}}
	out, err := json.Marshal(patch)
	want := `[{"op":"add","path":"/a","value":false},{"op":"add","path":"/b","value":""},{"op":"remove","path":"/c"}]`
	if err != nil || string(out) != want {
		t.Errorf("written as %s, %v, want %s", out, err, want)
	}
}
