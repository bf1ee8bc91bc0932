package restapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// TestContractSamples: what the contract shows as the answer to a request, other
// than of a node (TestContractSample), has the members and types of the real one.
func TestContractSamples(t *testing.T) {
	raw, err := os.ReadFile("testdata/contract_samples.json")
	if err != nil {
		t.Fatal(err)
	}
	var samples map[string]any
	if err := json.Unmarshal(raw, &samples); err != nil {
		t.Fatal(err)
	}
	s := newService(t)
	const id = "6d85703a-565d-469a-96ce-30b6de53079d"
	s.want(201, "115", "POST", "/v1/nodes", `{"uuid": "`+id+`", "driver": "fake-hardware", "resource_class": "bm-large"}`)
	s.want(201, "115", "POST", "/v1/ports", `{"uuid": "`+id+`", "node_uuid": "`+id+`", "address": "52:54:00:90:35:d6"}`)
	s.edit(id, in(provision.Available))
	s.want(201, "115", "POST", "/v1/allocations", `{"uuid": "`+id+`", "name": "alloc-1", "resource_class": "bm-large"}`)
	deadline := time.Now().Add(20 * time.Second)
	for s.want(200, "115", "GET", "/v1/allocations/"+id, "").object["state"] != store.AllocationActive {
		if time.Now().After(deadline) {
			t.Fatal("the allocation does not get its node")
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.edit(id, in(provision.CleanWait)) // in which there is an agent
	for name, want := range samples {
		section, request, _ := strings.Cut(name, " ")
		method, path, _ := strings.Cut(strings.ReplaceAll(request, "{id}", id), " ")
		a := s.call("115", method, path, "")
		if section == "3.7" {
			optionalReason(want, a.object)
		}
		if diff := cmp.Diff(shape(want, nil), shape(any(a.object), want)); diff != "" {
			t.Errorf("%s (-contract +answer %d):\n%s", name, a.status, diff)
		}
	}
}

// optionalReason takes out what a result of validation need not have.
func optionalReason(documents ...any) {
	for _, d := range documents {
		for _, result := range d.(map[string]any) {
			if r, isObject := result.(map[string]any); isObject {
				delete(r, "reason")
				r["result"] = nil // or a flag
			}
		}
	}
}

// shape is what members a JSON value has and of what types. Of a list the first
// item counts, and where the sample has none, none. Null may be anything.
func shape(v, sample any) any {
	switch v := v.(type) {
	case map[string]any:
		inner, _ := sample.(map[string]any)
		out := map[string]any{}
		if sample != nil && len(inner) == 0 {
			return out // members that are the user's
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out[name] = shape(v[name], inner[name])
			if sampled, known := inner[name]; known && (sampled == nil || v[name] == nil) {
				out[name] = shape(sampled, nil)
			}
		}
		return out
	case []any:
		inner, isList := sample.([]any)
		if len(v) == 0 || isList && len(inner) == 0 {
			return "list"
		}
		if isList {
			return []any{"list", shape(v[0], inner[0])}
		}
		return []any{"list", shape(v[0], nil)}
	}
	return fmt.Sprintf("%T", v)
}
