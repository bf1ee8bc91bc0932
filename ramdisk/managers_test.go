package ramdisk

import (
	"archive/zip"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// acme is a vendor's manager.
const acme = `package acme

import (
	"context"

	"ferric/hwmanager"
)

type manager struct{}

func New() hwmanager.Manager { return manager{} }

func (manager) Name() string      { return "acme" }
func (manager) ClassName() string { return "AcmeManager" }
func (manager) Version() string   { return "1.0" }
func (manager) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}
`

// write writes files by their names below a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// publish puts a module into a module proxy of files.
func publish(t *testing.T, proxy, module, version string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(proxy, module, "@v")
	write(t, dir, map[string]string{
		version + ".info": `{"Version":"` + version + `"}`, version + ".mod": files["go.mod"], "list": version + "\n",
	})
	f, err := os.Create(filepath.Join(dir, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for name, text := range files {
		part, err := w.Create(path.Join(module+"@"+version, name))
		if err == nil {
			_, err = part.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestManagersBuiltIn builds agents with vendors' managers: one of a directory outside of
// ferric's source, one that a module proxy has. They stand in the manifest.
func TestManagersBuiltIn(t *testing.T) {
	proxy := t.TempDir()
	away := strings.ReplaceAll(strings.ReplaceAll(acme, `"acme"`, `"away"`), "package acme", "package raid")
	publish(t, proxy, "example.org/away", "v1.2.0", map[string]string{
		"go.mod": "module example.org/away\n\ngo 1.26\n\nrequire ferric v1.0.0\n", "raid/raid.go": away})
	t.Setenv("GOPROXY", "file://"+proxy+",off")
	t.Setenv("GONOSUMDB", "example.org/*")
	t.Setenv("GOMODCACHE", moduleCache(t))
	source, err := FindSource("")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(SourceVariable, source)
	vendor := t.TempDir()
	write(t, vendor, map[string]string{"acme/go.mod": "module example.org/acme\n\ngo 1.26\n", "acme/acme.go": acme})
	t.Chdir(vendor)
	out := t.TempDir()
	m, err := Build(t.Context(), Options{Output: out, Managers: []string{"./acme", "example.org/away/raid@v1.2"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Manager{
		{Name: "acme", Class: "AcmeManager", Version: "1.0", Package: "example.org/acme", Module: "example.org/acme", ModuleVersion: "local"},
		{Name: "away", Class: "AcmeManager", Version: "1.0", Package: "example.org/away/raid", Module: "example.org/away", ModuleVersion: "v1.2.0"},
	}
	if len(m.Managers) < 3 || m.Managers[0].Name != "generic_hardware_manager" {
		t.Fatalf("managers are %+v; want the built-in ones and two more", m.Managers)
	}
	if diff := cmp.Diff(want, m.Managers[len(m.Managers)-2:]); diff != "" {
		t.Errorf("managers added (-want +got):\n%s", diff)
	}

	newer := []vendored{{asked: "example.org/acme@v1.1.0", path: "example.org/acme", version: "v1.1.0"}}
	resolved := t.TempDir()
	write(t, resolved, map[string]string{"go.mod": "module resolved\n\nrequire example.org/acme v0.0.0\n\nreplace example.org/acme => " + filepath.Join(vendor, "acme") + "\n"})
	if err := addOrigins(t.Context(), resolved, make([]Manager, 1), newer); err == nil || !strings.Contains(err.Error(), "needs v0.0.0 of it") {
		t.Errorf("another version than was asked for: %v", err)
	}

	write(t, vendor, map[string]string{"acme/acme.go": strings.Replace(acme, `return "1.0"`, `return 1.0`, 1)})
	broken := "acme/acme.go:15:44: cannot use 1.0"
	if _, err := Build(t.Context(), Options{Output: out, Managers: []string{"./acme"}}); err == nil || !strings.Contains(err.Error(), "\n"+broken) {
		t.Errorf("a mistake in the vendor's file: %v; want a line with %q", err, broken)
	}
	write(t, vendor, map[string]string{"acme/acme.go": "package acme\n"})
	missing := `./acme: package example.org/acme has to export "func New() hwmanager.Manager"`
	if _, err := Build(t.Context(), Options{Output: out, Managers: []string{"./acme"}}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("a package without New: %v; want %q", err, missing)
	}
}

// moduleCache is the module cache of this user, which the test's HOME may not show.
func moduleCache(t *testing.T) string {
	t.Helper()
	dir, err := runGo(t.Context(), ".", "env", "GOMODCACHE")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestParseManager(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"acme/go.mod": "module example.org/acme\n", "acme/x.go": "package acme\n", "acme/raid/x.go": "package raid\n", "bare/x.go": "package bare\n", "program": "#!/bin/sh\n",
		"broken/go.mod": "go 1.26\n", "broken/x.go": "package broken\n", "empty/go.mod": "module example.org/empty\n",
	})
	t.Chdir(dir)
	tests := []struct{ asked, path, version, says string }{
		{"./acme", "example.org/acme", "", ""},
		{"./acme/raid", "example.org/acme/raid", "", ""},
		{filepath.Join(dir, "acme"), "example.org/acme", "", ""},
		{"example.org/acme@v1.2", "example.org/acme", "v1.2", ""},
		{"example.org/acme", "example.org/acme", "", ""},
		{"acme", "", "", "write ./acme"},
		{"./bare", "", "", "go mod init example.org/bare"},
		{"./nothing", "", "", "no such file"},
		{"./program", "", "", "an executable is added by --plugin"},
		{"./broken", "", "", "no go.mod of a module"},
		{"./empty", "", "", "no Go files"},
		{"example.org/acme@none", "", "", "not a version"},
		{`x"; import "y`, "", "", "malformed import path"},
	}
	for _, test := range tests {
		got, err := parseManager(test.asked)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: error %v; want one that says %q", test.asked, err, test.says)
			}
			continue
		}
		if err != nil || got.path != test.path || got.version != test.version {
			t.Errorf("%s: package %q, version %q, %v; want %q, %q", test.asked, got.path, got.version, err, test.path, test.version)
		}
	}
}

// TestFindSource finds ferric's source from within it, by its name, and says where it looked.
func TestFindSource(t *testing.T) {
	here, err := FindSource("")
	if err != nil || !isSource(here) {
		t.Fatalf("from within: %q, %v", here, err)
	}
	t.Chdir(t.TempDir())
	if got, err := FindSource(""); err == nil {
		t.Errorf("from elsewhere: found in %q", got)
	}
	if got, err := FindSource(here); err != nil || got != here {
		t.Errorf("by name: %q, %v", got, err)
	}
	t.Setenv(SourceVariable, here)
	if got, err := FindSource(""); err != nil || got != here {
		t.Errorf("by %s: %q, %v", SourceVariable, got, err)
	}
	if _, err := FindSource("."); err == nil || !strings.Contains(err.Error(), "no go.mod of the module ferric") {
		t.Errorf("a wrong directory: %v", err)
	}
}

// TestPlugins adds executables to a ramdisk, with what runs them, keys and minimums.
func TestPlugins(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"acme-raid.sh":            "#!/bin/sh\nexit 3\n",
		"acme-nic/plugin.json":    `{"name": "acme-nic", "version": "1.2.0", "sdk": "1.0", "executable": "bin/nic"}`,
		"acme-nic/bin/nic":        "#!/usr/bin/env python3\nraise SystemExit(3)\n",
		"acme-nic/data/table.txt": "1\n",
	})
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"vendor.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
	out := t.TempDir()
	m := build(t, Options{
		Output: out, Plugins: []string{filepath.Join(dir, "acme-raid.sh"), filepath.Join(dir, "acme-nic")},
		PluginKeys: []string{filepath.Join(dir, "vendor.pem")}, PluginMinimums: map[string]string{"acme-raid": "1.0.0"},
	})
	root := unpack(t, out, m)
	for name, mode := range map[string]os.FileMode{
		"usr/lib/ferric/plugins/acme-raid/acme-raid": 0o755, "usr/lib/ferric/plugins/acme-nic/bin/nic": 0o755,
		"usr/lib/ferric/plugins/acme-nic/plugin.json": 0o644, "usr/lib/ferric/plugins/acme-nic/data/table.txt": 0o644,
		"etc/ferric/plugin-keys/vendor.pub": 0o644, "etc/ferric/plugin-minimums.json": 0o644,
		"usr/bin/env": 0o755, "usr/bin/python3": 0o755, // what the first lines name
	} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
	minimums, err := os.ReadFile(filepath.Join(root, pluginMinimums))
	var got map[string]string
	if err == nil {
		err = json.Unmarshal(minimums, &got)
	}
	if err != nil || got["acme-raid"] != "1.0.0" {
		t.Errorf("oldest versions are %v, %v", got, err)
	}
	names := []string{}
	for _, p := range m.Plugins {
		names = append(names, p.Name+" "+p.Version)
	}
	if want := []string{"acme-raid ", "acme-nic 1.2.0"}; !slices.Equal(names, want) {
		t.Errorf("plugins of the manifest are %q; want %q", names, want)
	}
}

func TestPluginsRefused(t *testing.T) {
	dir := t.TempDir()
	manifest := func(name, version, executable string) string {
		return `{"name": "` + name + `", "version": "` + version + `", "sdk": "1.0", "executable": "` + executable + `"}`
	}
	write(t, dir, map[string]string{
		"plain": "text", "lost.sh": "#!/opt/nowhere/sh\n", "nothing.sh": "#!\n", "odd name.sh": "#!/bin/sh\n",
		"none/x":                "#!/bin/sh\n",
		"unknown/plugin.json":   `{"nom": "x"}`,
		"old/plugin.json":       manifest("old", "one", "x"),
		"escapes/plugin.json":   manifest("escapes", "1.0.0", "../plain"),
		"missing/plugin.json":   manifest("missing", "1.0.0", "x"),
		"twice/plugin.json":     manifest("twice", "1.0.0", "x"),
		"twice/x":               "#!/bin/sh\n",
		"rsa.pem":               "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"private.pem":           "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"wrongname/plugin.json": manifest("../x", "1.0.0", "x"),
		"wrongname/x":           "#!/bin/sh\n",
		"library/libacme.so.1":  "text",
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	tests := []struct {
		o    Options
		says string
	}{
		{Options{Plugins: []string{in("absent")}}, "no such file"},
		{Options{Plugins: []string{in("plain")}}, "chmod +x"},
		{Options{Plugins: []string{in("lost.sh")}}, "/opt/nowhere/sh is not in the ramdisk"},
		{Options{Plugins: []string{in("nothing.sh")}}, "without a program"},
		{Options{Plugins: []string{in("odd name.sh")}}, `"odd name" is no name`},
		{Options{Plugins: []string{in("none")}}, "needs a plugin.json"},
		{Options{Plugins: []string{in("unknown")}}, `unknown field "nom"`},
		{Options{Plugins: []string{in("old")}}, "not a semantic version"},
		{Options{Plugins: []string{in("escapes")}}, "leads out of the plugin's directory"},
		{Options{Plugins: []string{in("missing")}}, "no such file"},
		{Options{Plugins: []string{in("twice"), in("twice")}}, "in the ramdisk twice"},
		{Options{Plugins: []string{in("wrongname")}}, "the name \"../x\" is not"},
		{Options{PluginKeys: []string{in("private.pem")}}, "no public key"},
		{Options{PluginKeys: []string{in("rsa.pem")}}, "rsa.pem"},
		{Options{PluginMinimums: map[string]string{"acme": "one"}}, "not a name and a semantic version"},
		{Options{PluginMinimums: map[string]string{"acme": "1.2"}}, "not a name and a semantic version"}, // the agent would take no plugin
	}
	for _, test := range tests {
		b := &builder{options: test.o, archive: newArchive(), manifest: newManifest(Virtual)}
		if err := b.plugins(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: error %v; want one that says %q", test.o.Plugins, err, test.says)
		}
	}
}

func TestParseTool(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"storcli64": "#!/bin/sh\n", "plain": "text"})
	tests := []struct {
		text string
		want Tool
		says string
	}{
		{filepath.Join(dir, "storcli64"), Tool{filepath.Join(dir, "storcli64"), "/usr/sbin/storcli64"}, ""},
		{filepath.Join(dir, "storcli64") + ":/opt/MegaRAID/storcli/storcli64", Tool{filepath.Join(dir, "storcli64"), "/opt/MegaRAID/storcli/storcli64"}, ""},
		{"/bin/true", Tool{"/bin/true", "/bin/true"}, ""},
		{"env", Tool{"/usr/bin/env", "/usr/bin/env"}, ""},
		{filepath.Join(dir, "plain"), Tool{}, "chmod +x"},
		{"no-such-tool", Tool{}, "no-such-tool"},
		{"true:relative", Tool{}, "SOURCE:/TARGET"},
		{":/bin/x", Tool{}, "SOURCE:/TARGET"},
	}
	for _, test := range tests {
		got, err := ParseTool(test.text)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v; want an error that says %q", test.text, err, test.says)
			}
		} else if err != nil || got != test.want {
			t.Errorf("%s: %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}
