package agent_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
)

// probed is the parameters of a step of the probe.
func probed(name string, more object) object {
	p := object{"step": object{"step": name, "interface": "deploy", "priority": 5, "abortable": false}, "node": node(), "ports": []any{object{"address": "52:54:00:12:34:01"}}}
	for key, value := range more {
		p[key] = value
	}
	return p
}

// onlyProbe leaves of the steps those that do not depend on the built-in
// manager, and not one for each error.
func onlyProbe(answer map[string]any) {
	result, _ := answer["command_result"].(map[string]any)
	for _, phase := range []string{"clean", "deploy", "service"} {
		classes, _ := result[phase+"_steps"].(map[string]any)
		if _, ok := classes["GenericHardwareManager"].([]any); ok {
			classes["GenericHardwareManager"] = "as built in"
		}
		if steps, ok := classes["ProbeHardwareManager"].([]any); ok {
			classes["ProbeHardwareManager"] = steps[:2]
		}
	}
}

// shape replaces the values of a result by their number of bytes being zero or
// not, where they depend on the machine.
func shape(answer map[string]any) {
	result, _ := answer["command_result"].(map[string]any)
	for key, value := range result {
		switch v := value.(type) {
		case nil:
		case string:
			result[key] = map[bool]string{true: "", false: "text"}[v == ""]
		case []any:
			result[key] = "list"
		default:
			result[key] = "object"
		}
	}
}

// TestCommands runs every command of the contract's table as a conductor does.
func TestCommands(t *testing.T) {
	h, _ := machine(t)
	agent, etc := serving(t, h, newConductor(t), newProbe())
	content, digest := image(t)
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer images.Close()
	tr := transcriptOf(agent, images.URL, "http://IMAGES", digest, "DIGEST", etc, "/etc")
	info := object{"id": "img-1", "urls": []string{images.URL + "/i"}, "disk_format": "raw", "os_hash_algo": "sha256", "os_hash_value": digest, "stream_raw_images": true}
	versions := object{}

	tr.command(t, "before an image was written", "standby.get_partition_uuids", object{}, nil)
	for _, phase := range []string{"clean", "deploy", "service"} {
		tr.command(t, "steps", phase+".get_"+phase+"_steps", object{"node": node(), "ports": []any{}}, func(answer map[string]any) {
			result, _ := answer["command_result"].(map[string]any)
			versions, _ = result["hardware_manager_version"].(object)
			onlyProbe(answer)
		})
		execute := phase + ".execute_" + phase + "_step"
		tr.command(t, "a step with its versions, arguments, and a further parameter", execute, probed("probe_args", object{
			phase + "_version": versions, "further": 1,
			"step": object{"step": "probe_args", "interface": "deploy", "priority": 5, "args": object{"a": 1, "large": json.RawMessage("18446744073709551615"), "further": 2}, "argsinfo": nil, "requires_ramdisk": true},
		}), nil)
		tr.command(t, "other versions", execute, probed("probe_null", object{phase + "_version": object{"probe": "6"}}), nil)
		tr.command(t, "no plan", execute, probed("probe_null", object{phase + "_version": nil}), nil)
	}
	tr.command(t, "the image", "standby.prepare_image", object{"image_info": info, "configdrive": nil}, nil)
	tr.command(t, "after an image was written", "standby.get_partition_uuids", object{}, nil)
	tr.command(t, "the image as a step", "deploy.execute_deploy_step", object{"node": node(), "ports": []any{}, "step": step("write_image", object{"image_info": info, "configdrive": nil})}, nil)
	tr.command(t, "boot loader of a whole disk image", "image.install_bootloader", object{"root_uuid": "0x00000000", "efi_system_part_uuid": nil, "prep_boot_part_uuid": nil, "target_boot_mode": "bios"}, nil)
	tr.command(t, "flush", "standby.sync", object{}, nil)
	tr.command(t, "restart outside a ramdisk", "standby.run_image", object{}, nil)
	tr.command(t, "power off outside a ramdisk", "standby.power_off", object{}, nil)
	tr.command(t, "logs", "log.collect_system_logs", object{}, shape)
	tr.command(t, "inventory", "poll.get_hardware_info", object{}, shape)
	tr.command(t, "a conductor told it already", "poll.set_node_info", object{"node_info": object{"node": node()}}, nil)
	tr.command(t, "a flow", "flow.start_flow", object{"flow": []any{object{"standby.sync": object{}}, object{"clean.execute_clean_step": probed("probe_null", nil)}}}, nil)
	tr.command(t, "an empty flow", "flow.start_flow", object{"flow": []any{}}, nil)
	tr.command(t, "a flow that fails", "flow.start_flow", object{"flow": []any{object{"clean.execute_clean_step": probed("probe_unknown", nil)}, object{"standby.power_off": object{}}}}, nil)
	tr.command(t, "a flow with other versions", "flow.start_flow", object{"flow": []any{object{"clean.execute_clean_step": probed("probe_null", object{"clean_version": object{}})}}}, nil)
	tr.command(t, "a flow with a bad request", "flow.start_flow", object{"flow": []any{object{"standby.prepare_image": object{"image_info": object{}}}}}, nil)
	tr.command(t, "no directory for the password", "rescue.finalize_rescue", object{"rescue_password": "secret"}, nil)
	tr.check(t, "commands.golden")

	// A failed rescue leaves the agent serving; a prepared one ends it.
	if err := os.Mkdir(filepath.Join(etc, "ipa-rescue-config"), 0o755); err != nil {
		t.Fatal(err)
	}
	last := transcriptOf(agent)
	last.command(t, "rescue", "rescue.finalize_rescue", object{"rescue_password": "$5$rounds=5000$salt$hash", "hashed": true}, nil)
	last.check(t, "rescue.golden")
}

