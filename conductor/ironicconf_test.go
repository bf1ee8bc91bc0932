package conductor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestIronicConf loads the configuration of a standalone Ironic: what has a
// meaning here takes effect, references are resolved, and of the rest it is said
// where it stands and why it has no effect.
func TestIronicConf(t *testing.T) {
	cfg, warnings, err := LoadConfig("testdata/ironic.conf")
	if err != nil {
		t.Fatal(err)
	}
	erase, metadata := 0, 10
	want := map[string][2]any{
		"host":             {cfg.Flow.Host, "rack-1"},
		"host_ip":          {cfg.APIHostIP, "192.0.2.10"},
		"public_endpoint":  {cfg.API.PublicEndpoint, "http://192.0.2.10:6385"},
		"max_limit":        {cfg.API.MaxLimit, 500},
		"resource_class":   {cfg.API.DefaultResourceClass, "baremetal"},
		"heartbeat":        {cfg.API.HeartbeatTimeout, 2 * time.Minute},
		"clean timeout":    {cfg.Flow.CleanCallbackTimeout, 15 * time.Minute},
		"deploy timeout":   {cfg.Flow.DeployCallbackTimeout, 45 * time.Minute},
		"interval":         {cfg.HeartbeatInterval, 20 * time.Second},
		"kernel":           {cfg.Boot.DeployKernel, "file:///var/lib/ironic/ipa.kernel"},
		"ramdisk":          {cfg.Boot.DeployRamdisk, "file:///var/lib/ironic/ipa.initramfs"},
		"database":         {cfg.DatabaseConnection, "sqlite:////var/lib/ironic/ironic.sqlite"},
		"http_url":         {cfg.Netboot.HTTPURL, "http://192.0.2.10:8080"},
		"http_root":        {cfg.Netboot.HTTPRoot, "/var/lib/ironic/httpboot"},
		"erase":            {*cfg.Flow.EraseDevicesPriority, erase},
		"erase metadata":   {*cfg.Flow.EraseDevicesMetadataPriority, metadata},
		"ipmi":             {cfg.IPMI.CommandRetryTimeout, 30 * time.Second},
		"tftp_server":      {cfg.Netboot.TFTPServer, "192.0.2.10"},
		"kernel params":    {cfg.Netboot.KernelAppendParams, "nofb vga=normal\nconsole=ttyS0"},
		"group":            {cfg.ConductorGroup, "east"},
		"API for machines": {cfg.Boot.APIURL, "http://192.0.2.10:6385"},
	}
	for name, pair := range want {
		if pair[0] != pair[1] {
			t.Errorf("%s is %v; want %v", name, pair[0], pair[1])
		}
	}
	wantWarnings := []string{
		"testdata/ironic.conf: line 25: [agent]heartbeat_timeout is the old name of [api]ramdisk_heartbeat_timeout",
		"testdata/ironic.conf: line 3: [DEFAULT]state_path has no effect: all state is in the database, see [database]connection",
		"testdata/ironic.conf: line 4: [DEFAULT]tempdir has no effect: the conductor writes no temporary files",
		"testdata/ironic.conf: line 14: [DEFAULT]force_raw_images has no effect: agents write images of any format straight to the disk",
		"testdata/ironic.conf: line 20: [api]api_workers has no effect: one process serves all requests at once",
		"testdata/ironic.conf: line 36: [database]max_pool_size has no effect: the database is SQLite",
		"testdata/ironic.conf: line 49: [json_rpc]auth_strategy has no effect: ferric is one process, which needs no RPC",
		"testdata/ironic.conf: line 56: [pxe]instance_master_path has no effect: images are not cached",
		"testdata/ironic.conf: line 58: [glance]auth_type has no effect: images are named by URL",
		"testdata/ironic.conf: line 62: [service_catalog]auth_type has no effect: the API is at [api]public_endpoint",
		"testdata/ironic.conf: line 65: unknown option [conductor]no_such_option is ignored",
	}
	if diff := cmp.Diff(wantWarnings, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestReferences(t *testing.T) {
	for _, tt := range []struct{ text, want, err string }{
		{"host = a\n[conductor]\nx = $host", "a", ""},
		{"[conductor]\nhost = b\nx = $host.$DEFAULT.host", "b.default", ""},
		{"host = a\n[api]\nport = 1\n[conductor]\nx = ${host}:${api.port}", "a:1", ""},
		{"host = $debug\ndebug = true\n[conductor]\nx = $host", "true", ""},
		{"[conductor]\nx = 100$ $$5 \\$host $nothing ${no.thing}", "100$ $5 $host $nothing ${no.thing}", ""},
		{"[conductor]\nx = $y\ny = $x", "", "line 2: [conductor]x: references lead to references more than 10 times"},
	} {
		options, err := parseINI(strings.NewReader(tt.text), "")
		if err != nil {
			t.Fatal(err)
		}
		config := struct {
			Host string `ini:"DEFAULT.host"`
			X    string `ini:"conductor.x"`
		}{Host: "default"}
		_, err = apply(&config, options)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%q: error %v; want %s", tt.text, err, tt.err)
			}
		} else if err != nil || config.X != tt.want {
			t.Errorf("%q: x is %q, %v; want %q", tt.text, config.X, err, tt.want)
		}
	}
}

func TestSeveralFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := write("first.conf", "my_ip = 192.0.2.1\n[api]\nport = 1\nhost_ip = $my_ip\n")
	second := write("second.conf", "my_ip = 192.0.2.2\n[api]\nport = x\n")
	if _, _, err := LoadConfig(first, second); err == nil || !strings.Contains(err.Error(), second+": line 3: [api]port") {
		t.Errorf("error %v does not name file and line", err)
	}
	cfg, _, err := LoadConfig(second, first)
	if err == nil {
		t.Errorf("a bad value that is set again is taken: %+v", cfg.APIPort)
	}
	third := write("third.conf", "my_ip = 192.0.2.3\n")
	if cfg, _, err = LoadConfig(first, third); err != nil || cfg.APIHostIP != "192.0.2.3" || cfg.APIPort != 1 {
		t.Errorf("listens at %s:%d, %v", cfg.APIHostIP, cfg.APIPort, err)
	}
}

// Options have one home: what sets something is not in the table of what sets
// nothing, and old names lead to names that exist.
func TestTablesAgree(t *testing.T) {
	cfg := DefaultConfig()
	places := settable(&cfg)
	for old, now := range renamed {
		if _, ok := places[old]; ok {
			t.Errorf("%s is an option and an old name", old)
		}
		section, name, _ := strings.Cut(now, ".")
		if _, _, known := withoutEffect(option{section: section, name: name}); places[now] == nil && !known {
			t.Errorf("%s is the old name of %s, which is no option", old, now)
		}
	}
	for _, u := range unused {
		if _, ok := places[u.name]; ok {
			t.Errorf("%s is set by something and said to have no effect", u.name)
		}
	}
}
