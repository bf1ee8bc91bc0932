package restapi_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// TestContractSample makes the row of the contract's sample of a node (section
// 3.1), takes it through the database, and shows it: keys, types and values are
// those of the sample.
func TestContractSample(t *testing.T) {
	raw, err := os.ReadFile("testdata/contract_node.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	s := newService(t)
	object := func(name string, secrets ...string) store.Object {
		o := store.Object(maps.Clone(want[name].(map[string]any)))
		for _, key := range secrets {
			if o[key] != "******" {
				t.Fatalf("the sample shows %s of %s", key, name)
			}
			o[key] = "unseen"
		}
		return o
	}
	text := func(name string) *string {
		v, isText := want[name].(string)
		if !isText {
			return nil
		}
		return &v
	}
	at := func(name string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, want[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		return v.UTC()
	}
	active, moved, updated := provision.Active, at("provision_updated_at"), at("updated_at")
	n := &store.Node{UUID: *text("uuid"), Name: text("name"), Driver: *text("driver"), ConductorGroup: *text("conductor_group"),
		DriverInfo: object("driver_info", "ipmi_password"), DriverInternalInfo: object("driver_internal_info", "agent_secret_token"),
		Properties: object("properties"), InstanceInfo: object("instance_info", "configdrive"), DeployStep: object("deploy_step"),
		PowerState: text("power_state"), ProvisionState: provision.WaitCallback, TargetProvisionState: &active, ProvisionUpdatedAt: &moved,
		BootMode: text("boot_mode"), SecureBoot: ptr(false),
		BIOSInterface: text("bios_interface"), BootInterface: text("boot_interface"), ConsoleInterface: text("console_interface"),
		DeployInterface: text("deploy_interface"), FirmwareInterface: text("firmware_interface"), InspectInterface: text("inspect_interface"),
		ManagementInterface: text("management_interface"), NetworkInterface: text("network_interface"), PowerInterface: text("power_interface"),
		RAIDInterface: text("raid_interface"), RescueInterface: text("rescue_interface"), StorageInterface: text("storage_interface"),
		VendorInterface: text("vendor_interface"),
	}
	if err := s.store.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if n, err = s.store.Node(t.Context(), n.UUID); err != nil {
		t.Fatal(err)
	}
	n.CreatedAt, n.UpdatedAt = at("created_at"), &updated
	b, err := json.Marshal(restapi.NodeView(n, 115, restapi.ViewOptions{Base: "http://host:6385", Conductor: ptr("ctl-1")}))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("node of the contract's sample (-want +got):\n%s", diff)
	}

	// What the server answers has the same members, of the same types.
	served := s.want(200, "115", "GET", "/v1/nodes/"+n.UUID, "").object
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(served))); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// TestSecretsInSteps: steps are kept in more places than one.
func TestSecretsInSteps(t *testing.T) {
	step := func() map[string]any {
		return map[string]any{"interface": "deploy", "step": "x", "args": map[string]any{"sslkey": "hidden", "list": []any{map[string]any{"new_passphrase": "hidden"}}, "shown": "open", "password": nil}}
	}
	n := &store.Node{DriverInfo: store.Object{"redfish_password": "hidden", "snmp_priv_key": "hidden", "SNMP_AUTH_KEY": "hidden"},
		DriverInternalInfo: store.Object{"clean_steps": []any{step()}, "deploy_steps": []any{[]any{step()}}, "agent_secret_token": "hidden", "agent_secret_token_pregenerated": "hidden"},
		InstanceInfo:       store.Object{"rescue_password": "hidden", "image_url": "hidden", "configdrive": map[string]any{"user_data": "hidden"}, "image_pull_secret": "hidden"},
		CleanStep:          step(), DeployStep: step(), ServiceStep: step()}
	b, err := json.Marshal(restapi.NodeView(n, 115, restapi.ViewOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]int{"hidden": 0, `"shown":"open"`: 5, `"password":null`: 5, `"******"`: 19} {
		if got := bytes.Count(b, []byte(word)); got != want {
			t.Errorf("%s is in the view %d times, want %d: %s", word, got, want, b)
		}
	}
}
