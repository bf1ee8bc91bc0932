package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api"
	"ferric/api/ironic"
)

// server answers with handler and returns an impatient client of it.
func server(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.lockDelay, c.pollInterval = time.Millisecond, time.Millisecond
	return c
}

func TestNegotiation(t *testing.T) {
	var asked []string
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Get(ironic.HeaderVersion)
		asked = append(asked, version)
		w.Header().Set(ironic.HeaderMaximumVersion, "1.82")
		if version != "1.82" && version != "1.5" {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		io.WriteString(w, `{}`)
	})
	for range 2 {
		version, err := c.Version(t.Context())
		if err != nil || version != 82 {
			t.Fatalf("version %v, %v, want 1.82", version, err)
		}
	}
	if version, err := c.At(5).Version(t.Context()); err != nil || version != 5 {
		t.Fatalf("version %v, %v, want 1.5", version, err)
	}
	if diff := cmp.Diff([]string{"1.115", "1.82", "1.82", "1.5"}, asked); diff != "" {
		t.Errorf("versions asked for (-want +got):\n%s", diff)
	}
}

// TestTooNewField: a 406 about something else than the version is an answer.
func TestTooNewField(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(ironic.HeaderMaximumVersion, "1.82")
		w.WriteHeader(http.StatusNotAcceptable)
		w.Write(api.Errorf(http.StatusNotAcceptable, "field shard is newer than 1.81").Body())
	})
	_, err := c.At(81).Node(t.Context(), "n")
	if !IsStatus(err, http.StatusNotAcceptable) || !strings.Contains(err.Error(), "shard") {
		t.Errorf("error %v, want the server's 406", err)
	}
}

// TestOnly: whoever asks for a version hears that the server has not got it.
func TestOnly(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(ironic.HeaderMaximumVersion, "1.82")
		w.WriteHeader(http.StatusNotAcceptable)
	})
	_, err := c.Only(90).Node(t.Context(), "n")
	if !IsStatus(err, http.StatusNotAcceptable) || !strings.Contains(err.Error(), "1.90") || !strings.Contains(err.Error(), "1.82") {
		t.Errorf("error %v, want one with both versions", err)
	}
}

// TestOldServer: what an older server refuses to know is told from what is not there.
func TestOldServer(t *testing.T) {
	for body, hint := range map[string]bool{
		``: true,
		`{"error_message": {"faultstring": "Field firmware is not a valid field."}}`: true,
		`{"error_message": {"faultstring": "Node n could not be found."}}`:           false,
	} {
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, body)
		})
		_, err := c.At(82).Node(t.Context(), "n")
		if err == nil || strings.Contains(err.Error(), "version 1.82 of the API is spoken") != hint {
			t.Errorf("error %v of %q; versions in it: want %v", err, body, hint)
		}
	}
}

func TestErrorShapes(t *testing.T) {
	for _, tc := range []struct{ name, body, want string }{
		{"Ironic's", string(api.Errorf(404, "Node abc could not be found.").Body()), "Node abc could not be found."},
		{"of routing", string(api.Routing(404, "no such thing").Body()), "no such thing"},
		{"flat", string(api.Flat(404, "too deep").Body()), "too deep"},
		{"title only", `{"error_message": "{\"title\": \"Gone\", \"code\": \"404\"}"}`, "Gone"},
		{"object", `{"error_message": {"faultstring": "as object"}}`, "as object"},
		{"basic authentication", `{"error": {"message": "Incorrect username or password", "code": 401}}`, "Incorrect username or password"},
		{"text", `{"error_message": "just text"}`, "just text"},
		{"HTML", `<html>`, "Not Found"},
		{"empty", ``, "Not Found"},
		{"null", `{"error_message": null}`, "Not Found"},
		{"endless", `{"error":{"error":{"error":{"error":{"message":"deep"}}}}}`, "Not Found"},
	} {
		if got := decodeError(404, []byte(tc.body)); got.Text != tc.want || got.Status != 404 {
			t.Errorf("%s: %d %q, want %q", tc.name, got.Status, got.Text, tc.want)
		}
	}
}

func FuzzDecodeError(f *testing.F) {
	f.Add([]byte(`{"error_message": "{\"faultstring\": \"x\"}"}`))
	f.Add([]byte(`{"error": {"message": "x"}}`))
	f.Add([]byte(`""`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if decodeError(500, body) == nil {
			t.Error("no error")
		}
	})
}

