package generic

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
)

// addDisk puts a disk with the given attributes into the sysfs of h; "size"
// counts sectors of 512 bytes.
func addDisk(t *testing.T, h *hwmanager.Host, name string, attributes map[string]string) {
	t.Helper()
	for attribute, value := range attributes {
		path := filepath.Join(h.Sys, "block", name, attribute)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHiddenPaths: with native multipathing the kernel lists each path of an
// NVMe namespace too, hidden, for there is no device node.
func TestHiddenPaths(t *testing.T) {
	h := lab(t)
	before, err := New().BlockDevices(context.Background(), h, true)
	if err != nil {
		t.Fatal(err)
	}
	addDisk(t, h, "nvme0c0n1", map[string]string{"size": "14680064", "hidden": "1"})
	after, err := New().BlockDevices(context.Background(), h, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("disks (-without +with a hidden path):\n%s", diff)
	}
}
