package inspection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/generic"
	"ferric/hwmanager/hwmtest"
)

var update = flag.Bool("update", false, "write the golden files")

// site is what stands around the machine in these tests: it knows addresses,
// LLDP packets and a host name, which a fixture has none of.
type site struct {
	addressAfter int // looks at the interfaces
	looks        int
}

func (*site) Name() string      { return "site" }
func (*site) ClassName() string { return "SiteManager" }
func (*site) Version() string   { return "7" }
func (*site) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}

func (*site) LLDP(_ context.Context, _ *hwmanager.Host, names []string) (map[string][]ipa.TLV, error) {
	return map[string][]ipa.TLV{"eno1": {{Type: 1, Value: "0400aabbccddee"}, {Type: 0}}, "eno2": {}}, nil
}

// FilterDevice gives the interface booted from its address late, and hides a
// disk.
func (s *site) FilterDevice(_ context.Context, _ *hwmanager.Host, device any) (any, error) {
	switch d := device.(type) {
	case ipa.Interface:
		if d.Name == "eno1" {
			s.looks++
			if s.looks > s.addressAfter {
				address := "192.0.2.15"
				d.IPv4Address = &address
			}
		}
		return d, nil
	case ipa.BlockDevice:
		if d.Name == "/dev/sdd" {
			return nil, nil
		}
	}
	return device, nil
}

func options(t *testing.T, machine string, managers ...hwmanager.Manager) (Options, *servers) {
	t.Helper()
	h := hwmtest.Machine(t, filepath.Join("../../hwmanager/generic/testdata", machine))
	h.Settings.BootIF = "01-3c-ec-ef-12-34-56"
	set, err := hwmanager.Load(t.Context(), h, append(managers, generic.New()))
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{answers: map[string][]answer{"http://a": {{202, `{"uuid": "1be26c0b"}`}}}, started: time.Now()}
	return Options{
		Host: h, Set: set, URLs: []string{"http://a"}, HTTP: &http.Client{Transport: s}, Log: h.Log,
		Logs: func(context.Context) (string, error) { return "H4sI", nil },
	}, s
}

// TestRun posts what all collectors find of a server.
func TestRun(t *testing.T) {
	o, s := options(t, "server.machine", &site{})
	o.Collectors = []string{"default", "pci-devices", "numa-topology", "lldp", "dmi-decode", "usb-devices", "extra-hardware", "logs"}
	uuid, err := Run(t.Context(), o)
	if err != nil || uuid != "1be26c0b" {
		t.Fatalf("UUID %q, error %v", uuid, err)
	}
	var body map[string]any
	if err := json.Unmarshal(s.body, &body); err != nil {
		t.Fatal(err)
	}
	// Of the machine that runs the test.
	body["inventory"].(map[string]any)["hostname"] = ""
	var others []any
	for _, fact := range body["data"].([]any) {
		if fact.([]any)[1] != "kernel" {
			others = append(others, fact)
		}
	}
	body["data"] = others
	var got bytes.Buffer
	encoder := json.NewEncoder(&got)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(body); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "server.json")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("document differs (-want +got; -update writes it):\n%s", diff)
	}
}

