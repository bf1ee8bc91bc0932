package agent

import (
	"context"
	"testing"
	"time"

	"ferric/agent/command"
	"ferric/api/ipa"
)

// TestFlowOrder runs commands in order up to the first that fails; what a
// command does after its answer happens in a flow, too.
func TestFlowOrder(t *testing.T) {
	a := onSlowBus(t, map[string]time.Duration{"/dev/sda": 0})
	var ran []string
	after := make(chan string, 1)
	run := func(name string, err error) command.Command {
		return command.Command{Params: []string{"x"}, Run: func(context.Context, params, progress) (any, error) {
			ran = append(ran, name)
			return nil, err
		}}
	}
	last := run("last", nil)
	last.After = func() { after <- "last" }
	async := run("async", nil)
	async.Async = true
	table := command.Table{"test": {"first": run("first", nil), "async": async, "last": last, "fails": run("fails", ipa.VersionMismatch.New("x"))}}
	table["flow"] = a.flowExtension(table)
	start := func(names ...string) error {
		var flow []any
		for _, name := range names {
			flow = append(flow, map[string]any{"test." + name: map[string]any{}})
		}
		ran = nil
		_, err := table["flow"]["start_flow"].Call(t.Context(), "start_flow", params{"flow": flow}, nil)
		return err
	}
	if err := start("first", "async", "last"); err != nil || len(ran) != 3 || ran[1] != "async" {
		t.Errorf("ran %v, %v; want all in order", ran, err)
	}
	select {
	case <-after:
	case <-time.After(10 * time.Second):
		t.Error("what follows the answer of a command did not happen")
	}
	err := start("first", "fails", "last")
	if known, ok := err.(*ipa.Error); !ok || known.Type != "CommandExecutionError" || known.Details != "test.fails was failed: "+ipa.VersionMismatch.New("x").Error() || len(ran) != 2 {
		t.Errorf("ran %v, %v; want the end at the one that fails", ran, err)
	}
}

// TestSetNodeInfo does without a conductor what a lookup does with one.
func TestSetNodeInfo(t *testing.T) {
	a := onSlowBus(t, map[string]time.Duration{"/dev/sda": 0})
	set := a.commands()["poll"]["set_node_info"]
	info := map[string]any{
		"node":   map[string]any{"uuid": "u", "properties": map[string]any{"a": "b"}},
		"config": map[string]any{"heartbeat_timeout": 300.0, "agent_md5_checksum_enable": true, "agent_skip_bmc_detect": true},
	}
	if err := set.Check(params{"node_info": info}); err != nil {
		t.Fatalf("refused without an API: %v", err)
	}
	if _, err := set.Call(t.Context(), "set_node_info", params{"node_info": info}, nil); err != nil {
		t.Fatal(err)
	}
	if a.currentNode()["uuid"] != "u" || !a.host.Settings.SkipBMCDetect || !a.host.Settings.MD5Enabled {
		t.Errorf("node %v, settings %+v; want those of the command", a.currentNode(), a.host.Settings)
	}
	for _, bad := range []any{nil, "x", map[string]any{"node": 1}, map[string]any{"node": map[string]any{}}} {
		if _, err := set.Call(t.Context(), "set_node_info", params{"node_info": bad}, nil); err == nil || a.currentNode()["uuid"] != "u" {
			t.Errorf("node_info %v was accepted", bad)
		}
	}
	a.cfg.APIURLs = []string{"http://192.0.2.1:6385"}
	if err := set.Check(params{"node_info": info}); !ipa.InvalidCommand.Is(err) {
		t.Errorf("with an API: %v; want InvalidCommandError", err)
	}
}
