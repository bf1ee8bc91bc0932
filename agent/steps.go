package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ferric/agent/command"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// stepCommands are the two commands of a phase: tell the steps, run one.
func (a *Agent) stepCommands(phase hwmanager.Phase) map[string]command.Command {
	name := string(phase)
	return map[string]command.Command{
		"get_" + name + "_steps": {
			Params: []string{"node!", "ports!"},
			Run: func(ctx context.Context, p params, _ progress) (any, error) {
				return a.getSteps(ctx, phase, p)
			},
		},
		"execute_" + name + "_step": {
			Async:  true,
			Params: []string{"step!", "node!", "ports!"},
			Extra:  true,
			Run: func(ctx context.Context, p params, report progress) (any, error) {
				return a.executeStep(ctx, phase, p, report)
			},
		},
	}
}

func (a *Agent) getSteps(ctx context.Context, phase hwmanager.Phase, p params) (any, error) {
	node, _, err := a.cacheNode(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := a.settleDisks(ctx); err != nil {
		return nil, err
	}
	steps, err := a.set.Steps(ctx, a.host, phase, node)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		string(phase) + "_steps":   steps,
		"hardware_manager_version": a.set.Versions(),
		ipa.ResumesKey:             true,
	}, nil
}

// executeStep runs a step (agent contract, section "Step execution"). The
// step is echoed as it came, for the conductor to recognise it.
func (a *Agent) executeStep(ctx context.Context, phase hwmanager.Phase, p params, report progress) (any, error) {
	node, ports, err := a.cacheNode(ctx, p)
	if err != nil {
		return nil, err
	}
	versionKey := string(phase) + "_version"
	if err := checkVersions(p[versionKey], a.set.Versions()); err != nil {
		return nil, err
	}
	step, _ := p["step"].(map[string]any)
	name, _ := step["step"].(string)
	if name == "" {
		return nil, ipa.CommandExecution.New("Malformed %s_step, no \"step\" key: it has the keys %q", phase, slices.Sorted(maps.Keys(step)))
	}
	args, err := stepArgs(p, step, versionKey)
	if err != nil {
		return nil, err
	}
	// Made now: nothing but args may hold the config drive while the step runs.
	echo, err := echoOf(step)
	if err != nil {
		return nil, err
	}
	state, known, err := resumption(p)
	if err != nil {
		return nil, err
	}
	if state != nil {
		a.log.WithField("step", name).Info("step goes on after its reboot")
	} else {
		a.log.WithField("step", name).Info("step begins")
	}
	result, err := a.set.RunStep(ctx, a.host, phase, name, hwmanager.StepCall{Node: node, Ports: ports, Args: args, Resume: state, Progress: report})
	var reboot *hwmanager.Reboot
	if errors.As(err, &reboot) {
		a.log.WithField("step", name).Info("step asks for a reboot")
		answer, err := a.rebootAsked(ctx, phase, step, node, known, reboot)
		if err != nil {
			a.log.WithField("step", name).WithError(err).Error("step failed")
			return nil, err
		}
		answer[string(phase)+"_step"] = echo
		return answer, nil
	}
	if err != nil {
		a.log.WithField("step", name).WithError(err).Error("step failed")
		return nil, stepError(phase, name, err)
	}
	a.log.WithField("step", name).Info("step done")
	answer := map[string]any{
		string(phase) + "_result": result,
		string(phase) + "_step":   echo,
	}
	if _, none := result.(hwmanager.NoReboot); none && known {
		answer[ipa.NoRebootKey] = true
	}
	return answer, nil
}

// maxEcho bounds the text of an echoed step in bytes. A larger one, which has
// a config drive in it, is echoed without its arguments: results are kept, and
// no conductor looks at these.
const maxEcho = 1 << 20

func echoOf(step map[string]any) (json.RawMessage, error) {
	var encoded []byte
	err := errTooLong
	if weight(step) <= maxEcho {
		encoded, err = encodeEcho(step)
	}
	if errors.Is(err, errTooLong) {
		small := maps.Clone(step)
		delete(small, "args")
		encoded, err = encodeEcho(small)
	}
	if err != nil {
		return nil, ipa.CommandExecution.New("the step cannot be echoed: %v", err)
	}
	return encoded, nil
}

