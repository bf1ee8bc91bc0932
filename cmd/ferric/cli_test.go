package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"

	"ferric/conductor"
)

// startConductor runs a real conductor with fake hardware and gives its address.
// Who may ask is a matter of its options, everybody without any.
func startConductor(t *testing.T, options ...string) string {
	t.Helper()
	if options == nil {
		options = []string{"auth_strategy = noauth"}
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().(*net.TCPAddr)
	l.Close()
	file := filepath.Join(dir, "ferric.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
my_ip = 127.0.0.1
%s
enabled_hardware_types = fake-hardware
[api]
host_ip = 127.0.0.1
port = %d
[database]
connection = sqlite:///%s/ferric.sqlite
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:0
`, strings.Join(options, "\n"), address.Port, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, warnings, err := conductor.LoadConfig(file)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- conductor.Run(ctx, cfg, logrus.NewEntry(log)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("conductor: %v", err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address.String())
		if err == nil {
			conn.Close()
			return "http://" + address.String()
		}
		if time.Now().After(deadline) {
			t.Fatalf("the conductor does not listen: %v", err)
		}
	}
}

// shell runs command lines against one conductor.
type shell struct {
	*testing.T
	api string
}

func (s shell) run(stdin, line string) (status int, stdout, stderr string) {
	s.Helper()
	var out, failures bytes.Buffer
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	args := append(split(line), "--api", s.api)
	status = run(ctx, args, strings.NewReader(stdin), &out, &failures)
	return status, out.String(), failures.String()
}

// split cuts a line into words; what is in single quotes is one.
func split(line string) []string {
	var words []string
	for _, word := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
		words = append(words, strings.Trim(word, "'"))
	}
	return words
}

func (s shell) ok(line string) string {
	s.Helper()
	status, out, failure := s.run("", line)
	if status != 0 {
		s.Fatalf("ferric %s: status %d: %s", line, status, failure)
	}
	return out
}

// TestCommands lives through a node's life by the command line, with everything
// that can hang on it.
func TestCommands(t *testing.T) {
	s := shell{t, startConductor(t)}
	for _, tt := range []struct{ line, want string }{
		{"node list", "| UUID | Name | Instance UUID | Power State | Provisioning State | Maintenance |"},
		{"node create --driver fake-hardware --name n1 --driver-info a=1 --property 'capabilities=boot_mode:uefi' --resource-class large -f value -c name", "n1"},
		{"node create --driver fake-hardware --name n2", "fake-hardware"},
		{"node list -f value -c Name -c 'Provisioning State'", "n1 enroll\nn2 enroll\n"},
		{"node list --driver fake-hardware --sort name:desc -f csv --fields name,driver", "\"Name\",\"Driver\"\n\"n2\",\"fake-hardware\"\n\"n1\",\"fake-hardware\"\n"},
		{"node list --limit 1 -f value -c name", "n1\n"},
		{"node list --resource-class large -f value -c name", "n1\n"},
		{"node show n1 -f value -c driver_info -c resource_class", "{\"a\":1}\nlarge\n"},
		{"node set n1 --driver-info b=two --driver-info a/b=3 --owner me --automated-clean", ""},
		{"node show n1 -f value -c driver_info -c owner -c automated_clean", "{\"a\":1,\"a/b\":3,\"b\":\"two\"}\nme\nTrue\n"},
		{"node unset n1 --driver-info b --owner", ""},
		{"node show n1 --fields driver_info,owner -f value", "{\"a\":1,\"a/b\":3}\nNone\n"},
		{"port create 52:54:00:00:00:01 --node n1 --pxe-enabled false -f value -c address -c pxe_enabled", "52:54:00:00:00:01\nFalse\n"},
		{"port list --node n1 -f value -c address", "52:54:00:00:00:01\n"},
		{"port group create --node n1 --name bond0 --mode active-backup -f value -c name", "bond0\n"},
		{"port group list -f value -c name", "bond0\n"},
		{"chassis create --description rack -f value -c description", "rack\n"},
		{"node trait add n1 CUSTOM_GOLD CUSTOM_FAST", ""},
		{"node trait list n1 -f value", "CUSTOM_FAST\nCUSTOM_GOLD\n"},
		{"node trait remove n1 CUSTOM_FAST", ""},
		{"node vif attach n1 vif-1", ""},
		{"node vif list n1 -f value", "vif-1\n"},
		{"node vif detach n1 vif-1", ""},
		{"node validate n1 -f csv", "\"power\",True"},
		{"node manage n1 --wait 30", ""},
		{"node boot device set n1 pxe --persistent", ""},
		{"node boot device show n1 -f value", "pxe\nTrue\n"},
		{"node power on n1", ""},
		{"node provide n1 --wait", ""},
		{"allocation create --resource-class large --name a1 --wait 30", "large"},
		{"allocation show a1 -f value -c state", "active\n"},
		{"node deploy n1 --wait 30 --config-drive '{\"meta_data\": {\"hostname\": \"n1\"}}'", ""},
		{"node show n1 -f value -c provision_state", "active\n"},
		{"node undeploy n1 --wait=30", ""},
		{"node maintenance set n1 --reason 'a fan'", ""},
		{"node show n1 -f value -c maintenance_reason", "a fan\n"},
		{"node maintenance unset n1", ""},
		{"deploy template create CUSTOM_RAID --steps '[{\"interface\": \"raid\", \"step\": \"apply_configuration\", \"args\": {}, \"priority\": 10}]' -f value -c name", "CUSTOM_RAID\n"},
		{"deploy template list -f value -c name", "CUSTOM_RAID\n"},
		{"driver list -f value -c name", "fake-hardware\n"},
		{"driver show fake-hardware -f value -c type", "dynamic\n"},
		{"driver property list fake-hardware", "Property"},
		{"conductor list -f value -c alive", "True\n"},
		{"shard list -f value", "None 2\n"},
		{"node delete n1 n2", "Deleted node n1\nDeleted node n2\n"},
		{"node list -f json", "[]\n"},
		{"completion bash", "ferric"},
		{"__complete node show ''", ""},
	} {
		if out := s.ok(tt.line); !strings.Contains(out, tt.want) {
			t.Errorf("ferric %s prints\n%s\nwant\n%s", tt.line, out, tt.want)
		}
	}
}

func TestFormats(t *testing.T) {
	s := shell{t, startConductor(t)}
	s.ok("node create --driver fake-hardware --name n1 --extra 'text=<a & b>'")
	want := []map[string]any{{"Name": "n1", "Extra": map[string]any{"text": "<a & b>"}, "Maintenance": false}}
	for format, decode := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		out := s.ok("node list --fields name,extra,maintenance -f " + format)
		var got []map[string]any
		if err := decode([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", format, diff)
		}
	}
	if out := s.ok("node list --fields name,extra -f json"); strings.Index(out, "Name") > strings.Index(out, "Extra") {
		t.Errorf("columns are out of order: %s", out)
	}
}

func TestMistakes(t *testing.T) {
	s := shell{t, startConductor(t)}
	s.ok("node create --driver fake-hardware --name n1")
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"node show nobody", 1, "Node nobody could not be found."},
		{"node create --name x", 2, "driver"},
		{"node create --driver ipmitool", 1, "ipmitool"},
		{"node delete nobody nobody-else", 1, "nobody-else: "},
		{"node list -f xml", 2, `unknown format "xml"`},
		{"node list -c colour", 2, `no column "colour"`},
		{"node list --colour", 2, "unknown flag"},
		{"node create --driver fake-hardware --driver-info a", 2, "KEY=VALUE"},
		{"node set n1", 2, "nothing to change"},
		{"node deploy n1 --deploy-steps {", 2, "--deploy-steps is not JSON"},
		{"node deploy n1", 1, `can not be performed on node`},
		{"node manage n1 --wait soon", 1, "soon"},
	} {
		status, _, failure := s.run("", tt.line)
		if status != tt.status || !strings.Contains(failure, tt.want) {
			t.Errorf("ferric %s: status %d, %q; want %d and %q", tt.line, status, failure, tt.status, tt.want)
		}
	}
	away := shell{t, "http://127.0.0.1:1"}
	if status, _, failure := away.run("", "node list"); status != 1 || !strings.Contains(failure, "cannot reach the API at http://127.0.0.1:1") || !strings.Contains(failure, "OS_ENDPOINT") {
		t.Errorf("without a conductor: status %d, %q", status, failure)
	}
}
