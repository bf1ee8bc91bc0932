package clients_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// catalogue answers as Keystone does to those who log in and look up where the
// bare-metal service is, for suites that cannot be told the address. It checks
// nothing: what is tested here has no authentication.
func catalogue(t *testing.T, c *conductor) (authURL string) {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	write := func(w http.ResponseWriter, status int, content any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(content)
	}
	type object = map[string]any
	version := object{"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z", "links": []object{{"rel": "self", "href": server.URL + "/v3/"}}}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusMultipleChoices, object{"versions": object{"values": []object{version}}})
	})
	mux.HandleFunc("GET /v3/{$}", func(w http.ResponseWriter, _ *http.Request) { write(w, http.StatusOK, object{"version": version}) })
	endpoints := func(url string) []object {
		var all []object
		for _, face := range []string{"public", "internal", "admin"} {
			all = append(all, object{"id": face, "interface": face, "region": "RegionOne", "region_id": "RegionOne", "url": url})
		}
		return all
	}
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Auth struct {
				Scope struct {
					System any
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		now := time.Now().UTC()
		domain := object{"id": "default", "name": "Default"}
		token := object{
			"methods": []string{"password"}, "issued_at": now.Format(time.RFC3339), "expires_at": now.Add(time.Hour).Format(time.RFC3339),
			"user":    object{"id": "b1a1", "name": "admin", "domain": domain},
			"roles":   []object{{"id": "c1a1", "name": "admin"}},
			"catalog": []object{{"id": "baremetal", "type": "baremetal", "name": "ironic", "endpoints": endpoints(c.endpoint)}, {"id": "identity", "type": "identity", "name": "keystone", "endpoints": endpoints(server.URL + "/v3")}},
		}
		if asked.Auth.Scope.System != nil {
			token["system"] = object{"all": true}
		} else {
			token["project"] = object{"id": "a1a1", "name": "admin", "domain": domain}
		}
		w.Header().Set("X-Subject-Token", "token")
		write(w, http.StatusCreated, object{"token": token})
	})
	return server.URL + "/v3"
}