func TestLockdownCommand(t *testing.T) {
	h, _ := machine(t)
	agent, _ := serving(t, h, newConductor(t), newProbe())
	tr := transcriptOf(agent)
	tr.command(t, "lockdown", "system.lockdown", object{}, nil)
	tr.check(t, "lockdown.golden")
}

// TestErrorRows has one request for each row of the contract's table of errors,
// and for each check of a request.
func TestErrorRows(t *testing.T) {
	h, _ := machine(t)
	agent, _ := serving(t, h, newConductor(t), newProbe())
	tr := transcriptOf(agent)
	const post = "/v1/commands/?agent_token=" + agentToken
	for _, r := range []struct{ title, method, path, body string }{
		{"root", "GET", "/", ""}, {"version", "GET", "/v1/", ""}, {"status", "GET", "/status", ""},
		{"nothing yet", "GET", "/commands?agent_token=" + agentToken, ""},
		{"no token", "POST", "/v1/commands/", `{"name":"standby.sync","params":{}}`},
		{"another token", "GET", "/v1/commands/?agent_token=x", ""},
		{"token in a list without one", "GET", "/v1/commands/", ""},
		{"no JSON", "POST", post, "sync"},
		{"no params", "POST", post, `{"name":"standby.sync"}`},
		{"params are null", "POST", post, `{"name":"standby.sync","params":null}`},
		{"no dot", "POST", post, `{"name":"sync","params":{}}`},
		{"gone extension", "POST", post, `{"name":"iscsi.start_iscsi_target","params":{}}`},
		{"gone command", "POST", post, `{"name":"standby.cache_image","params":{}}`},
		{"two dots", "POST", post, `{"name":"standby.sync.now","params":{}}`},
		{"image without id", "POST", post, `{"name":"standby.prepare_image","params":{"image_info":{}}}`},
		{"no image", "POST", post, `{"name":"standby.prepare_image","params":{}}`},
		{"flow is no list", "POST", post, `{"name":"flow.start_flow","params":{"flow":{}}}`},
		{"flow is missing", "POST", post, `{"name":"flow.start_flow","params":{}}`},
		{"flow of an unknown command", "POST", post, `{"name":"flow.start_flow","params":{"flow":[{"standby.fly":{}}]}}`},
		{"flow of flows", "POST", post, `{"name":"flow.start_flow","params":{"flow":[{"flow.start_flow":{"flow":[]}}]}}`},
		{"unknown id", "GET", "/v1/commands/x?agent_token=" + agentToken, ""},
		{"unknown path", "GET", "/v3", ""},
		{"other verb", "PUT", "/v1/commands/?agent_token=" + agentToken, ""},
		{"nothing was recorded", "GET", "/v1/commands/?agent_token=" + agentToken, ""},
		{"unexpected parameter", "POST", post, `{"name":"standby.sync","params":{"force":true}}`},
		{"required parameter is missing", "POST", post, `{"name":"clean.get_clean_steps","params":{"node":{}}}`},
		{"node without uuid", "POST", post, `{"name":"clean.get_clean_steps","params":{"node":{},"ports":[]}}`},
		{"node is null", "POST", post, `{"name":"clean.get_clean_steps","params":{"node":null,"ports":[]}}`},
	} {
		tr.add(t, r.title, r.method, r.path, r.body, nil)
	}
	execute := "service.execute_service_step"
	tr.command(t, "a step without its name", execute, probed("", object{"step": object{"interface": "deploy", "args": object{"secret": 1}}}), nil)
	tr.command(t, "nobody has the step", execute, probed("other", nil), nil)
	tr.command(t, "everybody passes", execute, probed("probe_incompatible", nil), nil)
	tr.command(t, "a known error with more around it", execute, probed("probe_wrapped", nil), nil)
	tr.command(t, "a result that is no JSON", execute, probed("probe_odd", nil), nil)
	for _, phase := range []string{"clean", "deploy", "service"} {
		tr.command(t, "an unknown error", phase+".execute_"+phase+"_step", probed("probe_unknown", nil), nil)
	}
	for _, kind := range kinds() {
		tr.command(t, kind.Type, execute, probed("fail_"+kind.Type, nil), nil)
	}
	tr.check(t, "errors.golden")
}

