package netboot

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

const testBase = "http://192.0.2.1:8080"

func TestScripts(t *testing.T) {
	scripts := parseScripts()
	for name, fallback := range map[string]string{"boot.ipxe": "", "boot_fallback.ipxe": "rescue.ipxe"} {
		got, err := scripts.boot(fallback)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, got)
	}
	params := DefaultConfig().KernelParams("%default% console=ttyS0", "ipa-api-url=http://192.0.2.1:6385")
	for _, tc := range []struct {
		name    string
		machine Machine
		timeout time.Duration
	}{
		{"files.ipxe", Machine{NodeUUID: bootUUID, Name: "rack-1", Action: Ramdisk,
			Kernel: "/srv/kernel", Ramdisk: "file:///srv/ramdisk", Params: params}, 0},
		{"urls.ipxe", Machine{NodeUUID: bootUUID, Action: Ramdisk,
			Kernel: "http://192.0.2.9/k", Ramdisk: "https://192.0.2.9/r?v=2", Params: params}, 90 * time.Second},
		{"iso.ipxe", Machine{NodeUUID: bootUUID, Name: "rack-1", Action: BootISO, ISO: "/srv/live.iso"}, 0},
		{"iso_url.ipxe", Machine{NodeUUID: bootUUID, Action: BootISO, ISO: "http://192.0.2.9/live.iso"}, 0},
		{"localdisk.ipxe", Machine{NodeUUID: bootUUID, Name: "evil\nshell ${x}", Action: LocalDisk}, 0},
	} {
		got, err := scripts.machine(tc.machine, testBase, "52-54-00-77-00-01", tc.timeout)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		golden(t, tc.name, got)
	}
}

func TestScriptRefusesWhatWouldBreakIt(t *testing.T) {
	good := Machine{NodeUUID: bootUUID, Action: Ramdisk, Kernel: "/k", Ramdisk: "/r", Params: "quiet"}
	for name, change := range map[string]func(*Machine){
		"kernel URL with a line break": func(m *Machine) { m.Kernel = "http://x/\nshell" },
		"ramdisk URL with a space":     func(m *Machine) { m.Ramdisk = "http://x/a b" },
		"node UUID with a line break":  func(m *Machine) { m.NodeUUID = "a\nshell" },
		"command separator":            func(m *Machine) { m.Params = "quiet || shell" },
		"control character":            func(m *Machine) { m.Params = "quiet\x00" },
		"no kernel":                    func(m *Machine) { m.Kernel = "" },
		"no ramdisk":                   func(m *Machine) { m.Ramdisk = "" },
		"no action":                    func(m *Machine) { m.Action = Ignore },
	} {
		m := good
		change(&m)
		if _, err := parseScripts().machine(m, testBase, "52-54-00-77-00-01", 0); !errors.Is(err, ErrScript) {
			t.Errorf("%s: got error %v; want ErrScript", name, err)
		}
	}
	if got, err := parseScripts().machine(good, testBase, "52-54-00-77-00-01", 0); err != nil {
		t.Errorf("good machine: %v\n%s", err, got)
	}
}

func TestKernelParams(t *testing.T) {
	cfg := DefaultConfig()
	for _, tc := range []struct{ append, want string }{
		{"", "selinux=0 troubleshoot=0 text nofb vga=normal ipa-debug=1"},
		{"console=ttyS0", "selinux=0 troubleshoot=0 text console=ttyS0 ipa-debug=1"},
		{"a %default%  b", "selinux=0 troubleshoot=0 text a nofb vga=normal b ipa-debug=1"},
	} {
		if got := cfg.KernelParams(tc.append, "ipa-debug=1"); got != tc.want {
			t.Errorf("KernelParams(%q) = %q; want %q", tc.append, got, tc.want)
		}
	}
}
