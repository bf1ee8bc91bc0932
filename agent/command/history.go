package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferric/api/ipa"
)

// Bounds of what is kept of commands. The newest command is always kept whole:
// it is the one that a conductor looks at. Of the others the oldest give way:
// large results are reduced to the step that they echo until all results
// together fit, and of more commands than these the oldest are forgotten.
const (
	maxRecords = 500      // commands
	maxResults = 16 << 20 // bytes of all results
	maxSmall   = 4 << 10  // bytes of a result that is never reduced
)

// maxKept is the size in bytes up to which a result is kept whole for a next
// life: too little for an archive of logs.
const maxKept = 16 << 10

// bounded makes room for one more record.
func bounded(records []*record) []*record {
	if extra := len(records) + 1 - maxRecords; extra > 0 {
		records = slices.Delete(records, 0, extra)
	}
	total := 0
	for _, r := range records {
		total += len(r.result.Result)
	}
	for _, r := range records {
		if total <= maxResults {
			break
		}
		if size := len(r.result.Result); size > maxSmall {
			r.result.Result = reduced(r.result.Result)
			total += len(r.result.Result) - size
		}
	}
	return records
}

// reduced is what has to stay of a result that is too large to keep: the
// echoed step without its arguments, by which a conductor knows what has run,
// and what a step leaves that asks for a reboot: without it the step would look
// as if it were over. Of any other result nothing stays.
func reduced(result json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(result, &members) != nil {
		return nil
	}
	small := map[string]any{}
	for name, value := range members {
		if phase, isStep := strings.CutSuffix(name, "_step"); isStep {
			small[name] = echoOf(value)
			small[phase+"_result"] = nil
		}
	}
	if len(small) == 0 {
		return nil
	}
	if state, ok := members[ipa.ResumeKey]; ok && len(state) <= ipa.MaxResumeState {
		small[ipa.ResumeKey] = state
	}
	encoded, err := json.Marshal(small)
	if err != nil {
		return nil
	}
	return encoded
}

// echoOf are the members of a step that tell which one it is.
func echoOf(step json.RawMessage) map[string]any {
	var members map[string]any
	echo := map[string]any{}
	if json.Unmarshal(step, &members) != nil {
		return echo
	}
	for _, name := range []string{"step", "interface", "priority", "abortable", "reboot_requested", "requires_ramdisk"} {
		value, given := members[name]
		if text, isText := value.(string); given && (!isText || len(text) <= maxSmall/4) {
			echo[name] = value
		}
	}
	return echo
}

// WithoutArgs is r with a step that is echoed without its arguments, which may
// hold secrets: for a conductor that does not prove who it is. None looks at
// them there.
func WithoutArgs(r ipa.Result) ipa.Result {
	var members map[string]json.RawMessage
	if json.Unmarshal(r.Result, &members) != nil {
		return r
	}
	changed := false
	for name, value := range members {
		var step map[string]json.RawMessage
		if !strings.HasSuffix(name, "_step") || json.Unmarshal(value, &step) != nil || step["args"] == nil {
			continue
		}
		delete(step, "args")
		encoded, err := json.Marshal(step)
		if err != nil {
			encoded = nil
		}
		members[name], changed = encoded, true
	}
	if !changed {
		return r
	}
	encoded, err := json.Marshal(members)
	if err != nil {
		encoded = nil
	}
	r.Result = encoded
	return r
}

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
	f, err := os.Open(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read earlier commands: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 2*maxRecords*maxKept))
	if err != nil {
		return nil, fmt.Errorf("read earlier commands: %w", err)
	}
	earlier, err := parseHistory(data)
	if err != nil {
		return nil, fmt.Errorf("read earlier commands in %s: %w", h.path, err)
	}
	return earlier, nil
}

func parseHistory(data []byte) ([]ipa.Result, error) {
	var earlier []ipa.Result
	if err := json.Unmarshal(data, &earlier); err != nil {
		return nil, err
	}
	for i, result := range earlier {
		switch result.Status {
		case ipa.StatusRunning:
			earlier[i].Status = ipa.StatusFailed
			earlier[i].Error = ipa.CommandExecution.New("the agent restarted while it ran")
			earlier[i].Result = nil
		case ipa.StatusSucceeded, ipa.StatusFailed, ipa.StatusVersionMismatch:
		default:
			return nil, fmt.Errorf("command %d has the status %q", i+1, result.Status)
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
			results[i].Result = reduced(results[i].Result)
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
