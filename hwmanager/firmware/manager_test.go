package firmware

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// TestArguments: everything that is wrong is in one error, before anything else.
func TestArguments(t *testing.T) {
	r := newRig(t)
	sum := strings.Repeat("a", 64)
	_, _, err := r.run(nil,
		map[string]any{"component": "nvme", "url": "http://x/y", "checksum": sum},
		map[string]any{"component": "nvme", "url": "http://x/y", "checksum": sum, "model": "**", "version": "LONGER-THAN-8", "guid": class},
		map[string]any{"component": "uefi", "url": "http://x/y", "checksum": sum, "model": "M", "version": "1.2.3", "guid": "x"},
		map[string]any{"component": "bios", "url": "http://x/y", "slot": 9, "speed": 3},
	)
	fails(t, err, "components[0]", "model is required", "version is required", "matches every drive", "longer than the 8 characters", "guid and delivery are of component uefi",
		"are of component nvme", `"1.2.3" is no number of 32 bits`, `"x" is no GUID`, "components[3]", "bios", "checksum", "slot", "speed")
	if !ipa.InvalidCommandParams.Is(err) {
		t.Errorf("kind of %v", err)
	}
	for _, none := range []map[string]any{{}, {"components": []any{}}, {"components": nil}} {
		steps, _ := r.manager.ServiceSteps(t.Context(), r.host, nil)
		if _, err := steps[0].Run(t.Context(), r.host, hwmanager.StepCall{Args: none}); !ipa.InvalidCommandParams.Is(err) {
			t.Errorf("%v: %v", none, err)
		}
	}
	_, _, err = r.run(json.RawMessage(`[]`))
	fails(t, err, "components")
}

// TestDeposit: our capsule is alone where the firmware looks.
func TestDeposit(t *testing.T) {
	root := t.TempDir()
	for _, content := range []string{"first", "x"} {
		if err := deposit(root, "ferric-1.cap", strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(filepath.Join(root, "EFI/UpdateCapsule/ferric-1.cap")); string(got) != content {
			t.Errorf("%q, want %q", got, content)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "EFI/UpdateCapsule/vendor.cap"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, deposit(root, "ferric-2.cap", strings.NewReader("y")), "somebody else's capsule vendor.cap")
}

// TestCollect: every component, and what its firmware is.
func TestCollect(t *testing.T) {
	r := newRig(t)
	got, err := r.manager.Collect(t.Context(), r.host)
	if err != nil {
		t.Fatal(err)
	}
	list := got["components"].([]map[string]any)
	var names []string
	for _, c := range list {
		names = append(names, fmt.Sprintf("%s %s %s", c["component"], c["name"], c["current_version"]))
	}
	want := []string{"bios bios 2.10.4", "uefi " + class + " 131072", "uefi " + other + " 5", "nvme nvme0 FW10", "nvme nvme1 FW10", "nvme nvme10 OLD1"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if slots := list[3]["slots"].([]map[string]any); len(slots) != 3 || slots[0]["active"] != true || slots[0]["version"] != "FW10" || list[3]["updatable"] != true {
		t.Errorf("%v", list[3])
	}
}

// TestEvaluate: beside the generic manager where there is something to update.
func TestEvaluate(t *testing.T) {
	r := newRig(t)
	level := func() hwmanager.Support {
		t.Helper()
		level, err := New().Evaluate(t.Context(), r.host)
		if err != nil {
			t.Error(err)
		}
		return level
	}
	if got := level(); got != hwmanager.Generic {
		t.Errorf("all: %v", got)
	}
	os.RemoveAll(filepath.Join(r.host.Sys, "firmware"))
	if got := level(); got != hwmanager.Generic {
		t.Errorf("drives: %v", got)
	}
	os.RemoveAll(filepath.Join(r.host.Sys, "class/nvme"))
	if got := level(); got != hwmanager.None {
		t.Errorf("nothing: %v", got)
	}
	r.set("sys/bus/pci/devices/0000:01:00.0/class", "0x010802\n")
	if got := level(); got != hwmanager.Generic {
		t.Errorf("a drive without its driver: %v", got)
	}
}
