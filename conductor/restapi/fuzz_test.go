package restapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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
