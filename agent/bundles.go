package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/agent/ironic"
	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/hwmanager"
	"ferric/hwmanager/burnin"
	"ferric/hwmanager/execplugin"
)

// Limits of the plugins that a conductor may offer.
const (
	maxOffers      = 32
	bundlePatience = time.Minute     // for one: fetched, opened and initialised
	offersPatience = 5 * time.Minute // for all
	maxBundle      = plugin.DefaultMaxSize
	memoryShare    = 4 // a bundle may take one part in four of the memory that is available
	maxReason      = 1000
)

// errPresent: the ramdisk has the plugin, and keeps it.
var errPresent = errors.New("the ramdisk has it")

// trust is what this ramdisk takes.
type trust struct {
	keys     plugin.Keys
	minimums plugin.Minimums
	fault    error // why nothing can be taken
}

// loadTrust reads the keys and the minimum versions of this ramdisk. A file
// that holds no key is a warning, minimums that cannot be read refuse all.
func (a *Agent) loadTrust() trust {
	keys, err := plugin.LoadKeys(a.cfg.PluginKeys)
	if err != nil {
		a.log.WithError(err).Warn("a key for plugins is not trusted")
	}
	minimums, err := plugin.LoadMinimums(a.cfg.PluginMinimums)
	return trust{keys: keys, minimums: minimums, fault: err}
}

// takeOffers fetches, verifies and takes in the plugins that the conductor
// offers for the node, and reports what became of them. Without offers, as of
// a foreign conductor, it does nothing. What fails costs only that plugin.
func (a *Agent) takeOffers(ctx context.Context, node, token string, offers []ipa.PluginOffer) {
	if len(offers) == 0 {
		return
	}
	if len(offers) > maxOffers {
		a.log.Errorf("%d plugins are offered: only the first %d are looked at", len(offers), maxOffers)
		offers = offers[:maxOffers]
	}
	trust := a.loadTrust()
	limited, cancel := context.WithTimeout(ctx, offersPatience)
	defer cancel()
	var results []ipa.OfferedPlugin
	for _, offer := range offers {
		if slices.ContainsFunc(results, func(r ipa.OfferedPlugin) bool { return r.Name == label(offer.Name) }) {
			a.log.WithField("plugin", label(offer.Name)).Warn("a plugin is offered twice: the first counts")
			continue
		}
		results = append(results, a.takeOffer(limited, node, token, offer, trust))
		if ctx.Err() != nil {
			return
		}
	}
	a.setOffered(results)
	a.reportPlugins(ctx, node, token, results)
}

// takeOffer is takeOffers for one; it logs what it returns.
func (a *Agent) takeOffer(ctx context.Context, node, token string, offer ipa.PluginOffer, trust trust) ipa.OfferedPlugin {
	ctx, cancel := context.WithTimeoutCause(ctx, bundlePatience, fmt.Errorf("it took longer than %s", bundlePatience))
	defer cancel()
	began := time.Now()
	t := &taking{agent: a, node: node, token: token, offer: offer, trust: trust, required: offer.Required}
	result := ipa.OfferedPlugin{Name: label(offer.Name), Version: shorten(offer.Version), State: ipa.PluginLoaded}
	err := t.take(ctx)
	result.Key, result.Fetched, result.Seconds = t.key, t.fetched, time.Since(began).Seconds()
	log := a.log.WithFields(logrus.Fields{
		"plugin": result.Name, "version": result.Version, "key": t.key, "bytes": t.fetched, "seconds": result.Seconds,
	})
	var not notHere
	switch {
	case err == nil:
		log.Info("plugin loaded")
		return result
	case errors.As(err, &not):
		result.State, result.Reason = ipa.PluginNotHere, not.Error()
		log.WithField("reason", result.Reason).Info("plugin is not for this machine")
		return result
	}
	result.State, result.Reason = ipa.PluginRefused, reasonOf(err)
	log.WithField("reason", result.Reason).Error("plugin refused")
	// The ramdisk's own, if there is one, goes on, unless the other is needed.
	if _, there := a.set.Versions()[result.Name]; !errors.Is(err, errPresent) && (!there || t.required) {
		a.set.Miss(result.Name, errors.New(result.Reason), t.required)
	}
	return result
}

// notHere says why a plugin is not for this machine.
type notHere string

func (n notHere) Error() string { return string(n) }

// taking is one offer on its way.
type taking struct {
	agent       *Agent
	node, token string
	offer       ipa.PluginOffer
	trust       trust
	required    bool // by the offer, or by the manifest once it is verified

	key     string
	fetched int64
}

