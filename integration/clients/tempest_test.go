package clients_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tempestConfig is what tempest has to know of the cloud; what is not there is
// left out by its tests.
const tempestConfig = `[DEFAULT]
log_dir = %[1]s
log_file = tempest.log
[auth]
use_dynamic_credentials = false
test_accounts_file = %[1]s/accounts.yaml
[identity]
auth_version = v3
uri_v3 = %[2]s
region = RegionOne
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
enabled_drivers = fake-hardware
enabled_hardware_types = fake-hardware,ipmi
enabled_bios_interfaces = fake,no-bios
enabled_boot_interfaces = fake,ipxe
enabled_console_interfaces = fake,no-console
enabled_deploy_interfaces = fake,direct
enabled_inspect_interfaces = fake,agent,no-inspect
enabled_management_interfaces = fake,ipmitool
enabled_power_interfaces = fake,ipmitool
enabled_raid_interfaces = fake,agent,no-raid
enabled_rescue_interfaces = fake,agent,no-rescue
`

// tempestAccounts are those that the tests may use.
const tempestAccounts = `- {username: admin, password: secret, project_name: admin, domain_name: Default, types: [admin], roles: [admin]}
- {username: system, password: secret, system: all, user_domain_name: Default, roles: [admin]}
`

// tempestTests is how many tests of the API are run at least.
const tempestTests = 383

// tempestDiffers are the tests that are expected to fail, with the reasons.
var tempestDiffers = map[string]string{}

// failedTest finds the tests that have failed in the output of unittest.
var failedTest = regexp.MustCompile(`(?m)^(?:ERROR|FAIL): (?:setUpClass )?\(?([\w.]+)(?: \(([\w.]+)\))?`)

// TestTempest runs the tests of the API of tempest's plugin for Ironic.
func TestTempest(t *testing.T) {
	t.Parallel()
	if suites() == "" {
		return
	}
	c := startConductor(t, "")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "tempest.conf"), fmt.Sprintf(tempestConfig, dir, catalogue(t, c)))
	writeFile(t, filepath.Join(dir, "accounts.yaml"), tempestAccounts)
	cmd := exec.CommandContext(t.Context(), filepath.Join(suites(), "python", "bin", "python"), "-m", "unittest", "discover", "-v", "-s", "ironic_tempest_plugin.tests.api.admin")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TEMPEST_CONFIG_DIR=" + dir, "TEMPEST_CONFIG=tempest.conf", "OS_TEST_TIMEOUT=120"}
	out, err := cmd.CombinedOutput()
	counts := ran.FindSubmatch(out)
	if counts == nil {
		t.Fatalf("no count of tests: %v\n%s", err, out)
	}
	total, _ := strconv.Atoi(string(counts[1]))
	skipped, _ := strconv.Atoi(string(counts[2]))
	t.Logf("tempest ran %d tests and left out %d", total, skipped)
	if total-skipped < tempestTests {
		t.Errorf("%d tests were run and %d left out; want %d to be run", total, skipped, tempestTests)
	}
	var failed, expected []string
	for _, match := range failedTest.FindAllSubmatch(out, -1) {
		name := string(match[2])
		if name == "" {
			name = string(match[1])
		}
		failed = append(failed, strings.TrimPrefix(name, "ironic_tempest_plugin.tests.api.admin."))
	}
	for name := range tempestDiffers {
		expected = append(expected, name)
	}
	slices.Sort(failed)
	slices.Sort(expected)
	if diff := cmp.Diff(expected, failed); diff != "" {
		t.Errorf("tests that failed (-expected +got):\n%s\n%s", diff, out)
	}
}
