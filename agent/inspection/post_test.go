package inspection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// servers answers requests without a network: by URL, one answer after the
// other, the last one again and again. An answer of 0 is a broken connection.
type servers struct {
	answers map[string][]answer
	asked   []string // URL and time since the start
	started time.Time
	last    *http.Request
	body    []byte
}

// noNetwork is the status of an answer where the machine has no address yet.
const noNetwork = -1

type answer struct {
	status int
	body   string
}

func (s *servers) RoundTrip(req *http.Request) (*http.Response, error) {
	url := req.URL.String()
	s.asked = append(s.asked, fmt.Sprintf("%s %s", url, time.Since(s.started)))
	s.last = req
	s.body, _ = io.ReadAll(req.Body)
	list := s.answers[url]
	if len(list) == 0 {
		return nil, errors.New("connection refused")
	}
	if len(list) > 1 {
		s.answers[url] = list[1:]
	}
	switch list[0].status {
	case 0:
		return nil, errors.New("connection reset")
	case noNetwork:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", unix.ENETUNREACH)}
	}
	return &http.Response{StatusCode: list[0].status, Body: io.NopCloser(strings.NewReader(list[0].body)), Request: req}, nil
}

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func TestPost(t *testing.T) {
	ok := answer{202, `{"uuid": "1be26c0b"}`}
	tests := []struct {
		name      string
		answers   map[string][]answer
		asked     string
		uuid, err string
	}{
		{"taken", map[string][]answer{"http://a": {ok}}, "http://a 0s", "1be26c0b", ""},
		{"200 is as good", map[string][]answer{"http://a": {{200, `{"uuid": "u"}`}}}, "http://a 0s", "u", ""},
		{"without a UUID", map[string][]answer{"http://a": {{202, `{}`}}}, "http://a 0s", "", ""},
		{"without a body", map[string][]answer{"http://a": {{202, ``}}}, "http://a 0s", "", ""},
		{"next URL", map[string][]answer{"http://a": {{0, ""}}, "http://b": {ok}}, "http://a 0s, http://b 0s", "1be26c0b", ""},
		{"server errors", map[string][]answer{"http://a": {{500, "down"}, {503, ""}, {409, "locked"}, {429, "slowly"}, ok}},
			"http://a 0s, http://a 5s, http://a 10s, http://a 16s, http://a 28s", "1be26c0b", ""},
		{"server errors for good", map[string][]answer{"http://a": {{500, "down"}}},
			"http://a 0s, http://a 5s, http://a 10s, http://a 16s, http://a 28s", "", "5 tries: http://a answered 500 Internal Server Error: down"},
		{"nobody there", nil, "http://a 0s, http://b 0s, http://a 5s, http://b 5s, http://a 10s, http://b 10s, http://a 16s, http://b 16s, http://a 28s, http://b 28s",
			"", "5 tries"},
		{"refused", map[string][]answer{"http://a": {{400, "bad"}}}, "http://a 0s", "", "http://a answered 400 Bad Request: bad"},
		{"not yet", map[string][]answer{"http://a": {{404, ""}, {404, ""}, ok}}, "http://a 0s, http://a 1s, http://a 2s", "1be26c0b", ""},
		{"not yet, then locked", map[string][]answer{"http://a": {{404, ""}, {409, ""}, {404, ""}, ok}}, "http://a 0s, http://a 1s, http://a 6s, http://a 7s", "1be26c0b", ""},
		{"no network yet", map[string][]answer{"http://a": {{noNetwork, ""}, {noNetwork, ""}, ok}, "http://b": {{noNetwork, ""}}},
			"http://a 0s, http://b 0s, http://a 1s, http://b 1s, http://a 2s", "1be26c0b", ""},
		{"no JSON", map[string][]answer{"http://a": {{202, "<html>"}}}, "http://a 0s", "", "no JSON object"},
		{"a redirect to nowhere", map[string][]answer{"http://a": {{304, ""}}}, "http://a 0s", "", "304"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &servers{answers: test.answers, started: time.Now()}
				o := Options{URLs: []string{"http://a", "http://b"}, HTTP: &http.Client{Transport: s}, Log: quiet(), RequestID: "req-1"}
				uuid, err := o.post(t.Context(), document{"error": nil})
				if uuid != test.uuid {
					t.Errorf("UUID %q; want %q", uuid, test.uuid)
				}
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v; want %q", err, test.err)
				}
				if diff := cmp.Diff(test.asked, strings.Join(s.asked, ", ")); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
				want := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "X-Openstack-Request-Id": {"req-1"}}
				if diff := cmp.Diff(want, s.last.Header); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				if string(s.body) != `{"error":null}` || s.last.Method != http.MethodPost {
					t.Errorf("%s of %s", s.last.Method, s.body)
				}
			})
		})
	}
}

func TestPostGivesUpTooEarlyServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &servers{answers: map[string][]answer{"http://a": {{404, "no such node"}}}, started: time.Now()}
		o := Options{URLs: []string{"http://a"}, HTTP: &http.Client{Transport: s}, Log: quiet()}
		_, err := o.post(t.Context(), document{})
		if err == nil || !strings.Contains(err.Error(), "404 Not Found: no such node") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(s.started); took != 29*time.Second {
			t.Errorf("gave up after %s; want 29s", took)
		}
	})
}

func TestPostEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		s := &servers{answers: map[string][]answer{"http://a": {{500, ""}}}, started: time.Now()}
		o := Options{URLs: []string{"http://a"}, HTTP: &http.Client{Transport: s}, Log: quiet()}
		if _, err := o.post(ctx, document{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v; want that of the context", err)
		}
		if took := time.Since(s.started); took != 7*time.Second {
			t.Errorf("returned after %s; want 7s", took)
		}
	})
}

func TestPostBoundsAnswers(t *testing.T) {
	endless := answer{400, strings.Repeat("x", maxAnswer+1000)}
	s := &servers{answers: map[string][]answer{"http://a": {endless}}}
	o := Options{URLs: []string{"http://a"}, HTTP: &http.Client{Transport: s}, Log: quiet()}
	_, err := o.post(t.Context(), document{})
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("error of %d bytes; want a short one", len(fmt.Sprint(err)))
	}
	if !bytes.Equal(s.body, []byte("{}")) {
		t.Errorf("body %s", s.body)
	}
}

func TestEnabled(t *testing.T) {
	one := []string{"x"}
	tests := []struct {
		callback, collectors, api []string
		want                      bool
		urls                      string
	}{
		{nil, nil, nil, false, ""},
		{nil, nil, one, false, "x/v1/continue_inspection"},
		{nil, one, nil, false, ""},
		{nil, one, []string{"http://a/", "http://b"}, true, "http://a/v1/continue_inspection http://b/v1/continue_inspection"},
		{one, nil, nil, true, "x"},
		{one, one, []string{"http://a"}, true, "x"},
	}
	for i, test := range tests {
		if got := Enabled(test.callback, test.collectors, test.api); got != test.want {
			t.Errorf("%d: enabled = %v; want %v", i, got, test.want)
		}
		if got := strings.Join(URLs(test.callback, test.api), " "); got != test.urls {
			t.Errorf("%d: URLs %q; want %q", i, got, test.urls)
		}
	}
}
