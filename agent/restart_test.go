package agent_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ferric/api/ipa"
)

// TestKilled kills an agent in the middle of a step: its next life has the
// token and the certificate, and tells that the step failed.
func TestKilled(t *testing.T) {
	h, _ := machine(t)
	fetched, release := make(chan struct{}, 1), make(chan struct{})
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case fetched <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer images.Close()
	defer close(release)
	c := newConductor(t)
	state := t.TempDir()
	first := start(t, h, c, state)
	before := c.beat(t)
	agent := callerOf(t, before)
	agent.succeed(t, "clean.get_clean_steps", object{"node": node(), "ports": []any{}}, nil)
	info := object{"id": "img-1", "urls": []string{images.URL}, "disk_format": "raw", "os_hash_algo": "sha256", "os_hash_value": "00", "stream_raw_images": true}
	var started ipa.Result
	agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "deploy.execute_deploy_step", Params: object{"node": node(), "ports": []any{}, "step": step("write_image", object{"image_info": info})}}, &started)
	select {
	case <-fetched:
	case <-time.After(patience):
		t.Fatal("the image is not fetched")
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.exited

	start(t, h, c, state)
	after := c.beat(t)
	if after.AgentVerifyCA != before.AgentVerifyCA || after.AgentToken != before.AgentToken {
		t.Error("token or certificate changed over a restart")
	}
	again := callerOf(t, after)
	var list ipa.Results
	again.do(t, "GET", "/v1/commands/?agent_token="+agentToken, nil, &list)
	if len(list.Commands) != 2 || list.Commands[0].Name != "get_clean_steps" || list.Commands[0].Status != ipa.StatusSucceeded {
		t.Fatalf("commands after the restart are %+v; want both of the first life", list.Commands)
	}
	last := list.Commands[1]
	if last.ID != started.ID || last.Status != ipa.StatusFailed || last.Error == nil || last.Error.Details != "the agent restarted while it ran" {
		t.Errorf("the step is %s %+v; want FAILED with the reason", last.Status, last.Error)
	}
	again.succeed(t, "standby.sync", object{}, nil)
}
