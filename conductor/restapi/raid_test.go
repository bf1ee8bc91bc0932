package restapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/store"
)

func TestRAIDConfig(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	s.enrol("plain")
	s.edit("plain", func(n *store.Node) { n.RAIDInterface = ptr("no-raid") })
	s.edit("n1", func(n *store.Node) { n.RAIDInterface = ptr("agent") })
	disk := func(members string) string { return `{"logical_disks": [{` + members + `}]}` }
	const mirror = `"raid_level": "1", "size_gb": "MAX", "controller": "software"`
	for _, c := range []struct {
		minor, node, body string
		status            int
		fault             string
	}{
		{"12", "n1", disk(mirror + `, "volume_name": "root", "is_root_volume": true, "physical_disks": [{"serial": "a"}, "b"]`), 204, ""},
		{"11", "n1", disk(mirror), 406, "1.12"},
		{"12", "plain", disk(mirror), 404, "does not support raid"},
		{"12", "nobody", disk(mirror), 404, "nobody"},
		{"12", "n1", disk(`"raid_level": "3", "size_gb": 1`), 400, "invalid raid_level"},
		{"12", "n1", disk(`"raid_level": "1", "size_gb": 1.5`), 400, "invalid size_gb"},
		{"12", "n1", disk(`"raid_level": "1"`), 400, "lacks size_gb"},
		{"12", "n1", disk(`"raid_level": "1", "size_gb": 1, "colour": "red"`), 400, `unknown member "colour"`},
		{"12", "n1", disk(`"raid_level": "1", "size_gb": 1, "physical_disks": ["a"]`), 400, "no controller"},
		{"12", "n1", `{"logical_disks": [{` + mirror + `, "is_root_volume": true}, {` + mirror + `, "is_root_volume": true}]}`, 400, "more than one root volume"},
		{"12", "n1", `{"logical_disks": []}`, 400, "at least one"},
		{"12", "n1", `{"disks": []}`, 400, "disks"},
	} {
		a := s.call(c.minor, "PUT", "/v1/nodes/"+c.node+"/states/raid", c.body)
		if a.status != c.status || !strings.Contains(a.fault(), c.fault) {
			t.Errorf("at 1.%s of %s with %s: %d %s, want %d %q", c.minor, c.node, c.body, a.status, a.body, c.status, c.fault)
		}
	}
	want := map[string]any{"logical_disks": []any{map[string]any{
		"raid_level": "1", "size_gb": "MAX", "controller": "software", "volume_name": "root", "is_root_volume": true,
		"physical_disks": []any{map[string]any{"serial": "a"}, "b"},
	}}}
	if diff := cmp.Diff(want, s.want(200, "82", "GET", "/v1/nodes/n1", "").object["target_raid_config"]); diff != "" {
		t.Errorf("target_raid_config (-want +got):\n%s", diff)
	}
	s.want(204, "82", "PUT", "/v1/nodes/n1/states/raid", `{}`)
	if diff := cmp.Diff(map[string]any{}, s.want(200, "82", "GET", "/v1/nodes/n1", "").object["target_raid_config"]); diff != "" {
		t.Errorf("target_raid_config after {} (-want +got):\n%s", diff)
	}
	s.reserve("n1")
	if a := s.call("82", "PUT", "/v1/nodes/n1/states/raid", disk(mirror)); a.status != 409 || !strings.Contains(a.fault(), "is locked by host elsewhere") {
		t.Errorf("of a locked node: %d %s", a.status, a.body)
	}
}

func TestLogicalDiskProperties(t *testing.T) {
	s := newService(t)
	got := s.want(200, "82", "GET", "/v1/drivers/fake-hardware/raid/logical_disk_properties", "").object
	if len(got) != 10 || got["raid_level"] == nil {
		t.Errorf("properties %v", got)
	}
	s.want(406, "11", "GET", "/v1/drivers/fake-hardware/raid/logical_disk_properties", "")
	s.want(404, "82", "GET", "/v1/drivers/none/raid/logical_disk_properties", "")
}
