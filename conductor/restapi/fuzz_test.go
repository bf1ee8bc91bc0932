package restapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// handler is the API over an empty database, without conductor: for requests
// that must not get as far as it.
func handler(f testing.TB) http.Handler {
	db, err := store.Open(f.Context(), filepath.Join(f.TempDir(), "ferric.sqlite"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	if err := db.CreateNode(context.Background(), fullNode()); err != nil {
		f.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	api, err := restapi.New(restapi.DefaultConfig(), db, nil, logrus.NewEntry(log))
	if err != nil {
		f.Fatal(err)
	}
	return api.Handler()
}

// FuzzQuery: whatever a list is asked, the answer is a page or a refusal in
// the API's shape, never a failure of the database.
func FuzzQuery(f *testing.F) {
	h := handler(f)
	for _, seed := range []string{"", "limit=3&sort_key=name&sort_dir=desc", "fields=uuid,name", "detail=true", "shard=a,b&sharded=1", "shard=",
		"instance_uuid=11111111-2222-3333-4444-555555555555", "marker=6d85703a-565d-469a-96ce-30b6de53079d&sort_key=provision_updated_at",
		"description_contains=%25'\"", "owner=a&owner=b", "limit=9223372036854775808", "fault=power%20failure", "associated="} {
		f.Add(seed, byte(82))
	}
	f.Fuzz(func(t *testing.T, query string, minor byte) {
		for _, path := range []string{"/v1/nodes", "/v1/ports", "/v1/conductors"} {
			req := httptest.NewRequest("GET", path, nil)
			req.URL.RawQuery = query
			req.Header.Set("X-OpenStack-Ironic-API-Version", "1."+string("0123456789"[minor%10])+"2")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code >= 500 || rec.Code != 200 && !strings.HasPrefix(rec.Body.String(), `{"error_message":"{`) || !json.Valid(rec.Body.Bytes()) {
				t.Fatalf("%s?%s: %d %s", path, query, rec.Code, rec.Body)
			}
		}
	})
}

// parameter is one in the path of a route.
var parameter = regexp.MustCompile(`:\w+`)

// FuzzRoutes: whatever a route is sent, by whoever may do everything, the answer
// is JSON in the API's shape, and no failure. There is a node for the path to
// name, in the state that the real flows have brought it to.
func FuzzRoutes(f *testing.F) {
	const node = "6d85703a-565d-469a-96ce-30b6de53079d"
	h, _, _ := newAPI(f)
	routes := restapi.RouteLines()
	bodies := []string{"", "{}", "[]", "null", `{"a":1e400}`, `{"name":"a\u0000b"}`, "{\"name\":\"\xff\"}", `{"uuid":null,"uuid":{}}`, `{"extra":` + strings.Repeat(`{"a":`, 30) + "1" + strings.Repeat("}", 31),
		`[{"op":"add","path":"/extra/a","value":{"b":[]}},{"op":"remove","path":"/extra/a/b/0"}]`, `[{"op":"add","path":"/extra/a/99999999999","value":1}]`,
		`[{"op":"replace","path":"/name","value":null}]`, `[{"op":"remove","path":"/uuid"}]`,
		`{"driver":"fake-hardware","name":"n","properties":{"cpus":"x"},"traits":["CUSTOM_A"]}`, `{"node_uuid":"` + node + `","address":"52:54:00:00:00:01"}`,
		`{"node_uuid":"` + node + `","type":"iqn","connector_id":"c"}`, `{"node_uuid":"` + node + `","volume_type":"iscsi","volume_id":"v","boot_index":1e99}`,
		`{"target":"manage"}`, `{"target":"clean","clean_steps":[{"interface":"deploy","step":"x","order":"1e9"}]}`, `{"target":"power on","timeout":1e300}`,
		`{"name":"CUSTOM_A","steps":[{"interface":"deploy","step":"x","args":{},"priority":-1}]}`, `{"actions":[{"op":"set-attribute","args":{"path":"/x","value":"{node.__class__}"}}],"conditions":[{"op":"matches","args":{"value":"a","regex":"(a*)*$"}}]}`,
		`{"events":[{"event":"network.bind_port","port_id":"` + node + `","mac_address":"52:54:00:00:00:01","status":"ACTIVE"}]}`,
		`{"logical_disks":[{"raid_level":"1","size_gb":1e308}]}`, `{"id":"v","port_uuid":[]}`, `{"resource_class":"x","candidate_nodes":[null]}`,
		`{"callback_url":"http://[::1","agent_token":"x"}`, `{"inventory":{"interfaces":[null,{"mac_address":1}]},"error":{}}`, `{"method":{},"enabled":"maybe","target":[]}`}
	for i := range routes {
		for _, minor := range []byte{1, 115} {
			f.Add(uint8(i), minor, "", "")
		}
		if routes[i][0] != "GET" {
			for _, body := range bodies {
				f.Add(uint8(i), byte(115), "", body)
			}
		}
	}
	call := func(method, path, query, body, minor string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, path, strings.NewReader(body))
		req.URL.RawQuery = query
		req.Header.Set("X-OpenStack-Ironic-API-Version", "1."+minor)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		return rec
	}
	// One of each kind, all with one UUID, which is what paths name.
	populate := func() {
		for _, made := range [][2]string{{"nodes", `"driver":"fake-hardware"`}, {"chassis", `"extra":{}`}, {"ports", `"node_uuid":"` + node + `","address":"52:54:00:00:00:77"`},
			{"portgroups", `"node_uuid":"` + node + `"`}, {"volume/connectors", `"node_uuid":"` + node + `","type":"ip","connector_id":"c"`},
			{"volume/targets", `"node_uuid":"` + node + `","volume_type":"iscsi","volume_id":"v","boot_index":0`}, {"allocations", `"resource_class":"x"`},
			{"deploy_templates", `"name":"CUSTOM_Z","steps":[{"interface":"deploy","step":"x","args":{},"priority":1}]`},
			{"runbooks", `"name":"CUSTOM_Z","steps":[{"interface":"deploy","step":"x","args":{},"order":1}]`},
			{"inspection_rules", `"actions":[{"op":"fail","args":{"msg":"x"}}]`}} {
			if rec := call("POST", "/v1/"+made[0], "", `{"uuid":"`+node+`",`+made[1]+"}", "115"); rec.Code != 201 && rec.Code != 409 {
				f.Fatalf("POST %s: %d %s", made[0], rec.Code, rec.Body)
			}
		}
	}
	populate()
	f.Fuzz(func(t *testing.T, number, minor uint8, query, body string) {
		if len(body) > 1<<16 {
			return
		}
		rt := routes[int(number)%len(routes)]
		path := strings.NewReplacer(":driver", "fake-hardware", ":host", host, ":trait", "CUSTOM_A", ":indicator", "led@chassis").Replace(rt[1])
		path = parameter.ReplaceAllString(path, node)
		if rt[1] != "/" && !strings.HasPrefix(rt[1], "/v1") && !strings.HasPrefix(rt[1], "/ferric") {
			path = "/v1" + path
		}
		rec := call(rt[0], path, query, body, fmt.Sprint(1+(int(minor)+114)%115))
		if rt[0] == "DELETE" && rec.Code == 204 {
			populate()
		}
		switch {
		case rec.Code >= 500 && rec.Code != http.StatusServiceUnavailable:
		case rec.Body.Len() > 0 && !json.Valid(rec.Body.Bytes()):
		case rec.Code >= 400 && !strings.HasPrefix(rec.Body.String(), `{"error_message":`) && !strings.HasPrefix(rec.Body.String(), `{"faultstring":`):
		default:
			return
		}
		t.Fatalf("%s %s?%s %s: %d %s", rt[0], path, query, body, rec.Code, rec.Body)
	})
}
