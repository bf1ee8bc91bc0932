package restapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestNameLikeUUID: what has another one's UUID for a name does not get into its way.
func TestNameLikeUUID(t *testing.T) {
	s := newService(t)
	for path, body := range map[string]string{
		"/v1/allocations": `"resource_class": "x"`,
		"/v1/runbooks":    `"steps": [{"interface": "deploy", "step": "x", "order": 1}]`,
	} {
		// The one with the name comes first in the table.
		const id = "11111111-2222-3333-4444-555555555555"
		s.want(201, "115", "POST", path, `{"name": "`+id+`", `+body+`}`)
		s.want(201, "115", "POST", path, `{"name": "own", "uuid": "`+id+`", `+body+`}`)
		if got := s.want(200, "115", "GET", path+"/"+id, "").object["name"]; got != "own" {
			t.Errorf("%s/%s is the one with the name %v", path, id, got)
		}
		s.want(204, "115", "DELETE", path+"/"+id, "")
		s.want(404, "115", "GET", path+"/own", "")
	}
}

// TestLongLists: a list of many values takes no long time and is no failure.
func TestLongLists(t *testing.T) {
	s := newService(t)
	id := s.enrol("a")
	s.want(200, "115", "PATCH", "/v1/nodes/"+id, `[{"op": "add", "path": "/shard", "value": "s7"}]`)
	var names, operations []string
	for i := range 40000 {
		names = append(names, fmt.Sprint("s", i))
		operations = append(operations, fmt.Sprintf(`{"op":"remove","path":"/a%d"}`, i))
	}
	start := time.Now()
	if a := s.want(200, "115", "GET", "/v1/nodes?shard="+strings.Join(names, ","), ""); !strings.Contains(a.body, id) {
		t.Errorf("the node of shard s7 is not among %s", a.body)
	}
	// Some 900 KB, which is less than a body may have.
	s.want(400, "115", "PATCH", "/v1/nodes/"+id, "["+strings.Join(operations[:30000], ",")+"]")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a list of %d and a patch of 30000 operations took %s", len(names), took)
	}
}
