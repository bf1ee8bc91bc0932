package plugins_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/plugins"
	"ferric/conductor/store"
)

// crashing has the process that adds or removes a plugin killed at a place.
const crashing = "FERRIC_TEST_PLUGIN_CRASH"

// crashes are the places, and what is there afterwards. Literal table.
var crashes = []struct {
	place string
	want  []string
	swept int // files that the next start removes
}{
	{"in the middle of the upload", []string{"acme 1.0.0"}, 1},
	{"adding, before the commit", []string{"acme 1.0.0"}, 1},
	{"adding, after the commit", []string{"acme 1.0.0", "acme 2.0.0"}, 0},
	{"removing, before the commit", []string{"acme 1.0.0"}, 0},
	{"removing, after the commit", nil, 1},
}

// TestCrash kills a process at each place. Whatever the place, the next start
// finds no row without its file, and leaves no file without its row.
func TestCrash(t *testing.T) {
	for _, c := range crashes {
		t.Run(c.place, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bundles := filepath.Join(dir, "plugins")
			l, db := openAt(t, dir)
			if _, err := l.Add(t.Context(), bytes.NewReader(bundle(t, "acme", "1.0.0", 10, key(1))), -1, plugins.Addition{}); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "new"), bundle(t, "acme", "2.0.0", 100_000, key(1)), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.v")
			cmd.Env = append(os.Environ(), crashing+"="+c.place, crashing+"_DIR="+dir)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the process was not killed: %v\n%s", err, out)
			}
			left := len(filesIn(t, bundles))
			_, db = openAt(t, dir)
			defer db.Close()
			if diff := cmp.Diff(c.want, whole(t, db, bundles)); diff != "" {
				t.Error(diff)
			}
			if swept := left - len(filesIn(t, bundles)); swept != c.swept {
				t.Errorf("%d files were swept, want %d", swept, c.swept)
			}
		})
	}
}

func openAt(t *testing.T, dir string) (*plugins.Library, *store.Store) {
	t.Helper()
	db, err := store.Open(context.Background(), filepath.Join(dir, "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := plugins.DefaultConfig()
	cfg.Directory = filepath.Join(dir, "plugins")
	l, err := plugins.Open(context.Background(), cfg, db, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return l, db
}

// TestCrashChild is the process that TestCrash kills; by itself it does nothing.
func TestCrashChild(t *testing.T) {
	place, dir := os.Getenv(crashing), os.Getenv(crashing+"_DIR")
	if place == "" {
		return
	}
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
	db, err := store.Open(context.Background(), filepath.Join(dir, "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := plugins.DefaultConfig()
	cfg.Directory = filepath.Join(dir, "plugins")
	l, err := plugins.Open(context.Background(), cfg, db, quiet())
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	places := []string{crashes[1].place, crashes[2].place, crashes[3].place, crashes[4].place}
	if at := slices.Index(places, place); at >= 0 {
		db.AroundCommit(func(done bool) {
			if done == (at%2 == 1) {
				die()
			}
		})
	}
	switch place {
	case crashes[0].place:
		half := len(content) / 2
		_, err = l.Add(context.Background(), io.MultiReader(bytes.NewReader(content[:half]), dying{die}), -1, plugins.Addition{})
	case crashes[1].place, crashes[2].place:
		_, err = l.Add(context.Background(), bytes.NewReader(content), -1, plugins.Addition{})
	default:
		_, err = l.Remove(context.Background(), "acme", "")
	}
	t.Fatalf("it goes on: %v", err)
}

// dying is a reader that is never read from twice.
type dying struct{ die func() }

func (d dying) Read([]byte) (int, error) {
	d.die()
	return 0, io.EOF
}
