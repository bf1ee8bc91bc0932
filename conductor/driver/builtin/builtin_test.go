package builtin_test

import (
	"errors"
	"strings"
	"testing"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/fake"
	"ferric/conductor/store"
)

func TestSetDefaults(t *testing.T) {
	r, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"ipmi", "fake-hardware"}})
	if err != nil {
		t.Fatal(err)
	}
	n := &store.Node{Driver: "ipmi"}
	if err := r.SetDefaults(n); err != nil {
		t.Fatal(err)
	}
	if *n.PowerInterface != "ipmitool" || *n.BootInterface != "ipxe" || *n.DeployInterface != "direct" || *n.NetworkInterface != "noop" {
		t.Errorf("defaults are power %s, boot %s, deploy %s, network %s", *n.PowerInterface, *n.BootInterface, *n.DeployInterface, *n.NetworkInterface)
	}
	other := "fake"
	for name, tt := range map[string]struct {
		node *store.Node
		want string
	}{
		"unknown driver":      {&store.Node{Driver: "redfish"}, `Could not find the driver "redfish". Enabled hardware types are: fake-hardware, ipmi.`},
		"interface of others": {&store.Node{UUID: "u", Driver: "ipmi", PowerInterface: &other}, `Could not find power interface "fake" for hardware type "ipmi" of node u. Supported are: ipmitool.`},
	} {
		var invalid *driver.InvalidParameterError
		if err := r.SetDefaults(tt.node); !errors.As(err, &invalid) || err.Error() != tt.want {
			t.Errorf("%s: error %v; want %s", name, err, tt.want)
		}
	}
}

func TestUnknownType(t *testing.T) {
	if _, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"toaster"}}); err == nil || !strings.Contains(err.Error(), `unknown hardware type "toaster"; built in are fake-hardware, ipmi`) {
		t.Errorf("error %v", err)
	}
}

func TestInterfaces(t *testing.T) {
	r, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware"}})
	if err != nil {
		t.Fatal(err)
	}
	r.Add(builtin.Implementations{
		Power: map[string]driver.Power{"fake": fake.Power{}}, Management: map[string]driver.Management{"fake": fake.Management{}},
		Boot: map[string]driver.Boot{"fake": fake.Boot{}}, Deploy: map[string]driver.Deploy{"fake": fake.Deploy{}},
	})
	n := &store.Node{Driver: "fake-hardware"}
	if err := r.SetDefaults(n); err != nil {
		t.Fatal(err)
	}
	if i, err := r.Interfaces(n); err != nil || i.Power == nil || i.Management == nil || i.Boot == nil || i.Deploy == nil {
		t.Errorf("interfaces %+v, %v", i, err)
	}
	// instance_info goes before the node's own; "direct" was not added.
	n.InstanceInfo = store.Object{"deploy_interface": "direct"}
	if _, err := r.Interfaces(n); err == nil || !strings.Contains(err.Error(), `names the deploy interface "direct", which is not available`) {
		t.Errorf("error %v", err)
	}
}