func TestLockedNode(t *testing.T) {
	for _, tc := range []struct {
		name, text    string
		status, times int
		requests      int32
		fails         bool
	}{
		{"passes", "Node n is locked by host c, please retry after the current operation is completed.", 409, 2, 3, false},
		{"no worker", "Requested action cannot be performed due to lack of free conductor workers.", 503, 1, 2, false},
		{"other conflict", "A port with MAC address 52:54:00:00:00:01 already exists.", 409, 1, 1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var requests atomic.Int32
			c := server(t, func(w http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); string(body) != `{"target":"manage"}` {
					t.Errorf("body %s", body)
				}
				if int(requests.Add(1)) <= tc.times {
					w.WriteHeader(tc.status)
					w.Write(api.Errorf(tc.status, "%s", tc.text).Body())
					return
				}
				w.WriteHeader(http.StatusAccepted)
			})
			err := c.SetProvisionState(t.Context(), "n", ironic.ProvisionRequest{Target: ironic.VerbManage})
			if (err != nil) != tc.fails || err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Errorf("error %v", err)
			}
			if requests.Load() != tc.requests {
				t.Errorf("%d requests, want %d", requests.Load(), tc.requests)
			}
		})
	}
	t.Run("for good", func(t *testing.T) {
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(409)
			w.Write(api.Errorf(409, "Node n is locked by host c, please retry").Body())
		})
		c.lockPatience = 20 * time.Millisecond
		if err := c.DeleteNode(t.Context(), "n"); !IsStatus(err, 409) {
			t.Errorf("error %v, want 409", err)
		}
	})
}

