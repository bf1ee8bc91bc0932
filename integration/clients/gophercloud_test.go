package clients_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// acceptanceTests is how many tests each of gophercloud's packages has for the
// bare-metal service: fewer run would be fewer passed.
var acceptanceTests = []struct {
	suite string
	tests int
}{{"noauth", 6}, {"httpbasic", 7}, {"v1", 14}}

// passed finds the tests that have passed in the output of a test binary.
var passed = regexp.MustCompile(`(?m)^--- PASS: (\w+)`)

// TestGophercloudAcceptance runs gophercloud's own acceptance tests.
func TestGophercloudAcceptance(t *testing.T) {
	dir := suites()
	if dir == "" {
		return
	}
	for _, acceptance := range acceptanceTests {
		t.Run(acceptance.suite, func(t *testing.T) {
			t.Parallel()
			options := ""
			if acceptance.suite == "httpbasic" {
				options = "auth_strategy = http_basic\nhttp_basic_auth_user_file = " + passwordFile(t, "admin", "secret")
			}
			c := startConductor(t, options)
			cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "gophercloud-"+acceptance.suite+".test"), "-test.v", "-test.timeout=10m")
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"HOME=" + cmd.Dir, "OS_BRANCH=master", "IRONIC_ENDPOINT=" + c.endpoint + "/v1",
				"OS_AUTH_URL=" + catalogue(t, c), "OS_USERNAME=admin", "OS_PASSWORD=secret", "OS_PROJECT_NAME=admin", "OS_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne"}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
			if n := len(passed.FindAll(out, -1)); n < acceptance.tests || bytes.Contains(out, []byte("--- SKIP")) {
				t.Errorf("%d tests passed; want %d and none skipped\n%s", n, acceptance.tests, out)
			}
		})
	}
}

// passwordFile writes a file of users as http_basic takes it.
func passwordFile(t *testing.T, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	writeFile(t, path, user+":"+string(hash)+"\n")
	return path
}
