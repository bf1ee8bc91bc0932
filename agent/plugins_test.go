package agent

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/agent/config"
	"ferric/hwmanager"
)

// dropIn writes files with the permission to run them.
func dropIn(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// answers is a plugin that describes itself so and fits by level.
func answers(description, level string) string {
	return "#!/bin/sh\ncase $1 in\ndescribe) echo '{\"result\":" + description + "}';;\n*) echo '{\"result\":" + level + "}';;\nesac\n"
}

const fits = `"sdk":"1.0","methods":["evaluate_hardware_support"]`

// TestDroppedInPlugins starts an agent with good plugins and broken ones.
func TestDroppedInPlugins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dropIn(t, dir, map[string]string{
		"acme/acme":          answers(`{"name":"acme","version":"1",`+fits+`}`, "3"),
		"nic/plugin.json":    `{"name":"nic","version":"1.2.0","sdk":"1.0","executable":"bin/run"}`,
		"nic/bin/run":        answers(`{"name":"nic","version":"1.2.0",`+fits+`}`, "2"),
		"single.sh":          answers(`{"name":"single","version":"7",`+fits+`}`, "4"),
		"other/other":        answers(`{"name":"other","version":"1",`+fits+`}`, "0"),
		"crash/crash":        "#!/bin/sh\necho no controller >&2\nexit 5\n",
		"empty/README":       "",
		"twin/twin":          answers(`{"name":"acme","version":"2",`+fits+`}`, "3"),
		"sulky/sulky":        answers(`{"name":"sulky","version":"2",`+fits+`}`, `"much"`),
		".hidden/x":          "",
		"newer/newer":        answers(`{"name":"newer","version":"2","sdk":"9.0","methods":["evaluate_hardware_support"]}`, "1"),
		"unlike/plugin.json": `{"name":"unlike","version":"1.0.0","sdk":"1.0","executable":"run"}`,
		"unlike/run":         answers(`{"name":"unlike","version":"1.0.1",`+fits+`}`, "2"),
	})
	a := New(&config.Config{PluginDir: dir}, []hwmanager.Manager{oneCard{}}, io.Discard)
	if err := a.loadManagers(t.Context()); err != nil {
		t.Fatal(err)
	}
	versions := a.set.Versions()
	delete(versions, oneCard{}.Name())
	if diff := cmp.Diff(map[string]string{"acme": "1", "nic": "1.2.0", "single": "7"}, versions); diff != "" {
		t.Errorf("managers (-want +got):\n%s", diff)
	}
	aside := a.set.SetAside()
	for name, words := range map[string]string{
		"crash":  "exit status 5; it said: no controller",
		"empty":  "neither plugin.json nor an executable empty",
		"sulky":  "evaluate_hardware_support: its result is wrong",
		"newer":  "it needs 9.0",
		"unlike": "it says that it is unlike 1.0.1, its manifest unlike 1.0.0",
	} {
		if !strings.Contains(aside[name], words) {
			t.Errorf("set aside %s: %q; want %q in it", name, aside[name], words)
		}
		delete(aside, name)
	}
	if len(aside) > 0 {
		t.Errorf("more is set aside: %q", slices.Sorted(maps.Keys(aside)))
	}
	if !strings.Contains(string(a.journal.contents()), "there is one of this name") {
		t.Error("the log does not tell of the plugin whose name is taken")
	}
}

// TestRequiredPlugin has a plugin that is required and cannot be opened: no
// steps are listed, and the reason is told.
func TestRequiredPlugin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dropIn(t, dir, map[string]string{
		"fence/plugin.json": `{"name":"fence","version":"1.0.0","sdk":"1.0","executable":"fence","required":true}`,
		"fence/fence":       "#!/nowhere/perl\n",
	})
	a := New(&config.Config{PluginDir: dir}, []hwmanager.Manager{oneCard{}}, io.Discard)
	if err := a.loadManagers(t.Context()); err != nil {
		t.Fatal(err)
	}
	const words = `fence wants the interpreter "/nowhere/perl", which is not on this machine`
	if _, err := a.set.Steps(t.Context(), a.host, hwmanager.Clean, nil); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("steps: %v; want %q", err, words)
	}
}

// TestNoPlugins: a ramdisk without plugins has no directory for them.
func TestNoPlugins(t *testing.T) {
	t.Parallel()
	a := New(&config.Config{PluginDir: filepath.Join(t.TempDir(), "none")}, []hwmanager.Manager{oneCard{}}, io.Discard)
	if err := a.loadManagers(t.Context()); err != nil || len(a.set.SetAside()) > 0 {
		t.Errorf("%v, set aside %v", err, a.set.SetAside())
	}
}
