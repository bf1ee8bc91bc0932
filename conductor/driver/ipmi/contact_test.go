package ipmi

import (
	"context"
	"strings"
	"testing"
	"time"

	"ferric/conductor/driver"
	"ferric/integration/faults/proxy"
)

// TestLastContact follows what is known of a BMC that answers, falls silent,
// and is given up by who asks.
func TestLastContact(t *testing.T) {
	node, _ := newNode(t, nil)
	silent := proxy.StartUDP(t, nil, nil)
	bmcs := newBMCs(t, func(c *Config) { c.CommandRetryTimeout = 300 * time.Millisecond })
	power := NewPower(bmcs)
	if c, ok := power.LastContact(node.Node); ok {
		t.Fatalf("before anything was asked: %+v", c)
	}
	before := time.Now()
	if _, err := power.PowerState(t.Context(), node.Node); err != nil {
		t.Fatal(err)
	}
	c, ok := power.LastContact(node.Node)
	if !ok || !c.OK || c.Error != "" || c.What != "power status" || c.At.Before(before) {
		t.Errorf("after an answer: %+v, %t", c, ok)
	}
	// A refusal is an answer, too.
	if err := bmcs.SendRaw(t.Context(), must(nodeInfo(node.Node)), []byte{0x2e, 0x99}); err == nil {
		t.Error("an unknown command was taken")
	}
	if c, _ := power.LastContact(node.Node); !c.OK || !strings.Contains(c.Error, "completion code") || c.What != "raw command" {
		t.Errorf("after a refusal: %+v", c)
	}
	info := must(nodeInfo(node.Node))
	info.Port = silent.Port()
	if _, err := bmcs.PowerState(t.Context(), info); err == nil {
		t.Error("a silent BMC answered")
	}
	all, ok := bmcs.Contacts(info)
	if !ok || all.Last.OK || !strings.Contains(all.Last.Error, "BMC unreachable") || !all.Answer.At.IsZero() || all.Failure != all.Last {
		t.Errorf("after silence: %+v, %t", all, ok)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bmcs.PowerState(gone, info); err == nil {
		t.Error("asked though given up")
	}
	if again, _ := bmcs.Contacts(info); again != all {
		t.Errorf("who gave up changed what is known: %+v", again)
	}
	var _ driver.Contacted = power
}

// must is for what the test has set up right.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
