package execplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// declaration is a step as a plugin declares it: what Ironic knows, and types
// of arguments. Other members are for later versions and not looked at.
type declaration struct {
	Step            string              `json:"step"`
	Interface       string              `json:"interface"`
	Priority        int                 `json:"priority"`
	RebootRequested bool                `json:"reboot_requested"`
	Abortable       bool                `json:"abortable"`
	RequiresRamdisk *bool               `json:"requires_ramdisk"`
	Restartable     *bool               `json:"restartable"`
	ArgsInfo        map[string]argument `json:"argsinfo"`
}

// CleanSteps implements hwmanager.CleanStepper.
func (p *Plugin) CleanSteps(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) ([]hwmanager.Step, error) {
	return p.steps(ctx, h, hwmanager.Clean, node)
}

// DeploySteps implements hwmanager.DeployStepper.
func (p *Plugin) DeploySteps(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) ([]hwmanager.Step, error) {
	return p.steps(ctx, h, hwmanager.Deploy, node)
}

// ServiceSteps implements hwmanager.ServiceStepper.
func (p *Plugin) ServiceSteps(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) ([]hwmanager.Step, error) {
	return p.steps(ctx, h, hwmanager.Service, node)
}

func (p *Plugin) steps(ctx context.Context, h *hwmanager.Host, phase hwmanager.Phase, node hwmanager.Node) ([]hwmanager.Step, error) {
	method := "get_" + string(phase) + "_steps"
	declared, err := answer[[]declaration](ctx, p, h, method, arguments{"node": node})
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	steps := make([]hwmanager.Step, 0, len(declared))
	for i, d := range declared {
		if err := d.check(); err != nil {
			return nil, p.wrong(method, fmt.Errorf("step %d (%.80q): %w", i, d.Step, err))
		}
		if known[d.Step] {
			return nil, p.wrong(method, fmt.Errorf("step %q is there twice", d.Step))
		}
		known[d.Step] = true
		steps = append(steps, hwmanager.Step{Declaration: d.wire(), Run: p.runner(phase, d)})
	}
	return steps, nil
}

func (d declaration) check() error {
	switch {
	case d.Step == "":
		return errors.New("it has no step")
	case d.Interface == "":
		return errors.New("it has no interface")
	case d.Priority < 0:
		return fmt.Errorf("priority %d: want 0 or more", d.Priority)
	}
	return checkArguments(d.ArgsInfo)
}

// wire is the step as Ironic knows steps.
func (d declaration) wire() ipa.Step {
	step := ipa.Step{
		Step: d.Step, Interface: d.Interface, Priority: d.Priority,
		RebootRequested: d.RebootRequested, Abortable: d.Abortable,
		RequiresRamdisk: d.RequiresRamdisk, Restartable: d.Restartable,
	}
	if len(d.ArgsInfo) > 0 {
		step.ArgsInfo = make(map[string]ipa.Arg, len(d.ArgsInfo))
	}
	for name, a := range d.ArgsInfo {
		step.ArgsInfo[name] = ipa.Arg{Description: a.Description, Required: a.Required}
	}
	return step
}

// runner runs a step as it was declared.
func (p *Plugin) runner(phase hwmanager.Phase, d declaration) func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error) {
	return func(ctx context.Context, h *hwmanager.Host, step hwmanager.StepCall) (any, error) {
		args, err := settle(d.ArgsInfo, step.Args)
		if err != nil {
			return nil, ipa.InvalidCommandParams.New("step %s of plugin %s: %v", d.Step, p.Name(), err)
		}
		ports := step.Ports
		if ports == nil {
			ports = []map[string]any{}
		}
		c := call{method: "execute_step", step: d.Step, args: arguments{
			"phase": phase, "step": d.Step, "args": args, "node": step.Node, "ports": ports,
		}}
		if step.Resume != nil {
			c.args["resume"] = step.Resume
		}
		if step.Progress != nil {
			c.progress = func(r progressReport) { step.Progress(r.progress()) }
		}
		var result json.RawMessage
		if err := p.answerTo(ctx, h, c, &result); err != nil {
			return nil, err
		}
		// Results of steps are kept by the agent, and by the conductor.
		if len(result) > maxStepResult {
			return nil, p.fail(c, fmt.Sprintf("its result has %d bytes; want at most %d", len(result), maxStepResult))
		}
		var value any
		if err := decode(result, &value); err != nil {
			return nil, p.wrong(c.method, err)
		}
		return value, nil
	}
}
