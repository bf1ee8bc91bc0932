package agent_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
)

// promptly is how soon a cancelled step has to end.
const promptly = 10 * time.Second

// TestCancelErase ends the erasing of disks that would take minutes.
func TestCancelErase(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	agent, _ := serving(t, h, c, newProbe())
	n := node()
	n["driver_internal_info"] = object{"agent_erase_devices_iterations": 100, "agent_enable_ata_secure_erase": false, "agent_enable_nvme_secure_erase": false}
	var started ipa.Result
	agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "clean.execute_clean_step", Params: object{"node": n, "ports": []any{}, "step": step("erase_devices", nil)}}, &started)
	if started.Status != ipa.StatusRunning {
		t.Fatalf("erase_devices answered %s %+v", started.Status, started.Error)
	}
	eventually(t, "progress of the step", func() bool {
		var progress ipa.Progress
		return agent.do(t, "GET", "/ferric/v1/progress?agent_token="+agentToken, nil, &progress) == 200 && progress.Step == "erase_devices" && progress.Abortable && progress.Phase == "erasing" && progress.Done > 0 && progress.Total > progress.Done
	})
	// The logs can be had meanwhile.
	resp, err := agent.client.Get(agent.url + "/ferric/v1/logs?agent_token=" + agentToken)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/gzip" {
		t.Errorf("logs while a step runs: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	began := time.Now()
	var ended ipa.Result
	status := agent.do(t, "DELETE", "/ferric/v1/commands/"+started.ID+"?wait=true&agent_token="+agentToken, nil, &ended)
	if status != 202 || ended.Status != ipa.StatusFailed || !strings.HasPrefix(ended.Error.Details, "cancelled by request") {
		t.Fatalf("cancelling: %d %s %+v; want FAILED and why", status, ended.Status, ended.Error)
	}
	if took := time.Since(began); took > promptly {
		t.Errorf("the step ended %s after it was cancelled; want at most %s", took, promptly)
	}
	c.beat(t) // the conductor is told at once
}
