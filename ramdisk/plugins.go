package ramdisk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ferric/api/plugin"
)

// Where the agent looks for what concerns plugins.
const (
	pluginDir      = "usr/lib/ferric/plugins"
	pluginKeyDir   = "etc/ferric/plugin-keys"
	pluginMinimums = "etc/ferric/plugin-minimums.json"
)

// Plugin is an executable hardware manager in the ramdisk.
type Plugin struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // of one with a plugin.json
	Files   []Part `json:"files"`
}

// plugins adds the executable hardware managers, the keys that those fetched at run time
// have to be signed with, and the oldest versions of them that are accepted.
func (b *builder) plugins() error {
	for _, source := range b.options.Plugins {
		if err := b.plugin(source); err != nil {
			return fmt.Errorf("plugin %s: %w", source, err)
		}
	}
	for _, source := range b.options.PluginKeys {
		if err := b.pluginKey(source); err != nil {
			return fmt.Errorf("key of plugins %s: %w", source, err)
		}
	}
	if len(b.options.PluginMinimums) == 0 {
		return nil
	}
	for name, version := range b.options.PluginMinimums {
		if !plugin.ValidName(name) || !plugin.ValidVersion(version) {
			return fmt.Errorf("oldest version of a plugin: %q = %q is not a name and a semantic version", name, version)
		}
	}
	text, err := json.Marshal(b.options.PluginMinimums)
	if err != nil {
		return fmt.Errorf("oldest versions of plugins: %w", err)
	}
	return b.archive.file(pluginMinimums, 0o644, text)
}

// plugin adds an executable, or a directory with a plugin.json.
func (b *builder) plugin(source string) error {
	source, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	added := Plugin{Name: strings.TrimSuffix(filepath.Base(source), filepath.Ext(source))}
	program := source
	if info.IsDir() {
		m, err := plugin.ReadManifest(source)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("a plugin's directory needs a %s: %w", plugin.ManifestFile, err)
		}
		if err != nil {
			return err
		}
		added.Name, added.Version = m.Name, m.Version
		program = filepath.Join(source, filepath.FromSlash(m.Executable))
	}
	if !plugin.ValidName(added.Name) {
		return fmt.Errorf("%q is no name for a plugin: letters, digits, - and _ make one", added.Name)
	}
	dir := path.Join(pluginDir, added.Name)
	if len(b.archive.parts(dir+"/")) > 0 {
		return fmt.Errorf("%s %w", added.Name, errTwice)
	}
	if err := executable(program); err != nil {
		return err
	}
	target := dir
	if !info.IsDir() {
		target = path.Join(dir, added.Name)
	}
	if err := b.archive.hostFile(source, target); err != nil {
		return err
	}
	added.Files = b.archive.parts(dir + "/")
	b.manifest.Plugins = append(b.manifest.Plugins, added)
	return b.interpreter(program, source)
}

func executable(program string) error {
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("%s is not an executable file: chmod +x makes it one", program)
	}
	return nil
}

// interpreter adds what the first line of a script names, "#!/usr/bin/env python3" or
// "#!/bin/sh", unless it is in the ramdisk. Modules of the language are for the operator to
// add. A program that is no script is given its shared libraries, but those of its own
// directory, which come with it.
func (b *builder) interpreter(program, own string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	line, _, err := bufio.NewReaderSize(f, 256).ReadLine()
	script, isScript := strings.CutPrefix(string(line), "#!")
	if err != nil || !isScript {
		return b.libraries(program, own)
	}
	words := strings.Fields(script)
	if len(words) == 0 {
		return errors.New(`its first line is "#!" without a program`)
	}
	wanted := words[:1]
	if path.Base(words[0]) == "env" {
		i := slices.IndexFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") })
		if i < 0 {
			return fmt.Errorf("its first line is %q without a program", line)
		}
		wanted = append(wanted, words[i+1])
	}
	for _, name := range wanted {
		if err := b.program(name); err != nil {
			return fmt.Errorf("its first line is %q: %w", line, err)
		}
	}
	return nil
}

// program adds a program of this machine, by its path or its name, unless the ramdisk has it.
func (b *builder) program(name string) error {
	found := name
	if !strings.Contains(name, "/") {
		for _, dir := range searchPath {
			if b.archive.has(path.Join(dir, name)) {
				return nil
			}
		}
		if found = findProgram(name); found == "" {
			return fmt.Errorf("%s is neither in the ramdisk nor on this machine", name)
		}
	}
	if b.archive.has(found) {
		return nil
	}
	if err := executable(found); err != nil {
		return fmt.Errorf("%s is not in the ramdisk, and cannot be added: %w", name, err)
	}
	return b.tool(Tool{Source: found, Target: found})
}

// pluginKey adds the keys of a file, and nothing else that is in it.
func (b *builder) pluginKey(source string) error {
	keys, err := plugin.LoadPublicKeys(source)
	if err != nil {
		return err
	}
	var text []byte
	for _, id := range keys.IDs() {
		key, err := plugin.PublicPEM(keys[id])
		if err != nil {
			return err
		}
		text = append(text, key...)
	}
	base := strings.TrimSuffix(filepath.Base(source), filepath.Ext(source))
	return b.archive.file(path.Join(pluginKeyDir, base+".pub"), 0o644, text)
}