func TestPages(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("driver") != "ipmi" {
			t.Errorf("page %q lost the filter", r.URL.RawQuery)
		}
		next := map[string]string{"": "a", "a": "b"}[q.Get("marker")]
		page := map[string]any{"nodes": []any{map[string]any{"uuid": "after-" + q.Get("marker")}}}
		if next != "" {
			page["next"] = "http://other/v1/nodes?limit=1&marker=" + next
		}
		json.NewEncoder(w).Encode(page)
	})
	nodes, err := c.Nodes(t.Context(), url.Values{"driver": {"ipmi"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range nodes {
		got = append(got, n.UUID)
	}
	if diff := cmp.Diff([]string{"after-", "after-a", "after-b"}, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}

	circle := server(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"ports":[],"next":"http://x/v1/ports?marker=same"}`)
	})
	if _, err := circle.Ports(t.Context(), nil); err == nil {
		t.Error("a list that goes in a circle ends without error")
	}
}

// TestRequests pins method, path and body of the calls.
func TestRequests(t *testing.T) {
	ctx := t.Context()
	var got string
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL.EscapedPath(), body))
		io.WriteString(w, `{}`)
	})
	for _, tc := range []struct {
		want string
		call func() error
	}{
		{`POST /v1/nodes {"driver":"ipmi"}`, func() error { _, err := c.CreateNode(ctx, map[string]any{"driver": "ipmi"}); return err }},
		{`GET /v1/nodes/a~b`, func() error { _, err := c.Node(ctx, "a~b"); return err }},
		{`GET /v1/nodes/a%2Fb`, func() error { _, err := c.Node(ctx, "a/b"); return err }},
		{`PATCH /v1/nodes/n [{"op":"remove","path":"/name"}]`, func() error {
			_, err := c.UpdateNode(ctx, "n", ironic.Patch{{Op: "remove", Path: "/name"}})
			return err
		}},
		{`DELETE /v1/nodes/n`, func() error { return c.DeleteNode(ctx, "n") }},
		{`GET /v1/nodes/n/states`, func() error { _, err := c.NodeStates(ctx, "n"); return err }},
		{`PUT /v1/nodes/n/states/power {"target":"power on"}`, func() error { return c.SetPower(ctx, "n", ironic.PowerOn, 0) }},
		{`PUT /v1/nodes/n/states/power {"target":"soft power off","timeout":90}`, func() error {
			return c.SetPower(ctx, "n", ironic.PowerSoftOff, 90*time.Second)
		}},
		{`PUT /v1/nodes/n/states/raid {"logical_disks":[]}`, func() error {
			return c.SetRAIDConfig(ctx, "n", map[string]any{"logical_disks": []any{}})
		}},
		{`PUT /v1/nodes/n/maintenance {"reason":"why"}`, func() error { return c.SetMaintenance(ctx, "n", "why") }},
		{`DELETE /v1/nodes/n/maintenance`, func() error { return c.UnsetMaintenance(ctx, "n") }},
		{`GET /v1/nodes/n/validate`, func() error { _, err := c.Validate(ctx, "n"); return err }},
		{`GET /v1/nodes/n/management/boot_device`, func() error { _, err := c.BootDevice(ctx, "n"); return err }},
		{`PUT /v1/nodes/n/management/boot_device {"boot_device":"pxe","persistent":false}`, func() error {
			return c.SetBootDevice(ctx, "n", "pxe", false)
		}},
		{`GET /v1/nodes/n/management/boot_device/supported`, func() error { _, err := c.BootDevices(ctx, "n"); return err }},
		{`POST /v1/ports {"address":"m"}`, func() error { _, err := c.CreatePort(ctx, map[string]any{"address": "m"}); return err }},
		{`GET /v1/ports/p`, func() error { _, err := c.Port(ctx, "p"); return err }},
		{`PATCH /v1/ports/p []`, func() error { _, err := c.UpdatePort(ctx, "p", ironic.Patch{}); return err }},
		{`DELETE /v1/ports/p`, func() error { return c.DeletePort(ctx, "p") }},
		{`GET /v1/drivers`, func() error { _, err := c.Drivers(ctx); return err }},
		{`GET /v1/drivers/ipmi`, func() error { _, err := c.Driver(ctx, "ipmi"); return err }},
		{`GET /v1/drivers/ipmi/properties`, func() error { _, err := c.DriverProperties(ctx, "ipmi"); return err }},
		{`GET /v1/conductors`, func() error { _, err := c.Conductors(ctx); return err }},
		{`GET /v1/conductors/h`, func() error { _, err := c.Conductor(ctx, "h"); return err }},
		{`GET /ferric/v1/nodes/n/progress`, func() error { _, err := c.Progress(ctx, "n"); return err }},
		{`GET /ferric/v1/nodes/n/events`, func() error { _, err := c.Events(ctx, "n"); return err }},
		{`GET /ferric/v1/nodes/n/erase_report`, func() error { _, err := c.EraseReports(ctx, "n"); return err }},
	} {
		if err := tc.call(); err != nil {
			t.Errorf("%s: %v", tc.want, err)
		}
		if got != tc.want {
			t.Errorf("request %q, want %q", got, tc.want)
		}
	}
}

func TestBadAddress(t *testing.T) {
	for _, base := range []string{"", "host:6385", "ftp://user:secret@host", "http://user:secret@ho st"} {
		_, err := New(base, nil)
		if err == nil {
			t.Errorf("%q is taken for an address", base)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("error tells the password: %v", err)
		}
	}
}

func TestWaitProvision(t *testing.T) {
	target := func(s string) string { return `"target_provision_state":"` + s + `"` }
	for _, tc := range []struct {
		name    string
		answers []string // the last one is repeated; "" breaks the connection
		changes []string
		fails   string
	}{
		{"reached", []string{
			`{"provision_state":"deploying",` + target("active") + `}`,
			`{"provision_state":"deploying",` + target("active") + `}`,
			``,
			`{"provision_state":"wait call-back",` + target("active") + `}`,
			`{"provision_state":"active","target_provision_state":null}`,
		}, []string{"deploying", "wait call-back", "active"}, ""},
		{"failed", []string{`{"provision_state":"deploy failed",` + target("active") + `,"last_error":"image is too large"}`},
			[]string{"deploy failed"}, "node n is deploy failed, not active: image is too large"},
		{"fell back", []string{`{"provision_state":"verifying",` + target("manageable") + `}`, `{"provision_state":"enroll","last_error":"wrong password"}`},
			[]string{"verifying", "enroll"}, "wrong password"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var request atomic.Int32
			c := server(t, func(w http.ResponseWriter, r *http.Request) {
				answer := tc.answers[min(int(request.Add(1)), len(tc.answers))-1]
				if answer == "" {
					panic(http.ErrAbortHandler)
				}
				io.WriteString(w, answer)
			})
			var changes []string
			n, err := c.WaitProvision(t.Context(), "n", []string{ironic.StateActive}, func(n *ironic.Node) { changes = append(changes, n.ProvisionState) })
			if diff := cmp.Diff(tc.changes, changes); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			var state *StateError
			switch {
			case tc.fails == "" && (err != nil || n.ProvisionState != ironic.StateActive):
				t.Errorf("node %v, error %v", n, err)
			case tc.fails != "" && (!errors.As(err, &state) || !strings.Contains(err.Error(), tc.fails)):
				t.Errorf("error %v, want a StateError with %q", err, tc.fails)
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"provision_state":"cleaning","target_provision_state":"available"}`)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.WaitProvision(ctx, "n", []string{ironic.StateAvailable}, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "cleaning") {
			t.Errorf("error %v, want a deadline that names the state", err)
		}
	})
	t.Run("no such node", func(t *testing.T) {
		c := server(t, http.NotFound)
		if _, err := c.WaitProvision(t.Context(), "n", []string{ironic.StateActive}, nil); !IsStatus(err, 404) {
			t.Errorf("error %v, want 404", err)
		}
	})
}
