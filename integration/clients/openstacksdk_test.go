package clients_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// functionalTests is how many tests openstacksdk has for the bare-metal service.
const functionalTests = 96

// ran finds how many tests there were, and how many of them were not run.
var ran = regexp.MustCompile(`(?s)\nRan (\d+) tests? in [^\n]*\n\n(?:OK|FAILED)[^\n]*?(?:skipped=(\d+))?\)?\n`)

// TestOpenstackSDK runs openstacksdk's own functional tests.
func TestOpenstackSDK(t *testing.T) {
	t.Parallel()
	if suites() == "" {
		return
	}
	python := filepath.Join(suites(), "python", "bin", "python")
	c := startConductor(t, "")
	dir := t.TempDir()
	clouds := "clouds:\n"
	for _, cloud := range []string{"devstack", "devstack-alt", "devstack-admin", "devstack-system-admin"} {
		clouds += fmt.Sprintf("  %s: {auth_type: none, auth: {endpoint: %q}, has_compute: false, has_image: false}\n", cloud, c.endpoint)
	}
	writeFile(t, filepath.Join(dir, "clouds.yaml"), clouds)
	cmd := exec.CommandContext(t.Context(), python, "-m", "unittest", "discover", "-v", "-s", "openstack.tests.functional.baremetal")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "OS_TEST_TIMEOUT=60"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	counts := ran.FindSubmatch(out)
	if counts == nil {
		t.Fatalf("no count of tests:\n%s", out)
	}
	total, _ := strconv.Atoi(string(counts[1]))
	skipped, _ := strconv.Atoi(string(counts[2]))
	t.Logf("openstacksdk ran %d tests and left out %d", total, skipped)
	if total-skipped < functionalTests {
		t.Errorf("%d tests were run and %d left out; want %d to be run\n%s", total, skipped, functionalTests, out)
	}
}
