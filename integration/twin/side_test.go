package twin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// side is one of the conductors.
type side struct {
	name, base string
}

const (
	// statePatience is for the way between two stable states, on a busy host.
	statePatience = 30 * time.Second
	// lockPatience is for a periodic task that has locked a node.
	lockPatience = 5 * time.Second
)

// await waits for the first answer and tells the newest minor version.
func (s *side) await(t *testing.T) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	for {
		a, err := s.call(ctx, http.MethodGet, "/v1/drivers/fake-hardware", "")
		if err == nil && a.status == http.StatusOK {
			newest, err := strconv.Atoi(strings.TrimPrefix(a.header.Get("X-OpenStack-Ironic-API-Maximum-Version"), "1."))
			if err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			return newest
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer: %v", s.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// call is a request of the test's own, at the newest version.
func (s *side) call(ctx context.Context, method, path, body string) (answer, error) {
	return s.send(ctx, line{method: method, path: path, body: body}, "latest")
}

// send sends a request. A node that is locked, by a periodic task for instance,
// is not an answer to compare.
func (s *side) send(ctx context.Context, l line, version string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, statePatience)
	defer cancel()
	locked := time.Now().Add(lockPatience)
	for {
		a, err := s.once(ctx, l, version)
		if err != nil || a.status != http.StatusConflict || !strings.Contains(string(a.body), "is locked by host") || time.Now().After(locked) {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *side) once(ctx context.Context, l line, version string) (answer, error) {
	var body io.Reader
	if l.body != "" {
		body = strings.NewReader(l.body)
	}
	req, err := http.NewRequestWithContext(ctx, l.method, s.base+l.path, body)
	if err != nil {
		return answer{}, err
	}
	if version != "none" {
		req.Header.Set("X-OpenStack-Ironic-API-Version", version)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range l.headers {
		req.Header.Set(h[0], h[1])
		if h[1] == "" {
			req.Header.Del(h[0])
		}
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{base: s.base, status: resp.StatusCode, header: resp.Header, body: text}, err
}

// awaitState waits until a node is in a state and nobody works on it.
func (s *side) awaitState(ctx context.Context, l line) error {
	ctx, cancel := context.WithTimeout(ctx, statePatience)
	defer cancel()
	for {
		a, err := s.call(ctx, http.MethodGet, "/v1/nodes/"+l.node+"?fields=provision_state,reservation,last_error", "")
		if err != nil {
			return err
		}
		var node struct {
			State string  `json:"provision_state"`
			By    *string `json:"reservation"`
			Error *string `json:"last_error"`
		}
		if err := json.Unmarshal(a.body, &node); err != nil {
			return fmt.Errorf("%w in %s", err, a.excerpt())
		}
		if node.State == l.state && node.By == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node stays as it is: %s", a.excerpt())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// sweep removes all objects, those that others refer to last.
func (s *side) sweep(ctx context.Context) error {
	for _, of := range []struct{ path, list, id string }{
		{"/v1/allocations", "allocations", "uuid"}, {"/v1/nodes?include_children=true", "nodes", "uuid"}, {"/v1/chassis", "chassis", "uuid"},
		{"/v1/deploy_templates", "deploy_templates", "uuid"}, {"/v1/runbooks", "runbooks", "uuid"}, {"/v1/inspection_rules", "inspection_rules", "uuid"},
	} {
		a, err := s.call(ctx, http.MethodGet, of.path, "")
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			continue // newer than this Ironic
		}
		var found map[string]json.RawMessage
		if err := json.Unmarshal(a.body, &found); err != nil {
			return err
		}
		var objects []struct{ UUID string }
		if err := json.Unmarshal(found[of.list], &objects); err != nil {
			return err
		}
		for _, o := range objects {
			path := strings.TrimSuffix(of.path, "?include_children=true") + "/" + o.UUID
			if of.list == "nodes" {
				if err := s.loosen(ctx, path); err != nil {
					return err
				}
			}
			if a, err = s.call(ctx, http.MethodDelete, path, ""); err != nil || a.status != http.StatusNoContent {
				return fmt.Errorf("remove %s: %w %s", path, err, a.excerpt())
			}
		}
	}
	return nil
}

// loosen takes from a node what keeps it from being removed.
func (s *side) loosen(ctx context.Context, path string) error {
	if _, err := s.call(ctx, http.MethodPatch, path, `[{"op":"replace","path":"/protected","value":false}]`); err != nil {
		return err
	}
	_, err := s.call(ctx, http.MethodPut, path+"/maintenance", `{}`)
	return err
}
