package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"ferric/api/plugin"
	"ferric/hwmanager"
	"ferric/hwmanager/execplugin"
)

// loadManagers loads the managers that the agent was built with, and then the
// executables that lie in the ramdisk. What is wrong with one of these costs
// only that one, unless it is required: then there are no steps without it.
func (a *Agent) loadManagers(ctx context.Context) error {
	if err := execplugin.Sweep(execplugin.Options{}); err != nil {
		a.log.WithError(err).Warn("something of a former agent's plugins is left")
	}
	var err error
	if a.set, err = hwmanager.Load(ctx, a.host, a.managers); err != nil {
		return err
	}
	for _, found := range a.openPlugins(ctx) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log := a.log.WithField("plugin", found.name)
		if found.err != nil {
			a.set.Miss(found.name, found.err, found.required)
			continue
		}
		if err := a.set.Add(ctx, a.host, found.plugin); err != nil {
			log.WithError(err).Error("plugin is set aside")
			continue
		}
		a.managers = append(a.managers, found.plugin)
		log.WithField("version", found.plugin.Version()).Info("plugin opened")
	}
	return nil
}

// droppedIn is an executable plugin of the ramdisk.
type droppedIn struct {
	name     string
	plugin   *execplugin.Plugin
	err      error // why there is none
	required bool
}

// openPlugins opens what lies in the directory of plugins, all at once, in the
// order of their names.
func (a *Agent) openPlugins(ctx context.Context) []droppedIn {
	if a.cfg.PluginDir == "" {
		return nil
	}
	entries, err := os.ReadDir(a.cfg.PluginDir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.log.WithError(err).Error("plugins cannot be listed")
		}
		return nil
	}
	var found []droppedIn
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			found = append(found, droppedIn{name: entry.Name()})
		}
	}
	var opening sync.WaitGroup
	for i := range found {
		opening.Go(func() { a.openPlugin(ctx, &found[i]) })
	}
	opening.Wait()
	return found
}

func (a *Agent) openPlugin(ctx context.Context, d *droppedIn) {
	path := filepath.Join(a.cfg.PluginDir, d.name)
	if d.plugin, d.err = execplugin.Open(ctx, path, execplugin.Options{Log: a.log}); d.err == nil {
		d.name = d.plugin.Name()
		return
	}
	// A manifest that cannot be read says nothing of what is required.
	if m, err := plugin.ReadManifest(path); err == nil {
		d.name, d.required = m.Name, m.Required
	}
}
