package agent_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// node with a root-device hint: the NVMe disk of the lab machine.
func node() object {
	return object{"uuid": nodeUUID, "properties": object{"root_device": object{"serial": "LAB-NVME-1"}}}
}

func step(name string, args object) object {
	s := object{"step": name, "interface": "deploy", "priority": 0, "reboot_requested": false}
	if args != nil {
		s["args"] = args
	}
	return s
}

// machine is the lab machine with disks of 256 MiB, and its NVMe disk.
func machine(t *testing.T) (*hwmanager.Host, string) {
	t.Helper()
	h := hwmtest.Machine(t, "../hwmanager/generic/testdata/lab.machine")
	for _, name := range []string{"vda", "sda", "sdb", "nvme0n1"} {
		if err := os.Truncate(filepath.Join(h.Dev, name), 256<<20); err != nil {
			t.Fatal(err)
		}
	}
	return h, filepath.Join(h.Dev, "nvme0n1")
}

// image is a disk image of 32 MiB with a GPT, and its SHA-256.
func image(t *testing.T) (content []byte, digest string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	content = make([]byte, 32<<20)
	noise := rand.NewChaCha8([32]byte{1})
	noise.Read(content[2<<20 : 20<<20])
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sgdisk", "-n", "1:2048:+24M", path).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return content, hex.EncodeToString(sum[:])
}

func TestDeployment(t *testing.T) {
	h, disk := machine(t)
	c := newConductor(t)
	c.with(func() { c.refuse = []int{http.StatusNotFound, http.StatusConflict} })
	p := start(t, h, c, t.TempDir())
	agent := callerOf(t, c.beat(t))
	for _, line := range []string{"ferric-agent 0.1.0 starting", "lookup done", "server listening", "first heartbeat accepted"} {
		// What the agent logs comes through a pipe, later than what it does.
		eventually(t, "the line "+line, func() bool { return strings.Contains(p.log.String(), line) })
	}
	c.with(func() {
		if c.macs != "52:54:00:12:34:01,52:54:00:12:34:02" {
			t.Errorf("looked up %q; want the addresses of both cards", c.macs)
		}
	})

	var steps ipa.CleanSteps
	agent.succeed(t, "clean.get_clean_steps", object{"node": node(), "ports": []any{}}, &steps)
	if len(steps.CleanSteps["GenericHardwareManager"]) == 0 || steps.HardwareManagerVersion["generic_hardware_manager"] == "" {
		t.Errorf("clean steps = %+v; want those of the generic manager and its version", steps)
	}
	versions := object{}
	for name, version := range steps.HardwareManagerVersion {
		versions[name] = version
	}
	clean := object{"node": node(), "ports": []any{}, "step": step("erase_devices_metadata", nil), "clean_version": versions}
	var done object
	agent.succeed(t, "clean.execute_clean_step", clean, &done)
	if echo, _ := done["clean_step"].(object); echo["step"] != "erase_devices_metadata" || echo["interface"] != "deploy" {
		t.Errorf("clean result = %v; want the step echoed", done)
	}
	c.beat(t) // the forced one

	clean["clean_version"] = object{"generic_hardware_manager": "0.1"}
	if got := agent.run(t, "clean.execute_clean_step", clean); got.Status != ipa.StatusVersionMismatch || got.Error.Code != 409 {
		t.Errorf("other versions: %s %v; want CLEAN_VERSION_MISMATCH", got.Status, got.Error)
	}
	c.beat(t)

	content, digest := image(t)
	writeImage(t, c, agent, content, digest)
	checkDisk(t, disk, content)

	var uuids map[string]string
	agent.succeed(t, "standby.get_partition_uuids", object{}, &uuids)
	if uuids["root uuid"] != "0x00000000" {
		t.Errorf("partition UUIDs = %v; want the MBR signature of a GPT image", uuids)
	}
	agent.succeed(t, "image.install_bootloader", object{"root_uuid": "0x00000000", "target_boot_mode": "bios"}, nil)
	c.beat(t)
	checkLogs(t, agent)
	checkPowerOff(t, c, agent)

	var list ipa.Results
	agent.do(t, "GET", "/v1/commands/?agent_token="+agentToken, nil, &list)
	if last := list.Commands[len(list.Commands)-1]; last.Name != "power_off" || len(list.Commands) != 8 {
		t.Errorf("%d commands, the last is %s; want 8 and power_off", len(list.Commands), last.Name)
	}
	if strings.Contains(p.log.String(), agentToken) {
		t.Error("the log shows the token")
	}
	c.with(func() {
		if len(c.strange) > 0 {
			t.Errorf("the agent asked for %v", c.strange)
		}
	})
}

