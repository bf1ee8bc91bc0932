package flow

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/event"
	"ferric/conductor/steps"
	"ferric/conductor/task"
)

// LogsConfig says when the logs of agents are collected, and where they go; the
// names are Ironic's.
type LogsConfig struct {
	// Collect is when: "always", "on_failure" or "never".
	Collect string `ini:"agent.deploy_logs_collect"`
	// StorageBackend is where: "local" is a directory of this host, the only
	// place there is.
	StorageBackend string `ini:"agent.deploy_logs_storage_backend"`
	// LocalPath is that directory. It is made if it is missing.
	LocalPath string `ini:"agent.deploy_logs_local_path"`
}

// Values of deploy_logs_collect.
const (
	logsAlways    = "always"
	logsOnFailure = "on_failure"
	logsNever     = "never"
)

func defaultLogs() LogsConfig {
	return LogsConfig{Collect: logsOnFailure, StorageBackend: "local", LocalPath: "/var/log/ferric/deploy"}
}

func (c LogsConfig) validate() error {
	if !slices.Contains([]string{logsAlways, logsOnFailure, logsNever}, c.Collect) {
		return fmt.Errorf("[agent]deploy_logs_collect is %q, it must be %s, %s or %s", c.Collect, logsAlways, logsOnFailure, logsNever)
	}
	if c.Collect != logsNever && c.StorageBackend != "local" {
		return fmt.Errorf("[agent]deploy_logs_storage_backend is %q: only local is built in", c.StorageBackend)
	}
	return nil
}

// logsPatience bounds the wait for an agent's logs: it may have failed just
// because it hangs.
const logsPatience = 20 * time.Second

// collectLogs keeps the logs of the agent of an operation that failed, before
// its machine goes off. Where they cannot be had, the node's events say so, and
// what goes on goes on.
func (f *Flow) collectLogs(ctx context.Context, t *task.Task, operation string) {
	if f.cfg.Logs.Collect != logsNever {
		f.keepLogs(ctx, t, operation)
	}
}

// collectLogsOfSuccess does the same at the good end of an operation, if logs
// are always wanted.
func (f *Flow) collectLogsOfSuccess(ctx context.Context, t *task.Task, operation string) {
	if f.cfg.Logs.Collect == logsAlways {
		f.keepLogs(ctx, t, operation)
	}
}

// lastStepOfAgent is the step of a deployment that makes an end of the agent.
const lastStepOfAgent = "deploy.tear_down_agent"

func (f *Flow) keepLogs(ctx context.Context, t *task.Task, operation string) {
	agent, err := f.cfg.Agents.Of(t.Node)
	if err != nil { // none has come so far
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logsPatience)
	defer cancel()
	path, err := "", error(nil)
	result, err := agent.Execute(ctx, "log.collect_system_logs", map[string]any{}, true)
	if err == nil {
		path, err = f.writeLogs(t, result)
	}
	if err != nil {
		t.Event(ctx, event.Error, "the logs of the agent at the end of the %s cannot be kept: %v", operation, err)
		t.Log.WithError(err).Warn("cannot keep the logs of the agent")
		return
	}
	t.Event(ctx, event.Logs, "%s: logs of the agent are in %s", operation, path)
}

// writeLogs writes the archive that an agent has answered with. Its name tells
// node, instance and time.
func (f *Flow) writeLogs(t *task.Task, result *ipa.Result) (path string, err error) {
	if result.Status != ipa.StatusSucceeded {
		return "", steps.Failure(result)
	}
	var answer struct {
		Logs []byte `json:"system_logs"` // base64 on the wire
	}
	if err := json.Unmarshal(result.Result, &answer); err != nil {
		var wrapped base64.CorruptInputError
		if errors.As(err, &wrapped) {
			return "", errors.New("the agent's archive is not base64")
		}
		return "", fmt.Errorf("the agent's answer: %w", err)
	}
	if len(answer.Logs) == 0 {
		return "", errors.New("the agent's archive is empty")
	}
	if err := os.MkdirAll(f.cfg.Logs.LocalPath, 0o750); err != nil {
		return "", err
	}
	name := t.Node.UUID
	if t.Node.InstanceUUID != nil {
		name += "_" + *t.Node.InstanceUUID
	}
	name += "_" + time.Now().UTC().Format("2006-01-02-15-04-05") + ".tar.gz"
	path = filepath.Join(f.cfg.Logs.LocalPath, name)
	return path, os.WriteFile(path, answer.Logs, 0o600)
}
