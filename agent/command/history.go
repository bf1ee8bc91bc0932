package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferric/api/ipa"
)

// maxKept is the size in bytes up to which a result is kept: enough for the
// step that a conductor wants echoed, too little for an archive of logs.
const maxKept = 16 << 10

// history keeps the commands in a file for the next life of the agent. To a
// conductor an empty list means a machine that has just booted, so that it
// takes the step which ran for done.
type history struct {
	path string // "" keeps nothing
}

func historyIn(dir string) history {
	if dir == "" {
		return history{}
	}
	return history{path: filepath.Join(dir, "agent.commands")}
}

// load is what former lives of the agent have run in this boot. Whatever ran
// when the last of them ended has failed.
func (h history) load() ([]ipa.Result, error) {
	if h.path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read earlier commands: %w", err)
	}
	var earlier []ipa.Result
	if err := json.Unmarshal(data, &earlier); err != nil {
		return nil, fmt.Errorf("read earlier commands in %s: %w", h.path, err)
	}
	for i := range earlier {
		if earlier[i].Status == ipa.StatusRunning {
			earlier[i].Status = ipa.StatusFailed
			earlier[i].Error = ipa.CommandExecution.New("the agent restarted while it ran")
		}
	}
	return earlier, nil
}

// store replaces what is kept, all of it or nothing.
func (h history) store(results []ipa.Result) error {
	if h.path == "" {
		return nil
	}
	for i := range results {
		if len(results[i].Result) > maxKept {
			results[i].Result = nil
		}
	}
	data, err := json.Marshal(results)
	if err != nil {
		return fmt.Errorf("encode commands: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return fmt.Errorf("keep commands: %w", err)
	}
	next := h.path + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("keep commands: %w", err)
	}
	if err := os.Rename(next, h.path); err != nil {
		return fmt.Errorf("keep commands: %w", err)
	}
	return nil
}
