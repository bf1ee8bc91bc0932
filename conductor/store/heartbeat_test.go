package store

import (
	"path/filepath"
	"testing"
	"time"
)

// TestHeartbeatStamps: the stamps are written together, and when the store is
// closed at the latest; not to a node that is locked or has lost its agent.
func TestHeartbeatStamps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	s := openStore(t, path)
	var ids []int64
	var created int64
	for _, uuid := range []string{"heard", "silent", "locked", "stranger"} {
		n := &Node{UUID: uuid, Driver: "fake-hardware", ProvisionState: "active"}
		if uuid != "stranger" {
			n.DriverInternalInfo = Object{"agent_last_heartbeat": "before", "other": "kept"}
		}
		if err := s.CreateNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, n.ID); uuid == "heard" {
			created = n.Revision
		}
	}
	if _, err := s.Reserve(t.Context(), "host", ids[2]); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	for _, i := range []int{0, 2, 3} {
		s.RecordHeartbeat(ids[i], at)
		s.RecordHeartbeat(ids[i], at.Add(-time.Hour)) // overtaken on the way
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	for i, want := range []string{"2026-01-02T03:04:05.000678", "before", "before", ""} {
		n, err := s.NodeByID(t.Context(), ids[i])
		if err != nil {
			t.Fatal(err)
		}
		if got := n.DriverInternalInfo.String("agent_last_heartbeat"); got != want || i < 3 && n.DriverInternalInfo.String("other") != "kept" {
			t.Errorf("%s: driver_internal_info is %v; want the heartbeat %q", n.UUID, n.DriverInternalInfo, want)
		}
		if i == 0 && n.Revision != created+1 {
			t.Errorf("revision %d after the heartbeat; want %d", n.Revision, created+1)
		}
		if want := map[int]int64{0: 1, 3: 1}[i]; n.Stamps != want {
			t.Errorf("%s: %d of its changes are the time of a heartbeat", n.UUID, n.Stamps)
		}
	}
}
