package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Directories with configuration below Config.Etc.
const (
	MainDir  = "ironic-python-agent"
	ExtraDir = "ironic-python-agent.d"
)

// applyFiles takes over the options of all configuration files in the order of
// their names.
func (c *Config) applyFiles() []error {
	var warnings []error
	files := c.ConfigFiles
	if len(files) == 0 {
		files = filesIn(filepath.Join(c.Etc, MainDir))
	}
	dir := c.ConfigDir
	if dir == "" {
		dir = filepath.Join(c.Etc, ExtraDir)
	}
	for _, path := range append(append([]string(nil), files...), filesIn(dir)...) {
		text, err := readBounded(path)
		if err != nil {
			warnings = append(warnings, fmt.Errorf("configuration file: %w", err))
			continue
		}
		for _, problem := range c.applyFile(text) {
			warnings = append(warnings, fmt.Errorf("%s: %w", path, problem))
		}
	}
	return warnings
}

// filesIn are the *.conf in dir; none if it cannot be read.
func filesIn(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil {
		return nil
	}
	return files
}

// maxFile bounds a configuration file in bytes.
const maxFile = 1 << 20

func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("longer than a configuration file may be")
	}
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(text), nil
}

func (c *Config) applyFile(text string) []error {
	var problems []error
	values, err := parseINI(text)
	if err != nil {
		problems = append(problems, err)
	}
	for _, v := range values {
		s, ok := find(v.section, v.option)
		if !ok {
			problems = append(problems, fmt.Errorf("line %d: there is no option %q in [%s]", v.line, v.option, v.section))
			continue
		}
		if err := s.set(c, v.value); err != nil {
			problems = append(problems, fmt.Errorf("line %d: %s: %w", v.line, v.option, err))
		}
	}
	return problems
}
