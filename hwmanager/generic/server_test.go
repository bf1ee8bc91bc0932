package generic

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
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

// TestLiveCPU compares with what lscpu says of the machine that runs the test.
func TestLiveCPU(t *testing.T) {
	h := lab(t)
	h.Sys, h.Proc = "/sys", "/proc"
	cpu, err := New().CPUs(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	output, err := hwmanager.Exec{}.Run(t.Context(), "lscpu", "-J")
	if hwmanager.NoProgram(err) {
		if os.Getenv("CI") == "true" {
			t.Fatal("lscpu is missing")
		}
		t.Skip("lscpu is missing")
	}
	if err != nil {
		t.Fatal(err)
	}
	var listing struct {
		Lscpu []field `json:"lscpu"`
	}
	if err := json.Unmarshal(output, &listing); err != nil {
		t.Fatal(err)
	}
	says := map[string]string{}
	collect(says, listing.Lscpu)
	got := map[string]string{
		"Architecture:": cpu.Architecture, "CPU(s):": strconv.Itoa(cpu.Count), "Socket(s):": strconv.Itoa(cpu.SocketCount),
		"Model name:": cpu.ModelName, "Flags:": strings.Join(cpu.Flags, " "),
	}
	for name, value := range got {
		if want, known := says[name]; known && want != value {
			t.Errorf("%s %q; lscpu says %q", name, value, want)
		}
	}
	if says["CPU(s):"] == "" || says["Architecture:"] == "" {
		t.Errorf("lscpu says nothing: %s", output)
	}
}

// field is one of lscpu's, with those below it.
type field struct {
	Field, Data string
	Children    []field
}

func collect(into map[string]string, fields []field) {
	for _, f := range fields {
		into[f.Field] = f.Data
		collect(into, f.Children)
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