// take takes the plugin in, or says why not.
func (t *taking) take(ctx context.Context) error {
	if err := t.check(); err != nil {
		return err
	}
	if err := t.agent.comparePresent(t.offer.Name, t.offer.Version); err != nil {
		return err
	}
	dir := filepath.Join(t.agent.cfg.FetchedPluginDir, t.offer.Name+"-"+t.offer.Version)
	if err := t.provide(ctx, dir); err != nil {
		return err
	}
	err := t.load(ctx, dir)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// check looks at the offer itself. Nothing is fetched for one that is bad or
// for another machine.
func (t *taking) check() error {
	o := t.offer
	switch {
	case !plugin.ValidName(o.Name):
		return errors.New("the offer has a bad name")
	case !plugin.ValidVersion(o.Version):
		return errors.New("the version that is offered is not a semantic version")
	case o.Size <= 0 || o.Size > maxBundle:
		return fmt.Errorf("a bundle of %d bytes is offered; at most %d are taken", o.Size, int64(maxBundle))
	}
	if o.Vendor != "" {
		id, err := t.agent.host.DMI()
		if err != nil {
			return err
		}
		if !strings.Contains(strings.ToLower(id.Vendor), strings.ToLower(o.Vendor)) {
			return notHere(fmt.Sprintf("it is for machines of %.80q, this one is of %.80q", o.Vendor, id.Vendor))
		}
	}
	if t.trust.fault != nil {
		return t.trust.fault
	}
	if len(t.trust.keys) == 0 {
		return fmt.Errorf("%w: this ramdisk trusts none (%s)", plugin.ErrUnknownKey, t.agent.cfg.PluginKeys)
	}
	return nil
}

// comparePresent refuses a plugin that the ramdisk has built in, or in a
// version that is not older.
func (a *Agent) comparePresent(name, version string) error {
	for _, m := range a.managers {
		if m.Name() != name {
			continue
		}
		if _, executable := m.(*execplugin.Plugin); !executable {
			return fmt.Errorf("%w built in, in version %s, which is not replaced", errPresent, m.Version())
		}
		if !plugin.ComparableVersion(m.Version()) {
			return fmt.Errorf("%w in version %s, which cannot be compared", errPresent, m.Version())
		}
		if plugin.CompareVersions(m.Version(), version) >= 0 {
			return fmt.Errorf("%w in version %s, which is not older", errPresent, m.Version())
		}
	}
	return nil
}

// options are what a bundle of the offer has to be.
func (t *taking) options() plugin.Options {
	wanted := plugin.Wanted{
		Name: t.offer.Name, Version: t.offer.Version, Minimum: t.trust.minimums[t.offer.Name], SDK: hwmanager.SDKVersion,
	}
	return plugin.Options{MaxSize: t.offer.Size, Accept: func(m *plugin.Manifest) error {
		if m.Name == t.offer.Name {
			t.required = t.required || m.Required
		}
		return wanted.Check(m)
	}}
}

// provide makes dir hold the verified files: those that a former life of the
// agent has fetched, or the bundle of the conductor.
func (t *taking) provide(ctx context.Context, dir string) error {
	there, err := plugin.VerifyDir(dir, t.trust.keys, t.options())
	if err == nil {
		t.key = there.Key
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.agent.log.WithError(err).WithField("directory", dir).Warn("a plugin that was fetched before is fetched again")
	}
	fresh := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".new")
	for _, old := range []string{dir, fresh} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := t.checkMemory(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := t.fetch(ctx, fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	return nil
}

// checkMemory: the files of a ramdisk are in memory. A kernel that does not
// tell how much of it there is leaves the general bound.
func (t *taking) checkMemory() error {
	free, err := burnin.MemAvailable(t.agent.host.Proc)
	if err != nil {
		t.agent.log.WithError(err).Warn("the size of a plugin is not compared with the memory")
		return nil
	}
	if most := free / memoryShare; t.offer.Size > most {
		return fmt.Errorf("%w: the bundle has %d MiB, but of the %d MiB of memory that are available it may take %d",
			plugin.ErrTooLarge, t.offer.Size>>20, free>>20, most>>20)
	}
	return nil
}

// fetch unpacks the bundle of the conductor into dir.
func (t *taking) fetch(ctx context.Context, dir string) error {
	stream, err := t.agent.api.Stream(ctx, ironic.Download{
		URL: t.offer.URL, Size: t.offer.Size, Node: t.node, Token: t.token, Log: t.agent.log.WithField("plugin", t.offer.Name),
	})
	if err != nil {
		return err
	}
	defer stream.Close()
	bundle, err := plugin.Unpack(stream, dir, t.trust.keys, t.options())
	if err != nil {
		return err
	}
	t.key, t.fetched = bundle.Key, bundle.Size
	if !strings.EqualFold(bundle.SHA256, t.offer.SHA256) {
		err := fmt.Errorf("%w: that of the bundle is %s, %.80q was offered", plugin.ErrDigest, bundle.SHA256, t.offer.SHA256)
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// load opens the plugin in dir and puts it into the set.
func (t *taking) load(ctx context.Context, dir string) error {
	p, err := execplugin.Open(ctx, dir, execplugin.Options{Log: t.agent.log})
	if err != nil {
		return err
	}
	t.required = t.required || p.Required()
	if err := t.agent.set.Replace(ctx, t.agent.host, p); err != nil {
		return err
	}
	if t.agent.set.Versions()[p.Name()] != p.Version() {
		return notHere("it says that it does not support this machine")
	}
	return nil
}

// reasonOf is err in one line of bounded length.
func reasonOf(err error) string { return shorten(strings.Join(strings.Fields(err.Error()), " ")) }

// label is a plugin's name for people, and a key in documents: one that is no
// name stands in quotes.
func label(name string) string {
	if plugin.ValidName(name) {
		return name
	}
	return fmt.Sprintf("%.60q", name)
}

// shorten bounds a text that came over the network.
func shorten(s string) string {
	if len(s) > maxReason {
		s = s[:maxReason] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
