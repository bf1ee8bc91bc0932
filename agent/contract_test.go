package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/agent"
	"ferric/agent/config"
	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/generic"
)

var update = flag.Bool("update", false, "write the golden files anew")

// probe is a manager whose steps end in every way that the contract knows.
type probe struct {
	hold  chan struct{} // "hold" and a sync that was armed end when it closes
	armed chan struct{} // a sync takes from it and waits then
}

func newProbe() *probe { return &probe{hold: make(chan struct{}), armed: make(chan struct{}, 1)} }

func (*probe) Name() string      { return "probe" }
func (*probe) ClassName() string { return "ProbeHardwareManager" }
func (*probe) Version() string   { return "7" }
func (*probe) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}

// FullSync implements hwmanager.Syncer.
func (p *probe) FullSync(ctx context.Context, _ *hwmanager.Host) error {
	select {
	case <-p.armed:
	default:
		return nil
	}
	select {
	case <-p.hold:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// kinds are all rows of the contract's table of errors that a command can have.
func kinds() []ipa.Kind {
	return []ipa.Kind{
		ipa.InvalidContent, ipa.InvalidCommand, ipa.InvalidCommandParams, ipa.NotFound, ipa.ObjectNotFound, ipa.DeviceNotFound,
		ipa.ImageDownloadTimeout, ipa.AgentIsBusy, ipa.CommandExecution, ipa.ImageDownload, ipa.ImageDownloadOutOfSpace, ipa.ImageDownloadFatal,
		ipa.ImageChecksum, ipa.ImageWrite, ipa.InvalidImage, ipa.Cleaning, ipa.Deployment, ipa.Servicing, ipa.BlockDeviceErase,
		ipa.BlockDeviceFailed, ipa.SoftwareRAID, ipa.ProtectedDevice, ipa.MethodNotFound, ipa.ManagerNotFound, ipa.ManagerConfiguration,
		ipa.SystemReboot, ipa.ClockSync, ipa.VirtualMediaBoot, ipa.ContainerNotPermitted, ipa.FileSystemUnsupported, ipa.UnknownNode,
		ipa.LookupNode, ipa.LookupAgentIP,
	}
}

type runFunc = func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error)

func (p *probe) steps() []hwmanager.Step {
	step := func(name string, abortable bool, run runFunc) hwmanager.Step {
		return hwmanager.Step{Declaration: ipa.Step{Step: name, Interface: "deploy", Priority: 5, Abortable: abortable}, Run: run}
	}
	answer := func(value any, err error) runFunc {
		return func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error) { return value, err }
	}
	list := []hwmanager.Step{
		step("probe_args", false, func(_ context.Context, _ *hwmanager.Host, call hwmanager.StepCall) (any, error) {
			return map[string]any{"args": call.Args, "ports": call.Ports, "node": call.Node["uuid"]}, nil
		}),
		step("probe_null", false, answer(nil, nil)),
		step("probe_incompatible", false, answer(nil, hwmanager.ErrNotHandled)),
		step("probe_wrapped", false, answer(nil, fmt.Errorf("third disk: %w", ipa.BlockDeviceErase.New("sdc is frozen")))),
		step("probe_unknown", false, answer(nil, &os.PathError{Op: "open", Path: "/dev/sdz", Err: os.ErrNotExist})),
		step("probe_odd", false, answer(func() {}, nil)),
		step("probe_hold", true, func(ctx context.Context, _ *hwmanager.Host, _ hwmanager.StepCall) (any, error) {
			select {
			case <-p.hold:
				return "held", nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}),
	}
	for _, kind := range kinds() {
		list = append(list, step("fail_"+kind.Type, false, answer(nil, kind.New("what happened to what"))))
	}
	return list
}

func (p *probe) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return p.steps(), nil
}

func (p *probe) DeploySteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return p.steps(), nil
}

func (p *probe) ServiceSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return p.steps(), nil
}

