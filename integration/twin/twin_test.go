package twin_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferric/integration/compat/ironicd"
	"ferric/integration/lab"
)

// TestMain runs the tests in namespaces of their own: ports are free, and what
// a test starts ends with them.
func TestMain(m *testing.M) { lab.Main(m) }

const (
	ferricPort, ironicPort, imagePort = 21385, 22385, 23385

	// startPatience is for the slower one, on a busy host.
	startPatience = 3 * time.Minute
)

// settings are those of ironicd.Alone.
const settings = `[DEFAULT]
host = alone
auth_strategy = noauth
enabled_hardware_types = fake-hardware
enabled_bios_interfaces = fake,no-bios
enabled_boot_interfaces = fake
enabled_console_interfaces = fake,no-console
enabled_deploy_interfaces = fake
enabled_firmware_interfaces = fake,no-firmware
enabled_inspect_interfaces = fake,no-inspect
enabled_management_interfaces = fake
enabled_network_interfaces = noop
enabled_power_interfaces = fake
enabled_raid_interfaces = fake,no-raid
enabled_rescue_interfaces = fake,no-rescue
enabled_storage_interfaces = noop
enabled_vendor_interfaces = fake,no-vendor
[database]
connection = sqlite:///%[1]s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %[2]d
public_endpoint = http://127.0.0.1:%[2]d
restrict_lookup = false
[agent]
require_tls = false
[deploy]
http_url = http://127.0.0.1:%[3]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[3]d
`

// TestTwin compares with the Ironic of each Python in FERRIC_TWIN; without it
// there is nothing to compare with (`make test-twin` sets it).
func TestTwin(t *testing.T) {
	chosen := regexp.MustCompile(os.Getenv("FERRIC_TWIN_SCENES"))
	for _, python := range strings.Fields(os.Getenv("FERRIC_TWIN")) {
		release, err := ironicd.Release(t.Context(), python)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(release, func(t *testing.T) {
			pair := startPair(t, python)
			total := tally{used: map[int]int{}}
			for _, scene := range readScenes(t) {
				if !chosen.MatchString(scene.name) {
					continue
				}
				t.Run(scene.name, func(t *testing.T) { pair.play(t, scene, &total) })
			}
			t.Logf("%d requests: %d answered alike, %d otherwise by intent, %d otherwise", total.requests, total.same, total.meant, total.requests-total.same-total.meant)
			if chosen.String() == "" && pair.newest == newestContract {
				for i, d := range deliberate {
					if total.used[i] == 0 {
						t.Logf("no answer of this run differs by %q, %q", d.request, d.difference)
					}
				}
			}
		})
	}
}

// newestContract is the minor version of the contract; an Ironic that serves
// less differs less.
const newestContract = 115

// tally counts the requests of a run, and the uses of each row of deliberate.
type tally struct {
	requests, same, meant int
	used                  map[int]int
}

// pair is both conductors.
type pair struct {
	ferric, ironic side
	newest         int // minor version that both know
}

func startPair(t *testing.T, python string) *pair {
	dir := t.TempDir()
	config := filepath.Join(dir, "ferric.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, settings, dir, ferricPort, imagePort), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(os.Getenv("FERRIC_BIN"), "ferric")
	_, argv, err := ironicd.Alone(t.Context(), filepath.Join(dir, "ironic"), python, ironicPort)
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{
		ferric: side{name: "ferric", base: fmt.Sprintf("http://127.0.0.1:%d", ferricPort)},
		ironic: side{name: "Ironic", base: fmt.Sprintf("http://127.0.0.1:%d", ironicPort)},
	}
	startProgram(t, binary, "conductor", "--config", config)
	startProgram(t, argv[0], argv[1:]...)
	p.newest = min(p.ferric.await(t), p.ironic.await(t))
	return p
}

// startProgram starts one that ends with the test.
func startProgram(t *testing.T, name string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Process.Signal(syscall.SIGTERM) // unless it has ended already
		_ = cmd.Wait()                          // how it ends is tried elsewhere
		if path := os.Getenv("FERRIC_TWIN_LOGS"); path != "" {
			if err := os.WriteFile(filepath.Join(path, filepath.Base(name)+".log"), log.Bytes(), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
}

// both does the same on both sides at once.
func (p *pair) both(do func(s *side) error) error {
	var wg sync.WaitGroup
	sides := []*side{&p.ferric, &p.ironic}
	errs := make([]error, len(sides))
	for i, s := range sides {
		wg.Go(func() { errs[i] = do(s) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", sides[i].name, err)
		}
	}
	return nil
}

// play sends the lines of a scene and judges the answers. What it leaves behind goes.
func (p *pair) play(t *testing.T, s scene, total *tally) {
	defer func() {
		if err := p.both(func(s *side) error { return s.sweep(t.Context()) }); err != nil {
			t.Errorf("sweep: %v", err)
		}
	}()
	for _, line := range s.lines {
		if line.node != "" {
			if err := p.both(func(s *side) error { return s.awaitState(t.Context(), line) }); err != nil {
				t.Fatalf("%s: %v; the rest of the scene is left out", line, err)
			}
			continue
		}
		for _, version := range line.versions {
			minor, ok := version.minor(p.newest)
			if !ok {
				continue
			}
			var answers [2]answer
			if err := p.both(func(s *side) (err error) {
				i := 0
				if s == &p.ironic {
					i = 1
				}
				answers[i], err = s.send(t.Context(), line, minor)
				return err
			}); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			total.judge(t, line, minor, answers[0], answers[1])
		}
	}
}

// judge compares two answers. A request counts as meant to differ if all of
// its differences are.
func (total *tally) judge(t *testing.T, line line, minor string, ferric, ironic answer) {
	total.requests++
	differences := compare(ferric, ironic)
	left := 0
	for _, d := range differences {
		if i := explained(line, d); i >= 0 {
			total.used[i]++
			continue
		}
		left++
		t.Errorf("%s @%s\n\t%s\n\tferric: %s\n\tIronic: %s", line, minor, d, ferric.excerpt(), ironic.excerpt())
	}
	switch {
	case len(differences) == 0:
		total.same++
	case left == 0:
		total.meant++
	}
}

// explained finds the row of deliberate that a difference falls under, or -1.
func explained(l line, difference string) int {
	for i, d := range deliberate {
		if regexp.MustCompile(d.request).MatchString(l.text) && regexp.MustCompile(d.difference).MatchString(difference) {
			return i
		}
	}
	return -1
}
