package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ferric/integration/lab"
)

// TestMain runs the tests in namespaces of their own: ports are free, and what
// a test starts ends with them.
func TestMain(m *testing.M) { lab.Main(m) }

// baremetal is the client, of the distribution's python3-ironicclient.
const baremetal = "baremetal"

// commandLimit bounds one command, also one that waits for a machine: the
// client's own limit (--wait) is to come first.
const commandLimit = 6 * time.Minute

// cli runs the client against one conductor, as a user without Keystone does.
type cli struct {
	t   *testing.T
	env []string
}

// newCLI makes a client of the API at endpoint.
func newCLI(t *testing.T, endpoint string) cli {
	t.Helper()
	if _, err := exec.LookPath(baremetal); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the baremetal command is missing; install python3-ironicclient")
		}
		t.Skip("needs the baremetal command of python3-ironicclient")
	}
	// A home of its own: no clouds.yaml of the user's.
	env := []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "OS_AUTH_TYPE=none", "OS_ENDPOINT=" + endpoint}
	return cli{t: t, env: env}
}

// run runs one command and returns what it wrote and its exit status.
func (c cli) run(args ...string) (stdout, stderr string, status int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), commandLimit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, baremetal, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &out, &errs
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 0) {
		c.t.Fatalf("baremetal %s: %v\n%s%s", strings.Join(args, " "), err, &out, &errs)
	}
	c.t.Logf("%5.1f s  status %d  baremetal %s", time.Since(start).Seconds(), cmd.ProcessState.ExitCode(), strings.Join(args, " "))
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// do runs a command that has to succeed.
func (c cli) do(args ...string) string {
	c.t.Helper()
	stdout, stderr, status := c.run(args...)
	if status != 0 {
		c.t.Fatalf("baremetal %s: status %d; want 0\n%s%s", strings.Join(args, " "), status, stdout, stderr)
	}
	return stdout
}

// ask runs a command that has to succeed and decodes its output into answer.
func (c cli) ask(answer any, args ...string) {
	c.t.Helper()
	out := c.do(append(args, "-f", "json")...)
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		c.t.Fatalf("baremetal %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// refused runs a command that has to fail with status 1 and the sentence. It
// is not tried again where the client takes the error for a passing one (409).
func (c cli) refused(sentence string, args ...string) {
	c.t.Helper()
	_, stderr, status := c.run(append([]string{"--max-retries", "0"}, args...)...)
	if status != 1 || !strings.Contains(stderr, sentence) {
		c.t.Errorf("baremetal %s: status %d, %q; want status 1 and %q", strings.Join(args, " "), status, stderr, sentence)
	}
}
