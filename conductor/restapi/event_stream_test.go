package restapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// told is an event as it stands in a stream.
type told struct {
	id, kind string
	data     ironic.Event
}

// reader reads a stream of events.
type reader struct {
	*testing.T
	lines *bufio.Scanner
	close func()
}

func (s *service) stream(path string, header http.Header) *reader {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), "GET", s.url+path, nil)
	if err != nil {
		s.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" {
		s.Fatalf("%s: status %d, content %s", path, resp.StatusCode, kind)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &reader{s.T, lines, func() { resp.Body.Close() }}
}

// next is the next event, ok false at the end of the stream.
func (r *reader) next() (e told, ok bool) {
	r.Helper()
	for r.lines.Scan() {
		key, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch key {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				r.Fatal(err)
			}
		case "":
			if e.kind != "" {
				return e, true
			}
		}
	}
	return told{}, false
}

func (r *reader) want(kind, detail string) told {
	r.Helper()
	e, ok := r.next()
	if !ok || e.kind != kind || !strings.Contains(e.data.Detail, detail) {
		r.Fatalf("the stream tells %+v, open %v; want %s %q", e, ok, kind, detail)
	}
	return e
}

var wantsEvents = http.Header{"Accept": {"text/event-stream"}}

// TestEventStream follows a node through a verb, is cut off, and goes on.
func TestEventStream(t *testing.T) {
	s := newService(t)
	n1, n2 := s.enrol("n1"), s.enrol("n2")
	all, one := s.stream("/ferric/v1/events", wantsEvents), s.stream("/ferric/v1/nodes/n1/events?stream", nil)
	powers := s.stream("/ferric/v1/events?stream=1&kind=power-state,maintenance&node=n2", nil)
	s.want(202, "82", "PUT", "/v1/nodes/n1/states/provision", `{"target": "manage"}`)
	s.until("n1", "manageable")
	verb := all.want("verb", "manage, in state enroll")
	if verb.data.Node != n1 || verb.data.Name != "n1" || verb.data.Data["request"] == "" || fmt.Sprint(verb.data.ID) != verb.id || time.Since(verb.data.Time) > time.Minute {
		t.Errorf("the first event is %+v", verb)
	}
	if e := all.want("state", "verifying, was enroll"); e.data.Data["from"] != "enroll" || e.data.Data["to"] != "verifying" {
		t.Errorf("data is %v", e.data.Data)
	}
	one.want("verb", "manage")
	one.want("state", "verifying")
	last := all
	for e, ok := all.next(); ; e, ok = all.next() {
		if !ok || e.kind == "state" && e.data.Data["to"] == "manageable" {
			break
		}
	}
	last.close()
	s.want(202, "82", "PUT", "/v1/nodes/n2/maintenance", `{"reason": "new fans"}`)
	powers.want("maintenance", "on: new fans")

	// Come again: nothing is missing and nothing is told twice.
	resumed := s.stream("/ferric/v1/events", http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {verb.id}})
	resumed.want("state", "verifying")
	behind := s.stream("/ferric/v1/events?stream&after=99999", nil)
	behind.want("stream-gap", "there is no event 99999")
	list := s.want(200, "1", "GET", "/ferric/v1/events?kind=maintenance", "").body
	if !strings.Contains(list, "new fans") || !strings.Contains(list, n2) || strings.Contains(list, n1) {
		t.Errorf("the list is %s", list)
	}
	s.want(200, "1", "HEAD", "/ferric/v1/events?stream", "")
	s.attempts([]attempt{
		{"1", "GET", "/ferric/v1/events?kind=nonsense", "", 400, "nonsense"},
		{"1", "GET", "/ferric/v1/events?after=x", "", 400, "id of an event"},
		{"1", "GET", "/ferric/v1/events?limit=-1", "", 400, "limit"},
		{"1", "GET", "/ferric/v1/events?node=nobody", "", 404, "nobody"},
		{"1", "GET", "/ferric/v1/events?what=1", "", 400, "what"},
	})
	if got := strings.Count(s.want(200, "1", "GET", "/ferric/v1/nodes/n1/events?limit=2", "").body, `"kind"`); got != 2 {
		t.Errorf("a list of at most 2 has %d", got)
	}
}