// TestConcurrency: a second POST waits for a sync command, GETs wait for
// nothing, and many waiters do not keep pollers out.
func TestConcurrency(t *testing.T) {
	h, _ := machine(t)
	p := newProbe()
	agent, _ := serving(t, h, newConductor(t), p)
	list := func() []ipa.Result {
		var l ipa.Results
		if status := agent.do(t, "GET", "/v1/commands/?agent_token="+agentToken, nil, &l); status != 200 {
			t.Fatalf("list: %d", status)
		}
		return l.Commands
	}
	answers := make(chan string, 20)
	post := func(name string) {
		body, _ := json.Marshal(ipa.Request{Name: name, Params: object{}})
		resp, err := agent.client.Post(agent.url+"/v1/commands/?agent_token="+agentToken, "application/json", bytes.NewReader(body))
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		var r ipa.Result
		if err := json.NewDecoder(resp.Body).Decode(&r); err != nil {
			answers <- err.Error()
			return
		}
		answers <- r.Name + " " + r.Status
	}
	p.armed <- struct{}{}
	go post("standby.sync")
	eventually(t, "the sync command", func() bool { return len(list()) == 1 })
	go post("standby.get_partition_uuids")
	for range 20 { // while both are under way
		if l := list(); len(l) != 1 || l[0].Status != ipa.StatusRunning {
			t.Fatalf("during a sync command the list is %+v; want it alone", l)
		}
	}
	if len(answers) > 0 {
		t.Fatalf("answered too early: %s", <-answers)
	}
	close(p.hold)
	if first, second := <-answers, <-answers; first+second != "sync SUCCEEDEDget_partition_uuids SUCCEEDED" && second+first != "sync SUCCEEDEDget_partition_uuids SUCCEEDED" {
		t.Errorf("answers %q and %q", first, second)
	}
	if l := list(); len(l) != 2 || l[0].Name != "sync" {
		t.Errorf("commands %+v; want sync first", l)
	}

	p.hold = make(chan struct{})
	var held ipa.Result
	agent.do(t, "POST", "/v1/commands/?wait=yes&agent_token="+agentToken, ipa.Request{Name: "clean.execute_clean_step", Params: probed("probe_hold", nil)}, &held)
	if held.Status != ipa.StatusRunning {
		t.Fatalf("wait=yes waited: %+v", held)
	}
	for range 12 {
		go func() {
			resp, err := agent.client.Get(agent.url + "/v1/commands/" + held.ID + "?wait=True&agent_token=" + agentToken)
			if err != nil {
				answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			var r ipa.Result
			json.NewDecoder(resp.Body).Decode(&r)
			answers <- r.Name + " " + r.Status
		}()
	}
	for range 20 {
		if l := list(); l[len(l)-1].Status != ipa.StatusRunning {
			t.Fatalf("the command ended: %+v", l[len(l)-1])
		}
	}
	if len(answers) > 0 {
		t.Fatalf("a waiter was answered: %s", <-answers)
	}
	var fault map[string]string
	if status := agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "standby.sync", Params: object{}}, &fault); status != 409 {
		t.Errorf("busy: %d %v", status, fault)
	}
	var cancelled ipa.Result
	if status := agent.do(t, "DELETE", "/ferric/v1/commands/"+held.ID+"?agent_token="+agentToken, nil, &cancelled); status != 202 {
		t.Errorf("cancelling: %d %+v; want 202", status, cancelled)
	}
	for range 12 {
		if got := <-answers; got != "execute_clean_step FAILED" {
			t.Errorf("a waiter got %q", got)
		}
	}
	if l := list(); !strings.Contains(l[len(l)-1].Error.Details, "cancelled by request") || l[len(l)-1].Error.Type != "CleaningError" {
		t.Errorf("cancelled: %+v; want CleaningError and why", l[len(l)-1].Error)
	}
}
