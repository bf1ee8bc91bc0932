package process_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ironic"
)

// kernelParams gives the next boots further kernel parameters, as the network would.
func (m *machine) kernelParams(t *testing.T, params string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.host.Proc, "cmdline"), []byte("quiet "+params+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// inventory is what the API shows of the latest inspection.
func (m *machine) inventory(t *testing.T) (status int, inventory, plugin map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.c.url+"/v1/nodes/"+m.name+"/inventory", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-OpenStack-Ironic-API-Version", ironic.VersionInventory.String())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Inventory  map[string]any `json:"inventory"`
		PluginData map[string]any `json:"plugin_data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body.Inventory, body.PluginData
}

// TestBeyondDeployment inspects a machine, takes it over as it is, rescues it
// and serves it, each by the agent.
func TestBeyondDeployment(t *testing.T) {
	t.Parallel()
	c := newConductor(t, "[inspector]", "hooks = $default_hooks,memory,cpus,root-device")
	m := newMachine(t, c, spec{node: map[string]any{
		"inspect_interface": "agent", "rescue_interface": "agent", "driver_info": map[string]any{"agent_burnin_cpu_timeout": 1, "agent_burnin_cpu_cpu": 1},
	}})
	etc := t.TempDir()
	m.args = append(m.args, "--etc", etc)

	if status, _, _ := m.inventory(t); status != http.StatusNotFound {
		t.Errorf("inventory before any inspection: %d", status)
	}
	m.kernelParams(t, fmt.Sprintf("ipa-inspection-callback-url=%s/v1/continue_inspection ipa-inspection-dhcp-wait-timeout=0 BOOTIF=01-%s", c.url, strings.ReplaceAll(m.mac, ":", "-")))
	n := m.provision(t, ironic.VerbInspect, ironic.StateManageable)
	if n.InspectionStartedAt != nil || n.InspectionFinishedAt == nil || n.LastError != nil || *n.PowerState != ironic.PowerOff {
		t.Errorf("inspected: from %v to %v, error %v, %s", n.InspectionStartedAt, n.InspectionFinishedAt, n.LastError, *n.PowerState)
	}
	if n.Properties["local_gb"] != 3.0 || n.Properties["cpu_arch"] == nil {
		t.Errorf("properties %v; want the disk of 4 GiB less one", n.Properties)
	}
	status, inventory, plugin := m.inventory(t)
	disks, _ := inventory["disks"].([]any)
	if status != http.StatusOK || len(disks) != 1 || disks[0].(map[string]any)["serial"] != serial || plugin["valid_interfaces"] == nil {
		t.Errorf("inventory: %d, disks %v, plugin data %v", status, disks, plugin)
	}
	m.kernelParams(t, "")

	m.provision(t, ironic.VerbAdopt, ironic.StateActive)

	const password = "let me in"
	if err := os.Mkdir(filepath.Join(etc, "ipa-rescue-config"), 0o700); err != nil { // the ramdisk's part
		t.Fatal(err)
	}
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbRescue, RescuePassword: password})
	if n = m.wait(t, ironic.StateRescue); *n.PowerState != ironic.PowerOn || n.InstanceInfo["hashed_rescue_password"] != nil {
		t.Errorf("rescued: %s, instance_info %v", *n.PowerState, n.InstanceInfo)
	}
	hash, err := os.ReadFile(filepath.Join(etc, "ipa-rescue-config/ipa-rescue-password"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(hash), "$")
	if len(parts) != 4 {
		t.Fatalf("the machine got %q; want a hash", hash)
	}
	if want := strings.TrimSpace(run(t, "openssl", "passwd", "-5", "-salt", parts[2], password)); string(hash) != want {
		t.Errorf("the machine got %s; openssl says %s", hash, want)
	}
	m.provision(t, ironic.VerbUnrescue, ironic.StateActive)

	// The marker of the rescue goes with the ramdisk.
	if err := os.RemoveAll(filepath.Join(etc, ".rescued")); err != nil {
		t.Fatal(err)
	}
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: []ironic.Step{
		{Interface: "deploy", Step: "burnin_cpu"}, {Interface: "deploy", Step: "hold"},
	}})
	m.wait(t, ironic.StateServiceHold)
	if n = m.provision(t, ironic.VerbUnhold, ironic.StateActive); n.LastError != nil || *n.PowerState != ironic.PowerOn || len(n.ServiceStep) > 0 {
		t.Errorf("served: error %v, %s, step %v", n.LastError, *n.PowerState, n.ServiceStep)
	}
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: []ironic.Step{{Interface: "deploy", Step: "fly"}}})
	m.fails(t, ironic.StateServiceFailed, "deploy.fly", "deploy.burnin_cpu")
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbAbort})
	// It counts as failed until the instance is booted.
	eventually(t, "the end of the service", func() bool { return m.node(t).ProvisionState == ironic.StateActive })
	if n = m.wait(t, ironic.StateActive); *n.PowerState != ironic.PowerOn {
		t.Errorf("after the abort the machine is %s", *n.PowerState)
	}
}
