package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// flasher is a manager whose steps need reboots.
type flasher struct{}

func (flasher) Name() string      { return "flasher" }
func (flasher) ClassName() string { return "FlasherHardwareManager" }
func (flasher) Version() string   { return "1" }
func (flasher) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}

func (flasher) steps() []hwmanager.Step {
	step := func(name string, declared bool, state any) hwmanager.Step {
		return hwmanager.Step{
			Declaration: ipa.Step{Step: name, Interface: "firmware", RebootRequested: declared},
			Run: func(_ context.Context, _ *hwmanager.Host, call hwmanager.StepCall) (any, error) {
				if call.Resume != nil {
					return map[string]any{"resumed with": call.Resume, "args": call.Args}, nil
				}
				return "dropped", fmt.Errorf("flash: %w", &hwmanager.Reboot{State: state})
			},
		}
	}
	return []hwmanager.Step{
		{Declaration: ipa.Step{Step: "done", Interface: "firmware", RebootRequested: true}, Run: func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error) {
			return hwmanager.NoReboot{Result: "as it was"}, nil
		}},
		step("declared", true, map[string]any{"before": "1.0", "serial": uint64(18446744073709551615)}),
		step("undeclared", false, map[string]any{"before": "1.0"}),
		step("stateless", false, nil),
		step("text", false, json.RawMessage(`"after"`)),
		step("large", false, strings.Repeat("x", ipa.MaxResumeState)),
		step("largest", false, strings.Repeat("x", ipa.MaxResumeState-2)),
		step("odd", false, func() {}),
		{Declaration: ipa.Step{Step: "warm", Interface: "firmware", RebootRequested: true}, Run: func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error) {
			return nil, &hwmanager.Reboot{State: "capsule", Warm: true}
		}},
	}
}

func (f flasher) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return f.steps(), nil
}

func (f flasher) DeploySteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return f.steps(), nil
}

func (f flasher) ServiceSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return f.steps(), nil
}

