package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/integration/conversation"
	"ferric/integration/lab"
)

// mostResident is what the agent may have resident while it is idle, in KiB.
const mostResident = 25 << 10

// cleanServiceRescue is one machine's day. Ironic 21.4, which polls without a token, cleans it: an answer with
// other manager versions, a second command while one runs, an agent that is killed, and a reset in the middle of a step.
// Ironic 29 takes over, services the machine and rescues it.
func cleanServiceRescue(t *testing.T) {
	image := smallImage(t)
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic21(), ImageDir: filepath.Dir(image.Raw.Path),
		Params: "ipa-debug=1 ipa-api-url=http://192.168.77.1:1,%s", // nobody listens at the first one
		Node:   lab.NodeConfig{MemoryMiB: 384, Disks: []lab.Disk{{Kind: lab.Virtio, SizeMiB: 4096}}},
	})
	// So many passes that a step is still running when something is done to it.
	s.Node["driver_internal_info"].(map[string]any)["agent_erase_devices_iterations"] = 20
	boot(t, ctx, s)
	before, token := s.Beat(), s.Token()
	pid := agentPID(t, ctx, s)
	resident(t, ctx, s, pid)
	clean(t, ctx, s)
	crash(t, ctx, s, pid, before)

	// The conductor resets the machine while it erases, as for an abort.
	_, err := s.Begin(ctx, conversation.Clean, step("erase_devices"))
	must(t, err)
	s.Forget()
	s.Upgrade(conversation.Ironic29())
	mark, began := s.Machine.Console.Mark(), time.Now()
	must(t, s.Machine.Reset(ctx))
	first(t, ctx, s, mark, began)
	if s.Token() == token || s.Beat().AgentVerifyCA == before.AgentVerifyCA {
		t.Errorf("token or certificate is that of the boot before")
	}
	list, err := s.Commands(ctx)
	must(t, err)
	if len(list) != 0 {
		t.Errorf("the list of the new boot is %+v; want none", list)
	}
	service(t, ctx, s, image.QCOW2.SHA256, s.ImageURL(image.QCOW2.Path))
	rescue(t, ctx, s)
	golden(t, s, "clean-service-rescue")
}

func step(name string) map[string]any {
	return map[string]any{"interface": "deploy", "step": name, "priority": 10, "abortable": true, "reboot_requested": false, "argsinfo": nil, "requires_ramdisk": true}
}

// clean executes steps up to one that is still running.
func clean(t *testing.T, ctx context.Context, s *conversation.Site) {
	t.Helper()
	list, err := s.Commands(ctx)
	must(t, err)
	if len(list) != 0 {
		t.Fatalf("the list of a new boot is %+v; want none", list)
	}
	_, err = s.Steps(ctx, conversation.Clean)
	must(t, err)
	_, err = s.Step(ctx, conversation.Clean, step("erase_devices_metadata"))
	must(t, err)

	versions := s.Versions()
	s.SetVersions(map[string]any{"generic_hardware_manager": "0.1"})
	_, err = s.Begin(ctx, conversation.Clean, step("erase_devices"))
	must(t, err)
	mismatch, err := s.End(ctx, conversation.Clean)
	must(t, err)
	if mismatch.Status != ipa.StatusVersionMismatch || mismatch.Error == nil || mismatch.Error.Code != 409 {
		t.Errorf("with other versions the step is %+v; want %s with code 409", mismatch, ipa.StatusVersionMismatch)
	}
	s.SetVersions(versions)

	_, err = s.Begin(ctx, conversation.Clean, step("erase_devices"))
	must(t, err)
	_, err = s.Command(ctx, "standby.sync", nil, true)
	var busy *conversation.Refused
	if !errors.As(err, &busy) || busy.Status != 409 || !strings.Contains(strings.ToLower(busy.Text), "agent is busy") {
		t.Errorf("a second command: %v; want 409, agent is busy", err)
	}
}