// writeImage runs the step with a server that stops in the middle, and looks
// at the agent meanwhile.
func writeImage(t *testing.T, c *conductor, agent *caller, content []byte, digest string) {
	t.Helper()
	goOn, half := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:len(content)/2])
		w.(http.Flusher).Flush()
		once.Do(func() { close(half) })
		<-goOn
		w.Write(content[len(content)/2:])
	}))
	defer server.Close()
	var release sync.Once
	defer release.Do(func() { close(goOn) })

	info := object{"id": "img-1", "urls": []string{server.URL + "/image"}, "disk_format": "raw", "os_hash_algo": "sha256", "os_hash_value": digest, "checksum": nil, "stream_raw_images": true}
	deploy := object{"node": node(), "ports": []any{}, "step": step("write_image", object{"image_info": info, "configdrive": nil}), "deploy_version": nil}
	var started ipa.Result
	agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "deploy.execute_deploy_step", Params: deploy}, &started)
	if started.Status != ipa.StatusRunning {
		t.Fatalf("write_image answered %s %v; want RUNNING", started.Status, started.Error)
	}
	select {
	case <-half:
	case <-time.After(patience):
		t.Fatal("the image is not fetched")
	}
	eventually(t, "progress", func() bool {
		var progress ipa.Progress
		status := agent.do(t, "GET", "/ferric/v1/progress?agent_token="+agentToken, nil, &progress)
		return status == 200 && progress.Step == "write_image" && progress.Done > 0 && progress.Total == int64(len(content))
	})
	var fault map[string]string
	if status := agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "standby.sync", Params: object{}}, &fault); status != 409 || fault["faultstring"] != "Agent is busy: executing command execute_deploy_step" {
		t.Errorf("second command: %d %v; want 409 and that the agent is busy", status, fault)
	}
	if status := agent.do(t, "GET", "/v1/commands/"+started.ID, nil, &fault); status != 401 {
		t.Errorf("GET without token: %d; want 401", status)
	}
	release.Do(func() { close(goOn) })
	var result ipa.Result
	agent.do(t, "GET", "/v1/commands/"+started.ID+"?wait=true&agent_token="+agentToken, nil, &result)
	want := "prepare_image: image (img-1) written to device /dev/nvme0n1 root_uuid=0x00000000"
	if result.Status != ipa.StatusSucceeded || !strings.Contains(string(result.Result), want) {
		t.Fatalf("write_image: %s %v %s; want %q", result.Status, result.Error, result.Result, want)
	}
	c.beat(t)
}

// checkDisk compares the disk with the image and asks sgdisk about its table,
// whose backup has to be at the end.
func checkDisk(t *testing.T, disk string, content []byte) {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written := make([]byte, 28<<20)
	if _, err := io.ReadFull(f, written); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(written[1<<20:], content[1<<20:28<<20]) {
		t.Error("the disk does not hold the image")
	}
	out, err := exec.Command("sgdisk", "-v", disk).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

func checkLogs(t *testing.T, agent *caller) {
	t.Helper()
	var logs map[string]string
	agent.succeed(t, "log.collect_system_logs", object{}, &logs)
	packed, err := base64.StdEncoding.DecodeString(logs["system_logs"])
	if err != nil {
		t.Fatal(err)
	}
	members := unpack(t, packed)
	if !strings.Contains(members["ferric-agent.log"], "step done") || members["journal"] == "" || !strings.Contains(members["inventory"], "LAB-NVME-1") || members["proc/mounts"] == "" {
		t.Errorf("the archive holds %d members without journal, inventory or proc/mounts", len(members))
	}
	for name, text := range members {
		if strings.Contains(text, agentToken) {
			t.Errorf("member %s of the logs shows the token", name)
		}
	}
}

// checkPowerOff makes sure that an agent outside a ramdisk leaves the machine
// on.
func checkPowerOff(t *testing.T, c *conductor, agent *caller) {
	t.Helper()
	got := agent.run(t, "standby.power_off", object{})
	if got.Status != ipa.StatusFailed || got.Error.Type != "SystemRebootError" {
		t.Errorf("power off outside a ramdisk: %s %v; want SystemRebootError", got.Status, got.Error)
	}
	c.beat(t)
}

func TestImageFailures(t *testing.T) {
	h, disk := machine(t)
	content, digest := image(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer server.Close()
	c := newConductor(t)
	start(t, h, c, t.TempDir(), "--image-download-connection-retries", "0")
	agent := callerOf(t, c.beat(t))
	info := func(path, digest string) object {
		return object{"id": "img", "urls": []string{server.URL + path}, "disk_format": "raw", "os_hash_algo": "sha256", "os_hash_value": digest}
	}
	withType := info("/image", digest)
	withType["image_type"] = "partition"
	tests := []struct {
		name    string
		node    object
		info    object
		kind    string
		details string
	}{
		{"wrong digest", node(), info("/image", strings.Repeat("0", 64)), "ImageChecksumError", "sha256 is " + digest + ", expected 0000"},
		{"missing image", node(), info("/missing", digest), "ImageDownloadError", "404"},
		{"partition image without its size", node(), withType, "InvalidCommandParamsError", "root_mb is missing"},
		{"no such disk", object{"uuid": nodeUUID, "properties": object{"root_device": object{"serial": "other"}}}, info("/image", digest), "DeviceNotFound", "matches the root device hints"},
		{"no checksum", node(), object{"id": "img", "urls": []string{server.URL}}, "InvalidCommandParamsError", "checksum"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := agent.run(t, "deploy.execute_deploy_step", object{"node": test.node, "ports": []any{}, "step": step("write_image", object{"image_info": test.info})})
			if got.Status != ipa.StatusFailed || got.Error.Type != test.kind || !strings.Contains(got.Error.Details, test.details) {
				t.Errorf("result %s %+v; want %s with %q", got.Status, got.Error, test.kind, test.details)
			}
			if sentence := "Image failed to verify against checksum. "; test.kind == "ImageChecksumError" && !strings.HasPrefix(got.Error.Details, sentence) {
				t.Errorf("details %q; want them to begin with %q", got.Error.Details, sentence)
			}
		})
	}
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, first); err != nil || len(bytes.Trim(first, "\x00")) > 0 {
		t.Errorf("the disk begins with data after failures (%v); want it wiped", err)
	}
	if got := agent.run(t, "deploy.execute_deploy_step", object{"node": node(), "ports": []any{}, "step": step("no_such_step", nil)}); got.Error == nil || got.Error.Type != "HardwareManagerMethodNotFound" {
		t.Errorf("unknown step: %+v; want HardwareManagerMethodNotFound", got)
	}
	var fault map[string]string
	status := agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "standby.prepare_image", Params: object{"image_info": object{"id": "x"}}}, &fault)
	if status != 400 || !strings.HasPrefix(fault["faultstring"], "Invalid command parameters: image_info: urls") {
		t.Errorf("prepare_image without urls: %d %v; want 400", status, fault)
	}
}

