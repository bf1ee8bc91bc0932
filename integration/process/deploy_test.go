package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"ferric/api/ironic"
)

// TestDeployment is the life of a machine without any mishap.
func TestDeployment(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	m := newMachine(t, c, spec{automated: true})
	m.format(t)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	if head, tail := m.tables(t); head || tail {
		t.Errorf("tables at the ends after cleaning: %v, %v; want none", head, tail)
	}
	m.setGood(t, images)
	nonce := uuid.NewString()
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: ironic.ConfigDrive{
		MetaData: map[string]any{"hostname": "deployed"}, UserData: nonce,
	}})
	n := m.wait(t, ironic.StateActive)
	if n.LastError != nil || n.PowerState == nil || *n.PowerState != ironic.PowerOn || len(n.DeployStep) > 0 {
		t.Errorf("active node: last_error %v, power %v, step %v; want none, on, none", n.LastError, n.PowerState, n.DeployStep)
	}
	m.holds(t)
	m.hasConfigDrive(t, nonce)

	m.provision(t, ironic.VerbDeleted, ironic.StateAvailable)
	if head, tail := m.tables(t); head || tail {
		t.Errorf("tables at the ends after deletion: %v, %v; want none", head, tail)
	}
	if n := m.node(t); len(n.InstanceInfo) > 0 || *n.PowerState != ironic.PowerOff {
		t.Errorf("node after deletion: instance_info %v, %s; want nothing and off", n.InstanceInfo, *n.PowerState)
	}
}

var lastPartition = regexp.MustCompile(`(?m)^\s+2\s+(\d+)\s+(\d+)\s`)

// hasConfigDrive checks with independent tools that the second partition is a
// config drive with the user data.
func (m *machine) hasConfigDrive(t *testing.T, userData string) {
	t.Helper()
	list := run(t, "sgdisk", "-p", m.disk)
	match := lastPartition.FindStringSubmatch(list)
	if match == nil {
		t.Fatalf("no second partition:\n%s", list)
	}
	first, _ := strconv.ParseInt(match[1], 10, 64)
	last, _ := strconv.ParseInt(match[2], 10, 64)
	volume := m.read(t, first*512, (last-first+1)*512)
	path := filepath.Join(t.TempDir(), "drive")
	if err := os.WriteFile(path, volume, 0o644); err != nil {
		t.Fatal(err)
	}
	if label := strings.TrimSpace(run(t, "blkid", "-p", "-s", "LABEL", "-o", "value", path)); label != "config-2" {
		t.Errorf("label of the config drive = %q; want config-2", label)
	}
	if !strings.Contains(string(volume), userData) {
		t.Error("the config drive does not hold the user data")
	}
}

// TestBadImages deploys what cannot be deployed, and then something good.
func TestBadImages(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	good := func(t *testing.T) string { return digestOf(t, imageFile(t, "good.raw")) }
	of := func(name string) func(*testing.T) string {
		return func(t *testing.T) string { return digestOf(t, imageFile(t, name)) }
	}
	dead := fmt.Sprintf("http://127.0.0.1:%d", newPort())
	tests := []struct {
		name, url, format string
		digest            func(*testing.T) string
		reasons           []string
		// untouched: it shows before anything is written, so what was on the
		// disk is still there; in all other cases the tables must be gone.
		untouched bool
	}{
		{"not found", images.URL + "/missing.raw", "raw", good, []string{"404"}, true},
		{"connection refused", dead + "/good.raw", "raw", good, []string{"connection refused"}, true},
		{"redirects to itself", images.URL + "/loop/good.raw", "raw", good, []string{"redirect"}, true},
		{"shorter than declared", images.URL + "/short/good.raw", "raw", good, []string{"truncated", strconv.Itoa(imageSize)}, false},
		{"wrong digest", images.URL + "/good.raw", "raw", func(*testing.T) string { return strings.Repeat("5a", 32) }, []string{"Image failed to verify against checksum.", "5a5a", good(t)}, false},
		{"qcow2 declared raw", images.URL + "/good.qcow2", "raw", of("good.qcow2"), []string{"declared as raw, but it is qcow2"}, true},
		{"raw declared qcow2", images.URL + "/good.raw", "qcow2", good, []string{"declared as qcow2, but it is raw"}, true},
		{"larger than the disk", images.URL + "/huge.qcow2", "qcow2", of("huge.qcow2"), []string{strconv.Itoa(8 << 30), strconv.Itoa(4 << 30)}, true},
		{"backing file", images.URL + "/backing.qcow2", "qcow2", of("backing.qcow2"), []string{"backing file"}, true},
		{"truncated qcow2", images.URL + "/truncated.qcow2", "qcow2", of("truncated.qcow2"), []string{"truncated"}, false},
		{"window too large", images.URL + "/window.xz", "raw", of("window.xz"), []string{"xz", "MiB"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, c, spec{})
			m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
			m.format(t)
			m.setImage(t, tt.url, tt.format, tt.digest(t))
			m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
			n := m.fails(t, ironic.StateDeployFailed, append(tt.reasons, "write_image", tt.url, "/dev/vda")...)
			if n.PowerState == nil || *n.PowerState != ironic.PowerOff || n.Maintenance {
				t.Errorf("power %v, maintenance %v; want off and none", n.PowerState, n.Maintenance)
			}
			if head, tail := m.tables(t); head != tt.untouched || tail != tt.untouched {
				t.Errorf("tables at the ends: %v, %v; want %v", head, tail, tt.untouched)
			}
			m.setGood(t, images)
			if n := m.provision(t, ironic.VerbActive, ironic.StateActive); n.LastError != nil {
				t.Errorf("active, but last_error is %q", *n.LastError)
			}
			m.holds(t)
		})
	}
}

// TestNoSuchDisk deploys with a hint that no disk matches.
func TestNoSuchDisk(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	m := newMachine(t, c, spec{node: map[string]any{"properties": map[string]any{
		"capabilities": "boot_mode:bios", "root_device": map[string]any{"serial": "NOT-HERE"},
	}}})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setGood(t, images)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	m.fails(t, ironic.StateDeployFailed, "NOT-HERE", "/dev/vda", "root device hints")

	patch := ironic.Patch{{Op: "replace", Path: "/properties/root_device", Value: map[string]any{"serial": serial}}}
	if _, err := c.api.UpdateNode(t.Context(), m.name, patch); err != nil {
		t.Fatal(err)
	}
	m.provision(t, ironic.VerbActive, ironic.StateActive)
	m.holds(t)
}
