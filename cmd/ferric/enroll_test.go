package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ironic"
)

// enrolFile writes an inventory.
func enrolFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "rack.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const twoMachines = `
defaults: {driver: fake-hardware, driver_info: {ipmi_password: secret, place: hall}, resource_class: large}
nodes:
- name: n1
  driver_info: {place: cellar}
  properties: {cpus: 4}
  traits: [CUSTOM_A]
  portgroups: [{name: bond0, mode: active-backup, ports: ["52:54:00:00:00:01"]}]
- name: n2
  ports: ["52:54:00:00:00:02", {address: "52:54:00:00:00:03", pxe_enabled: false}]
`

// TestEnroll enrols machines, again, after a change of the file, of one that has
// enrolled itself, and of one of which enrolling was interrupted.
func TestEnroll(t *testing.T) {
	s := shell{t, startConductor(t)}
	// A machine that inspection has found, without a name, and one whose enrolling ended early.
	found := strings.TrimSpace(s.ok("node create --driver fake-hardware -f value -c uuid"))
	s.ok("port create 52:54:00:00:00:03 --node " + found)
	enroll := func(text, flags, want string) string {
		t.Helper()
		out := s.ok("enroll --format value --file " + enrolFile(t, text) + " " + flags)
		if !strings.Contains(out, want) {
			t.Errorf("it says\n%s\nwant %q", out, want)
		}
		return out
	}
	enroll(twoMachines, "--dry-run", "created")
	if out := s.ok("node list -f value -c Name"); out != "None\n" {
		t.Fatalf("a dry run has left the nodes %q", out)
	}
	enroll(twoMachines, "", "n1 ")
	for line, want := range map[string]string{
		"node show n1 -f value -c driver_info -c properties -c provision_state -c resource_class": "{\"ipmi_password\":\"******\",\"place\":\"cellar\"}\n{\"cpus\":4}\nmanageable\nlarge\n",
		"node show n2 -f value -c uuid":                                            found,
		"node trait list n1 -f value":                                              "CUSTOM_A\n",
		"port group list --node n1 -f value -c name":                               "bond0\n",
		"port list --node n1 -f value -c address":                                  "52:54:00:00:00:01\n",
		"port list --node n2 -f value --fields address,pxe_enabled --sort address": "52:54:00:00:00:02 True\n52:54:00:00:00:03 False\n",
	} {
		if out := s.ok(line); !strings.Contains(out, want) {
			t.Errorf("ferric %s: %q; want %q", line, out, want)
		}
	}
	var group []map[string]any
	if err := json.Unmarshal([]byte(s.ok("port list --node n1 --long -f json")), &group); err != nil || group[0]["Portgroup UUID"] == nil {
		t.Errorf("the port of n1 is in no group: %v, %v", group, err)
	}

	// Again, nothing is changed.
	out := enroll(twoMachines, "", "n1 ")
	if strings.Count(out, " unchanged ") != 2 {
		t.Errorf("again:\n%s\nwant both unchanged", out)
	}
	changed := strings.NewReplacer("cellar", "attic", "mode: active-backup", "mode: 802.3ad", "pxe_enabled: false", "pxe_enabled: true").Replace(twoMachines)
	out = enroll(changed, "", "updated driver_info.place port group bond0.mode manageable")
	if !strings.Contains(out, "updated port 52:54:00:00:00:03.pxe_enabled manageable") {
		t.Errorf("after a change:\n%s", out)
	}
	enroll(changed, "--to available", "available")
	if out := s.ok("node list -f value -c 'Provisioning State'"); out != "available\navailable\n" {
		t.Errorf("the nodes are %q", out)
	}
}

// TestEnrollRefusals: one machine that cannot be enrolled does not keep the
// others from it, and what is wrong in the file is said before anything is done.
func TestEnrollRefusals(t *testing.T) {
	s := shell{t, startConductor(t)}
	s.ok("node create --driver fake-hardware --name other")
	s.ok("port create 52:54:00:00:00:01 --node other")
	text := `nodes:
