package generic

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager/hwmtest"
)

// TestServerInventory is for what virtual machines do not have.
func TestServerInventory(t *testing.T) {
	h := hwmtest.Machine(t, "testdata/server.machine")
	h.Settings.BootIF = "01-3c-ec-ef-12-34-56"
	inv, err := New().Inventory(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	inv.Hostname = "" // of the machine that runs the test
	golden(t, "server.inventory.json", inv)
}

func TestServerUSB(t *testing.T) {
	h := hwmtest.Machine(t, "testdata/server.machine")
	devices, err := New().USBDevices(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(devices)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"product":"0129","vendor":"0bda","handle":"USB:1:3"},` +
		`{"product":"Virtual Keyboard","vendor":"American Megatrends Inc.","handle":"USB:1:5"}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("USB devices (-want +got):\n%s", diff)
	}
}

// golden compares value as JSON with a file in testdata.
func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got; -update writes it):\n%s", path, diff)
	}
}
