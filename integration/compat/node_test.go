package compat_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// node is a node that the client takes through its life. The verbs are the
// same whether there is a machine behind it or none.
type node struct {
	cli
	name       string
	driver     string
	driverInfo []string // KEY=VALUE
	mac        string
	patience   int // seconds for a change of state
	// waits has the client wait (--wait) rather than the test: as users do it,
	// but the client looks only every ten seconds.
	waits bool

	uuid, port string // once enrolled
}

// state is what a user looks at.
type state struct {
	Provision   string  `json:"provision_state"`
	Target      *string `json:"target_provision_state"`
	Power       string  `json:"power_state"`
	TargetPower *string `json:"target_power_state"`
	LastError   *string `json:"last_error"`
	Maintenance bool    `json:"maintenance"`
}

// each puts the flag before each value.
func each(flag string, values []string) []string {
	var args []string
	for _, v := range values {
		args = append(args, flag, v)
	}
	return args
}

// rests asks until the node is in the states, at most for its patience.
func (n *node) rests(provision, power string) {
	n.t.Helper()
	want := state{Provision: provision, Power: power}
	for deadline := time.Now().Add(time.Duration(n.patience) * time.Second); ; {
		var got state
		n.ask(&got, "node", "show", n.name, "--fields", "provision_state", "target_provision_state", "power_state", "target_power_state",
			"last_error", "maintenance")
		diff := cmp.Diff(want, got)
		if diff == "" {
			return
		}
		if time.Now().After(deadline) || got.LastError != nil {
			n.t.Fatalf("node %s (-want +got):\n%s", n.name, diff)
		}
	}
}

// verb changes the provision state; the node is to come to rest in the states.
func (n *node) verb(name, provision, power string, args ...string) {
	n.t.Helper()
	command := append([]string{"node", name, n.name}, args...)
	if n.waits {
		command = append(command, "--wait", fmt.Sprint(n.patience))
	}
	n.do(command...)
	n.rests(provision, power)
}

// enrol makes node and port.
func (n *node) enrol(args ...string) {
	n.t.Helper()
	var created struct {
		UUID       string            `json:"uuid"`
		Name       string            `json:"name"`
		Driver     string            `json:"driver"`
		State      string            `json:"provision_state"`
		Properties map[string]string `json:"properties"`
		DriverInfo map[string]string `json:"driver_info"`
	}
	n.ask(&created, slices.Concat([]string{"node", "create", "--name", n.name, "--driver", n.driver,
		"--property", "capabilities=boot_mode:bios", "--property", "cpu_arch=x86_64"}, each("--driver-info", n.driverInfo), args)...)
	want := created
	want.Name, want.Driver, want.State = n.name, n.driver, "enroll"
	want.Properties = map[string]string{"capabilities": "boot_mode:bios", "cpu_arch": "x86_64"}
	want.DriverInfo = map[string]string{}
	for _, info := range n.driverInfo {
		key, value, _ := strings.Cut(info, "=")
		if strings.HasSuffix(key, "password") {
			value = "******" // never told again
		}
		want.DriverInfo[key] = value
	}
	if diff := cmp.Diff(want, created); diff != "" {
		n.t.Fatalf("created (-want +got):\n%s", diff)
	}
	n.uuid = created.UUID

	var port struct {
		UUID    string `json:"uuid"`
		Address string `json:"address"`
		Node    string `json:"node_uuid"`
		PXE     bool   `json:"pxe_enabled"`
	}
	n.ask(&port, "port", "create", n.mac, "--node", n.uuid)
	n.port = port.UUID
	if port.Address != n.mac || port.Node != n.uuid || !port.PXE {
		n.t.Fatalf("created %+v; want a port with PXE of node %s at %s", port, n.uuid, n.mac)
	}
}

// validate checks which interfaces the client shows as failing, and that those
// that the driver lacks are told as such.
func (n *node) validate(failing ...string) {
	n.t.Helper()
	var lines []struct {
		Interface string
		Result    *bool
		Reason    string
	}
	n.ask(&lines, "node", "validate", n.name)
	var failed, good []string
	for _, line := range lines {
		switch {
		case line.Result == nil && line.Reason != "not supported", line.Result != nil && *line.Result == (line.Reason != ""):
			n.t.Errorf("interface %s: result %v with reason %q", line.Interface, line.Result, line.Reason)
		case line.Result == nil:
		case *line.Result:
			good = append(good, line.Interface)
		default:
			failed = append(failed, line.Interface)
		}
	}
	if diff := cmp.Diff(failing, failed); diff != "" {
		n.t.Errorf("failing interfaces of %s (-want +got):\n%s", n.name, diff)
	}
	for _, name := range []string{"boot", "deploy", "management", "network", "power", "storage"} {
		if !slices.Contains(good, name) && !slices.Contains(failing, name) {
			n.t.Errorf("interface %s is not told to be good; good are %q", name, good)
		}
	}
}

// bootDevice sets the device of the next boot and reads it back.
func (n *node) bootDevice(device string) {
	n.t.Helper()
	n.do("node", "boot", "device", "set", n.name, device)
	var got struct {
		Device string `json:"boot_device"`
	}
	n.ask(&got, "node", "boot", "device", "show", n.name)
	if got.Device != device {
		n.t.Errorf("boot device of %s is %q; want %q", n.name, got.Device, device)
	}
}

// setImage names what is to be deployed.
func (n *node) setImage(info ...string) {
	n.t.Helper()
	n.do(append([]string{"node", "set", n.name}, each("--instance-info", info)...)...)
	var got struct {
		Info map[string]string `json:"instance_info"`
	}
	n.ask(&got, "node", "show", n.name, "--fields", "instance_info")
	want := map[string]string{}
	for _, i := range info {
		key, value, _ := strings.Cut(i, "=")
		want[key] = value
	}
	if diff := cmp.Diff(want, got.Info); diff != "" {
		n.t.Fatalf("instance_info (-want +got):\n%s", diff)
	}
}

// undeploy takes the instance off, with what was said of it.
func (n *node) undeploy() {
	n.t.Helper()
	n.verb("undeploy", "available", "power off")
	var got struct {
		Info map[string]any `json:"instance_info"`
	}
	n.ask(&got, "node", "show", n.name, "--fields", "instance_info")
	if len(got.Info) != 0 {
		n.t.Errorf("instance_info after undeploy is %v; want none", got.Info)
	}
}

// delete removes the node, and with it its port.
func (n *node) delete() {
	n.t.Helper()
	if out := n.do("node", "delete", n.name); !strings.Contains(out, "Deleted node "+n.name) {
		n.t.Errorf("node delete writes %q", out)
	}
	n.refused("Node "+n.name+" could not be found", "node", "show", n.name)
	var ports []any
	n.ask(&ports, "port", "list")
	if len(ports) != 0 {
		n.t.Errorf("ports %v are left of node %s", ports, n.name)
	}
}
