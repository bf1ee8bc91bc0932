package compat_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ironic"
	"ferric/ramdisk"
)

// vendors has what stands in for hardware that vendors have managers for.
const vendors = "testdata/vendors"

// extendedRamdisk builds a ramdisk with a manager that is compiled in (the
// example acmenic), an executable one (acme-case), the programs that they and
// the manager of RAID controllers need, and the memory of such a controller.
func extendedRamdisk(t *testing.T) string {
	t.Helper()
	dir, begin := t.TempDir(), time.Now()
	card, storcli := filepath.Join(dir, "acmenic"), filepath.Join(dir, "storcli64")
	for _, args := range [][]string{
		{"build", "-o", card, "./" + vendors + "/acmenic"},
		{"test", "-c", "-o", storcli, "ferric/hwmanager/raidctl"}, // its tests are also a model of the tool
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var tools []ramdisk.Tool
	for _, text := range []string{"mdadm", card + ":/usr/sbin/acmenic", storcli + ":/usr/sbin/storcli64"} {
		tool, err := ramdisk.ParseTool(text)
		if err != nil {
			t.Fatal(err)
		}
		tools = append(tools, tool)
	}
	out := filepath.Join(dir, "ramdisk")
	if _, err := ramdisk.Build(t.Context(), ramdisk.Options{
		Output: out, Managers: []string{"../../hwmanager/example/acmenic"}, Plugins: []string{vendors + "/acme-case"}, Tools: tools,
		Files: []ramdisk.File{{Source: vendors + "/megaraid.json", Target: "/usr/state-storcli64.json"}},
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("the extended ramdisk took %.1f s", time.Since(begin).Seconds())
	return out
}

// askedNothingElse checks that agents have asked an Ironic for what every agent
// does, and nothing for what only ferric's conductor has.
func (p *patient) askedNothingElse(t *testing.T) {
	t.Helper()
	counts := map[string]int{}
	for _, request := range p.Asked() {
		if strings.HasPrefix(request, "POST /v1/heartbeat/") {
			request = "POST /v1/heartbeat/{node}"
		}
		counts[request]++
	}
	t.Logf("agents have asked for %v", counts)
	for _, want := range []string{"GET /v1/lookup", "POST /v1/heartbeat/{node}"} {
		if counts[want] == 0 {
			t.Errorf("agents have not asked for %s", want)
		}
	}
	known := []string{"GET /", "GET /v1", "GET /v1/", "GET /v1/lookup", "POST /v1/heartbeat/{node}", "POST /v1/continue_inspection"}
	for request := range counts {
		if !slices.Contains(known, request) {
			t.Errorf("agents have asked for %s", request)
		}
	}
}

// inspectExtended finds in the data what managers of vendors have collected.
func inspectExtended(t *testing.T, p *patient) {
	inspect(t, p)
	var data struct {
		Plugin map[string]json.RawMessage `json:"plugin_data"`
	}
	p.get(t, "/v1/nodes/"+p.name+"/inventory", &data)
	var found struct {
		Door string
		Bays int
	}
	if err := json.Unmarshal(data.Plugin["acme-case"], &found); err != nil || found.Door != "locked" || found.Bays != 8 {
		t.Errorf("of the case there is %s, %v", data.Plugin["acme-case"], err)
	}
	if controllers := string(data.Plugin["raidctl"]); !strings.Contains(controllers, "MegaRAID SAS 9361-8i") {
		t.Errorf("of the RAID controller there is %q", controllers)
	}
}

// firmware makes an image for the card, and the step that updates it.
func (p *patient) firmware(t *testing.T, version string) ironic.Step {
	t.Helper()
	image := []byte("ACMENIC " + version + "\n")
	url, err := p.Serve("acmenic-"+version, image)
	if err != nil {
		t.Fatal(err)
	}
	return ironic.Step{Interface: "deploy", Step: "update_acme_nic", Args: map[string]any{
		"url": url, "checksum": fmt.Sprintf("sha256:%x", sha256.Sum256(image)), "version": version,
	}}
}

func light(args map[string]any) ironic.Step {
	return ironic.Step{Interface: "deploy", Step: "light", Args: args}
}

// provideUnsettled cleans automatically with a step of a vendor among the others,
// which brings the card from its first version to the next, and asks for a reboot.
// It is declared so: Ironic reboots the machine.
func provideUnsettled(t *testing.T, p *patient) {
	line := p.machine.Console.Mark()
	provide(t, p)
	p.answered(t, "was not verified: run it again")
	if !p.said(line, "step asks for a reboot") || !p.rebooted(line) {
		t.Error("the machine was not rebooted")
	}
}

// provideSettled cleans once more: the step finds a later version.
func provideSettled(t *testing.T, p *patient) {
	line := p.machine.Console.Mark()
	provide(t, p)
	p.answered(t, "'settled': '1.1.0'")
	if p.said(line, "step asks for a reboot") {
		t.Error("the step has asked for a reboot again")
	}
}

// rebooted looks for a boot between two steps in the lines of the console from since on.
func (p *patient) rebooted(since int) bool {
	var began bool
	for _, line := range p.machine.Console.Lines(since) {
		if began && strings.Contains(line.Text, "uinit: starting agent") {
			return true
		}
		began = began || strings.Contains(line.Text, "step begins")
	}
	return false
}

// answered looks for words in the results of steps, which Ironic logs.
func (p *patient) answered(t *testing.T, words ...string) {
	t.Helper()
	log, err := os.ReadFile(p.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range words {
		if !strings.Contains(string(log), word) {
			t.Errorf("what Ironic was answered lacks %q", word)
		}
	}
}

// vendorSteps runs steps of both kinds of managers, by hand. The update needs a
// reboot, and Ironic makes none after steps that were asked for by name, whatever
// they are declared with: that is what the result says. After the next boot the
// same step sees what came of it.
func vendorSteps(t *testing.T, p *patient) {
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable)
	update, line := p.firmware(t, "1.1.0"), p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{
		light(map[string]any{"bay": 3, "colour": "amber"}), light(map[string]any{"bay": 4}), update,
	}}, ironic.StateManageable)
	p.logged(t)
	p.offered(t)
	for _, words := range []string{"bay 3 is amber", "bay 4 is green", "step asks for a reboot"} {
		if !p.said(line, words) {
			t.Errorf("the console lacks %q", words)
		}
	}
	p.answered(t, "boot the machine anew, then run the step again")
	p.powerOff(t)
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{update}}, ironic.StateManageable)
	p.answered(t, "'after': '1.1.0'")
	p.logged(t)
}