- {name: bad, driver: nosuch}
- {name: thief, driver: fake-hardware, ports: ["52:54:00:00:00:01"]}
- {name: good, driver: fake-hardware, ports: ["52:54:00:00:00:02"]}
`
	status, out, failure := s.run("", "enroll --format value -f "+enrolFile(t, text))
	for _, want := range []string{"bad: ", "nosuch", "thief: ", "52:54:00:00:00:01 is that of node other"} {
		if !strings.Contains(failure, want) {
			t.Errorf("it says\n%s\nwant %q", failure, want)
		}
	}
	if status != 1 || !strings.Contains(out, "good ") || !strings.Contains(out, "created  manageable") {
		t.Errorf("status %d:\n%s", status, out)
	}
	for line, want := range map[string]string{
		"enroll":                       "file",
		"enroll -f /nowhere/rack.yaml": "no such file",
		"enroll -f x --to active":      "is none of enroll",
		"enroll -f " + enrolFile(t, "nodes: [{name: a}, {name: a}]"): "are both a",
	} {
		if status, _, failure := s.run("", line); status == 0 || !strings.Contains(failure, want) {
			t.Errorf("ferric %s: status %d, %q; want %q", line, status, failure, want)
		}
	}
	if status, _, failure := s.run("name,driver\nfrom-csv,fake-hardware\n", "enroll -f - --to enroll"); status != 0 {
		t.Errorf("CSV from standard input: status %d, %s", status, failure)
	}
	s.ok("node show from-csv")
}

// TestDeploySet deploys a set of machines from a file, again, and anew.
func TestDeploySet(t *testing.T) {
	s := shell{t, startConductor(t)}
	var text strings.Builder
	text.WriteString("defaults: {driver: fake-hardware, instance_info: {image_source: 'http://192.0.2.1/a.raw'}}\nnodes:\n")
	for i := range 12 {
		fmt.Fprintf(&text, "- {name: n%02d, ports: ['52:54:00:00:01:%02d']}\n", i, i)
	}
	file := enrolFile(t, text.String())
	drive := ` --config-drive '{"user_data": "#!/bin/sh"}'`
	status, out, failure := s.run("", "deploy --format value -f "+file+drive+" --parallel 5")
	if status != 0 || strings.Count(out, " deployed active ") != 12 {
		t.Fatalf("status %d: %s\n%s", status, failure, out)
	}
	for _, want := range []string{"n00: cleaning", "n11: active"} {
		if !strings.Contains(failure, want) {
			t.Errorf("its progress\n%s\nlacks %q", failure, want)
		}
	}
	if out := s.ok("deploy --format value -f " + file); strings.Count(out, " unchanged active ") != 12 {
		t.Errorf("again:\n%s", out)
	}
	digest := strings.Repeat("ab", 32)
	image := "--image http://192.0.2.1/b.raw --disk-format raw --checksum sha256:" + digest
	status, _, failure = s.run("", "deploy n00 n01 "+image)
	if status != 1 || !strings.Contains(failure, "n00: ") || !strings.Contains(failure, "a.raw; give --rebuild") {
		t.Errorf("another image: status %d, %s", status, failure)
	}
	if out := s.ok("deploy n00 n01 --rebuild --format value " + image); strings.Count(out, " deployed active ") != 2 {
		t.Errorf("rebuilt:\n%s", out)
	}
	if out := s.ok("node show n01 -f json --fields instance_info"); !strings.Contains(out, digest) || !strings.Contains(out, "b.raw") {
		t.Errorf("instance_info is %s", out)
	}
	// One of a set fails, and says what to do.
	s.ok("node undeploy n02 n03 --wait 30")
	s.ok("node maintenance set n02")
	status, out, failure = s.run("", "deploy --format value n02 n03 nobody "+image)
	if status != 1 || !strings.Contains(out, "n03 deployed active") || !strings.Contains(out, "n02 failed") || !strings.Contains(failure, "maintenance") || !strings.Contains(failure, "nobody: ") {
		t.Errorf("status %d, %s\n%s", status, failure, out)
	}
	for line, want := range map[string]string{
		"deploy":                      "name nodes",
		"deploy n1 --checksum abc":    "neither a SHA-256",
		"deploy n1 --parallel 0":      "less than one machine",
		"deploy n1 --instance-info a": "KEY=VALUE",
	} {
		if status, _, failure := s.run("", line); status != 2 || !strings.Contains(failure, want) {
			t.Errorf("ferric %s: status %d, %q; want %q", line, status, failure, want)
		}
	}
}

// TestDriveNames: machines of a set have the same config drive but for what
// tells them apart, where it is not said.
func TestDriveNames(t *testing.T) {
	name := "n1"
	n := &ironic.Node{UUID: "u1", Name: &name}
	for _, tt := range []struct{ drive, want any }{
		{"H4sI", "H4sI"},
		{map[string]any{"user_data": "x"}, map[string]any{"user_data": "x", "meta_data": map[string]any{"uuid": "u1", "name": "n1", "hostname": "n1"}}},
		{map[string]any{"meta_data": map[string]any{"hostname": "h", "a": "b"}}, map[string]any{"meta_data": map[string]any{"uuid": "u1", "name": "n1", "hostname": "h", "a": "b"}}},
		{map[string]any{"meta_data": "x"}, map[string]any{"meta_data": "x"}},
	} {
		before := fmt.Sprint(tt.drive)
		if diff := cmp.Diff(tt.want, named(tt.drive, n)); diff != "" {
			t.Errorf("drive (-want +got):\n%s", diff)
		}
		if fmt.Sprint(tt.drive) != before {
			t.Errorf("the drive that all share is changed to %v", tt.drive)
		}
	}
}
