package agent_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/hwmanager"
)

// offering is a conductor that offers plugins.
type offering struct {
	*conductor
	server  *httptest.Server
	reports chan ipa.PluginReport

	mu       sync.Mutex
	offers   []ipa.PluginOffer
	bundles  map[string]http.HandlerFunc // by name
	requests []string                    // for bundles
	first    map[string]time.Time        // when a bundle was asked for
}

func newOffering(t *testing.T) *offering {
	o := &offering{
		conductor: newConductor(t), reports: make(chan ipa.PluginReport, 10),
		bundles: map[string]http.HandlerFunc{}, first: map[string]time.Time{},
	}
	o.server = httptest.NewServer(http.HandlerFunc(o.serve))
	t.Cleanup(o.server.Close)
	return o
}

func (o *offering) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/lookup":
		o.mu.Lock()
		defer o.mu.Unlock()
		o.conductor.mu.Lock()
		defer o.conductor.mu.Unlock()
		json.NewEncoder(w).Encode(object{"node": object{"uuid": nodeUUID, "properties": object{}}, "config": object{
			"heartbeat_timeout": 300, "agent_token": o.token, "tls_min_version": "1.3", "ferric_plugins": o.offers,
		}})
		o.token = ipa.MaskedToken
	case r.Method == "POST" && r.URL.Path == ipa.PluginReportPath:
		var report ipa.PluginReport
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil || report.AgentToken != agentToken || report.NodeUUID != nodeUUID {
			http.Error(w, "bad report", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		o.reports <- report
	case strings.HasPrefix(r.URL.Path, "/ferric/v1/plugins/"):
		name := strings.Split(r.URL.Path, "/")[4]
		o.mu.Lock()
		o.requests = append(o.requests, name)
		if o.first[name].IsZero() {
			o.first[name] = time.Now()
		}
		answer := o.bundles[name]
		o.mu.Unlock()
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		if r.Header.Get(ipa.HeaderAgentToken) != agentToken || r.URL.Query().Get("node_uuid") != nodeUUID {
			http.Error(w, "who is it?", http.StatusUnauthorized)
			return
		}
		answer(w, r)
	default:
		o.conductor.answer(w, r)
	}
}

func (o *offering) report(t *testing.T) ipa.PluginReport {
	t.Helper()
	select {
	case report := <-o.reports:
		return report
	case <-time.After(patience):
		t.Fatal("no report")
		return ipa.PluginReport{}
	}
}

// forgetBeats is for the next life of an agent.
func (o *offering) forgetBeats() {
	for len(o.beats) > 0 {
		<-o.beats
	}
}

// offer offers a bundle; change, if there is one, changes the offer.
func (o *offering) offer(name, version string, bundle []byte, change ...func(*ipa.PluginOffer)) {
	sum := sha256.Sum256(bundle)
	offer := ipa.PluginOffer{
		Name: name, Version: version, URL: "/ferric/v1/plugins/" + name + "/" + version + "/bundle",
		Size: int64(len(bundle)), SHA256: hex.EncodeToString(sum[:]),
	}
	for _, c := range change {
		c(&offer)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.offers = append(o.offers, offer)
	o.bundles[name] = func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bundle))
	}
}

func (o *offering) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.requests)
}

// ramdisk is what an agent that trusts a key is started with.
type ramdisk struct {
	key                                ed25519.PrivateKey
	keys, minimums, fetched, droppedIn string
}

func newRamdisk(t *testing.T) ramdisk {
	t.Helper()
	private, public, _, err := plugin.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "keys/site.pub"), string(public))
	write(t, filepath.Join(dir, "site.key"), string(private))
	key, err := plugin.LoadPrivateKey(filepath.Join(dir, "site.key"))
	if err != nil {
		t.Fatal(err)
	}
	return ramdisk{
		key: key, keys: filepath.Join(dir, "keys"), minimums: filepath.Join(dir, "minimums.json"),
		fetched: filepath.Join(dir, "run/plugins"), droppedIn: filepath.Join(dir, "plugins"),
	}
}