// errTooLong: the step has more than maxEcho bytes.
var errTooLong = fmt.Errorf("it has more than %d bytes", maxEcho)

func encodeEcho(step map[string]any) ([]byte, error) {
	encoded, err := json.Marshal(step)
	if err == nil && len(encoded) > maxEcho {
		return nil, errTooLong
	}
	return encoded, err
}

// weight is about how many bytes value takes as JSON, found without encoding
// it. Text in it may become longer, by a factor of six at the worst.
func weight(value any) int {
	const punctuation = 4
	total := punctuation
	switch v := value.(type) {
	case string:
		total += len(v)
	case json.Number:
		total += len(v)
	case map[string]any:
		for key, member := range v {
			total += punctuation + len(key) + weight(member)
		}
	case []any:
		for _, member := range v {
			total += weight(member)
		}
	}
	return total
}

// stepError is err as the result of a step has it: an error of the protocol
// passes, any other becomes the phase's own.
func stepError(phase hwmanager.Phase, name string, err error) error {
	var known *ipa.Error
	if errors.As(err, &known) {
		return err
	}
	return failed(phase).New("Unexpected exception performing %s step %s. %s: %v", phase, name, className(err), err)
}

// className is the name of the type of an error, for want of the class of an
// exception; wrapping and plain text have none of their own.
func className(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		name := strings.TrimLeft(fmt.Sprintf("%T", err), "*")
		library, plain, found := strings.Cut(name, ".")
		if found && library != "fmt" && library != "errors" {
			return plain
		}
	}
	return "Error"
}

// failed is the kind of error that a phase wraps unknown ones in.
func failed(phase hwmanager.Phase) ipa.Kind {
	switch phase {
	case hwmanager.Deploy:
		return ipa.Deployment
	case hwmanager.Service:
		return ipa.Servicing
	}
	return ipa.Cleaning
}

// stepArgs are the further parameters of the command, overridden by step.args.
func stepArgs(p params, step map[string]any, versionKey string) (map[string]any, error) {
	args := map[string]any{}
	for key, value := range p {
		if !slices.Contains([]string{"step", "node", "ports", versionKey, ipa.ResumeKey}, key) {
			args[key] = value
		}
	}
	switch own := step["args"].(type) {
	case nil:
	case map[string]any:
		maps.Copy(args, own)
	default:
		return nil, ipa.InvalidCommandParams.New("args of the step must be an object")
	}
	return args, nil
}

// cacheNode checks and keeps the node that came with a command. For another
// node than before its root disk is waited for.
func (a *Agent) cacheNode(ctx context.Context, p params) (hwmanager.Node, []map[string]any, error) {
	node, ok := p["node"].(map[string]any)
	if !ok || node == nil {
		return nil, nil, ipa.CommandExecution.New("node must be an object")
	}
	now, _ := node["uuid"].(string)
	if now == "" {
		return nil, nil, ipa.CommandExecution.New("node has no uuid")
	}
	list, ok := p["ports"].([]any)
	if !ok && p["ports"] != nil {
		return nil, nil, ipa.CommandExecution.New("ports must be a list")
	}
	ports := make([]map[string]any, 0, len(list))
	for _, item := range list {
		port, ok := item.(map[string]any)
		if !ok {
			return nil, nil, ipa.CommandExecution.New("ports must be a list of objects")
		}
		ports = append(ports, port)
	}
	before, _ := a.currentNode()["uuid"].(string)
	if now != before {
		if err := a.waitForRoot(ctx, node); err != nil {
			return nil, nil, err
		}
	}
	a.setNode(node)
	return node, ports, nil
}

// checkVersions compares the managers that the conductor made its plan with
// to those that are loaded; null is no plan.
func checkVersions(planned any, current map[string]string) error {
	if planned == nil {
		return nil
	}
	versions, ok := planned.(map[string]any)
	if !ok {
		return ipa.InvalidCommandParams.New("the version must be an object")
	}
	same := maps.EqualFunc(versions, current, func(planned any, current string) bool { return planned == current })
	if !same {
		return ipa.VersionMismatch.New("Current versions: %s, versions used by ironic: %s", asJSON(current), asJSON(versions))
	}
	return nil
}

// asJSON is value for a text that people read.
func asJSON(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}