// crash kills the agent while it erases. The next one has the same token and certificate, and says what became of the
// command.
func crash(t *testing.T, ctx context.Context, s *conversation.Site, pid int, before conversation.Beat) {
	t.Helper()
	_, err := conversation.Shell(ctx, s.Machine, fmt.Sprintf("kill -9 %d", pid))
	must(t, err)
	ended, err := s.End(ctx, conversation.Clean)
	must(t, err)
	if ended.Status != ipa.StatusFailed || ended.Error == nil {
		t.Errorf("the command of an agent that died is %+v; want FAILED", ended)
	} else {
		t.Logf("the command of the agent that died: %s", ended.Error)
	}
	if after := s.Beat(); after != before {
		t.Errorf("the agent has changed token, address or certificate of the boot")
	}
	list, err := s.Commands(ctx)
	must(t, err)
	if len(list) != 4 { // get_clean_steps and three steps
		t.Errorf("%d results after the restart, want 4", len(list))
	}
	logs, err := s.Sync(ctx, "log.collect_system_logs", nil)
	must(t, err)
	checkLogs(t, logs)
}

// agentPID finds the agent's process in the machine.
func agentPID(t *testing.T, ctx context.Context, s *conversation.Site) int {
	t.Helper()
	text, err := conversation.Shell(ctx, s.Machine, `grep -l ^ferric-agent$ /proc/[0-9]*/comm`)
	must(t, err)
	for _, field := range strings.Fields(text) {
		if parts := strings.Split(field, "/"); len(parts) > 3 && parts[1] == "proc" {
			pid, err := strconv.Atoi(parts[2])
			must(t, err)
			return pid
		}
	}
	t.Fatalf("no agent among the processes: %q", text)
	return 0
}

// resident checks the memory of the idle agent.
func resident(t *testing.T, ctx context.Context, s *conversation.Site, pid int) {
	t.Helper()
	text, err := conversation.Shell(ctx, s.Machine, fmt.Sprintf("grep VmRSS /proc/%d/status", pid))
	must(t, err)
	var size int
	if _, err := fmt.Sscanf(text, "VmRSS: %d kB", &size); err != nil {
		t.Fatalf("resident size %q: %v", text, err)
	}
	t.Logf("idle agent: %.1f MiB resident", float64(size)/1024)
	if size > mostResident {
		t.Errorf("the idle agent has %d KiB resident, at most %d", size, mostResident)
	}
}

// service asks for the service steps and executes one. The API being that of Ironic 29, no list is shown without a token.
func service(t *testing.T, ctx context.Context, s *conversation.Site, sum, url string) {
	t.Helper()
	tokenless := conversation.Ironic29()
	tokenless.TokenOnGET = false
	s.Upgrade(tokenless)
	_, err := s.Commands(ctx)
	var refused *conversation.Refused
	if !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("a list without a token: %v; want 401", err)
	}
	s.Upgrade(conversation.Ironic29())
	_, err = s.Steps(ctx, conversation.Service)
	must(t, err)
	_, err = s.Step(ctx, conversation.Service, s.WriteImageStep(conversation.Image{URL: url, SHA256: sum, Format: "qcow2"}))
	must(t, err)
}

// rescue finalises a rescue: the answer comes whole, and then nobody serves any more, while the machine stays on.
func rescue(t *testing.T, ctx context.Context, s *conversation.Site) {
	t.Helper()
	result, err := s.Command(ctx, "rescue.finalize_rescue", map[string]any{
		"rescue_password": "$5$saltsaltsalt$NyS4ZZzXl5Fu2zXbfS3VPJvqR8ZHkRcK0vfdXv7dTdB", "hashed": true,
	}, false)
	must(t, err)
	if result.Status != ipa.StatusSucceeded {
		t.Errorf("finalize_rescue is %+v; want SUCCEEDED", result)
	}
	dead(t, ctx, s)
}

// dead waits until the agent's port is closed.
func dead(t *testing.T, ctx context.Context, s *conversation.Site) {
	t.Helper()
	began := time.Now()
	for !s.Dead(ctx) {
		if time.Since(began) > 30*time.Second {
			t.Fatal("the agent still serves")
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("nobody serves after %.1f s", time.Since(began).Seconds())
	if !s.Machine.Powered() {
		t.Error("the machine is off")
	}
}