func TestRestart(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	state := t.TempDir()
	first := start(t, h, c, state)
	before := c.beat(t)
	callerOf(t, before).succeed(t, "standby.sync", object{}, nil)
	first.stop(t)

	// The conductor masks the token now; the second life has kept it, with
	// the certificate that the conductor pinned.
	start(t, h, c, state)
	after := c.beat(t)
	if after.AgentVerifyCA != before.AgentVerifyCA {
		t.Error("the certificate changed over a restart")
	}
	again := callerOf(t, after)
	var list ipa.Results
	again.do(t, "GET", "/v1/commands/?agent_token="+agentToken, nil, &list)
	if len(list.Commands) != 1 || list.Commands[0].Name != "sync" || list.Commands[0].Status != ipa.StatusSucceeded {
		t.Errorf("commands after the restart are %+v; want sync of the first life", list.Commands)
	}
	again.succeed(t, "poll.get_hardware_info", object{}, nil)
}

func TestLostToken(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	c.with(func() { c.token = ipa.MaskedToken })
	p := start(t, h, c, t.TempDir())
	eventually(t, "giving up", func() bool { return strings.Contains(p.log.String(), "cannot join") })
	if strings.Contains(p.log.String(), "server listening") || len(c.beats) > 0 {
		t.Error("an agent without its token serves or heartbeats")
	}
}

func TestNoLookup(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	c.with(func() { c.refuse = []int{404, 404, 404, 404, 404, 404, 404, 404} })
	p := start(t, h, c, t.TempDir(), "--lookup-timeout", "0.5", "--lookup-interval", "0.1")
	select {
	case err := <-p.exited:
		var status *exec.ExitError
		if !errors.As(err, &status) || status.ExitCode() != 1 || !strings.Contains(p.log.String(), "no answer to the lookup") {
			t.Errorf("agent ended with %v; want status 1 and why", err)
		}
	case <-time.After(patience):
		t.Fatal("the agent looks up for ever")
	}
}

func TestOlderConductor(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	c.with(func() { c.version = "1.82" })
	start(t, h, c, t.TempDir())
	agent := callerOf(t, c.beat(t))
	var list ipa.Results
	if status := agent.do(t, "GET", "/v1/commands/", nil, &list); status != 200 {
		t.Errorf("GET without token by a conductor of API 1.82: %d; want 200", status)
	}
}

// TestVersionIsToldLate has a server that does not tell its version at first:
// the agent must not go without TLS for that.
func TestVersionIsToldLate(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	c.with(func() { c.mute = 3 }) // at the lookup, and twice after it
	start(t, h, c, t.TempDir())
	if status := callerOf(t, c.beat(t)).do(t, "GET", "/v1/commands/", nil, &object{}); status != 401 {
		t.Errorf("GET without token by a conductor of API 1.96: %d; want 401", status)
	}
}

func TestLockdown(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	p := start(t, h, c, t.TempDir())
	agent := callerOf(t, c.beat(t))
	agent.succeed(t, "system.lockdown", object{}, nil)
	eventually(t, "the end of serving", func() bool {
		resp, err := agent.client.Get(agent.url + "/v1/status")
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
	if p.cmd.ProcessState != nil {
		t.Error("the agent ended after lockdown; want it to stay, so that nobody restarts it")
	}
}
