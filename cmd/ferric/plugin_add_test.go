package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPluginCommands takes a plugin from a key and a directory to a node, and away again.
func TestPluginCommands(t *testing.T) {
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := os.Mkdir(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	s := shell{t, ""}
	local := func(line string) string {
		t.Helper()
		var out, failures bytes.Buffer
		if status := run(t.Context(), split(line), strings.NewReader(""), &out, &failures); status != 0 {
			t.Fatalf("ferric %s: %d %s", line, status, &failures)
		}
		return out.String()
	}
	local("plugin keygen " + filepath.Join(keys, "site"))
	local("plugin keygen " + filepath.Join(dir, "stranger"))
	source := filepath.Join(dir, "acme-raid")
	if err := os.Mkdir(source, 0o755); err != nil {
		t.Fatal(err)
	}
	sign := func(version, key string) string {
		t.Helper()
		manifest := fmt.Sprintf(`{"name": "acme-raid", "version": %q, "sdk": "1.0", "executable": "acme-raid"}`, version)
		for name, text := range map[string]string{"plugin.json": manifest, "acme-raid": "#!/bin/sh\nexit 3\n"} {
			if err := os.WriteFile(filepath.Join(source, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(dir, version+filepath.Base(key)+".bundle")
		local("plugin sign " + source + " --key " + key + " --output " + file)
		return file
	}
	site := filepath.Join(keys, "site.key")
	first, second, foreign := sign("1.0.0", site), sign("2.0.0", site), sign("3.0.0", filepath.Join(dir, "stranger.key"))

	s.api = startConductor(t, "auth_strategy = noauth\n[plugins]\ntrusted_keys = "+keys+"\n[DEFAULT]")
	s.ok("node create --driver fake-hardware --name n1")
	for _, c := range []struct {
		line string
		want []string // in what is printed, or in the error
		code int
	}{
		{"plugin list", []string{"Name", "DMI Vendor"}, 0},
		{"plugin add " + second + " --driver fake-hardware --vendor Acme -f value -c version -c verified -c drivers", []string{"2.0.0", "True", "fake-hardware"}, 0},
		{"plugin add " + first, []string{"older than 2.0.0"}, 1},
		{"plugin add " + first + " --allow-older --driver nonsense --disabled", []string{"1.0.0"}, 0},
		{"plugin add " + first, []string{"this very bundle"}, 1},
		{"plugin add " + foreign, []string{"not trusted"}, 1},
		{"plugin add " + filepath.Join(dir, "stranger.pub"), []string{"the bundle is refused: truncated"}, 1},
		{"plugin add " + source, []string{"ferric plugin sign"}, 1},
		{"plugin add " + second + " --trait odd", []string{"trait"}, 1},
		{"plugin add", nil, 2},
		{"plugin list -f value -c name -c version -c state -c drivers", []string{"acme-raid 2.0.0 offered fake-hardware\nacme-raid 1.0.0 disabled nonsense\n"}, 0},
		{"plugin list --long -f json -c key_id -c size", []string{`"Size": `}, 0},
		{"plugin list --node n1", []string{"acme-raid", "2.0.0", "No agent of this node has reported"}, 0},
		{"plugin list --node n1 -f value", []string{"acme-raid 2.0.0  offered"}, 0},
		{"plugin list --node nobody", []string{"nobody"}, 1},
		{"plugin show acme-raid -f json", []string{`"version": "2.0.0"`, `"executable": "acme-raid"`, `"dmi_vendor": "Acme"`}, 0},
		{"plugin show acme-raid 1.0.0 -f value -c version -c disabled", []string{"1.0.0\nTrue\n"}, 0},
		{"plugin show acme-raid 9.0.0", []string{"no version 9.0.0"}, 1},
		{"plugin show nobody", []string{"Plugin nobody could not be found"}, 1},
		{"plugin set acme-raid --version 1.0.0 --enable --driver fake-hardware", []string{"pinned"}, 0},
		{"plugin list --node n1 -f value -c offered", []string{"1.0.0\n"}, 0},
		{"plugin rm acme-raid 1.0.0", []string{"pinned"}, 1},
		{"plugin set acme-raid 1.0.0 --version 1.0.0", []string{"leave 1.0.0 out"}, 2},
		{"plugin set acme-raid", []string{"nothing to change"}, 2},
		{"plugin unset acme-raid --version --driver --vendor", []string{"offered"}, 0},
		{"plugin list --node n1 -f value -c offered", []string{"2.0.0\n"}, 0},
		{"plugin rm acme-raid 1.0.0", []string{"Removed plugin acme-raid 1.0.0."}, 0},
		{"plugin rm acme-raid", []string{"Removed plugin acme-raid 2.0.0."}, 0},
		{"plugin rm acme-raid", []string{"could not be found"}, 1},
		{"plugin list -f value", []string{""}, 0},
	} {
		code, out, failure := s.run("", c.line)
		if code != c.code {
			t.Errorf("ferric %s: status %d, want %d: %s%s", c.line, code, c.code, out, failure)
		}
		if c.code != 0 {
			out = failure
		}
		for _, text := range c.want {
			if !strings.Contains(out, text) {
				t.Errorf("ferric %s says\n%s%swant %q", c.line, out, failure, text)
			}
		}
	}
	content, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, failure := s.run(string(content), "plugin add -"); code != 0 {
		t.Errorf("from standard input: %s", failure)
	}
	t.Setenv("OS_ENDPOINT", s.api)
	for line, want := range map[string]string{"__complete plugin rm ''": "acme-raid\n", "__complete plugin rm acme-raid ''": "2.0.0\n", "__complete plugin list --node ''": "n1\n", "__complete plugin add x --driver ''": "fake-hardware\n"} {
		var out bytes.Buffer
		if run(t.Context(), split(line), strings.NewReader(""), &out, io.Discard); !strings.Contains(out.String(), want) {
			t.Errorf("ferric %s offers %q, want %q", line, &out, want)
		}
	}
}

// TestUnverifiedPlugin: a conductor without keys says that it has not verified.
func TestUnverifiedPlugin(t *testing.T) {
	dir := t.TempDir()
	s := shell{t, startConductor(t)}
	manifest := `{"name": "acme", "version": "1.0.0", "sdk": "1.0", "executable": "acme"}`
	for name, text := range map[string]string{"plugin.json": manifest, "acme": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	other := t.TempDir()
	s.ok("plugin keygen " + filepath.Join(other, "k"))
	s.ok("plugin sign " + dir + " --key " + filepath.Join(other, "k.key") + " --output " + filepath.Join(other, "b"))
	code, out, words := s.run("", "plugin add "+filepath.Join(other, "b")+" -f value -c verified")
	if code != 0 || out != "False\n" || !strings.Contains(words, "signature was not verified") {
		t.Errorf("%d %q %q", code, out, words)
	}
}
