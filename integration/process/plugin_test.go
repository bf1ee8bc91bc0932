package process_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ironic"
	"ferric/api/plugin"
)

// acmeScript is a plugin with one step, which says that it began, waits for a
// file, and says in another that it was there.
const acmeScript = `#!/bin/sh
case $1 in
describe) echo '{"result": {"name": "NAME", "version": "VERSION", "sdk": "1.0", "methods": ["evaluate_hardware_support", "get_clean_steps", "execute_step"]}}' ;;
evaluate_hardware_support) echo '{"result": 3}' ;;
get_clean_steps) echo '{"result": [{"step": "acme_polish", "interface": "deploy", "priority": 0}]}' ;;
execute_step)
	touch DIR/began
	while [ ! -e DIR/go ]; do sleep 0.05; done
	echo VERSION >>DIR/ran
	echo '{"result": {"polished": "VERSION"}}' ;;
*) exit 3 ;;
esac
`

// signedBundle makes a plugin of so many bytes besides its script.
func signedBundle(t *testing.T, name, version, dir string, more int, key ed25519.PrivateKey) []byte {
	t.Helper()
	source := t.TempDir()
	script := strings.NewReplacer("NAME", name, "VERSION", version, "DIR", dir).Replace(acmeScript)
	if err := os.WriteFile(filepath.Join(source, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "data"), bytes.Repeat([]byte{7}, more), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := plugin.Sign(&out, source, plugin.Manifest{Name: name, Version: version, SDK: "1.0", Executable: name}, key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestPlugins gives an agent plugins at run time: one is loaded and its step run,
// one is refused, which the step that is missed says, one is not for the machine;
// another version is pinned, and removed while it runs.
func TestPlugins(t *testing.T) {
	t.Parallel()
	c := newConductor(t)
	m := newMachine(t, c, spec{})
	dir, keys := t.TempDir(), t.TempDir()
	trusted, stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	text, err := plugin.PublicPEM(trusted.Public().(ed25519.PublicKey))
	if err == nil {
		err = os.WriteFile(filepath.Join(keys, "site.pub"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	fetched := filepath.Join(dir, "fetched")
	m.args = append(m.args, "--plugin-keys", keys, "--fetched-plugin-dir", fetched)
	vendor := filepath.Join(m.host.Sys, "class/dmi/id")
	if err := os.MkdirAll(vendor, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(vendor, "sys_vendor"), []byte("ACME Inc.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	add := func(content []byte, query string) {
		t.Helper()
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		change, err := c.api.AddPlugin(t.Context(), bytes.NewReader(content), int64(len(content)), values)
		if err != nil || len(change.Warnings) != 1 || !strings.Contains(change.Warnings[0], "not verified") {
			t.Fatal(change, err)
		}
	}
	const size = 5 << 20
	add(signedBundle(t, "acme", "1.0.0", dir, 0, trusted), "drivers=fake-hardware")
	add(signedBundle(t, "acme", "1.1.0", dir, size, trusted), "drivers=fake-hardware&dmi_vendor=acme")
	add(signedBundle(t, "acme", "2.0.0", dir, 0, trusted), "drivers=ipmi")
	add(signedBundle(t, "forged", "1.0.0", dir, 0, stranger), "")
	add(signedBundle(t, "elsewhere", "1.0.0", dir, 0, trusted), "dmi_vendor=Other")
	clean := func(step string) {
		t.Helper()
		m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: step}}})
	}
	states := func() map[string]string {
		t.Helper()
		n, err := c.api.NodePlugins(t.Context(), m.name)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, p := range n.Plugins {
			out[p.Name] = strings.TrimSpace(fmt.Sprint(p.State, " ", p.Loaded))
		}
		return out
	}
	open := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	open("go")
	clean("acme_polish")
	m.wait(t, ironic.StateManageable)
	want := map[string]string{"acme": "loaded 1.1.0", "forged": "refused", "elsewhere": "not for this machine"}
	if diff := cmp.Diff(want, states()); diff != "" {
		t.Error(diff)
	}

	clean("forged_step")
	m.fails(t, ironic.StateCleanFailed, "does not support the step deploy.forged_step", "plugin forged was refused", "not trusted")
	var why struct {
		Cause struct{ Name string }
	}
	if err := c.api.Do(t.Context(), http.MethodGet, "/ferric/v1/nodes/"+m.name+"/explain", url.Values{"probe": {"false"}}, nil, &why); err != nil || why.Cause.Name != "plugin-missed" {
		t.Errorf("it is explained by %q, %v", why.Cause.Name, err)
	}
	m.provision(t, ironic.VerbManage, ironic.StateManageable)

	if _, err := c.api.ChangePlugin(t.Context(), "acme", "", map[string]any{"pinned": "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go", "began"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	clean("acme_polish")
	eventually(t, "the step of the pinned version", func() bool {
		_, err := os.Stat(filepath.Join(dir, "began"))
		return err == nil
	})
	change, err := c.api.RemovePlugin(t.Context(), "acme", "")
	if err != nil || len(change.Plugins) != 3 || len(change.Warnings) != 1 || !strings.Contains(change.Warnings[0], "acme 1.0.0") || !strings.Contains(change.Warnings[0], m.name) {
		t.Errorf("a removal from under a cleaning says %+v, %v", change, err)
	}
	open("go")
	m.wait(t, ironic.StateManageable)
	if ran, err := os.ReadFile(filepath.Join(dir, "ran")); err != nil || string(ran) != "1.1.0\n1.0.0\n" {
		t.Errorf("versions that ran: %q, %v", ran, err)
	}
	t.Logf("5 MiB took the agent %v s", tookToLoad(t, m.agentLog(), "1.1.0"))
}

// tookToLoad is how long an agent says that it took with a plugin, from the offer
// until it was ready.
func tookToLoad(t *testing.T, log, version string) float64 {
	t.Helper()
	content, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if !strings.Contains(line, "plugin loaded") || !strings.Contains(line, version) {
			continue
		}
		var entry struct{ Seconds float64 }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Seconds > 0 {
			return entry.Seconds
		}
		if _, rest, ok := strings.Cut(line, "seconds="); ok {
			var seconds float64
			if _, err := fmt.Sscan(rest, &seconds); err == nil {
				return seconds
			}
		}
	}
	t.Error("the agent does not say how long it took")
	return 0
}
