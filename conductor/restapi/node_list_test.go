package restapi_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// names lists what a page of nodes is made of.
func names(a answer) []string {
	var list []string
	nodes, _ := a.object["nodes"].([]any)
	for _, n := range nodes {
		name, _ := n.(map[string]any)["name"].(string)
		list = append(list, name)
	}
	return list
}

// TestNodeFilters holds section 3.4 and the refusals of section 1.4.
func TestNodeFilters(t *testing.T) {
	s := newService(t)
	instance := "11111111-2222-3333-4444-555555555555"
	parent := s.enrol("a")
	s.enrol("b")
	if err := s.store.CreateChassis(t.Context(), &store.Chassis{UUID: uuid2}); err != nil {
		t.Fatal(err)
	}
	s.enrol("c")
	s.edit("c", func(n *store.Node) { n.ParentNode = &parent })
	s.edit("b", func(n *store.Node) {
		n.ChassisUUID, n.InstanceName = ptr(uuid2), ptr("web")
		n.InstanceUUID, n.Maintenance, n.Retired, n.Owner, n.Lessee = &instance, true, true, ptr("o"), ptr("l")
		n.ProvisionState, n.ResourceClass, n.Fault = provision.Active, ptr("big"), ptr("power failure")
		n.ConductorGroup, n.Description, n.Shard = "rack1", ptr("in the 100% corner"), ptr("s1")
	})
	for _, tc := range []struct {
		minor, query string
		want         string // names, or "" for none
		status       int
		fault        string
	}{
		{"82", "", "a,b", 200, ""},
		{"82", "instance_uuid=" + instance, "b", 200, ""},
		{"82", "associated=true", "b", 200, ""},
		{"82", "associated=0", "a", 200, ""},
		{"82", "maintenance=yes", "b", 200, ""},
		{"82", "maintenance=no", "a", 200, ""},
		{"82", "provision_state=active", "b", 200, ""},
		{"82", "provision_state=asleep", "", 400, "asleep"},
		{"8", "provision_state=active", "", 406, "1.9"},
		{"82", "driver=fake-hardware", "a,b", 200, ""},
		{"82", "driver=ipmi", "", 200, ""},
		{"15", "driver=ipmi", "", 406, "1.16"},
		{"82", "resource_class=big", "b", 200, ""},
		{"20", "resource_class=big", "", 406, "1.21"},
		{"82", "fault=power%20failure", "b", 200, ""},
		{"82", "fault=flood", "", 400, "flood"},
		{"41", "fault=flood", "", 406, "1.42"},
		{"82", "conductor_group=RACK1", "b", 200, ""},
		{"45", "conductor_group=rack1", "", 406, "1.46"},
		{"82", "conductor=" + host, "a", 200, ""}, // nobody serves rack1
		{"82", "conductor=other", "", 200, ""},
		{"48", "conductor=other", "", 406, "1.49"},
		{"82", "owner=o", "b", 200, ""},
		{"49", "owner=o", "", 406, "1.50"},
		{"82", "lessee=l", "b", 200, ""},
		{"64", "lessee=l", "", 406, "1.65"},
		{"82", "project=o", "b", 200, ""},
		{"82", "project=l", "b", 200, ""},
		{"82", "description_contains=100%25", "b", 200, ""},
		{"82", "description_contains=1_0", "", 200, ""},
		{"50", "description_contains=x", "", 406, "1.51"},
		{"82", "retired=true", "b", 200, ""},
		{"60", "retired=true", "", 406, "1.61"},
		{"82", "shard=s0,s1", "b", 200, ""},
		{"82", "sharded=false", "a", 200, ""},
		{"81", "shard=s1", "", 406, "1.82"},
		{"82", "chassis_uuid=" + instance, "", 404, "Chassis " + instance},
		{"82", "chassis_uuid=x", "", 400, "Expected UUID"},
		{"82", "chassis_uuid=" + uuid2, "b", 200, ""},
		{"82", "instance_uuid=x", "", 400, "Expected UUID"},
		{"82", "associated=maybe", "", 400, "Invalid associated"},
		{"115", "include_children=true", "a,b,c", 200, ""},
		{"115", "include_children=false", "a,b", 200, ""},
		{"115", "include_children=true&parent_node=" + parent, "a,b,c", 200, ""},
		{"115", "parent_node=" + parent, "c", 200, ""},
		{"115", "parent_node=" + instance, "", 200, ""},
		{"115", "driver=fake-hardware&owner=o", "b", 200, ""},
		{"115", "instance_uuid=" + instance + "&associated=false", "", 200, ""},
		{"82", "include_children=true", "", 406, "1.83"},
		{"82", "parent_node=" + parent, "", 406, "1.83"},
		{"115", "instance_name=web", "b", 200, ""},
		{"104", "instance_name=other", "", 200, ""},
		{"103", "instance_name=web", "", 406, "1.104"},
		{"8", "detail=true", "", 400, "detail"},
		{"115", "colour=red", "", 400, "Unexpected arguments: colour"},
		{"115", "sort_key=traits", "", 400, "traits"},
		{"36", "sort_key=traits", "", 406, "1.37"},
		{"115", "sort_key=links", "", 400, "links"},
		{"115", "limit=x", "", 400, "integer"},

		{"82", "sort_key=name&sort_dir=desc", "b,a", 200, ""},
		{"82", "sort_key=provision_state", "b,a", 200, ""},
		{"82", "sort_dir=down", "", 400, "sort direction"},
		{"82", "sort_dir=", "", 400, "sort direction"},
		{"82", "marker=", "", 400, "Expected UUID"},
		{"82", "instance_uuid=", "", 400, "Expected UUID"},
		{"82", "sort_key=colour", "", 400, "colour"},
		{"82", "sort_key=driver_info", "", 400, "driver_info"},
		{"82", "sort_key=name;DROP%20TABLE%20nodes", "", 400, "malformed"},
		{"82", "sort_key=name%3BDROP%20TABLE%20nodes", "", 400, "sort_key"},
		{"82", "owner=%zz", "", 400, "malformed"},
		{"20", "sort_key=resource_class", "", 406, "1.21"},
		{"82", "limit=0", "", 400, "Limit must be positive"},
		{"82", "limit=-1", "", 400, "Limit must be positive"},
		{"82", "limit=1000000", "a,b", 200, ""},
		{"82", "marker=" + instance, "", 404, instance},
		{"82", "marker=x", "", 400, "Expected UUID"},
		{"82", "fields=name,uuid", "a,b", 200, ""},
		{"82", "fields=name&fields=uuid", "a,b", 200, ""},
		{"82", "fields=name,colour", "", 400, `"colour"`},
		{"7", "fields=uuid", "", 406, "1.8"},
		{"49", "fields=owner", "", 406, "1.50"},
		{"82", "fields=name&detail=true", "", 400, "detail"},
		{"82", "detail=true", "a,b", 200, ""},
		{"42", "detail=true", "", 400, "Invalid query parameter ?detail="},
	} {
		a := s.call(tc.minor, "GET", "/v1/nodes?"+tc.query, "")
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) || strings.Join(names(a), ",") != tc.want {
			t.Errorf("?%s at 1.%s: %d %v %s, want %d %q %q", tc.query, tc.minor, a.status, names(a), a.fault(), tc.status, tc.want, tc.fault)
		}
	}
}