// powerOff switches the machine off, as an operator does.
func (p *patient) powerOff(t *testing.T) {
	t.Helper()
	if err := p.API.SetPower(t.Context(), p.name, ironic.PowerOff, time.Minute); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		n, err := p.API.Node(t.Context(), p.name)
		if err != nil {
			t.Fatal(err)
		}
		if n.PowerState != nil && *n.PowerState == ironic.PowerOff && n.TargetPowerState == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the machine is not switched off")
		}
	}
}

// offered checks which steps of vendors, and beside them, Ironic was told of.
func (p *patient) offered(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(p.offers)
	if err != nil {
		t.Fatal(err)
	}
	var cached map[string][]ironic.Step
	if err := json.Unmarshal(text, &cached); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var offered []string
	for _, steps := range cached {
		for _, s := range steps {
			offered = append(offered, s.Interface+"."+s.Step)
		}
	}
	for _, want := range []string{"deploy.light", "deploy.open_door", "deploy.turn_over", "deploy.update_acme_nic",
		"deploy.erase_devices_metadata", "raid.create_configuration", "raid.delete_configuration"} {
		if !slices.Contains(offered, want) {
			t.Errorf("Ironic was offered %q; want %s, too", offered, want)
		}
	}
}

// vendorFailures runs steps with arguments that are wrong or missing, and steps
// that fail: last_error has the words of whoever found out.
func vendorFailures(t *testing.T, p *patient) {
	forged := p.firmware(t, "1.2.0")
	forged.Args["checksum"] = fmt.Sprintf("sha256:%x", sha256.Sum256(nil))
	mistyped := p.firmware(t, "1.2.0")
	mistyped.Args["version"] = 7
	for _, failure := range []struct {
		step  ironic.Step
		words []string
	}{
		{light(nil), []string{"light", "bay"}},
		{light(map[string]any{"bay": 1, "blink": true}), []string{"light", "blink"}},
		{light(map[string]any{"bay": 9, "colour": "blue"}), []string{"bay", "7", "colour", "amber"}},
		{mistyped, []string{"version"}},
		{forged, []string{forged.Args["checksum"].(string)[len("sha256:"):]}},
		{ironic.Step{Interface: "deploy", Step: "open_door"}, []string{"open_door", "the door of the case is locked with key 7"}},
		{ironic.Step{Interface: "deploy", Step: "turn_over"}, []string{"turn_over needs a reboot to go on", "not declared with reboot_requested"}},
	} {
		p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{failure.step}}, ironic.StateCleanFailed, failure.words...)
		p.manageAgain(t)
		// Ironic 39 has forgotten the agent's token by now, and waits for the agent
		// all the same if it is there, for the sake of fast track.
		p.powerOff(t)
	}
}