// boot starts an agent in the ramdisk.
func (r ramdisk) boot(t *testing.T, h *hwmanager.Host, o *offering, state string, args ...string) *process {
	t.Helper()
	return start(t, h, o.conductor, state, append([]string{
		"--api-url", o.server.URL, "--plugin-keys", r.keys, "--plugin-minimums", r.minimums,
		"--fetched-plugin-dir", r.fetched, "--plugin-dir", r.droppedIn,
	}, args...)...)
}

// acme is the script of a plugin with a clean step; level is its support.
func acme(name, version string, level int) string {
	return fmt.Sprintf(`#!/bin/sh
case $1 in
describe) echo '{"result":{"name":%q,"version":%q,"sdk":"1.0","methods":["evaluate_hardware_support","get_clean_steps","execute_step"]}}';;
evaluate_hardware_support) echo '{"result":%d}';;
get_clean_steps) echo '{"result":[{"step":"%s_blink","priority":0,"interface":"deploy"}]}';;
execute_step) echo "{\"result\":\"$(cat "$FERRIC_PLUGIN_DIR/lib/words.txt") of %s\"}";;
*) exit 3;;
esac
`, name, version, level, name, version)
}

// bundle signs a plugin of the given script.
func bundle(t *testing.T, key ed25519.PrivateKey, m plugin.Manifest, script string, more ...[]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "lib/words.txt"), "blinked")
	for i, content := range more {
		write(t, filepath.Join(dir, fmt.Sprintf("lib/more%d", i)), string(content))
	}
	if err := os.WriteFile(filepath.Join(dir, "run"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if m.SDK == "" {
		m.SDK = "1.0"
	}
	m.Executable = "run"
	var out bytes.Buffer
	if _, err := plugin.Sign(&out, dir, m, key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func plain(t *testing.T, key ed25519.PrivateKey, name, version string) []byte {
	t.Helper()
	return bundle(t, key, plugin.Manifest{Name: name, Version: version}, acme(name, version, 3))
}

// blink runs the plugin's step and returns what it says.
func blink(t *testing.T, agent *caller, name string) string {
	t.Helper()
	var steps ipa.CleanSteps
	agent.succeed(t, "clean.get_clean_steps", object{"node": node(), "ports": []any{}}, &steps)
	if list := steps.CleanSteps[name]; len(list) != 1 || list[0].Step != name+"_blink" {
		t.Fatalf("steps %+v", steps.CleanSteps)
	}
	var done struct {
		Result string `json:"clean_result"`
	}
	agent.succeed(t, "clean.execute_clean_step", object{"node": node(), "ports": []any{}, "step": step(name+"_blink", nil)}, &done)
	return done.Result
}

// TestFetchedPlugin: a plugin that the conductor offers is fetched, its step is
// listed and runs; the next life of the agent uses what is there, but not what
// was changed.
func TestFetchedPlugin(t *testing.T) {
	t.Parallel()
	h, _ := machine(t)
	o, r := newOffering(t), newRamdisk(t)
	o.offer("acme", "1.2.0", plain(t, r.key, "acme", "1.2.0"), func(p *ipa.PluginOffer) { p.Vendor = "qEmU" })
	state := t.TempDir()
	p := r.boot(t, h, o, state)
	agent := callerOf(t, o.beat(t))
	if diff := cmp.Diff(map[string]string{"acme": "1.2.0"}, o.report(t).Loaded); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if got := blink(t, agent, "acme"); got != "blinked of 1.2.0" {
		t.Errorf("the step says %q", got)
	}
	var document ipa.AgentPlugins
	if status := agent.do(t, "GET", "/ferric/v1/plugins?agent_token="+agentToken, nil, &document); status != 200 {
		t.Errorf("status %d", status)
	}
	id, err := plugin.KeyID(r.key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if got := document.Offered; len(got) != 1 || got[0].State != ipa.PluginLoaded || got[0].Key != id || got[0].Fetched == 0 || document.Managers["acme"] != "1.2.0" {
		t.Errorf("document %+v", document)
	}
	if status := agent.do(t, "GET", "/ferric/v1/plugins", nil, &object{}); status != http.StatusUnauthorized {
		t.Errorf("without the token: %d", status)
	}
	executable := filepath.Join(r.fetched, "acme-1.2.0/run")
	for path, want := range map[string]fs.FileMode{executable: 0o755, filepath.Join(r.fetched, "acme-1.2.0/lib/words.txt"): 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if log := p.log.String(); strings.Contains(log, agentToken) || !strings.Contains(log, "plugin loaded") {
		t.Errorf("log:\n%s", log)
	}
	p.stop(t)
	o.forgetBeats()

	p = r.boot(t, h, o, state)
	agent = callerOf(t, o.beat(t))
	if got := blink(t, agent, "acme"); got != "blinked of 1.2.0" || len(o.asked()) != 1 {
		t.Errorf("after a restart the step says %q, the bundle was asked for %v", got, o.asked())
	}
	o.report(t)
	p.stop(t)
	o.forgetBeats()

	if err := os.WriteFile(executable, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.boot(t, h, o, state)
	agent = callerOf(t, o.beat(t))
	if got := blink(t, agent, "acme"); got != "blinked of 1.2.0" || len(o.asked()) != 2 {
		t.Errorf("after it was changed the step says %q, the bundle was asked for %v", got, o.asked())
	}
}

// TestOffers: what is wrong with an offer costs only that one, and is reported
// with its reason; the others are loaded.
func TestOffers(t *testing.T) {
	t.Parallel()
	h, _ := machine(t)
	write(t, filepath.Join(h.Proc, "meminfo"), "MemTotal: 65536 kB\nMemAvailable: 8192 kB\n")
	o, r := newOffering(t), newRamdisk(t)
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, r.minimums, `{"rolledback":"2.0.0"}`)
	for name, version := range map[string]string{"replaced": "0.9", "present": "3.0.0", "same": "1.0.0"} {
		write(t, filepath.Join(r.droppedIn, name, "words"), "")
		if err := os.WriteFile(filepath.Join(r.droppedIn, name, name), []byte(acme(name, version, 3)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	refused, loaded, notHere := map[string]string{}, map[string]string{}, map[string]string{}
	good := func(name string, change ...func(*ipa.PluginOffer)) {
		o.offer(name, "1.0.0", plain(t, r.key, name, "1.0.0"), change...)
		loaded[name] = "1.0.0"
	}
	bad := func(name, reason string, bundle []byte, change ...func(*ipa.PluginOffer)) {
		o.offer(name, "1.0.0", bundle, change...)
		refused[name] = reason
	}
	// through changes how a bundle is served.
	through := func(name string, serve func(w http.ResponseWriter, r *http.Request, whole http.HandlerFunc)) {
		whole := o.bundles[name]
		o.bundles[name] = func(w http.ResponseWriter, r *http.Request) { serve(w, r, whole) }
	}
	good("first")
	good("replaced")
	good("absolute", func(p *ipa.PluginOffer) { p.URL = o.server.URL + p.URL })

	// Broken connections, with ranges and without.
	noise := make([]byte, 300<<10)
	rand.Read(noise)
	large := func(name string) {
		o.offer(name, "1.0.0", bundle(t, r.key, plugin.Manifest{Name: name, Version: "1.0.0"}, acme(name, "1.0.0", 3), noise))
		loaded[name] = "1.0.0"
	}
	var ranges []string
	large("resumed")
	through("resumed", func(w http.ResponseWriter, r *http.Request, whole http.HandlerFunc) {
		ranges = append(ranges, r.Header.Get("Range"))
		whole(&cutting{ResponseWriter: w, left: 100 << 10}, r)
	})
	large("norange")
	tries := 0
	through("norange", func(w http.ResponseWriter, r *http.Request, whole http.HandlerFunc) {
		r.Header.Del("Range")
		if tries++; tries < 3 {
			whole(&cutting{ResponseWriter: w, left: 150 << 10}, r)
			return
		}
		whole(w, r)
	})
	good("overloaded")
	busy := 0
	through("overloaded", func(w http.ResponseWriter, r *http.Request, whole http.HandlerFunc) {
		if busy++; busy < 3 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		whole(w, r)
	})
	// Another server is not shown the token.
	elsewhere := make(chan string, 10)
	content := plain(t, r.key, "foreign", "1.0.0")
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere <- r.Header.Get(ipa.HeaderAgentToken) + r.URL.RawQuery
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer foreign.Close()
	o.offer("foreign", "1.0.0", content, func(p *ipa.PluginOffer) { p.URL = foreign.URL + "/bundle" })
	loaded["foreign"] = "1.0.0"

	bad("stranger", "signed with a key that is not trusted", plain(t, stranger, "stranger", "1.0.0"))
	forged := plain(t, r.key, "forged", "1.0.0")
	bad("forged", "wrong signature", bytes.Replace(forged, []byte(`"executable": "run"`), []byte(`"executable": "ruN"`), 1))
	bad("changed", `wrong digest: that of "lib/words.txt"`, bytes.Replace(plain(t, r.key, "changed", "1.0.0"), []byte("blinked\x00"), []byte("blanked\x00"), 1))
	bad("digest", "was offered", plain(t, r.key, "digest", "1.0.0"), func(p *ipa.PluginOffer) { p.SHA256 = strings.Repeat("0", 64) })
	bad("longer", "bytes, but 3000 were promised", plain(t, r.key, "longer", "1.0.0"), func(p *ipa.PluginOffer) { p.Size = 3000 })
	bad("trailing", "surplus content: behind the end", append(plain(t, r.key, "trailing", "1.0.0"), 0))
	bad("other", "the bundle holds another, not", plain(t, r.key, "another", "1.0.0"))
	bad("older", "too old: the bundle holds older 0.9.0, but 1.0.0 was offered", plain(t, r.key, "older", "0.9.0"))
	bad("rolledback", "too old: this ramdisk takes rolledback from 2.0.0 on", plain(t, r.key, "rolledback", "1.0.0"))
	bad("future", "made for a newer SDK", bundle(t, r.key, plugin.Manifest{Name: "future", Version: "1.0.0", SDK: "9.0"}, acme("future", "1.0.0", 3)))
	bad("present", "the ramdisk has it in version 3.0.0, which is not older", plain(t, r.key, "present", "1.0.0"))
	bad("same", "the ramdisk has it in version 1.0.0, which is not older", plain(t, r.key, "same", "1.0.0"))
	bad("generic_hardware_manager", "the ramdisk has it built in", plain(t, r.key, "generic_hardware_manager", "1.0.0"))
	bad("huge", "of the 8 MiB of memory that are available it may take 2", plain(t, r.key, "huge", "1.0.0"), func(p *ipa.PluginOffer) { p.Size = 3 << 20 })
	bad("gigantic", "at most", plain(t, r.key, "gigantic", "1.0.0"), func(p *ipa.PluginOffer) { p.Size = 1 << 40 })
	bad("negative", "at most", plain(t, r.key, "negative", "1.0.0"), func(p *ipa.PluginOffer) { p.Size = -1 })
	bad("file", "neither a URL nor a path", plain(t, r.key, "file", "1.0.0"), func(p *ipa.PluginOffer) { p.URL = "file:///etc/passwd" })
	bad("redirected", "302", plain(t, r.key, "redirected", "1.0.0"))
	through("redirected", func(w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		http.Redirect(w, r, foreign.URL, http.StatusFound)
	})
	bad("gone", "404", nil, func(p *ipa.PluginOffer) { p.Size = 5000 })
	delete(o.bundles, "gone")
	bad("mute", "it said: no controller", bundle(t, r.key, plugin.Manifest{Name: "mute", Version: "1.0.0"}, "#!/bin/sh\necho no controller >&2\nexit 7\n"))
	bad("alias", "alias 1.0.0", bundle(t, r.key, plugin.Manifest{Name: "alias", Version: "1.0.0"}, acme("generic_hardware_manager", "99.0.0", 9)))
	bad("sulky", "sulky", bundle(t, r.key, plugin.Manifest{Name: "sulky", Version: "1.0.0"}, strings.Replace(acme("sulky", "1.0.0", 3), `{"result":3}`, `{"error":{"type":"X","message":"no bus"}}`, 1)))
	o.offers = append(o.offers, ipa.PluginOffer{Name: "../../etc", Version: "1.0.0", URL: "/x", Size: 1})
	refused[`"../../etc"`] = "bad name"

	o.offer("unfit", "1.0.0", bundle(t, r.key, plugin.Manifest{Name: "unfit", Version: "1.0.0"}, acme("unfit", "1.0.0", 0)))
	notHere["unfit"] = "does not support this machine"
	o.offer("vendor", "1.0.0", plain(t, r.key, "vendor", "1.0.0"), func(p *ipa.PluginOffer) { p.Vendor = "Dell" })
	notHere["vendor"] = `for machines of "Dell", this one is of "QEMU"`
	if len(o.offers) > 32 {
		t.Fatalf("%d offers; more than an agent looks at", len(o.offers))
	}

	p := r.boot(t, h, o, t.TempDir())
	agent := callerOf(t, o.beat(t))
	report := o.report(t)
	if diff := cmp.Diff(loaded, report.Loaded); diff != "" {
		t.Errorf("loaded (-want +got):\n%s", diff)
	}
	compareReasons(t, "refused", refused, report.Refused)
	compareReasons(t, "not here", notHere, report.NotHere)
	if got := <-elsewhere; got != "" {
		t.Errorf("another server was shown %q", got)
	}
	if diff := cmp.Diff([]string{"", "bytes=102400-", "bytes=204800-"}, ranges[:min(3, len(ranges))]); diff != "" {
		t.Errorf("ranges (-want +got):\n%s", diff)
	}
	for _, name := range []string{"vendor", "huge", "gigantic", "present", "same", "generic_hardware_manager"} {
		if slices.Contains(o.asked(), name) {
			t.Errorf("%s was fetched for nothing", name)
		}
	}
	var left []string
	entries, err := os.ReadDir(r.fetched)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, strings.TrimSuffix(e.Name(), "-1.0.0"))
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(loaded)), left); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	// The newer one is asked, not that of the ramdisk; the built-in one is.
	if got := blink(t, agent, "replaced"); got != "blinked of 1.0.0" {
		t.Errorf("the replaced plugin says %q", got)
	}
	var document ipa.AgentPlugins
	agent.do(t, "GET", "/ferric/v1/plugins?agent_token="+agentToken, nil, &document)
	if document.Managers["present"] != "3.0.0" || document.Managers["generic_hardware_manager"] == "99.0.0" || len(document.Offered) != len(o.offers) {
		t.Errorf("document %+v", document)
	}
	if log := p.log.String(); !strings.Contains(log, `plugin=stranger`) || !strings.Contains(log, "plugin refused") || strings.Contains(log, agentToken) {
		t.Errorf("log:\n%s", log)
	}
}

// cutting breaks a connection off after some bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	c.ResponseWriter.Write(p[:c.left])
	http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

func compareReasons(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for name, reason := range want {
		if !strings.Contains(got[name], reason) {
			t.Errorf("%s: %s: %q; want it with %q", what, name, got[name], reason)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%s: %v; want %v", what, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// TestRequiredOffer: without a plugin that is required, by the operator or by
// its verified manifest, steps are not listed, with the reason.
func TestRequiredOffer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		operator, manifest bool
		script             string
		reason             string
	}{
		"by the operator": {operator: true, reason: "not trusted"},
		"by the manifest": {manifest: true, script: "#!/bin/sh\necho no license >&2\nexit 1\n", reason: "no license"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := machine(t)
			o, r := newOffering(t), newRamdisk(t)
			key := r.key
			if test.operator {
				_, key, _ = ed25519.GenerateKey(nil)
			}
			o.offer("acme", "1.0.0", bundle(t, key, plugin.Manifest{Name: "acme", Version: "1.0.0", Required: test.manifest}, test.script),
				func(p *ipa.PluginOffer) { p.Required = test.operator })
			r.boot(t, h, o, t.TempDir())
			agent := callerOf(t, o.beat(t))
			result := agent.run(t, "clean.get_clean_steps", object{"node": node(), "ports": []any{}})
			if result.Status != ipa.StatusFailed || !strings.Contains(result.Error.Error(), "acme") || !strings.Contains(result.Error.Error(), test.reason) {
				t.Errorf("%s %v; want a failure with %q", result.Status, result.Error, test.reason)
			}
		})
	}
}

// TestNoTrust: a ramdisk without a key fetches nothing, and says why; one with
// keys asks a conductor that offers nothing for nothing.
func TestNoTrust(t *testing.T) {
	t.Parallel()
	t.Run("no key", func(t *testing.T) {
		t.Parallel()
		h, _ := machine(t)
		o, r := newOffering(t), newRamdisk(t)
		o.offer("acme", "1.0.0", plain(t, r.key, "acme", "1.0.0"))
		r.boot(t, h, o, t.TempDir(), "--plugin-keys", t.TempDir())
		agent := callerOf(t, o.beat(t))
		compareReasons(t, "refused", map[string]string{"acme": "this ramdisk trusts none"}, o.report(t).Refused)
		if len(o.asked()) > 0 {
			t.Error("the bundle was fetched")
		}
		agent.succeed(t, "clean.get_clean_steps", object{"node": node(), "ports": []any{}}, nil)
	})
	t.Run("minimums that cannot be read", func(t *testing.T) {
		t.Parallel()
		h, _ := machine(t)
		o, r := newOffering(t), newRamdisk(t)
		write(t, r.minimums, "{")
		o.offer("acme", "1.0.0", plain(t, r.key, "acme", "1.0.0"))
		r.boot(t, h, o, t.TempDir())
		o.beat(t)
		compareReasons(t, "refused", map[string]string{"acme": "minimum versions"}, o.report(t).Refused)
	})
	t.Run("foreign conductor", func(t *testing.T) {
		t.Parallel()
		h, _ := machine(t)
		o, r := newOffering(t), newRamdisk(t)
		r.boot(t, h, o, t.TempDir())
		o.beat(t)
		o.with(func() {
			if len(o.strange) > 0 || len(o.asked()) > 0 || len(o.reports) > 0 {
				t.Errorf("asked for %v, %v", o.strange, o.asked())
			}
		})
		if _, err := os.Stat(r.fetched); err == nil {
			t.Error("there is a directory for plugins")
		}
	})
}

// TestFetchTime measures what a plugin of 5 MiB adds to the start of the agent.
func TestFetchTime(t *testing.T) {
	h, _ := machine(t)
	o, r := newOffering(t), newRamdisk(t)
	content := make([]byte, 5<<20)
	rand.Read(content)
	o.offer("acme", "1.0.0", bundle(t, r.key, plugin.Manifest{Name: "acme", Version: "1.0.0"}, acme("acme", "1.0.0", 3), content))
	r.boot(t, h, o, t.TempDir())
	agent := callerOf(t, o.beat(t))
	o.report(t)
	var document ipa.AgentPlugins
	agent.do(t, "GET", "/ferric/v1/plugins?agent_token="+agentToken, nil, &document)
	const most = 2.0
	if len(document.Offered) != 1 || document.Offered[0].State != ipa.PluginLoaded || document.Offered[0].Seconds > most {
		t.Fatalf("%+v; want it loaded within %v s", document.Offered, most)
	}
	t.Logf("%d bytes in %.0f ms", document.Offered[0].Fetched, document.Offered[0].Seconds*1000)
}
