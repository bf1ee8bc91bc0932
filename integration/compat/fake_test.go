package compat_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakePatience is for changes that take a moment, on a busy host.
const fakePatience = 60

// fake is a node without a machine.
func fake(t *testing.T, endpoint, name, mac string) *node {
	return &node{cli: newCLI(t, endpoint), name: name, driver: "fake-hardware", mac: mac, patience: fakePatience}
}

// TestFakeLife takes a node without a machine from enrolment to removal.
func TestFakeLife(t *testing.T) {
	t.Parallel()
	n := fake(t, startConductor(t), "fake", "52:54:00:77:01:01")
	n.enrol()
	n.verb("manage", "manageable", "power off")
	n.validate()
	n.do("node", "power", "on", n.name)
	n.rests("manageable", "power on")
	n.do("node", "power", "off", n.name)
	n.rests("manageable", "power off")
	n.bootDevice("pxe")
	n.verb("provide", "available", "power off")
	n.setImage("image_source=http://127.0.0.1:9/os.img", "image_checksum=none")
	n.verb("deploy", "active", "power off", "--config-drive", `{"meta_data": {"hostname": "deployed"}, "user_data": "#!/bin/sh\n"}`)
	var got struct {
		Info map[string]string `json:"instance_info"`
	}
	n.ask(&got, "node", "show", n.name, "--fields", "instance_info")
	if got.Info["configdrive"] != "******" {
		t.Errorf("after deploy instance_info is %v; want a config drive that is not shown", got.Info)
	}
	n.verb("rebuild", "active", "power off")
	n.undeploy()
	n.delete()
}

// TestQuestions asks what there is and changes what can be changed.
func TestQuestions(t *testing.T) {
	t.Parallel()
	n := fake(t, startConductor(t), "asked", "52:54:00:77:01:02")
	n.enrol()

	var drivers []map[string]string
	n.ask(&drivers, "driver", "list")
	if diff := cmp.Diff([]map[string]string{
		{"Supported driver(s)": "fake-hardware", "Active host(s)": "compat"},
		{"Supported driver(s)": "ipmi", "Active host(s)": "compat"},
	}, drivers); diff != "" {
		t.Errorf("driver list (-want +got):\n%s", diff)
	}
	var ipmi map[string]string
	n.ask(&ipmi, "driver", "show", "ipmi")
	for key, want := range map[string]string{"name": "ipmi", "hosts": "compat", "type": "dynamic", "default_deploy_interface": "direct",
		"default_power_interface": "ipmitool", "default_boot_interface": "ipxe", "enabled_management_interfaces": "ipmitool, noop"} {
		if ipmi[key] != want {
			t.Errorf("driver show ipmi: %s is %q; want %q", key, ipmi[key], want)
		}
	}
	var properties []struct{ Property, Description string }
	n.ask(&properties, "driver", "property", "list", "ipmi")
	if !slices.ContainsFunc(properties, func(p struct{ Property, Description string }) bool {
		return p.Property == "ipmi_address" && p.Description != ""
	}) {
		t.Errorf("driver property list ipmi: %v; want ipmi_address with a description", properties)
	}
	var conductors []map[string]any
	n.ask(&conductors, "conductor", "list")
	if diff := cmp.Diff([]map[string]any{{"Hostname": "compat", "Conductor Group": "", "Alive": true}}, conductors); diff != "" {
		t.Errorf("conductor list (-want +got):\n%s", diff)
	}
	var ports []map[string]any
	n.ask(&ports, "port", "list", "--node", n.name, "--fields", "uuid", "address", "node_uuid", "pxe_enabled")
	if diff := cmp.Diff([]map[string]any{{"UUID": n.port, "Address": n.mac, "Node UUID": n.uuid, "PXE boot enabled": true}}, ports); diff != "" {
		t.Errorf("port list (-want +got):\n%s", diff)
	}

	n.do("node", "set", n.name, "--resource-class", "metal", "--extra", "rack=7", "--extra", "row=b", "--description", "top of the rack")
	n.do("node", "unset", n.name, "--extra", "row")
	n.do("node", "maintenance", "set", n.name, "--reason", "a new fan")
	var nodes []map[string]any
	n.ask(&nodes, "node", "list", "--maintenance", "--fields", "uuid", "name", "provision_state", "power_state", "resource_class", "extra",
		"description", "maintenance_reason")
	if diff := cmp.Diff([]map[string]any{{
		"UUID": n.uuid, "Name": n.name, "Provisioning State": "enroll", "Power State": nil, "Resource Class": "metal",
		"Extra": map[string]any{"rack": 7.0}, "Description": "top of the rack", "Maintenance Reason": "a new fan",
	}}, nodes); diff != "" {
		t.Errorf("node list --maintenance (-want +got):\n%s", diff)
	}
	n.do("node", "maintenance", "unset", n.name)
	n.ask(&nodes, "node", "list", "--maintenance")
	if len(nodes) != 0 {
		t.Errorf("nodes %v are in maintenance after it was unset", nodes)
	}
}

// TestRefusals checks that a user reads why a command was refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	endpoint := startConductor(t)
	n := fake(t, endpoint, "bare", "52:54:00:77:01:03")
	n.enrol("--deploy-interface", "direct", "--no-automated-clean")
	n.refused("Could not find the following driver(s) or hardware type(s): floppy.", "node", "create", "--driver", "floppy")
	n.refused("A node with name "+n.name+" already exists.", "node", "create", "--driver", "ipmi", "--name", n.name)
	n.refused("A port with MAC address "+n.mac+" already exists.", "port", "create", n.mac, "--node", n.uuid)
	n.refused(`The requested action "active" can not be performed on node "`+n.uuid+`" while it is in state "enroll".`, "node", "deploy", n.name)
	n.refused("Node nobody could not be found.", "node", "power", "on", "nobody")
	n.verb("manage", "manageable", "power off")
	n.verb("provide", "available", "power off")
	n.validate("deploy")
	n.refused("Missing are: ['image_source']", "node", "deploy", n.name)

	// Nobody answers there: the client sees where the node went, and the
	// reason is in the node.
	dead := &node{cli: n.cli, name: "dead", driver: "ipmi", mac: "52:54:00:77:01:04", patience: fakePatience,
		driverInfo: []string{"ipmi_address=127.0.0.1", "ipmi_username=admin", "ipmi_password=secret"}}
	dead.enrol()
	dead.refused("unexpected stable state enroll", "node", "manage", dead.name, "--wait", "60")
	var got struct {
		LastError string `json:"last_error"`
	}
	dead.ask(&got, "node", "show", dead.name, "--fields", "last_error")
	t.Logf("last_error: %s", got.LastError)
	if got.LastError == "" {
		t.Error("no last_error after a BMC that does not answer")
	}
}
