package inspection

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager/hwmtest"
)

func TestMemTotal(t *testing.T) {
	tests := []struct {
		meminfo string
		kb      int64
		ok      bool
	}{
		{"Node 0 MemTotal:       16384000 kB\nNode 0 MemFree: 1 kB", 16384000, true},
		{"Node 1 MemFree: 1 kB\nNode 1 MemTotal: 7 kB", 7, true},
		{"", 0, false},
		{"Node 0 MemTotal: 7 MB", 0, false},
		{"Node 0 MemTotal: -7 kB", 0, false},
		{"Node 0 MemTotal: 99999999999999999999 kB", 0, false},
		{"Node 0 MemTotal:", 0, false},
	}
	for _, test := range tests {
		kb, err := memTotal(test.meminfo)
		if kb != test.kb || (err == nil) != test.ok {
			t.Errorf("memTotal(%q) = %d, %v; want %d", test.meminfo, kb, err, test.kb)
		}
	}
}

// TestTwoPackagesInANode: cores of one number in two packages are two.
func TestTwoPackagesInANode(t *testing.T) {
	dir := t.TempDir()
	for cpu, place := range []struct{ pack, core string }{{"0", "0"}, {"1", "0"}, {"0", "0"}, {"", ""}} {
		topology := filepath.Join(dir, "cpu"+strconv.Itoa(cpu), "topology")
		if err := os.MkdirAll(topology, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"core_id": place.core, "physical_package_id": place.pack} {
			if err := os.WriteFile(filepath.Join(topology, name), []byte(value+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	cores, err := coresOf(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []numaCPU{{CPU: 0, Node: 3, ThreadSiblings: []int{0, 2}}, {CPU: 0, Node: 3, ThreadSiblings: []int{1}}}
	if diff := cmp.Diff(want, cores); diff != "" {
		t.Errorf("cores (-want +got):\n%s", diff)
	}
}

func TestNoNUMA(t *testing.T) {
	o, _ := options(t, "lab.machine")
	doc := document{}
	if err := collectNUMA(t.Context(), &o, doc); err != nil || len(doc) > 0 {
		t.Errorf("document %v, error %v; want neither", doc, err)
	}
}

// TestLiveSysfs runs the collectors on the machine that runs the test.
func TestLiveSysfs(t *testing.T) {
	o, _ := options(t, "lab.machine")
	o.Host.Sys, o.Host.Proc, o.Host.Dev = "/sys", "/proc", "/dev"
	doc := document{}
	if err := collectPCI(t.Context(), &o, doc); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/sys/bus/pci/devices")
	if err != nil {
		t.Fatal(err)
	}
	devices := doc["pci_devices"].([]pciDevice)
	if len(devices) != len(entries) {
		t.Errorf("%d PCI devices; sysfs has %d", len(devices), len(entries))
	}
	for _, d := range devices {
		if len(d.VendorID) != 4 || len(d.ProductID) != 4 || len(d.Class) != 6 {
			t.Errorf("PCI device %+v", d)
		}
	}
}

func TestBenchmarks(t *testing.T) {
	h := hwmtest.Machine(t, "../../hwmanager/generic/testdata/lab.machine")
	disk := ipa.BlockDevice{Name: "/dev/vda", Size: 4 << 30}
	o := &Options{Host: h, Log: h.Log, Benchmarks: []string{"cpu", "mem", "disk", "luck"}}
	before, err := os.Stat(h.DevicePath(disk.Name))
	if err != nil {
		t.Fatal(err)
	}
	list := facts{}
	started := time.Now()
	err = list.addBenchmarks(t.Context(), o, &ipa.Inventory{Disks: []ipa.BlockDevice{disk}}, 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), `no benchmark "luck"`) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	var names []string
	for _, fact := range list {
		names = append(names, fact[0].(string)+" "+fact[1].(string)+" "+fact[2].(string))
		if value := strings.Trim(mustJSON(t, fact[3]), `"`); value == "0" {
			t.Errorf("%v is nothing", fact)
		}
	}
	want := []string{"cpu logical_0 loops_per_sec", "cpu logical loops_per_sec", "memory logical_cpu_0 bandwidth_1M", "memory logical_cpu_0 bandwidth_64M",
		"disk vda standalone_read_1M_IOps", "disk vda standalone_read_1M_KBps", "disk vda standalone_randread_4k_IOps", "disk vda standalone_randread_4k_KBps"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("measured (-want +got):\n%s", diff)
	}
	after, err := os.Stat(h.DevicePath(disk.Name))
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the disk was written to (%v)", err)
	}
}

func mustJSON(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func FuzzMemTotal(f *testing.F) {
	f.Add("Node 0 MemTotal:       16384000 kB\n")
	f.Add("MemTotal: kB")
	f.Fuzz(func(t *testing.T, text string) {
		if kb, err := memTotal(text); err == nil && kb < 0 {
			t.Errorf("memTotal(%q) = %d", text, kb)
		}
	})
}
