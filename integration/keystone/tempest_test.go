package keystone_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tempestOptions enable every hardware interface that the tests ask for, as in
// the gates of OpenStack.
const tempestOptions = `enabled_hardware_types = fake-hardware,ipmi
enabled_bios_interfaces = fake,no-bios
enabled_boot_interfaces = fake,ipxe
enabled_console_interfaces = fake,no-console
enabled_deploy_interfaces = fake,direct
enabled_firmware_interfaces = fake,no-firmware
enabled_inspect_interfaces = fake,agent,no-inspect
enabled_management_interfaces = fake,ipmitool
enabled_power_interfaces = fake,ipmitool
enabled_raid_interfaces = fake,agent,no-raid
enabled_rescue_interfaces = fake,agent,no-rescue
enabled_storage_interfaces = fake,noop
enabled_vendor_interfaces = fake,ipmitool,no-vendor`

// tempestConf is what tempest has to know of the cloud. It makes the projects
// and users of its tests itself, as the system's administrator.
const tempestConf = `[DEFAULT]
log_dir = %[1]s
log_file = tempest.log
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = admin
admin_password = %[3]s
admin_domain_name = Default
admin_system = all
[identity]
auth_version = v3
uri_v3 = %[2]s
region = RegionOne
[enforce_scope]
ironic = true
keystone = true
[oslo_concurrency]
lock_path = %[1]s
[service_available]
ironic = true
cinder = false
glance = false
neutron = false
nova = false
swift = false
[baremetal]
driver = fake-hardware
%[4]s
`

// tempestTests is how many tests have to be run at least.
const tempestTests = 477

// tempestApart are the tests, or classes of them, that do not pass, and why.
var tempestApart = map[string]string{
	"admin.test_console.TestGraphicalConsole":   "skipped: 'The fake-graphical console interface is not enabled.' There are no graphical consoles.",
	"admin.test_nodes.TestNodeGraphicalConsole": "skipped: likewise; it needs a VNC server and its proxy.",
	"admin.test_nodes.TestNodesVif":             "skipped: 'Neutron is not enabled.' It makes networks and ports there.",
}

var (
	// tempestOutcome is a line of unittest about a test, or about a class that is skipped.
	tempestOutcome = regexp.MustCompile(`(?m)^(?:setUpClass \(([\w.]+)\)|([\w.]+)(?:\[[^\]\n]*\])?) \.\.\. (ok|FAIL|ERROR|skipped)`)
	// tempestError begins the report of what did not even start.
	tempestError = regexp.MustCompile(`(?m)^ERROR: (?:setUpClass \()?([\w.]+)`)
	tempestRan   = regexp.MustCompile(`(?m)^Ran (\d+) tests? in`)
)

// TestTempest runs the tests of the API, those of the roles among them, of
// tempest's plugin for Ironic as users of a real Keystone: `make test-tempest`.
func TestTempest(t *testing.T) {
	python := os.Getenv("FERRIC_TEMPEST")
	if python == "" {
		return // nothing to run
	}
	k := startKeystone(t)
	roles := k.roleIDs("admin", "manager", "member", "service")
	// As Keystone's own bootstrap does since 2024.1; what a manager may, an administrator may.
	k.call(201, "PUT", "/roles/"+roles["admin"]+"/implies/"+roles["manager"], nil)
	k.call(201, "PUT", "/roles/"+roles["manager"]+"/implies/"+roles["member"], nil)
	k.enrol("ironic", roles["service"], k.create("project", object{"name": "service", "domain_id": "default"}))
	k.publish(startFerric(t, k.url, tempestOptions))

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tempest.conf"), fmt.Appendf(nil, tempestConf, dir, k.url, password, tempestOptions), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-m", "unittest", "discover", "-v", "-s", "ironic_tempest_plugin.tests.api")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TEMPEST_CONFIG_DIR=" + dir, "TEMPEST_CONFIG=tempest.conf", "OS_TEST_TIMEOUT=120"}
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	failed := cmd.Run()
	out := text.Bytes()

	ran := tempestRan.FindSubmatch(out)
	if ran == nil {
		t.Fatalf("no count of tests: %v\n%s", failed, out)
	}
	total, err := strconv.Atoi(string(ran[1]))
	if err != nil || total < tempestTests {
		t.Errorf("%s tests were run, want %d at least", ran[1], tempestTests)
	}
	outcomes := map[string]int{}
	got := map[string]string{}
	for _, m := range tempestOutcome.FindAllSubmatch(out, -1) {
		outcome := string(m[3])
		outcomes[outcome]++
		if outcome != "ok" {
			got[tempestName(string(m[1])+string(m[2]))] = outcome
		}
	}
	for _, m := range tempestError.FindAllSubmatch(out, -1) {
		got[tempestName(string(m[1]))] = "ERROR"
	}
	t.Logf("tempest ran %d tests: %v", total, outcomes)
	want := map[string]string{}
	fails := false
	for name, why := range tempestApart {
		want[name], _, _ = strings.Cut(why, ":")
		fails = fails || want[name] != "skipped"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tests that do not pass (-expected +got):\n%s\n%s", diff, out)
	} else if fails != (failed != nil) {
		t.Errorf("tempest ended with %v\n%s", failed, out)
	}
}

// tempestName is the short name of a test or a class.
func tempestName(full string) string {
	return strings.TrimPrefix(full, "ironic_tempest_plugin.tests.api.")
}
