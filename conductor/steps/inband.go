package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"ferric/api/agentclient"
	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Views make what an agent is shown of a node and its ports. Secrets are
// masked, but for the config drive where it is asked for.
type Views struct {
	Node func(n *store.Node, unmaskConfigDrive bool) map[string]any
	Port func(p *store.Port) map[string]any
	// Agents is how agents are spoken to.
	Agents driver.Agents
}

// arguments makes the parameters node and ports of an agent command.
func (v Views) arguments(ctx context.Context, t *task.Task, unmask bool) (map[string]any, error) {
	ports, err := t.Store.NodePorts(ctx, t.Node.ID)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, p := range ports {
		list = append(list, v.Port(p))
	}
	return map[string]any{"node": v.Node(t.Node, unmask), "ports": list}, nil
}

// Fetch asks the agent which steps of a kind it offers and records them, with
// the versions of its hardware managers, in driver_internal_info. The caller
// saves.
func Fetch(ctx context.Context, t *task.Task, kind Kind, views Views) ([]Step, error) {
	agent, err := views.Agents.Of(t.Node)
	if err != nil {
		return nil, err
	}
	params, err := views.arguments(ctx, t, false)
	if err != nil {
		return nil, err
	}
	result, err := agent.Execute(ctx, kind.GetCommand, params, true)
	if err != nil {
		return nil, fmt.Errorf("get the %s steps from the agent: %w", kind.Name, err)
	}
	if result.Status != ipa.StatusSucceeded {
		return nil, fmt.Errorf("get the %s steps from the agent: %w", kind.Name, Failure(result))
	}
	var answer map[string]json.RawMessage
	var offered map[string][]ipa.Step
	var versions map[string]string
	if err := json.Unmarshal(result.Result, &answer); err != nil {
		return nil, fmt.Errorf("read the agent's answer to %s: %w", kind.GetCommand, err)
	}
	if err := json.Unmarshal(answer[kind.Name+"_steps"], &offered); err != nil {
		return nil, fmt.Errorf("read %s_steps of the agent: %w", kind.Name, err)
	}
	if err := json.Unmarshal(answer["hardware_manager_version"], &versions); err != nil {
		return nil, fmt.Errorf("read hardware_manager_version of the agent: %w", err)
	}
	list := Offered(offered)
	if i := t.Node.RAIDInterface; i == nil || *i != "agent" { // whose arrays are nobody's to change
		list = slices.DeleteFunc(list, func(s Step) bool { return s.Interface == "raid" })
	}
	for _, s := range list {
		if s.Step == "" || s.Interface == "" {
			return nil, fmt.Errorf("agent offers a %s step without a name or an interface: %+v", kind.Name, s)
		}
	}
	info := t.Node.DriverInternalInfo
	noteResumes(info, answer)
	if err := errors.Join(info.Encode(kind.Cached, list), info.Encode(kind.Versions, versions)); err != nil {
		return nil, err
	}
	return list, nil
}

// Execute tells the agent to run step. That it was told is durable before it
// is told; the next heartbeats find out what became of it. An agent that is
// busy with an earlier command is left to it and told again later.
func Execute(ctx context.Context, t *task.Task, kind Kind, step Step, views Views) error {
	agent, err := views.Agents.Of(t.Node)
	if err != nil {
		return err
	}
	params, err := views.arguments(ctx, t, kind.Name == Deploy.Name)
	if err != nil {
		return err
	}
	params["step"] = step
	params[kind.VersionArg] = t.Node.DriverInternalInfo[kind.Versions]
	info := t.Node.DriverInternalInfo
	if err := addResume(params, info, kind); err != nil {
		return err
	}
	info[kind.Running] = true
	ForgetCommand(info, kind)
	delete(info, kind.Busy)
	if err := t.Save(ctx); err != nil {
		return err
	}
	result, err := agent.Execute(ctx, kind.Execute, params, false)
	switch {
	case errors.Is(err, agentclient.ErrBusy):
		t.Log.WithField("step", step.ID()).Warn("agent is busy, it is told again at its next heartbeat")
		delete(info, kind.Running)
		info[kind.Busy] = true
		return t.Save(ctx)
	case err != nil:
		return fmt.Errorf("start step %s on the agent: %w", step.ID(), err)
	case result.Status == ipa.StatusFailed:
		return Failure(result)
	}
	info[kind.Command] = result.ID
	return t.Save(ctx)
}

// ForgetCommand makes room for the id of the next command. That of the one
// before tells which of the agent's commands are of earlier steps, should the
// answer with the next id be lost.
func ForgetCommand(info store.Object, kind Kind) {
	if id := info.String(kind.Command); id != "" {
		info[kind.Former] = id
	}
	delete(info, kind.Command)
}

// Failure is the error of a command that did not succeed.
func Failure(r *ipa.Result) error {
	if r.Error == nil {
		return fmt.Errorf("agent command %s ended as %s without a reason", r.Name, r.Status)
	}
	// The contract: show the details, else the message. Some kinds have one text
	// for both.
	if r.Error.Details != "" && r.Error.Details != r.Error.Message {
		return fmt.Errorf("agent command %s failed: %s: %s", r.Name, r.Error.Message, r.Error.Details)
	}
	return fmt.Errorf("agent command %s failed: %s", r.Name, r.Error.Message)
}
