package guide

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
	"ferric/hwmanager/execplugin"
	"ferric/hwmanager/hwmtest"
)

// examples is where they are, with the host that has their hardware.
const examples = "../../hwmanager/example"

// TestExamplesAreShort holds what is said of them.
func TestExamplesAreShort(t *testing.T) {
	for _, name := range []string{"acmenic/acmenic.go", "acme-raid", "acme-links"} {
		text, err := os.ReadFile(filepath.Join(examples, name))
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(text, []byte("\n")); lines >= 60 {
			t.Errorf("%s has %d lines; want less than 60", name, lines)
		}
	}
}

// TestGoExample runs the tests of the example in Go, which is a module of its own.
func TestGoExample(t *testing.T) {
	module, err := filepath.Abs(filepath.Join(examples, "acmenic"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(t.TempDir(), "go.work")
	if err := os.WriteFile(work, fmt.Appendf(nil, "go 1.26.0\n\nuse %s\nuse %s\n", source, module), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"vet", "."}, {"test", "-count=1", "-v", "."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = module, append(os.Environ(), "GOWORK="+work)
		out, err := cmd.CombinedOutput()
		if err != nil || args[0] == "test" && !bytes.Contains(out, []byte("--- PASS: TestUpdate")) {
			t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestExecutableExamplesConform is `ferric plugin test` with their own hardware.
func TestExecutableExamplesConform(t *testing.T) {
	for _, name := range []string{"acme-raid", "acme-links"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), filepath.Join(built(t), "bin/ferric"), "plugin", "test", "./"+name, "--host", "host")
			cmd.Dir = examples
			out, err := cmd.CombinedOutput()
			// A machine with much to do is slow, which is warned of.
			if err != nil || bytes.Contains(out, []byte("\nwarning  no hardware")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// open loads an example on the host that has its hardware.
func open(t *testing.T, name string) (*hwmtest.Fake, *hwmanager.Set) {
	t.Helper()
	fake := hwmtest.New(t, filepath.Join(examples, "host"))
	p, err := execplugin.Open(t.Context(), filepath.Join(examples, name), execplugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := hwmanager.Load(t.Context(), fake.Host, []hwmanager.Manager{p})
	if err != nil {
		t.Fatal(err)
	}
	return fake, set
}

// TestRAIDExample makes arrays, is given wrong ones, which destroys nothing, and passes
// those that are not for its controller.
func TestRAIDExample(t *testing.T) {
	fake, set := open(t, "acme-raid")
	volumes := func() []string {
		out, err := fake.Host.Run.Run(t.Context(), "acmeraid", "list")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	create := func(config string) (any, error) {
		var target any
		if err := json.Unmarshal([]byte(config), &target); err != nil {
			t.Fatal(err)
		}
		return set.RunStep(t.Context(), fake.Host, hwmanager.Clean, "create_configuration",
			hwmanager.StepCall{Node: hwmanager.Node{"target_raid_config": target}})
	}
	result, err := create(`{"logical_disks": [{"raid_level": "1", "size_gb": 100, "is_root_volume": true}, {"raid_level": "5", "size_gb": 500, "volume_name": "data"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"logical_disks":[{"controller":"acme","is_root_volume":true,"raid_level":"1","root_device_hint":{"wwn":"0x5acce55000000000"},"size_gb":100},` +
		`{"controller":"acme","raid_level":"5","size_gb":500,"volume_name":"data"}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("the configuration as made (-want +got):\n%s", diff)
	}
	for _, wrong := range []struct{ config, says string }{
		{`{"logical_disks": [{"raid_level": "7", "size_gb": 1}]}`, "another level than 0, 1, 5"},
		{`{"logical_disks": [{"raid_level": "1", "size_gb": "MAX"}]}`, "no size in GiB"},
		{`{"logical_disks": [{"raid_level": "1", "size_gb": 1}, {"raid_level": "1", "size_gb": 1, "controller": "software"}]}`, "cannot be mixed"},
	} {
		if _, err := create(wrong.config); err == nil || !strings.Contains(err.Error(), wrong.says) {
			t.Errorf("%s: %v; want an error that says %q", wrong.config, err, wrong.says)
		}
	}
	if _, err := create(`{"logical_disks": [{"raid_level": "1", "size_gb": 1, "controller": "software"}]}`); err == nil || !strings.Contains(err.Error(), "Could not find method") {
		t.Errorf("arrays of software: %v; want that nobody is found for them", err)
	}
	if got := volumes(); !slices.Equal(got, []string{"volume0", "data"}) {
		t.Errorf("volumes are %q after what was refused; want those that were made", got)
	}
	if _, err := set.RunStep(t.Context(), fake.Host, hwmanager.Clean, "delete_configuration", hwmanager.StepCall{Node: hwmanager.Node{}}); err != nil || len(volumes()) != 0 {
		t.Errorf("deleting leaves %q, %v", volumes(), err)
	}
}

// TestInventoryExample finds the card that has half of its lanes.
func TestInventoryExample(t *testing.T) {
	fake, set := open(t, "acme-links")
	found, err := hwmanager.First(set, "collect", func(c hwmanager.Collector) (map[string]any, error) { return c.Collect(t.Context(), fake.Host) })
	if err != nil {
		t.Fatal(err)
	}
	links, _ := found["links"].([]any)
	if degraded := fmt.Sprint(found["degraded"]); degraded != "[0000:02:00.0]" || len(links) != 2 {
		t.Errorf("the links are %v; want two, and 0000:02:00.0 below its best", found)
	}
}