// TestSlowReaders: one that falls behind is told so and dropped, one that takes
// nothing is dropped, and neither keeps its place.
func TestSlowReaders(t *testing.T) {
	s := newService(t, func(c *restapi.Config) {
		c.Streams.Max, c.Streams.MaxBehind, c.Streams.WriteTimeout, c.Streams.KeepAlive = 1, 1500, 300*time.Millisecond, 50*time.Millisecond
	})
	s.enrol("n1")
	n, err := s.store.Node(t.Context(), "n1")
	if err != nil {
		t.Fatal(err)
	}
	many := func(count, size int) {
		t.Helper()
		list := make([]store.Event, count)
		for i := range list {
			list[i] = store.Event{Time: time.Now(), Kind: "dhcp", Detail: strings.Repeat("x", size)}
		}
		if err := s.store.AddEvents(t.Context(), n.ID, list); err != nil {
			t.Fatal(err)
		}
	}
	slow := s.stream("/ferric/v1/events", wantsEvents)
	many(1, 1)
	slow.want("dhcp", "x") // up to date
	if a := s.callWith(http.Header{"Accept": {"text/event-stream"}}, "GET", "/ferric/v1/events", ""); a.status != 503 || !strings.Contains(a.body, "event_streams") {
		t.Errorf("one stream too many: %d %s", a.status, a.body)
	}
	many(2000, 1)
	slow.want("stream-dropped", "events behind, come again")
	if e, ok := slow.next(); ok {
		t.Errorf("after the last event: %+v", e)
	}
	freed := func() *reader {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if a := s.callWith(http.Header{}, "HEAD", "/ferric/v1/events", ""); a.status != 200 {
				t.Fatal(a.status)
			}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", s.url+"/ferric/v1/events?stream&after=0", nil)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode == 200 {
				return &reader{t, bufio.NewScanner(resp.Body), func() { resp.Body.Close() }}
			}
			resp.Body.Close()
			if time.Now().After(deadline) {
				t.Fatal("a reader that was dropped keeps its place")
			}
		}
	}
	stuck := freed() // with all that is kept, of which nothing is read
	many(900, 16<<10)
	freed().close()
	stuck.close()
}

// TestEventsOfTenants: who sees a node sees its events, but not everybody sees
// why something failed.
func TestEventsOfTenants(t *testing.T) {
	s, node, _ := tenants(t)
	s.edit(node, func(n *store.Node) {})
	n, err := s.store.Node(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	for kind, detail := range map[string]string{"last-error": "secret of the owner", "dhcp": "an address"} {
		if err := s.store.AddEvent(t.Context(), n.ID, time.Now(), kind, detail); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/ferric/v1/events", "/ferric/v1/nodes/" + node + "/events"} {
		for token, want := range map[string]string{"system reader": "secret of the owner", "blue reader": "an address", "green reader": "** Redacted"} {
			if a := s.as(token, "GET", path, ""); a.status != 200 || !strings.Contains(a.body, want) {
				t.Errorf("%s of %s: %d %s", path, token, a.status, a.body)
			}
		}
		if a := s.as("green reader", "GET", path, ""); strings.Contains(a.body, "secret") {
			t.Errorf("%s tells a lessee: %s", path, a.body)
		}
	}
	if a := s.as("red admin", "GET", "/ferric/v1/events", ""); a.status != 200 || strings.Contains(a.body, node) {
		t.Errorf("a stranger sees %d %s", a.status, a.body)
	}
	if a := s.as("red admin", "GET", "/ferric/v1/events?node="+node, ""); a.status != 404 {
		t.Errorf("a stranger sees %d %s", a.status, a.body)
	}
}