// serving runs an agent in this process on the machine h, with its probe, and
// returns how to speak to it and the root of its configuration.
func serving(t *testing.T, h *hwmanager.Host, c *conductor, p hwmanager.Manager, args ...string) (a *caller, etc string) {
	t.Helper()
	etc = t.TempDir()
	args = append([]string{
		"--api-url", c.URL, "--listen-host", "127.0.0.1", "--listen-port", "0", "--etc", etc,
		"--sys", h.Sys, "--proc", h.Proc, "--dev", h.Dev, "--allow-devices", strings.Join(h.Guard.Allowed, ","),
		"--state-dir", t.TempDir(), "--forced-heartbeat-gap", "0", "--image-download-connection-retries", "0",
	}, args...)
	cfg, warnings, err := config.Parse(args, config.Sources{Cmdline: func(string) (string, error) { return "", nil }}, io.Discard)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	log := &logBuffer{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- agent.New(cfg, []hwmanager.Manager{generic.New(), p}, log).Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the agent ended with %v", err)
			}
		case <-time.After(patience):
			t.Error("the agent does not end")
		}
		if strings.Contains(log.String(), agentToken) {
			t.Error("the log shows the token")
		}
		if t.Failed() {
			t.Logf("log of the agent:\n%s", log)
		}
	})
	return callerOf(t, c.beat(t)), etc
}

// send is one request with its answer as text; body "" is none.
func (c *caller) send(t *testing.T, method, path, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" && !strings.HasPrefix(kind, "application/json;") {
		t.Errorf("%s %s: content type %q; want JSON", method, path, kind)
	}
	return resp.StatusCode, answer
}

// transcript collects requests and answers for a golden file. What differs
// from run to run is replaced.
type transcript struct {
	text    bytes.Buffer
	agent   *caller
	replace *strings.Replacer
}

var (
	uuidPattern = regexp.MustCompile(`"id": "[0-9a-f]{8}-[0-9a-f-]{27}"`)
	timePattern = regexp.MustCompile(`"started_at": [0-9.]+`)
)

// add makes a request and appends it with its answer; change (optional)
// shortens the answer.
func (tr *transcript) add(t *testing.T, title, method, path, body string, change func(answer map[string]any)) {
	t.Helper()
	status, text := tr.agent.send(t, method, path, body)
	var answer map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // as they are on the wire
	if err := decoder.Decode(&answer); err != nil {
		t.Fatalf("%s: %v in %s", title, err, text)
	}
	if change != nil {
		change(answer)
	}
	var pretty bytes.Buffer
	encoder := json.NewEncoder(&pretty)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(answer); err != nil {
		t.Fatal(err)
	}
	normal := uuidPattern.ReplaceAllString(tr.replace.Replace(pretty.String()), `"id": "UUID"`)
	normal = timePattern.ReplaceAllString(normal, `"started_at": SECONDS`)
	fmt.Fprintf(&tr.text, "# %s\n%s %s %s\n%d\n%s\n", title, method, tr.replace.Replace(path), tr.replace.Replace(body), status, normal)
}

// command submits a command and waits for its end.
func (tr *transcript) command(t *testing.T, title, name string, params object, change func(map[string]any)) {
	t.Helper()
	body, err := json.Marshal(ipa.Request{Name: name, Params: params})
	if err != nil {
		t.Fatal(err)
	}
	tr.add(t, title, "POST", "/v1/commands/?wait=true&agent_token="+agentToken, string(body), change)
}

// check compares with the golden file.
func (tr *transcript) check(t *testing.T, golden string) {
	t.Helper()
	path := filepath.Join("testdata", golden)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, tr.text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), tr.text.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func transcriptOf(agent *caller, pairs ...string) *transcript {
	pairs = append(pairs, agent.url, "https://AGENT", agentToken, "TOKEN")
	return &transcript{agent: agent, replace: strings.NewReplacer(pairs...)}
}
