package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/api/ironic"
)

// addDisk gives the machine a further disk: a sparse file in dir.
func (m *machine) addDisk(t *testing.T, name, dir string, size int64) {
	t.Helper()
	block := filepath.Join(m.host.Sys, "devices/pci0000:00/0000:00:05.0/virtio-"+name, "block", name)
	for file, content := range map[string]string{
		"size": fmt.Sprint(size / 512), "ro": "0", "serial": "SERIAL-" + name, "queue/logical_block_size": "512", "queue/physical_block_size": "512",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(block, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(block, file), []byte(content+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	medium := filepath.Join(dir, name)
	f, err := os.Create(medium)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{filepath.Join(m.host.Sys, "block", name): block, filepath.Join(m.host.Dev, name): medium} {
		_ = os.Remove(from) // an earlier one
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskThatCannotBeErased: of three disks the second takes only a part of what
// is written to it. The node is not to be had until it has another disk, and
// everybody can see why.
func TestDiskThatCannotBeErased(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	c := newConductor(t, "[deploy]", "erase_devices_priority = 10\nerase_devices_metadata_priority = 0\ndisk_erasure_concurrency = 2")
	m := newMachine(t, c, spec{diskSize: size, automated: true})
	small, large := t.TempDir(), t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=3m", "none", small)
	t.Cleanup(func() { run(t, "umount", small) })
	m.addDisk(t, "vdb", small, size)
	m.addDisk(t, "vdc", large, size)
	for i, arg := range m.args {
		if arg == "--allow-devices" {
			m.args[i+1] += "," + filepath.Join(small, "*") + "," + filepath.Join(large, "*")
		}
	}

	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbProvide})
	n := m.fails(t, ironic.StateCleanFailed, "erase_devices", "/dev/vdb: overwrite: random pass 1 of 1", "at 3145728", "no space left")
	if !n.Maintenance || n.Fault == nil || *n.Fault != ironic.FaultClean {
		t.Errorf("maintenance %v, fault %v; want that of a failed clean step", n.Maintenance, n.Fault)
	}
	if err := c.api.SetProvisionState(t.Context(), m.name, ironic.ProvisionRequest{Target: ironic.VerbActive}); err == nil {
		t.Error("a node with a disk that could not be erased is deployed")
	}
	if err := c.api.SetProvisionState(t.Context(), m.name, ironic.ProvisionRequest{Target: ironic.VerbProvide}); err == nil {
		t.Error("a node with a disk that could not be erased is provided")
	}

	c.restart(t)
	want := map[string]string{"/dev/vda": ipa.EraseDone, "/dev/vdb": ipa.EraseFailed, "/dev/vdc": ipa.EraseDone}
	m.erased(t, want)
	text := run(t, program(t, "ferric"), "node", "erase-report", m.name, "--api", c.url)
	for _, part := range []string{"failed: ", "/dev/vdb failed: overwrite: ", "64 of 64 samples: zeros", serial} {
		if !strings.Contains(text, part) {
			t.Errorf("the report for people lacks %q:\n%s", part, text)
		}
	}

	m.addDisk(t, "vdb", large, size)
	if err := c.api.UnsetMaintenance(t.Context(), m.name); err != nil {
		t.Fatal(err)
	}
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	want["/dev/vdb"] = ipa.EraseDone
	m.erased(t, want)
}

// erased compares the outcomes in the latest report.
func (m *machine) erased(t *testing.T, want map[string]string) {
	t.Helper()
	reports, err := m.c.api.EraseReports(t.Context(), m.name)
	if err != nil || len(reports) == 0 || reports[0].Step != "erase_devices" || reports[0].End.IsZero() {
		t.Fatalf("reports are %+v, %v", reports, err)
	}
	if len(reports[0].Devices) != len(want) {
		t.Errorf("%d devices are reported; want %d", len(reports[0].Devices), len(want))
	}
	for _, d := range reports[0].Devices {
		last := d.Attempts[len(d.Attempts)-1]
		if d.Outcome != want[d.Device] || d.Serial == "" || d.Method != ipa.MethodOverwrite {
			t.Errorf("%s is %s (%+v); want %s", d.Device, d.Outcome, d, want[d.Device])
		}
		if d.Outcome == ipa.EraseDone && (last.Passes != 2 || last.Verified == nil || last.Verified.Expected != ipa.ExpectZeros || last.Verified.Wrong != 0) {
			t.Errorf("%s: %+v", d.Device, last)
		}
	}
}