func TestListColumns(t *testing.T) {
	s := newService(t)
	s.enrol("a")
	for _, tc := range []struct {
		minor, path string
		want        []string
	}{
		{"82", "/v1/nodes", []string{"instance_uuid", "links", "maintenance", "name", "power_state", "provision_state", "uuid"}},
		{"4", "/v1/nodes", []string{"instance_uuid", "links", "maintenance", "power_state", "provision_state", "uuid"}},
		{"82", "/v1/nodes?fields=uuid,driver", []string{"driver", "links", "uuid"}},
		{"82", "/v1/nodes?fields=links", []string{"links"}},
	} {
		node := s.want(200, tc.minor, "GET", tc.path, "").object["nodes"].([]any)[0].(map[string]any)
		var got []string
		for name := range node {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s at 1.%s has %v, want %v", tc.path, tc.minor, got, tc.want)
		}
	}
	for _, path := range []string{"/v1/nodes/detail", "/v1/nodes?detail=yes"} {
		node := s.want(200, "82", "GET", path, "").object["nodes"].([]any)[0].(map[string]any)
		if node["driver"] != "fake-hardware" || node["states"] == nil {
			t.Errorf("%s is not the full form: %v", path, node)
		}
	}
}

// TestPages follows next links through every order.
func TestPages(t *testing.T) {
	s := newService(t)
	want := []string{}
	for i := range 7 {
		name := fmt.Sprintf("n%d", i)
		s.enrol(name)
		want = append(want, name)
	}
	// Equal sort values and NULLs, so that the tie-break by id counts.
	for _, name := range []string{"n1", "n2", "n5"} {
		s.edit(name, func(n *store.Node) { n.ResourceClass = ptr("big") })
	}
	for _, query := range []string{"limit=3", "limit=3&sort_dir=desc", "limit=2&sort_key=resource_class", "limit=2&sort_key=resource_class&sort_dir=desc",
		"limit=3&sort_key=maintenance&maintenance=false&fields=name", "limit=3&detail=true"} {
		var seen []string
		next := s.url + "/v1/nodes?" + query
		for pages := 0; next != ""; pages++ {
			if pages > 7 {
				t.Fatalf("?%s does not end", query)
			}
			a := s.want(200, "82", "GET", strings.TrimPrefix(next, s.url), "")
			seen = append(seen, names(a)...)
			next, _ = a.object["next"].(string)
		}
		slices.Sort(seen)
		if !slices.Equal(seen, want) {
			t.Errorf("?%s leads to %v, want each node once", query, seen)
		}
	}
	a := s.want(200, "82", "GET", "/v1/nodes?limit=1&maintenance=false&fields=uuid,name&owner=&sort_key=name", "")
	if next, _ := a.object["next"].(string); next != "" {
		t.Errorf("empty page has next %s", next)
	}
	id := s.want(200, "82", "GET", "/v1/nodes/n0", "").object["uuid"].(string)
	s.edit("n0", func(n *store.Node) { n.Maintenance, n.Retired, n.InstanceUUID = true, true, ptr(uuid1) })
	for query, want := range map[string]any{
		"limit=1&maintenance=false&fields=uuid,name&driver=fake-hardware": "sort_key=id&sort_dir=asc&fields=uuid,name&limit=1&marker=" +
			s.want(200, "82", "GET", "/v1/nodes/n1", "").object["uuid"].(string),
		"limit=1&maintenance=true&retired=yes&associated=1&detail=true": "sort_key=id&sort_dir=asc&associated=True&maintenance=True&retired=True&detail=True&limit=1&marker=" + id,
		"limit=1&sort_key=name&owner=":                                  nil,
		"limit=1&instance_uuid=" + uuid1:                                nil,
		"limit=7":                                                       "sort_key=id&sort_dir=asc&limit=7&marker=" + s.want(200, "82", "GET", "/v1/nodes/n6", "").object["uuid"].(string),
		"limit=8":                                                       nil,
		"limit=1&conductor=elsewhere":                                   nil,
	} {
		if want != nil {
			want = s.url + "/v1/nodes?" + want.(string)
		}
		if got := s.want(200, "82", "GET", "/v1/nodes?"+query, "").object["next"]; got != want {
			t.Errorf("next of ?%s is %v, want %v", query, got, want)
		}
	}
}