// posted are the members of the document but for those that are long.
func posted(t *testing.T, s *servers) map[string]any {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(s.body, &body); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestDefaultCollectors(t *testing.T) {
	o, s := options(t, "lab.machine")
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	body := posted(t, s)
	want := map[string]any{
		"collectors": []any{"default", "logs"},
		"managers":   []any{map[string]any{"name": "generic_hardware_manager", "version": generic.New().Version()}},
	}
	if diff := cmp.Diff(want, body["configuration"]); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if body["logs"] != "H4sI" || body["error"] != nil {
		t.Errorf("logs %v, error %v", body["logs"], body["error"])
	}
	// BOOTIF is that of another machine.
	if interf, present := body["boot_interface"]; !present || interf != nil {
		t.Errorf("boot_interface %v; want null", interf)
	}
	if disk, _ := body["root_disk"].(map[string]any); disk["name"] != "/dev/vda" {
		t.Errorf("root_disk %v; want /dev/vda", disk)
	}
}

// picker is a vendor's manager with a disk of its own choice, or none.
type picker struct {
	site
	disk string
}

func (p *picker) InstallDevice(context.Context, *hwmanager.Host, hwmanager.Node) (ipa.BlockDevice, error) {
	if p.disk == "" {
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("no disk is good enough")
	}
	return ipa.BlockDevice{Name: p.disk}, nil
}

// TestRootDisk: which one it is is for the managers to say.
func TestRootDisk(t *testing.T) {
	for _, want := range []string{"/dev/sdc", ""} {
		o, s := options(t, "lab.machine", &picker{disk: want})
		if _, err := Run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		body := posted(t, s)
		disk, _ := body["root_disk"].(map[string]any)
		if _, present := body["root_disk"]; present != (want != "") || present && disk["name"] != want {
			t.Errorf("root_disk %v; want %q", body["root_disk"], want)
		}
	}
}

func TestUnknownCollector(t *testing.T) {
	o, s := options(t, "lab.machine")
	o.Collectors = []string{"default", "tarot"}
	uuid, err := Run(t.Context(), o)
	if err == nil || uuid != "" {
		t.Errorf("UUID %q, error %v; want an error and no UUID", uuid, err)
	}
	want := map[string]any{"error": "The following errors were encountered:\n* Failed to load collector tarot"}
	if diff := cmp.Diff(want, posted(t, s)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// TestFailedCollector: the others run, and what was found is posted.
func TestFailedCollector(t *testing.T) {
	o, s := options(t, "lab.machine")
	o.Collectors = []string{"logs", "pci-devices", "default"}
	o.Logs = func(context.Context) (string, error) { return "", errors.New("no journal") }
	uuid, err := Run(t.Context(), o)
	if uuid != "1be26c0b" || err == nil {
		t.Errorf("UUID %q, error %v; want both", uuid, err)
	}
	body := posted(t, s)
	text, _ := body["error"].(string)
	if !strings.HasPrefix(text, "The following errors were encountered:\n* collector logs failed: no journal\n* collector pci-devices failed: ") {
		t.Errorf("error %q", text)
	}
	if body["inventory"] == nil {
		t.Error("no inventory after a failed collector")
	}
}

func TestServerError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := options(t, "lab.machine")
		s.answers = map[string][]answer{"http://a": {{500, "boom"}}}
		if uuid, err := Run(t.Context(), o); err == nil || uuid != "" || !strings.Contains(err.Error(), "boom") {
			t.Errorf("UUID %q, error %v", uuid, err)
		}
	})
}

func TestWaitForDHCP(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		after  int // looks until the address is there
		took   time.Duration
		given  bool
	}{
		{"no wait", func(o *Options) { o.DHCPWait = 0 }, 3, 0, false},
		{"at once", func(*Options) {}, 0, 0, true},
		{"after a while", func(*Options) {}, 3, 3 * dhcpPoll, true},
		{"never", func(*Options) {}, 1e6, 60 * time.Second, false},
		{"all interfaces, of which some get none", func(o *Options) { o.DHCPAllInterfaces = true }, 0, 60 * time.Second, true},
		{"booted from nothing known", func(o *Options) { o.Host.Settings.BootIF = "" }, 3, 0, false},
		{"plain notation", func(o *Options) { o.Host.Settings.BootIF = "3C:EC:EF:12:34:56" }, 3, 3 * dhcpPoll, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &site{addressAfter: test.after}
				o, _ := options(t, "server.machine", s)
				o.DHCPWait = 60 * time.Second
				test.change(&o)
				started := time.Now()
				if err := o.waitForDHCP(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(started); took < test.took || took > test.took+dhcpPoll {
					t.Errorf("took %s; want %s", took, test.took)
				}
				if given := s.looks > s.addressAfter; given != test.given {
					t.Errorf("an address was given: %v; want %v", given, test.given)
				}
			})
		})
	}
}