// TestStepThatNeedsAReboot runs steps as a conductor does that can go on with
// them after a reboot, and as one that has never heard of that.
func TestStepThatNeedsAReboot(t *testing.T) {
	h, _ := machine(t)
	agent, _ := serving(t, h, newConductor(t), flasher{})
	run := func(phase string, step, more object) ipa.Result {
		t.Helper()
		p := object{"step": step, "node": node(), "ports": []any{}}
		for key, value := range more {
			p[key] = value
		}
		var r ipa.Result
		agent.do(t, "POST", "/v1/commands/?wait=true&agent_token="+agentToken, ipa.Request{Name: phase + ".execute_" + phase + "_step", Params: p}, &r)
		return r
	}
	var list ipa.Result
	agent.do(t, "POST", "/v1/commands/?wait=true&agent_token="+agentToken, ipa.Request{Name: "clean.get_clean_steps", Params: object{"node": node(), "ports": []any{}}}, &list)
	if !strings.Contains(string(list.Result), `"resumes":true`) {
		t.Errorf("the agent does not say that it goes on with steps after a reboot: %s", list.Result)
	}

	const unverified = `{"message":"The step needs the reboot that follows it. Whether it succeeded was not verified: run it again to have it verified.","verified":false}`
	const unannounced = `{"message":"The step needs a reboot, and this conductor does not say that it makes one: Ironic makes none after steps that are asked for by name. ` +
		`Whether it succeeded was not verified: boot the machine anew, then run the step again to have it verified.","verified":false}`
	const cold = `{"message":"The step needs the reboot that follows it. Whether it succeeded was not verified: run it again to have it verified. ` +
		`It needs one that does not switch the machine off, which this conductor is not known to make.","verified":false}`
	large := `"` + strings.Repeat("x", ipa.MaxResumeState-2) + `"`
	for _, tt := range []struct {
		title, step string
		more        object // reboot_requested is of the step
		result      string // %s stands for the phase; what follows is the echo
		failure     string
	}{
		{"first run", "undeclared", object{"resume": nil}, `{"%[1]s_result":null,"%[1]s_step":ECHO,"resume":{"before":"1.0"}}`, ""},
		{"first run, declared", "declared", object{"resume": nil}, `{"%[1]s_result":null,"%[1]s_step":ECHO,"resume":{"before":"1.0","serial":18446744073709551615}}`, ""},
		{"warm", "warm", object{"resume": nil}, `{"%[1]s_result":null,"%[1]s_step":ECHO,"resume":"capsule","warm":true}`, ""},
		{"foreign conductor, warm", "warm", object{"reboot_requested": true}, `{"%[1]s_result":` + cold + `,"%[1]s_step":ECHO}`, ""},
		{"no reboot", "done", object{"resume": nil}, `{"%[1]s_result":"as it was","%[1]s_step":ECHO,"no_reboot":true}`, ""},
		{"foreign conductor, no reboot", "done", nil, `{"%[1]s_result":"as it was","%[1]s_step":ECHO}`, ""},
		{"second run", "undeclared", object{"resume": object{"before": "1.0", "serial": json.RawMessage("18446744073709551615")}},
			`{"%[1]s_result":{"args":{"url":"u"},"resumed with":{"before":"1.0","serial":18446744073709551615}},"%[1]s_step":ECHO}`, ""},
		{"no state", "stateless", object{"resume": nil}, `{"%[1]s_result":null,"%[1]s_step":ECHO,"resume":{}}`, ""},
		{"any JSON", "text", object{"resume": nil}, `{"%[1]s_result":null,"%[1]s_step":ECHO,"resume":"after"}`, ""},
		{"as much as is kept", "largest", object{"resume": nil}, `{"%[1]s_result":null,"%[1]s_step":ECHO,"resume":` + large + `}`, ""},
		{"too much", "large", object{"resume": nil}, "", "has 65538 bytes: at most 65536 are kept"},
		{"no JSON", "odd", object{"resume": nil}, "", "is no JSON"},
		{"foreign conductor, declared", "declared", object{"reboot_requested": true}, `{"%[1]s_result":` + unverified + `,"%[1]s_step":ECHO}`, ""},
		{"foreign conductor, declared, asked for by name", "declared", nil, `{"%[1]s_result":` + unannounced + `,"%[1]s_step":ECHO}`, ""},
		{"foreign conductor", "undeclared", nil, "", "cannot go on with a step after a reboot, and the step is not declared with reboot_requested"},
	} {
		for _, phase := range []string{"clean", "deploy", "service"} {
			step, more := object{"step": tt.step, "interface": "firmware", "args": object{"url": "u"}}, maps.Clone(tt.more)
			if follows, ok := more["reboot_requested"]; ok {
				delete(more, "reboot_requested")
				step["reboot_requested"] = follows
			}
			r := run(phase, step, more)
			if tt.failure != "" {
				if r.Status != ipa.StatusFailed || r.Error == nil || !strings.Contains(r.Error.Details, tt.failure) || !strings.Contains(r.Error.Details, "Step "+tt.step+" needs a reboot") {
					t.Errorf("%s, %s: %s, %+v; want %q", tt.title, phase, r.Status, r.Error, tt.failure)
				}
				continue
			}
			echo, err := json.Marshal(step)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Replace(fmt.Sprintf(tt.result, phase), "ECHO", string(echo), 1)
			if diff := cmp.Diff(members(t, want), members(t, string(r.Result))); diff != "" || r.Status != ipa.StatusSucceeded {
				t.Errorf("%s, %s: %s, %v (-want +got):\n%.600s", tt.title, phase, r.Status, r.Error, diff)
			}
		}
	}
}

// members are those of a JSON object, each as its text.
func members(t *testing.T, object string) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(object), &raw); err != nil {
		t.Fatalf("%v in %s", err, object)
	}
	texts := map[string]string{}
	for name, text := range raw {
		texts[name] = string(text)
	}
	return texts
}
