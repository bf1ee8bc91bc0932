package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

const rescueSecret = "correct horse: battery"

// openssl hashes with another implementation of crypt(3).
func openssl(t *testing.T, method, salt, password string) string {
	t.Helper()
	cmd := exec.Command("openssl", "passwd", method, "-salt", salt, "-stdin")
	cmd.Stdin = strings.NewReader(password + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl, the oracle of this test: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// TestRescue takes an agent through a rescue as a conductor does: refused where
// the ramdisk offers none, then accepted, after which the agent ends and one
// that is started again stays idle.
func TestRescue(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	etc, state := t.TempDir(), t.TempDir()
	p := start(t, h, c, state, "--etc", etc)
	agent := callerOf(t, c.beat(t))

	plain := object{"rescue_password": rescueSecret, "hashed": false}
	for _, refused := range []object{
		plain, // there is no directory yet
		{"rescue_password": 7},
		{"rescue_password": rescueSecret, "hashed": "yes"},
		{"rescue_password": "$5$a$b\nroot::", "hashed": true},
		{"rescue_password": strings.Repeat("x", 2000)},
	} {
		got := agent.run(t, "rescue.finalize_rescue", refused)
		if got.Status != ipa.StatusFailed {
			t.Errorf("%v: %s, want FAILED", refused, got.Status)
		}
	}
	if err := os.Mkdir(filepath.Join(etc, "ipa-rescue-config"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Without wait, as conductors send it: the answer itself has to say SUCCEEDED.
	var result ipa.Result
	status := agent.do(t, "POST", "/v1/commands/?agent_token="+agentToken, ipa.Request{Name: "rescue.finalize_rescue", Params: plain}, &result)
	got := []any{status, result.Name, result.Status, string(result.Result), result.Error}
	if diff := cmp.Diff([]any{200, "finalize_rescue", ipa.StatusSucceeded, "null", (*ipa.Error)(nil)}, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the agent goes on after the rescue")
	}

	path := filepath.Join(etc, "ipa-rescue-config/ipa-rescue-password")
	hash, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(hash), "$")
	if len(parts) != 4 || parts[1] != "5" || len(parts[2]) != 16 {
		t.Fatalf("hash %q is not SHA-256 crypt with a salt of 16", hash)
	}
	if want := openssl(t, "-5", parts[2], rescueSecret); string(hash) != want {
		t.Errorf("hash %q, want %q", hash, want)
	}
	for _, name := range []string{path, filepath.Join(etc, ".rescued")} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", name, info, err)
		}
	}
	if log := p.log.String(); strings.Contains(log, rescueSecret) || strings.Contains(log, string(hash)) {
		t.Error("the log shows the password or its hash")
	}

	again := start(t, h, c, state, "--etc", etc)
	eventually(t, "idling", func() bool { return strings.Contains(again.log.String(), "handed over for a rescue") })
	if log := again.log.String(); strings.Contains(log, "listening") || strings.Contains(log, "lookup") {
		t.Errorf("after the rescue the agent does more than idle:\n%s", log)
	}
}

// TestRescueHashed has the conductor hash, as it does by default.
func TestRescueHashed(t *testing.T) {
	h, _ := machine(t)
	c := newConductor(t)
	etc := t.TempDir()
	if err := os.Mkdir(filepath.Join(etc, "ipa-rescue-config"), 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, h, c, t.TempDir(), "--etc", etc)
	want := openssl(t, "-6", "saltsalt", rescueSecret)
	callerOf(t, c.beat(t)).succeed(t, "rescue.finalize_rescue", object{"rescue_password": want, "hashed": true}, nil)
	got, err := os.ReadFile(filepath.Join(etc, "ipa-rescue-config/ipa-rescue-password"))
	if err != nil || string(got) != want {
		t.Errorf("hash %q, %v; want %q", got, err, want)
	}
}
