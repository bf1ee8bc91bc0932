package conversation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"ferric/integration/conversation"
	"ferric/integration/lab"
)

// burnIn has a small machine, whose memory is all wanted, carry out the steps of burn-in. Its agent has to live on.
func burnIn(t *testing.T) {
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic29(), Params: "ipa-debug=1",
		Node: lab.NodeConfig{MemoryMiB: 512, Disks: []lab.Disk{
			{Kind: lab.Virtio, SizeMiB: 4096, Serial: "large"}, {Kind: lab.Virtio, SizeMiB: 64, Serial: "small", Sector: 4096},
		}},
	})
	boot(t, ctx, s)
	_, err := s.Steps(ctx, conversation.Clean)
	must(t, err)
	pid := agentPID(t, ctx, s)
	before := residentKiB(t, ctx, s, pid)
	s.Node["driver_info"] = map[string]any{
		"agent_burnin_cpu_timeout": 10, "agent_burnin_vm_timeout": "20",
		"agent_burnin_fio_disk_loops": 1, "agent_burnin_fio_disk_runtime": 20, "agent_burnin_fio_disk_outputfile": "/tmp/disks.json",
	}
	type report struct {
		Available int64 `json:"available_bytes"`
		Tested    int64 `json:"tested_bytes"`
		Verified  int64 `json:"verified_bytes"`
		Disks     []struct {
			Name     string
			Loops    int
			Verified int64 `json:"verified_bytes"`
		}
	}
	reports := map[string]report{}
	for _, name := range []string{"burnin_memory", "burnin_cpu", "burnin_disk"} {
		ended, err := s.Step(ctx, conversation.Clean, step(name))
		must(t, err)
		var result struct {
			Report json.RawMessage `json:"clean_result"`
		}
		must(t, json.Unmarshal(ended.Result, &result))
		t.Logf("%s", result.Report)
		var r report
		must(t, json.Unmarshal(result.Report, &r))
		reports[name] = r
		if now := agentPID(t, ctx, s); now != pid {
			t.Fatalf("after %s the agent has pid %d, not %d", name, now, pid)
		}
	}
	if r := reports["burnin_memory"]; r.Tested < r.Available/2 || r.Verified < r.Tested {
		t.Errorf("memory: %+v; want most of what was available", r)
	}
	if r := reports["burnin_disk"]; len(r.Disks) != 2 || r.Disks[0].Verified == 0 || r.Disks[1].Loops != 1 {
		t.Errorf("disks: %+v; want a part of the first and a loop of the second", r)
	}
	after := residentKiB(t, ctx, s, pid)
	t.Logf("agent: %d KiB resident before, %d after", before, after)
	if after > mostResident {
		t.Errorf("the agent has %d KiB resident after it, at most %d", after, mostResident)
	}
	text, err := conversation.Shell(ctx, s.Machine, "cat /tmp/disks.json")
	must(t, err)
	if !json.Valid([]byte(text)) {
		t.Errorf("the report in the file is %q", text)
	}
}

// residentKiB is the memory of the agent.
func residentKiB(t *testing.T, ctx context.Context, s *conversation.Site, pid int) (size int) {
	t.Helper()
	text, err := conversation.Shell(ctx, s.Machine, fmt.Sprintf("grep VmRSS /proc/%d/status", pid))
	must(t, err)
	if _, err := fmt.Sscanf(text, "VmRSS: %d kB", &size); err != nil {
		t.Fatalf("resident size %q: %v", text, err)
	}
	return size
}
