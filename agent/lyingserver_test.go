package agent_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
)

// TestLyingServers: what a server answers in place of a bundle is refused with
// the reason, and nothing of it stays.
func TestLyingServers(t *testing.T) {
	t.Parallel()
	h, _ := machine(t)
	o, r := newOffering(t), newRamdisk(t)
	refused := map[string]string{}
	lie := func(name, reason string, answer func(w http.ResponseWriter, r *http.Request, bundle []byte)) {
		content := plain(t, r.key, name, "1.0.0")
		o.offer(name, "1.0.0", content)
		o.bundles[name] = func(w http.ResponseWriter, r *http.Request) { answer(w, r, content) }
		refused[name] = reason
	}
	page := strings.Repeat("<html>Sign in to the network</html>\n", 1000)
	lie("html", "not a bundle", func(w http.ResponseWriter, _ *http.Request, _ []byte) { fmt.Fprint(w, page) })
	lie("html-chunked", "not a bundle", func(w http.ResponseWriter, _ *http.Request, bundle []byte) {
		http.NewResponseController(w).Flush() // no length
		fmt.Fprint(w, page[:len(bundle)])
	})
	lie("gzip", "were promised", func(w http.ResponseWriter, r *http.Request, bundle []byte) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("the agent accepts %q", got)
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(bundle)
		_ = z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", fmt.Sprint(packed.Len()))
		_, _ = w.Write(packed.Bytes())
	})
	lie("endless", "more than the", func(w http.ResponseWriter, _ *http.Request, bundle []byte) {
		for {
			if _, err := w.Write(bundle); err != nil {
				return
			}
		}
	})
	lie("elsewhere", "the server sent the range", func(w http.ResponseWriter, r *http.Request, bundle []byte) {
		if r.Header.Get("Range") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(len(bundle)))
			_, _ = (&cutting{ResponseWriter: w, left: 100}).Write(bundle)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-9/%d", len(bundle)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(bundle[:10])
	})
	lie("empty", "204", func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNoContent) })
	o.offer("good", "1.0.0", plain(t, r.key, "good", "1.0.0"))

	// Links where the plugins are to be, and what an agent left that was killed
	// while it fetched. Nothing is lost behind a link.
	victim := t.TempDir()
	write(t, filepath.Join(victim, "precious"), "kept")
	write(t, filepath.Join(r.fetched, ".half-1.0.0.new/run"), "#!/bin/sh\n")
	for _, name := range []string{"linked-1.0.0", ".linked-1.0.0.new"} {
		if err := os.Symlink(victim, filepath.Join(r.fetched, name)); err != nil {
			t.Fatal(err)
		}
	}
	loaded := []string{"good", "linked", "half"}
	for _, name := range loaded[1:] {
		o.offer(name, "1.0.0", plain(t, r.key, name, "1.0.0"))
	}
	// More than an agent looks at, which is not what makes it late.
	for i := range 10000 {
		o.offers = append(o.offers, ipa.PluginOffer{Name: fmt.Sprint("more", i), Version: "1.0.0", URL: "/x", Size: -1})
	}
	// And rubbish among the keys.
	write(t, filepath.Join(r.keys, "rubbish.pub"), "\x00\xffno key")
	write(t, filepath.Join(r.keys, "directory.pub/x"), "")
	if err := os.Symlink("nowhere", filepath.Join(r.keys, "dangling.pub")); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	p := r.boot(t, h, o, state)
	o.beat(t)
	report := o.report(t)
	for _, name := range loaded {
		if report.Loaded[name] != "1.0.0" {
			t.Errorf("%s: %q; want it loaded", name, report.Refused[name])
		}
	}
	for name, reason := range refused {
		if got := report.Refused[name]; !strings.Contains(got, reason) {
			t.Errorf("%s: %q; want it with %q", name, got, reason)
		}
	}
	if text, err := os.ReadFile(filepath.Join(victim, "precious")); err != nil || string(text) != "kept" {
		t.Errorf("behind a link: %q, %v", text, err)
	}
	entries, err := os.ReadDir(r.fetched)
	if err != nil || len(entries) != len(loaded) {
		t.Errorf("%v, %v; want directories of %q", entries, err, loaded)
	}
	if log := p.log.String(); !strings.Contains(log, "only the first") || !strings.Contains(log, "a key for plugins is not trusted") {
		t.Errorf("log:\n%.3000s", log)
	}

	// A key that is not trusted any more costs what it has signed, also what was
	// fetched already.
	p.stop(t)
	o.forgetBeats()
	if err := os.Remove(filepath.Join(r.keys, "site.pub")); err != nil {
		t.Fatal(err)
	}
	r.boot(t, h, o, state)
	o.beat(t)
	if report = o.report(t); len(report.Loaded) != 0 || !strings.Contains(report.Refused["good"], "this ramdisk trusts none") {
		t.Errorf("without the key: loaded %v, %q", report.Loaded, report.Refused["good"])
	}
}
