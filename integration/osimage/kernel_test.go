package osimage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompareVersions(t *testing.T) {
	sorted := []string{"5.10.0-9-amd64", "5.10.0-30-amd64", "6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-056-generic", "6.10.0-1-amd64"}
	got := slices.Clone(sorted)
	slices.Reverse(got)
	slices.SortFunc(got, compareVersions)
	if diff := cmp.Diff(sorted, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestPlanModules checks the plan for the kernel of this machine: every module
// after all that it needs.
func TestPlanModules(t *testing.T) {
	k, err := findKernel("", "")
	if err != nil {
		t.Fatal(err)
	}
	plan, err := planModules(k.modules)
	if err != nil {
		t.Fatal(err)
	}
	_, needs, err := readDependencies(filepath.Join(k.modules, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	loaded := map[module]bool{}
	for _, m := range plan {
		for _, need := range needs[m.path] {
			if !loaded[module{m.condition, need}] {
				t.Errorf("%s is loaded before %s", m.path, need)
			}
		}
		loaded[m] = true
	}
	var names []string
	for _, m := range plan {
		names = append(names, moduleName(m.path))
	}
	for _, want := range []string{"virtio_blk", "nvme", "ahci", "ext4", "isofs", "vfat"} {
		if !slices.Contains(names, want) {
			t.Errorf("plan lacks %s", want)
		}
	}
}

func TestPlanWithoutModule(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"modules.dep": "kernel/a/ext4.ko.xz:\n", "modules.builtin": "kernel/b/sd_mod.ko\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := planModules(dir); err == nil || !strings.Contains(err.Error(), "sr_mod") {
		t.Errorf("error %v, want one that names the first missing module", err)
	}
}
