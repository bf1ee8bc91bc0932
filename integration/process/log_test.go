package process_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ironic"
)

// TestLog lets a conductor write its whole log as JSON while a machine is
// deployed and rescued and BMCs refuse logins, and looks for what must not be in it.
func TestLog(t *testing.T) {
	t.Parallel()
	c := newConductor(t, "[DEFAULT]", "debug = true", "use_json = true", "enabled_rescue_interfaces = agent,no-rescue")
	s, m, b := newShop(t), newMachine(t, c, spec{}), newBMC(t)
	const drive, wrong = "SECRET-OF-THE-DRIVE", "SECRET-OF-THE-BMC"
	m.setGood(t, s)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: map[string]any{"user_data": drive}})
	tokens := map[string]bool{}
	eventually(t, "the deployment", func() bool {
		// Tokens are shown to nobody: the row has them.
		out := run(t, "sqlite3", filepath.Join(c.dir, "ferric.sqlite"), "SELECT COALESCE(json_extract(driver_internal_info, '$.agent_secret_token'), '') FROM nodes")
		for token := range strings.FieldsSeq(out) {
			tokens[token] = true
		}
		return m.node(t).ProvisionState == ironic.StateActive
	})
	if len(tokens) == 0 {
		t.Fatal("no token was seen")
	}
	for _, password := range []string{bmcPassword, wrong} {
		info := b.access()
		info["ipmi_password"] = password
		n := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": info})
		n.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage})
		if password == wrong {
			n.fails(t, ironic.StateEnroll)
		} else {
			n.wait(t, ironic.StateManageable)
		}
	}
	c.signal(t, 15)
	<-c.ended
	text, err := os.ReadFile(c.log)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{drive, wrong, bmcPassword}
	for token := range tokens {
		secrets = append(secrets, token)
	}
	fields := map[string]int{}
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("a line is not JSON: %s", line)
			continue
		}
		for name := range entry {
			fields[name]++
		}
		if entry["level"] == "debug" {
			fields["debug"]++
		}
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("the log tells %q: %s", secret, line)
			}
		}
	}
	for _, name := range []string{"time", "level", "message", "node", "request", "step", "error", "debug"} {
		if fields[name] == 0 {
			t.Errorf("no line has %s", name)
		}
	}
	t.Logf("%d lines", fields["message"])
}
