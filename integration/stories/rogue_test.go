package stories_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/api/plugin"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// rogueRamdisk is a ramdisk with the plugin testdata/rogue, also under names that
// each hang in one question, and a signed bundle of 5 MiB with the same plugin
// named courier.
func rogueRamdisk(t *testing.T) (ramdisk string, bundle []byte) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./testdata/rogue")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	private, public, _, err := plugin.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "site")
	courier := filepath.Join(dir, "courier")
	const size = 5 << 20
	ballast := make([]byte, max(0, size-len(text)))
	rand.Read(ballast)
	if err := errors.Join(os.WriteFile(keys+".key", private, 0o600), os.WriteFile(keys+".pub", public, 0o644), os.Mkdir(courier, 0o755),
		os.WriteFile(filepath.Join(courier, "courier"), text, 0o755), os.WriteFile(filepath.Join(courier, "ballast"), ballast, 0o644)); err != nil {
		t.Fatal(err)
	}
	key, err := plugin.LoadPrivateKey(keys + ".key")
	if err != nil {
		t.Fatal(err)
	}
	var signed bytes.Buffer
	if _, err := plugin.Sign(&signed, courier, plugin.Manifest{Name: "courier", Version: "1.0.0", SDK: "1.0", Executable: "courier"}, key); err != nil {
		t.Fatal(err)
	}
	args := []string{"--plugin-key", keys + ".pub"}
	for _, name := range []string{"rogue", "rogue-describe", "rogue-evaluate_hardware_support", "rogue-get_clean_steps"} {
		m := plugin.Manifest{
			Name: name, Version: "1.0.0", SDK: "1.0", Executable: name,
			Limits: plugin.Limits{Memory: 96, Step: 20, Query: 10},
		}
		manifest, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, name)
		err = errors.Join(os.Mkdir(at, 0o755), os.WriteFile(filepath.Join(at, plugin.ManifestFile), manifest, 0o644),
			os.WriteFile(filepath.Join(at, name), text, 0o755))
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--plugin", at)
	}
	return extended(t, args...), signed.Bytes()
}

// TestRoguePlugins has plugins do, as root in the ramdisk, what harm they can.
// Those that hang are set aside, each step fails with the plugin's own words or
// with what became of the agent, and after all that a plugin that was fetched,
// whose time is measured, and automated cleaning succeed.
func TestRoguePlugins(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" { // make test-full
		return
	}
	ramdisk, bundle := rogueRamdisk(t)
	site, image := open(t, small(), osimage.Options{}, stories.Options{
		RamdiskDir: ramdisk, Config: "\n[deploy]\nfast_track = true\n",
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	m := enrolSmall(ctx, t, site, image)
	// Each boot fetches one more, which is as good as the others are bad.
	if _, err := site.API.AddPlugin(ctx, bytes.NewReader(bundle), int64(len(bundle)), nil); err != nil {
		t.Fatal(err)
	}
	line := m.Console.Mark()
	clean := func(step string) (*ironic.Node, time.Duration, error) {
		began := time.Now()
		request := ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: step}}}
		err := m.Provision(ctx, request, ironic.StateManageable)
		took := time.Since(began)
		n, nodeErr := site.API.Node(ctx, m.Name)
		if nodeErr != nil {
			t.Fatal(nodeErr)
		}
		if n.ProvisionState == ironic.StateCleanFailed {
			if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable); err != nil {
				t.Fatal(err)
			}
			if err := site.API.UnsetMaintenance(ctx, m.Name); err != nil {
				t.Fatal(err)
			}
		}
		return n, took, err
	}
	all := []struct{ step, want string }{
		{"kill_agent", "the agent restarted while it ran"},
		{"fill_run", "it said: rogue: filling /run/full"},
		{"bomb", "plugin rogue, step bomb: it "},
		{"daemonise", "it left processes behind, which were killed"},
	}
	for _, tt := range all {
		n, took, err := clean(tt.step)
		said := ""
		if n.LastError != nil {
			said = *n.LastError
		}
		t.Logf("%s: %.0f s, last_error %s", tt.step, took.Seconds(), cmp.Or(said, "none"))
		if failed := err != nil; failed != (tt.want != "") || !strings.Contains(said, tt.want) {
			t.Errorf("%s: last_error %q; want %q in it", tt.step, said, tt.want)
		}
	}
	if n, took, err := clean("courier_good"); err != nil {
		t.Errorf("the plugin that was fetched: %v", err)
	} else {
		t.Logf("courier_good: %.0f s, state %s", took.Seconds(), n.ProvisionState)
	}
	loaded, err := m.Console.WaitFor(ctx, line, regexp.MustCompile(`plugin loaded.* bytes=[0-9]+.* seconds=`))
	if err != nil {
		t.Fatal(err)
	}
	var seconds float64
	_, after, _ := strings.Cut(loaded.Text, " seconds=")
	if _, err := fmt.Sscan(after, &seconds); err != nil {
		t.Fatalf("%q: %v", loaded.Text, err)
	}
	t.Logf("benchmark: the fetch of a plugin of %d bytes adds %.2f s to the start of the agent", len(bundle), seconds)
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable); err != nil {
		t.Errorf("automated cleaning: %v", err)
	}
}