// TestListOfEachField: a list of one field shows what the whole node has, of
// which the list reads nothing else.
func TestListOfEachField(t *testing.T) {
	s := newService(t)
	s.enrol("a")
	object := store.Object{"key": "value"}
	moment := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	s.edit("a", func(n *store.Node) {
		row := reflect.ValueOf(n).Elem()
		for i := range row.NumField() {
			switch field := row.Field(i).Addr().Interface().(type) {
			case **string:
				if *field == nil && row.Type().Field(i).Name != "Reservation" {
					*field = ptr("11111111-2222-3333-4444-5555555555" + fmt.Sprintf("%02d", i))
				}
			case **bool:
				*field = ptr(true)
			case **time.Time:
				*field = &moment
			case *store.Object:
				*field = object
			case *store.Strings:
				*field = store.Strings{"CUSTOM_A"}
			}
		}
		n.ParentNode, n.AllocationUUID, n.ChassisUUID = nil, nil, nil
	})
	whole := s.want(200, "96", "GET", "/v1/nodes/detail", "").object["nodes"].([]any)[0].(map[string]any)
	for name, want := range whole {
		if _, isLink := want.([]any); isLink && name != "traits" { // of the node and its collections
			continue
		}
		shown := s.want(200, "96", "GET", "/v1/nodes?fields="+name, "").object["nodes"].([]any)[0].(map[string]any)
		if diff := cmp.Diff(want, shown[name]); diff != "" {
			t.Errorf("%s of the list (-whole node +list):\n%s", name, diff)
		}
	}
}