// arrays has a RAID configuration made by cleaning, and answers what Ironic keeps of it.
func (p *patient) arrays(t *testing.T, target map[string]any) (disks []map[string]any, n *ironic.Node) {
	t.Helper()
	if err := p.API.SetRAIDConfig(t.Context(), p.name, target); err != nil {
		t.Fatal(err)
	}
	n = p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{
		{Interface: "raid", Step: "delete_configuration"}, {Interface: "raid", Step: "create_configuration"},
	}}, ironic.StateManageable)
	text, err := json.Marshal(n.RAIDConfig["logical_disks"])
	if err == nil {
		err = json.Unmarshal(text, &disks)
	}
	if err != nil || len(disks) == 0 {
		t.Fatalf("the node's raid_config is %v, %v", n.RAIDConfig, err)
	}
	return disks, n
}

// controllerArrays has volumes made by the manager of RAID controllers, by way of
// Ironic's raid interface agent.
func controllerArrays(t *testing.T, p *patient) {
	disks, n := p.arrays(t, map[string]any{"logical_disks": []any{
		map[string]any{"raid_level": "5", "size_gb": 100, "volume_name": "root", "is_root_volume": true},
	}})
	hint := disks[0]["root_device_hint"]
	want := []map[string]any{{
		"controller": "AVAGO MegaRAID SAS 9361-8i c0", "raid_level": "5", "size_gb": 100.0, "volume_name": "root", "is_root_volume": true,
		"physical_disks": []any{"252:0", "252:1", "252:2"}, "number_of_physical_disks": 3.0, "disk_type": "hdd", "interface_type": "sas", "root_device_hint": hint,
	}}
	if diff := cmp.Diff(want, disks); diff != "" {
		t.Errorf("the node's raid_config (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(hint, n.Properties["root_device"]); diff != "" || hint == nil {
		t.Errorf("the node's root device (-want +got):\n%s", diff)
	}
	// The volume of a model is no disk that could be waited for.
	p.patch(t, ironic.PatchOperation{Op: "remove", Path: "/properties/root_device"})
}

// softwareArrays has the manager of disks, which is asked after that of
// controllers, make a mirror.
func softwareArrays(t *testing.T, p *patient) {
	var members []any
	for _, d := range p.machine.Config.Disks[:2] {
		members = append(members, map[string]any{"serial": d.Serial})
	}
	disks, _ := p.arrays(t, map[string]any{"logical_disks": []any{
		map[string]any{"raid_level": "1", "size_gb": "MAX", "controller": "software", "physical_disks": members},
	}})
	if len(disks) != 1 || disks[0]["controller"] != "software" {
		t.Errorf("the node's raid_config is %v; want one array of software", disks)
	}
	line := p.machine.Console.Mark()
	n := p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "raid", Step: "delete_configuration"}}}, ironic.StateManageable)
	if len(n.RAIDConfig) != 0 {
		t.Errorf("after deletion the node's raid_config is %v", n.RAIDConfig)
	}
	if p.said(line, "uinit: starting agent") {
		t.Error("the machine was booted to delete an array")
	}
}
