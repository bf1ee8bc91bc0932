package agent

import (
	"context"
	"fmt"
	"time"

	"ferric/agent/command"
	"ferric/api/ipa"
)

// flowExtension is the extension "flow" (agent contract, table of commands):
// its one command runs others of the table in order, none of which is listed.
func (a *Agent) flowExtension(table command.Table) map[string]command.Command {
	return map[string]command.Command{
		"start_flow": {
			Async: true, Params: []string{"flow!"},
			Validate: func(p params) error {
				_, err := parseFlow(table, p["flow"])
				return err
			},
			Run: func(ctx context.Context, p params, report progress) (any, error) {
				entries, err := parseFlow(table, p["flow"])
				if err != nil {
					return nil, err
				}
				return nil, a.runFlow(ctx, entries, report)
			},
		},
	}
}

// flowEntry is one command of a flow.
type flowEntry struct {
	name    string // on the wire: "standby.sync"
	command command.Command
	params  params
}

// parseFlow reads a list of objects {"ext.cmd": {params}}. Errors are of kind
// ipa.InvalidCommandParams. A flow within a flow is refused: it could repeat
// itself without an end.
func parseFlow(table command.Table, value any) ([]flowEntry, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, ipa.InvalidCommandParams.New("flow must be a list")
	}
	entries := make([]flowEntry, 0, len(list))
	for i, item := range list {
		object, ok := item.(map[string]any)
		if !ok || len(object) != 1 {
			return nil, ipa.InvalidCommandParams.New("entry %d of the flow must be an object with one command", i+1)
		}
		for name, value := range object {
			arguments, ok := value.(map[string]any)
			if !ok {
				return nil, ipa.InvalidCommandParams.New("entry %d of the flow: the parameters of %s must be an object", i+1, name)
			}
			cmd, err := table.Find(name)
			if err != nil {
				return nil, ipa.InvalidCommandParams.New("entry %d of the flow: %v", i+1, err)
			}
			if name == "flow.start_flow" {
				return nil, ipa.InvalidCommandParams.New("entry %d of the flow: a flow cannot run flows", i+1)
			}
			entries = append(entries, flowEntry{name, cmd, arguments})
		}
	}
	return entries, nil
}

// runFlow runs the commands one after the other, up to the first that fails.
// A request that would be refused by itself ends the flow with its own error,
// a failure with the contract's text and the reason, for operators see no more
// than that.
func (a *Agent) runFlow(ctx context.Context, entries []flowEntry, report progress) error {
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.command.Check(e.params); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		a.log.WithField("command", e.name).Info("command of the flow begins")
		if _, err := e.command.Call(ctx, e.name, e.params, report); err != nil {
			a.log.WithField("command", e.name).WithError(err).Error("command of the flow failed")
			return ipa.CommandExecution.New("%s was failed: %v", e.name, err)
		}
		if e.command.After != nil {
			// Its answer is that of the flow, which has not ended yet.
			time.AfterFunc(answerTime, e.command.After)
		}
	}
	return nil
}
