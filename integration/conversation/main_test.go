package conversation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/integration/conversation"
	"ferric/integration/lab"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { lab.Main(m) }

// TestConversations has the agent of a machine talk with a conductor that
// follows a script.
func TestConversations(t *testing.T) {
	type scenario struct {
		name string
		run  func(*testing.T)
	}
	all := []scenario{
		{"inspect, deploy", inspectAndDeploy},
		{"clean, service, rescue", cleanServiceRescue},
		{"deploy a partition image", deployPartitionImage},
	}
	if os.Getenv("FERRIC_FULL") != "" { // make test-full
		all = append(all,
			scenario{"discovery, reboot, lockdown", discoveryRebootLockdown},
			scenario{"virtual media", virtualMedia},
			scenario{"burn-in", burnIn},
			scenario{"erase", eraseDisks},
		)
	}
	for _, c := range all {
		t.Run(c.name, c.run)
	}
}

// patience bounds a whole conversation with an emulated machine on a busy host; a quiet one needs a fifth.
const patience = 5 * time.Minute

// ramdiskDir is what `make test` builds before the tests.
func ramdiskDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("FERRIC_RAMDISK")
	if dir == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("FERRIC_RAMDISK is not set; run `make test`")
		}
		t.Skip("needs the ramdisk; run `make test`")
	}
	return dir
}

// open builds a site. The context is that of the conversation.
func open(t *testing.T, o conversation.SiteOptions) (context.Context, *conversation.Site) {
	t.Helper()
	o.RamdiskDir = ramdiskDir(t)
	o.Node.Name = "machine"
	lab.Alone(t)
	s, err := conversation.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, err := os.ReadFile(s.Machine.Console.Path())
			t.Logf("the console (%v) ends with:\n%s", err, bytes.TrimSpace(text[max(0, len(text)-12000):]))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx, s
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot switches the machine on, logs when it got how far, and returns after its first heartbeat.
func boot(t *testing.T, ctx context.Context, s *conversation.Site) {
	t.Helper()
	mark, began := s.Machine.Console.Mark(), time.Now()
	must(t, s.Machine.PowerOn())
	first(t, ctx, s, mark, began)
}

// first waits for the first heartbeat of a boot that began at that time, with the console's line mark.
func first(t *testing.T, ctx context.Context, s *conversation.Site, mark int, began time.Time) {
	t.Helper()
	at := func(pattern string) float64 {
		line, err := s.Machine.Console.WaitFor(ctx, mark, regexp.MustCompile(pattern))
		must(t, err)
		return line.Time.Sub(began).Seconds()
	}
	kernel, started := at(`Linux version`), at(`uinit: starting agent`)
	_, err := s.NextHeartbeat(ctx)
	must(t, err)
	beats := s.Calls(conversation.Heartbeat)
	t.Logf("seconds from power-on: kernel %.1f, agent started %.1f, listening %.1f, heartbeat accepted %.1f",
		kernel, started, at(`server listening`), beats[len(beats)-1].Time.Sub(began).Seconds())
}

// golden compares the transcript so far with a file.
func golden(t *testing.T, s *conversation.Site, name string) {
	t.Helper()
	var got bytes.Buffer
	encoder := json.NewEncoder(&got)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	must(t, encoder.Encode(s.Transcript()))
	path := filepath.Join("testdata", name+".json")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("conversation (-want +got):\n%s", diff)
	}
}

// off waits until the machine has switched itself off.
func off(t *testing.T, s *conversation.Site, limit time.Duration) {
	t.Helper()
	began := time.Now()
	for s.Machine.Powered() {
		if time.Since(began) > limit {
			t.Fatalf("the machine is still on after %s", limit)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("off after %.1f s", time.Since(began).Seconds())
}
