package hwmanager_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Acme knows the machines of ACME.
type Acme struct{}

func (Acme) Name() string      { return "acme" }
func (Acme) ClassName() string { return "AcmeHardwareManager" }
func (Acme) Version() string   { return "1.0" }

func (Acme) Evaluate(_ context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	id, err := h.DMI()
	if err != nil || !strings.HasPrefix(id.Vendor, "ACME") {
		return hwmanager.None, err
	}
	return hwmanager.ServiceProvider, nil
}

type ledArgs struct {
	Colour string        `json:"colour" doc:"of the light" required:"true" enum:"red,green"`
	Blink  time.Duration `json:"blink" doc:"time of one blink" default:"500ms" max:"10s"`
	Bays   []int         `json:"bays" doc:"drive bays; none for all" min:"1"`
}

func (Acme) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	led := ipa.Step{Step: "set_led", Interface: "management"}
	return []hwmanager.Step{hwmanager.NewStep(led, setLED)}, nil
}

func setLED(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, args ledArgs) (any, error) {
	out, err := h.Tool(ctx, hwmanager.Tool{Name: "acme-led", Args: []string{args.Colour, args.Blink.String()}, Limit: time.Minute})
	if err != nil {
		return nil, err
	}
	return map[string]string{"led": strings.TrimSpace(string(out))}, nil
}

// The compiler checks that it has the ability that it is meant to have.
var _ hwmanager.CleanStepper = Acme{}

// machine is a made-up one with the tool of ACME.
func machine() (*hwmanager.Host, func()) {
	root, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	for path, content := range map[string]string{
		"sys/class/dmi/id/sys_vendor": "ACME Inc.\n",
		"bin/acme-led":                "#!/bin/sh\necho \"is $1\"\n",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			panic(err)
		}
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h := &hwmanager.Host{Sys: filepath.Join(root, "sys"), Programs: filepath.Join(root, "bin"), Run: hwmanager.Exec{}, Log: logrus.NewEntry(log)}
	return h, func() { os.RemoveAll(root) }
}

// A manager with one step, as the agent uses it.
func Example() {
	ctx := context.Background()
	h, remove := machine()
	defer remove()
	set, err := hwmanager.Load(ctx, h, []hwmanager.Manager{Acme{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(set.RunStep(ctx, h, hwmanager.Clean, "set_led", hwmanager.StepCall{Args: map[string]any{"colour": "green"}}))
	_, err = set.RunStep(ctx, h, hwmanager.Clean, "set_led", hwmanager.StepCall{Args: map[string]any{"colour": "blue", "bays": []any{}, "blinking": true}})
	fmt.Println(err)
	// Output:
	// map[led:is green] <nil>
	// Invalid command parameters: arguments of step set_led: colour must be one of red, green, not blue; bays must be at least 1 elements; blinking is unknown (known are colour, blink, bays)
}

// The declaration is made of the type of the arguments.
func ExampleNewStep() {
	step := hwmanager.NewStep(ipa.Step{Step: "set_led", Interface: "management"}, setLED)
	fmt.Println(step.Check())
	for _, name := range []string{"colour", "blink", "bays"} {
		arg := step.Declaration.ArgsInfo[name]
		fmt.Printf("%s, required %v: %s\n", name, arg.Required, arg.Description)
	}
	// Output:
	// <nil>
	// colour, required true: of the light (one of red, green)
	// blink, required false: time of one blink (at most 10s; default 500ms)
	// bays, required false: drive bays; none for all (at least 1 elements)
}

// A step that goes on after a reboot: run twice, with what it left in between.
func ExampleReboot() {
	type state struct{ Before string }
	update := func(_ context.Context, _ *hwmanager.Host, call hwmanager.StepCall, _ struct{}) (any, error) {
		if call.Resume != nil {
			return "updated; before the reboot: " + string(call.Resume), nil
		}
		return nil, &hwmanager.Reboot{State: state{Before: "1.4"}}
	}
	step := hwmanager.NewStep(ipa.Step{Step: "update_bmc", Interface: "firmware", RebootRequested: true}, update)
	_, err := step.Run(context.Background(), nil, hwmanager.StepCall{})
	var reboot *hwmanager.Reboot
	fmt.Println(errors.As(err, &reboot), reboot.State)
	fmt.Println(step.Run(context.Background(), nil, hwmanager.StepCall{Resume: []byte(`{"Before":"1.4"}`)}))
	// Output:
	// true {1.4}
	// updated; before the reboot: {"Before":"1.4"} <nil>
}

// A tool that writes how far it is.
func ExampleHost_Tool() {
	h := &hwmanager.Host{Run: hwmanager.Exec{}}
	_, err := h.Tool(context.Background(), hwmanager.Tool{
		Name: "sh", Args: []string{"-c", `printf '50%%\r100%%\r'; echo "image does not fit" >&2; exit 2`},
		Limit: 10 * time.Minute,
		Line: func(line string) {
			if strings.HasSuffix(line, "%") {
				fmt.Println("progress", line)
			}
		},
	})
	fmt.Println(err)
	// Output:
	// progress 50%
	// progress 100%
	// run sh: exit status 2: image does not fit
}

// Without a digest there is no file.
func ExampleHost_Download() {
	h := &hwmanager.Host{}
	_, err := h.Download(context.Background(), hwmanager.Source{URL: "http://192.0.2.1/fw.bin"})
	fmt.Println(err)
	// Output:
	// Invalid command parameters: checksum of http://192.0.2.1/fw.bin: there is none, and no file is taken without
}
