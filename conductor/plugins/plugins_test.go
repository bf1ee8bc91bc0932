package plugins_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/api/plugin"
	"ferric/conductor/plugins"
	"ferric/conductor/store"
)

// key is one of several that are always the same.
func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// bundle is a signed plugin with so many bytes of contents.
func bundle(t testing.TB, name, version string, size int, by ed25519.PrivateKey) []byte {
	t.Helper()
	dir := t.TempDir()
	content := append([]byte("#!/bin/sh\n"), bytes.Repeat([]byte("x"), size)...)
	if err := os.WriteFile(filepath.Join(dir, "run"), content, 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := plugin.Sign(&out, dir, plugin.Manifest{Name: name, Version: version, SDK: "1.0", Executable: "run"}, by); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type rig struct {
	*testing.T
	*plugins.Library
	store *store.Store
	dir   string
}

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func newRig(t *testing.T, configure ...func(c *plugins.Config)) *rig {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	cfg := plugins.DefaultConfig()
	cfg.Directory = filepath.Join(dir, "plugins")
	for _, c := range configure {
		c(&cfg)
	}
	l, err := plugins.Open(t.Context(), cfg, db, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, l, db, cfg.Directory}
}

// trusting makes a directory with the public halves of keys.
func trusting(t *testing.T, keys ...ed25519.PrivateKey) func(c *plugins.Config) {
	dir := t.TempDir()
	for i, k := range keys {
		text, err := plugin.PublicPEM(k.Public().(ed25519.PublicKey))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprint(i)+".pub"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return func(c *plugins.Config) { c.TrustedKeys = dir }
}

func (r *rig) add(content []byte, a plugins.Addition) (*store.Plugin, error) {
	return r.Add(r.Context(), bytes.NewReader(content), -1, a)
}

func (r *rig) files() (names []string) {
	r.Helper()
	return filesIn(r.T, r.dir)
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// whole checks that each row has its file, with the digest of the row, and that
// there are no other files.
func whole(t *testing.T, db *store.Store, dir string) (versions []string) {
	t.Helper()
	list, err := db.Plugins(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	left := filesIn(t, dir)
	for _, p := range list {
		versions = append(versions, p.Name+" "+p.Version)
		name := p.Name + "-" + p.Version + "-" + p.SHA256 + ".bundle"
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("a row has no file: %v", err)
			continue
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != p.SHA256 || int64(len(content)) != p.Size {
			t.Errorf("the file of %s %s has other contents than its row says", p.Name, p.Version)
		}
		left = slices.DeleteFunc(left, func(f string) bool { return f == name })
	}
	if len(left) > 0 {
		t.Errorf("files of no row: %v", left)
	}
	return versions
}

// TestHostileUploads: whatever comes, the reason is told, and neither a row nor
// a file is left.
func TestHostileUploads(t *testing.T) {
	good := bundle(t, "acme", "1.2.0", 4000, key(1))
	flipped := slices.Clone(good)
	flipped[bytes.Index(flipped, []byte("xxxx"))] = 'y'
	for name, c := range map[string]struct {
		body io.Reader
		want error
		says string
	}{
		"nothing":          {strings.NewReader(""), plugins.ErrInvalid, "truncated"},
		"text":             {strings.NewReader(strings.Repeat("no bundle\n", 1000)), plugins.ErrInvalid, "not a bundle"},
		"zeros":            {bytes.NewReader(make([]byte, 1<<20)), plugins.ErrInvalid, "plugin.json"},
		"truncated":        {bytes.NewReader(good[:len(good)-700]), plugins.ErrInvalid, "truncated"},
		"trailing":         {io.MultiReader(bytes.NewReader(good), strings.NewReader("x")), plugins.ErrInvalid, "behind the end"},
		"other digest":     {bytes.NewReader(flipped), plugins.ErrInvalid, "digest"},
		"too big":          {io.LimitReader(endless{}, 3<<20), plugins.ErrTooLarge, "2 MiB"},
		"cut off":          {io.MultiReader(bytes.NewReader(good[:600]), iotest.ErrReader(io.ErrUnexpectedEOF)), plugins.ErrInvalid, "cut off after 600 bytes"},
		"reserved name":    {bytes.NewReader(bundle(t, "report", "1.0.0", 1, key(1))), plugins.ErrInvalid, "called"},
		"name of no file":  {bytes.NewReader(bytes.Replace(good, []byte(`"name": "acme"`), []byte(`"name": "../x"`), 1)), plugins.ErrInvalid, "name"},
		"not the manifest": {bytes.NewReader(good[bytes.Index(good, []byte("plugin.sig\x00")):]), plugins.ErrInvalid, "stands in its place"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *plugins.Config) { c.MaxBundleSize = 2 })
			_, err := r.Add(t.Context(), c.body, -1, plugins.Addition{})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it is answered with %v; want %v that says %q", err, c.want, c.says)
			}
			if found := whole(t, r.store, r.dir); len(found) > 0 {
				t.Errorf("there is %v", found)
			}
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestSaidTooBig: what a client announces is refused before any of it is read.
func TestSaidTooBig(t *testing.T) {
	r := newRig(t)
	if _, err := r.Add(t.Context(), iotest.ErrReader(errors.New("read")), 1<<40, plugins.Addition{}); !errors.Is(err, plugins.ErrTooLarge) {
		t.Error(err)
	}
}

// TestSignatures: with keys they are verified, without they are not, and it says so.
func TestSignatures(t *testing.T) {
	mine := bundle(t, "acme", "1.0.0", 10, key(1))
	forged := slices.Clone(mine)
	at := bytes.Index(forged, []byte(`"ed25519": "`)) + len(`"ed25519": "`) + 5
	forged[at] ^= 1
	trusted := trusting(t, key(1))
	for name, c := range map[string]struct {
		content  []byte
		keys     []func(*plugins.Config)
		says     string
		verified bool
	}{
		"by a trusted key":     {mine, []func(*plugins.Config){trusted}, "", true},
		"by another":           {bundle(t, "acme", "1.0.0", 10, key(2)), []func(*plugins.Config){trusted}, "not trusted", false},
		"forged":               {forged, []func(*plugins.Config){trusted}, "wrong signature", false},
		"nobody asks for keys": {bundle(t, "acme", "1.0.0", 10, key(2)), nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.keys...)
			p, err := r.add(c.content, plugins.Addition{})
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v; want %q", err, c.says)
				}
				return
			}
			if err != nil || p.Verified != c.verified || p.KeyID == "" {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	cfg := plugins.DefaultConfig()
	cfg.TrustedKeys = t.TempDir()
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "no key") {
		t.Errorf("a directory without keys: %v", err)
	}
}

// TestVersions: each version once, older ones only if that is asked for.
func TestVersions(t *testing.T) {
	r := newRig(t, func(c *plugins.Config) { c.MaxTotalSize = 1 })
	second := bundle(t, "acme", "2.0.0", 10, key(1))
	for _, c := range []struct {
		content []byte
		older   bool
		says    string
	}{
		{second, false, ""},
		{second, false, "this very bundle"},
		{bundle(t, "acme", "2.0.0", 11, key(1)), true, "other contents"},
		{bundle(t, "acme", "2.0.0-rc.1", 10, key(1)), false, "older than 2.0.0"},
		{bundle(t, "acme", "1.10.0", 10, key(1)), true, ""},
		{bundle(t, "acme", "1.9.0", 10, key(1)), true, ""},
		{bundle(t, "acme", "10.0.0", 10, key(1)), false, ""},
		{bundle(t, "other", "0.1.0", 10, key(1)), false, ""},
		{bundle(t, "big", "1.0.0", 1<<20, key(1)), false, "max_total_size"},
	} {
		_, err := r.add(c.content, plugins.Addition{AllowOlder: c.older})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v; want %q", err, c.says)
		}
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, p := range list {
		order = append(order, p.Name+" "+p.Version)
	}
	if diff := cmp.Diff([]string{"acme 10.0.0", "acme 2.0.0", "acme 1.10.0", "acme 1.9.0", "other 0.1.0"}, order); diff != "" {
		t.Error(diff)
	}
	whole(t, r.store, r.dir)
}

// TestConcurrent adds the same, and different ones, from all sides.
func TestConcurrent(t *testing.T) {
	r := newRig(t, func(c *plugins.Config) { c.MaxUploads = 16 })
	same := bundle(t, "acme", "1.0.0", 100_000, key(1))
	var others [][]byte
	for i := range 4 {
		others = append(others, bundle(t, "acme", fmt.Sprintf("0.%d.0", i), 1000, key(1)))
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	added, refused := 0, 0
	for i := range 12 {
		wait.Go(func() {
			_, err := r.add(same, plugins.Addition{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				added++
			case errors.Is(err, plugins.ErrConflict):
				refused++
			default:
				t.Error(err)
			}
		})
		if i < len(others) {
			wait.Go(func() {
				if _, err := r.add(others[i], plugins.Addition{AllowOlder: true}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	if added != 1 || refused != 11 {
		t.Errorf("the same was added %d times and refused %d times", added, refused)
	}
	if found := whole(t, r.store, r.dir); len(found) != 5 {
		t.Errorf("there are %v", found)
	}
}

// TestTooManyUploads: who comes when all places are taken is told so at once.
func TestTooManyUploads(t *testing.T) {
	r := newRig(t, func(c *plugins.Config) { c.MaxUploads = 1 })
	slow, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := r.Add(context.Background(), slow, -1, plugins.Addition{})
		done <- err
	}()
	content := bundle(t, "acme", "1.0.0", 10, key(1))
	if _, err := feed.Write(content[:100]); err != nil { // it is being read
		t.Fatal(err)
	}
	if _, err := r.add(content, plugins.Addition{}); !errors.Is(err, plugins.ErrBusy) {
		t.Errorf("the second of one: %v", err)
	}
	_, _ = feed.Write(content[100:])
	feed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRemoval: what is removed is gone, with its file; a pinned version is not
// removed from under the nodes.
func TestRemoval(t *testing.T) {
	r := newRig(t)
	for _, v := range []string{"1.0.0", "1.1.0", "2.0.0"} {
		if _, err := r.add(bundle(t, "acme", v, 10, key(1)), plugins.Addition{}); err != nil {
			t.Fatal(err)
		}
	}
	pin := "1.1.0"
	if _, err := r.Change(t.Context(), "acme", "", plugins.Change{Pinned: &pin}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Remove(t.Context(), "acme", "1.1.0"); !errors.Is(err, plugins.ErrConflict) || !strings.Contains(err.Error(), "2.0.0") {
		t.Errorf("the pinned version is removed: %v", err)
	}
	absent := "9.0.0"
	if _, err := r.Change(t.Context(), "acme", "", plugins.Change{Pinned: &absent}); !errors.Is(err, plugins.ErrConflict) {
		t.Errorf("pinned to what is not there: %v", err)
	}
	if _, err := r.Remove(t.Context(), "acme", "1.0.0"); err != nil {
		t.Error(err)
	}
	if _, err := r.Remove(t.Context(), "acme", "1.0.0"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if diff := cmp.Diff([]string{"acme 1.1.0", "acme 2.0.0"}, whole(t, r.store, r.dir)); diff != "" {
		t.Error(diff)
	}
	if _, err := r.Remove(t.Context(), "acme", ""); err != nil || len(r.files()) > 0 {
		t.Errorf("%v, there are %v", err, r.files())
	}
}

// TestSweep: what an earlier run has left is removed, what is not ours stays, and
// no older version takes the place of a plugin that has lost its file.
func TestSweep(t *testing.T) {
	r := newRig(t)
	for _, v := range []string{"1.0.0", "2.0.0"} {
		if _, err := r.add(bundle(t, "acme", v, 10, key(1)), plugins.Addition{}); err != nil {
			t.Fatal(err)
		}
	}
	n := &store.Node{UUID: "u", Driver: "ipmi"}
	if err := r.store.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"upload-123.tmp", "acme-3.0.0-00.bundle", "README", "upload-notes.txt"} {
		if err := os.WriteFile(filepath.Join(r.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.Of(t.Context(), "acme", "2.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if offered, err := r.Offered(t.Context(), n.ID); err != nil || len(offered) != 1 || offered[0].Version != "2.0.0" {
		t.Fatalf("offered are %v, %v", offered, err)
	}
	if err := os.Remove(filepath.Join(r.dir, "acme-2.0.0-"+list[0].SHA256+".bundle")); err != nil {
		t.Fatal(err)
	}
	cfg := plugins.DefaultConfig()
	cfg.Directory = r.dir
	again, err := plugins.Open(t.Context(), cfg, r.store, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if left := r.files(); len(left) != 3 || left[0] != "README" || left[2] != "upload-notes.txt" {
		t.Errorf("there are %v", left)
	}
	if fault := again.Fault(list[0]); !strings.Contains(fault, "missing") {
		t.Errorf("the fault is %q", fault)
	}
	if offered, err := again.Offered(t.Context(), n.ID); err != nil || len(offered) != 1 || offered[0].Version != "2.0.0" {
		t.Errorf("offered are %v, %v", offered, err)
	}
	if _, err := again.OpenBundle(list[0]); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
