package flow_test

import (
	"testing"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// TestHeartbeatStamp: of a heartbeat that tells nothing new the time is written
// later, when the conductor stops at the latest. All else is there at once.
func TestHeartbeatStamp(t *testing.T) {
	r := newRig(t, nil)
	n := r.row()
	n.ProvisionState = provision.Active
	n.DriverInternalInfo[driver.KeyAgentToken] = "token"
	if err := r.db.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	hb := ipa.Heartbeat{CallbackURL: "https://192.0.2.1:9999", AgentVersion: "1", AgentToken: "token"}
	beat := func() (revision int64, info store.Object) {
		t.Helper()
		if err := r.flow.Heartbeat(t.Context(), n.UUID, hb); err != nil {
			t.Fatal(err)
		}
		n := r.row()
		return n.Revision, n.DriverInternalInfo
	}
	first, info := beat()
	if info[driver.KeyAgentURL] != hb.CallbackURL || info[driver.KeyAgentVersion] != "1" {
		t.Fatalf("after the first heartbeat: %v", info)
	}
	stamp := info[driver.KeyAgentLastHeartbeat]
	if revision, _ := beat(); revision != first {
		t.Errorf("the same heartbeat again changed the row at once")
	}
	hb.AgentVersion = "2"
	if _, info := beat(); info[driver.KeyAgentVersion] != "2" {
		t.Errorf("another version is not there at once: %v", info)
	}
	_, info = beat()
	if stamp == info[driver.KeyAgentLastHeartbeat] {
		t.Error("the heartbeat with another version has left the time")
	}
	stamp = info[driver.KeyAgentLastHeartbeat]
	if err := r.db.Close(); err != nil {
		t.Fatal(err)
	}
	r.start()
	if got := r.row().DriverInternalInfo[driver.KeyAgentLastHeartbeat]; got == stamp {
		t.Errorf("the time of the last heartbeat, after %v, is lost", stamp)
	}
}
