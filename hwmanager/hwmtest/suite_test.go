package hwmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

type (
	host  = *hwmanager.Host
	call  = hwmanager.StepCall
	level = hwmanager.Support
	ctx   = context.Context
)

// manager is one that keeps to everything, where a test does not break it.
type manager struct {
	name, class string
	version     func() string
	evaluate    func(ctx, host) (level, error)
	initialize  func() error
	steps       func(host, hwmanager.Phase) ([]hwmanager.Step, error)
	collect     func(host) (map[string]any, error)
	disks       func(host) ([]ipa.BlockDevice, error)
}

func (m *manager) Name() string                                  { return m.name }
func (m *manager) ClassName() string                             { return m.class }
func (m *manager) Version() string                               { return m.version() }
func (m *manager) Evaluate(c ctx, h host) (level, error)         { return m.evaluate(c, h) }
func (m *manager) Initialize(ctx, host) error                    { return m.initialize() }
func (m *manager) Collect(_ ctx, h host) (map[string]any, error) { return m.collect(h) }
func (m *manager) CleanSteps(_ ctx, h host, _ hwmanager.Node) ([]hwmanager.Step, error) {
	return m.steps(h, hwmanager.Clean)
}
func (m *manager) DeploySteps(_ ctx, h host, _ hwmanager.Node) ([]hwmanager.Step, error) {
	return m.steps(h, hwmanager.Deploy)
}
func (m *manager) BlockDevices(_ ctx, h host, _ bool) ([]ipa.BlockDevice, error) { return m.disks(h) }

type acmeArgs struct {
	Slot  int    `json:"slot" doc:"which slot" required:"true" min:"0" max:"7"`
	Label string `json:"label" doc:"what to call it" default:"acme"`
}

type none struct{}

// good is a manager for the RAID controller of the server that is built in.
func good() *manager {
	return &manager{
		name: "acme", class: "AcmeHardwareManager", version: func() string { return "1.0" },
		evaluate: func(_ ctx, h host) (level, error) {
			if _, err := os.Stat(filepath.Join(h.Sys, "bus/pci/devices/0000:5e:00.0")); err != nil {
				return hwmanager.None, nil
			}
			return hwmanager.ServiceProvider, nil
		},
		initialize: func() error { return nil },
		steps: func(_ host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
			if phase != hwmanager.Clean {
				return nil, nil
			}
			return []hwmanager.Step{acmeStep("acme_label", func(_ ctx, _ host, c call, args acmeArgs) (any, error) {
				c.Progress(ipa.Progress{Done: 1, Total: 2, SecondsLeft: -1})
				return map[string]any{"slot": args.Slot}, nil
			})}, nil
		},
		collect: func(host) (map[string]any, error) { return map[string]any{"slots": 8}, nil },
		disks:   func(host) ([]ipa.BlockDevice, error) { return nil, hwmanager.ErrNotHandled },
	}
}

func acmeStep[A any](name string, run func(ctx, host, call, A) (any, error)) hwmanager.Step {
	return hwmanager.NewStep(ipa.Step{Step: name, Interface: "raid"}, run)
}

// more makes the manager offer further clean steps.
func more(m *manager, extra ...hwmanager.Step) {
	before := m.steps
	m.steps = func(h host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
		steps, err := before(h, phase)
		if phase == hwmanager.Clean {
			steps = append(steps, extra...)
		}
		return steps, err
	}
}

// offer makes it offer one, which does what f does.
func offer(f func(c ctx, h host, call call) (any, error)) func(*manager) {
	return func(m *manager) {
		more(m, acmeStep("acme_more", func(c ctx, h host, call call, _ none) (any, error) { return f(c, h, call) }))
	}
}

// declare makes it offer one with this declaration, which does nothing.
func declare(d ipa.Step) func(*manager) {
	return func(m *manager) {
		more(m, hwmanager.NewStep(d, func(ctx, host, call, none) (any, error) { return nil, nil }))
	}
}

// judge changes what the manager says of machines that it fits.
func judge(change func(c ctx, h host, l level) (level, error)) func(*manager) {
	return func(m *manager) {
		before := m.evaluate
		m.evaluate = func(c ctx, h host) (level, error) {
			l, err := before(c, h)
			if l > 0 {
				return change(c, h, l)
			}
			return l, err
		}
	}
}

func touch(path string) error { return os.WriteFile(path, []byte("x"), 0o644) }

// wantSize is a step with an argument, which is checked by what is given.
func wantSize(check func(h host, size any) error) func(*manager) {
	return func(m *manager) {
		more(m, hwmanager.Step{
			Declaration: ipa.Step{Step: "acme_size", Interface: "raid", ArgsInfo: map[string]ipa.Arg{"size": {Description: "how large", Required: true}}},
			Run: func(_ ctx, h host, c call) (any, error) {
				for name := range c.Args {
					if name != "size" {
						return nil, ipa.InvalidCommandParams.New("unexpected argument %s", name)
					}
				}
				return nil, check(h, c.Args["size"])
			},
		})
	}
}

// credential is what the node has in driver_info.
func credential(c call) string {
	return c.Node["driver_info"].(map[string]any)["ipmi_password"].(string)
}

// badManager breaks one that is good.
type badManager struct {
	name, check string
	status      Status
	detail      string
	breaks      func(*manager)
}

// badManagers are what each check is there for. What waits for ever waits for stop.
func badManagers(stop chan struct{}) []badManager {
	var counter atomic.Int64 // managers of several tests count
	return []badManager{
		{"no name", "identity", Failed, `the name is ""`, func(m *manager) { m.name = "" }},
		{"blank in the class", "identity", Failed, `the class name is "Acme Manager"`, func(m *manager) { m.class = "Acme Manager" }},
		{"no version", "identity", Failed, `the version is ""`, func(m *manager) { m.version = func() string { return "" } }},
		{"version of the time", "identity is stable", Failed, "were acme AcmeHardwareManager 1.", func(m *manager) {
			m.version = func() string { return fmt.Sprint("1.", counter.Add(1)) }
		}},
		{"level below zero", "evaluate", Failed, "the level is -1", judge(func(ctx, host, level) (level, error) { return -1, nil })},
		{"level out of reach", "evaluate", Warning, "the level is 9999", judge(func(ctx, host, level) (level, error) { return 9999, nil })},
		{"level by the call", "evaluate is repeatable", Failed, "the level is", judge(func(ctx, host, level) (level, error) {
			return level(1 + counter.Add(1)%100), nil
		})},
		{"evaluate writes", "evaluate changes nothing", Failed, "dev/probe (new)", judge(func(_ ctx, h host, l level) (level, error) {
			return l, touch(filepath.Join(h.Dev, "probe"))
		})},
		{"evaluate writes to a disk", "evaluate changes nothing", Failed, "dev/sda", judge(func(_ ctx, h host, l level) (level, error) {
			f, err := os.OpenFile(h.DevicePath("/dev/sda"), os.O_WRONLY, 0)
			if err != nil {
				return l, err
			}
			_, err = f.WriteAt([]byte("ACME"), 1<<30)
			return l, errors.Join(err, f.Close())
		})},
		{"evaluate hangs when cancelled", "evaluate ends when cancelled", Failed, "evaluate did not return", judge(func(c ctx, _ host, l level) (level, error) {
			if c.Err() != nil {
				<-stop
			}
			return l, nil
		})},
		{"no hardware is an error", "no hardware", Failed, "no controller", func(m *manager) {
			before := m.evaluate
			m.evaluate = func(c ctx, h host) (level, error) {
				l, err := before(c, h)
				if l == 0 {
					err = errors.New("no controller")
				}
				return l, err
			}
		}},
		{"fits everywhere", "no hardware", Warning, "the level is 2", func(m *manager) {
			m.evaluate = func(ctx, host) (level, error) { return 2, nil }
		}},
		{"initialize once", "initialize", Failed, "the second time: already there", func(m *manager) {
			done := false
			m.initialize = func() error {
				if done {
					return errors.New("already there")
				}
				done = true
				return nil
			}
		}},
		{"deploy steps fail", "steps are listed", Failed, "deploy steps: no idea", func(m *manager) {
			m.steps = func(_ host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
				if phase == hwmanager.Deploy {
					return nil, errors.New("no idea")
				}
				return nil, nil
			}
		}},
		{"arguments of no type", "steps are listed", Failed, "acme_more", func(m *manager) {
			more(m, acmeStep("acme_more", func(ctx, host, call, chan int) (any, error) { return nil, nil }))
		}},
		{"steps come later", "steps stay the same", Failed, "clean steps differ the second time", func(m *manager) {
			before, asked := m.steps, 0
			m.steps = func(h host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
				steps, err := before(h, phase)
				if asked++; asked > 2 && len(steps) > 0 {
					steps[0].Declaration.Priority = 1
				}
				return steps, err
			}
		}},
		{"steps by the order of phases", "steps stay the same", Failed, "of a new instance differ", func(m *manager) {
			before, seen := m.steps, ""
			m.steps = func(h host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
				if seen += string(phase); strings.HasPrefix(seen, "deploy") {
					return nil, nil
				}
				return before(h, phase)
			}
		}},
		{"listing writes", "listing changes nothing", Failed, "etc/acme.conf (new)", func(m *manager) {
			before := m.steps
			m.steps = func(h host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
				if phase == hwmanager.Deploy {
					return nil, touch(filepath.Join(h.Etc, "acme.conf"))
				}
				return before(h, phase)
			}
		}},
		{"name with a blank", "step names", Failed, `"acme more"`, declare(ipa.Step{Step: "acme more", Interface: "raid"})},
		{"twice in a phase", "step names", Failed, "acme_label is offered twice", func(m *manager) {
			before := m.steps
			m.steps = func(h host, phase hwmanager.Phase) ([]hwmanager.Step, error) {
				steps, err := before(h, phase)
				return slices.Concat(steps, steps), err
			}
		}},
		{"interface of its own", "step interfaces", Failed, `"acme"`, declare(ipa.Step{Step: "acme_more", Interface: "acme"})},
		{"interface firmware", "step interfaces", Warning, "2023.2", declare(ipa.Step{Step: "acme_more", Interface: "firmware"})},
		{"wipes unasked", "step priorities", Warning, "acme_wipe (50)", declare(ipa.Step{Step: "acme_wipe", Interface: "raid", Priority: 50})},
		{"no description", "arguments are described", Failed, "argument size has no description", func(m *manager) {
			more(m, acmeStep("acme_more", func(ctx, host, call, struct {
				Size int `json:"size"`
			}) (any, error) {
				return nil, nil
			}))
		}},
		{"takes anything", "unknown arguments are refused", Failed, "hwmtest_no_such_argument is accepted", func(m *manager) {
			more(m, hwmanager.Step{Declaration: ipa.Step{Step: "acme_more", Interface: "raid"}, Run: func(ctx, host, call) (any, error) { return nil, nil }})
		}},
		{"refuses in its own words", "unknown arguments are refused", Failed, "another error than InvalidCommandParams: what is", func(m *manager) {
			more(m, hwmanager.Step{Declaration: ipa.Step{Step: "acme_more", Interface: "raid"}, Run: func(_ ctx, _ host, c call) (any, error) {
				for name := range c.Args {
					return nil, fmt.Errorf("what is %s", name)
				}
				return nil, nil
			}})
		}},
		{"needs nothing that it needs", "missing arguments are refused", Failed, "a call without size is accepted", wantSize(func(_ host, size any) error {
			if _, text := size.(string); !text && size != nil {
				return ipa.InvalidCommandParams.New("size must be a text")
			}
			return nil
		})},
		{"acts before it looks", "missing arguments are refused", Failed, "is refused after dev/sdb was changed", wantSize(func(h host, size any) error {
			if size == nil {
				return errors.Join(touch(h.DevicePath("/dev/sdb")), ipa.InvalidCommandParams.New("size is missing"))
			}
			if _, text := size.(string); !text {
				return ipa.InvalidCommandParams.New("size must be a text")
			}
			return nil
		})},
		{"size of any type", "wrong types are refused", Failed, "size of the wrong type is accepted", wantSize(func(_ host, size any) error {
			if size == nil {
				return ipa.InvalidCommandParams.New("size is missing")
			}
			return nil
		})},
		{"does not say which", "wrong types are refused", Failed, "is refused without the argument's name", wantSize(func(_ host, size any) error {
			if size == nil {
				return ipa.InvalidCommandParams.New("size is missing")
			}
			if size != 1 {
				return ipa.InvalidCommandParams.New("that is wrong")
			}
			return nil
		})},
		{"panics", "steps do not panic", Failed, "clean step acme_more panics: assignment to entry in nil map", offer(func(ctx, host, call) (any, error) {
			var missing map[string]int
			missing["x"] = 1
			return nil, nil
		})},
		{"does not end", "cancelled steps end", Failed, "clean step acme_more did not return within", offer(func(ctx, host, call) (any, error) {
			<-stop
			return nil, nil
		})},
		{"talks on", "cancelled steps end", Failed, "reported progress after", offer(func(_ ctx, _ host, c call) (any, error) {
			time.AfterFunc(time.Millisecond, func() { c.Progress(ipa.Progress{}) })
			return nil, nil
		})},
		{"more than all", "progress", Failed, "3 of 2 are done", offer(func(_ ctx, _ host, c call) (any, error) {
			c.Progress(ipa.Progress{Done: 3, Total: 2})
			return nil, nil
		})},
		{"a channel for a result", "results", Failed, "does not encode as JSON", offer(func(ctx, host, call) (any, error) { return make(chan int), nil })},
		{"a flood for a result", "results", Failed, "2097154 bytes", offer(func(ctx, host, call) (any, error) { return strings.Repeat("x", 2<<20), nil })},
		{"reboots for ever", "reboots", Failed, "asks for a reboot for the 9th time", offer(func(ctx, host, call) (any, error) { return nil, &hwmanager.Reboot{State: 1} })},
		{"state that does not encode", "reboots", Failed, "its state does not encode", offer(func(ctx, host, call) (any, error) {
			return nil, &hwmanager.Reboot{State: func() {}}
		})},
		{"reboots unannounced", "reboots", Warning, "without saying so", offer(func(_ ctx, _ host, c call) (any, error) {
			if c.Resume == nil {
				return nil, &hwmanager.Reboot{State: "1.0"}
			}
			return string(c.Resume), nil
		})},
		{"fails without a word", "errors have words", Failed, "acme_more fails without a word", offer(func(ctx, host, call) (any, error) { return nil, errors.New(" ") })},
		{"no disks is an error", "abilities", Failed, "list_block_devices: no controller", func(m *manager) {
			m.disks = func(host) ([]ipa.BlockDevice, error) { return nil, errors.New("no controller") }
		}},
		{"panics where nothing is", "abilities", Failed, "list_block_devices panics", func(m *manager) {
			m.disks = func(h host) ([]ipa.BlockDevice, error) {
				entries, _ := os.ReadDir(filepath.Join(h.Sys, "block")) // there are always some
				return []ipa.BlockDevice{{Name: entries[0].Name()}}, nil
			}
		}},
		{"collects and writes", "what is collected", Failed, "proc/acme (new)", func(m *manager) {
			m.collect = func(h host) (map[string]any, error) { return nil, touch(filepath.Join(h.Proc, "acme")) }
		}},
		{"a password in the result", "secrets", Failed, "is in a result", offer(func(_ ctx, _ host, c call) (any, error) { return c.Node, nil })},
		{"a password in an error", "secrets", Failed, "is in an error", offer(func(_ ctx, _ host, c call) (any, error) {
			return nil, fmt.Errorf("login with %s failed", credential(c))
		})},
		{"a password in the log", "secrets", Failed, "is in the log", offer(func(_ ctx, h host, c call) (any, error) {
			h.Log.WithField("node", c.Node).Debug("beginning")
			return nil, nil
		})},
		{"a password for all to see", "secrets", Failed, "is in the arguments of acmectl", offer(func(c ctx, h host, call call) (any, error) {
			out, err := h.Run.Run(c, "acmectl", "login", credential(call))
			return string(out), err
		})},
		{"a password in the environment", "secrets", Failed, "is in the environment of acmectl", offer(func(c ctx, h host, call call) (any, error) {
			out, err := h.Tool(c, hwmanager.Tool{Name: "acmectl", Env: []string{"ACME_PASSWORD=" + credential(call)}})
			return string(out), err
		})},
		{"leaves a goroutine", "no goroutines are left", Failed, "hwmtest.badManagers", offer(func(ctx, host, call) (any, error) {
			go func() { <-stop }()
			return nil, nil
		})},
		{"leaves a process", "no processes are left", Failed, "sleep (", offer(func(_ ctx, h host, _ call) (any, error) {
			cmd := exec.Command("sleep", "1000")
			cmd.Env = append(os.Environ(), "PATH="+h.Programs+":"+os.Getenv("PATH"))
			if err := cmd.Start(); err != nil {
				return nil, err
			}
			return nil, cmd.Process.Release()
		})},
	}
}

// only holds that of all checks the one named has the status, with the detail and
// with advice, and that nothing is held against the others; "" is none.
func only(t *testing.T, outcomes []Outcome, check string, status Status, detail string) {
	t.Helper()
	found := check == ""
	for _, o := range outcomes {
		switch {
		case o.Check == check && o.Status == status && strings.Contains(o.Detail, detail) && o.Advice != "":
			found = true
		case o.Status == Failed || o.Status == Warning:
			t.Errorf("%s %s: %s", o.Status, o.Check, o.Detail)
		}
	}
	if !found {
		t.Errorf("want %s of %q with %q", status, check, detail)
	}
}

// TestBadManagers: each check is failed by who does what it is there for, and by
// nobody else; each one has somebody who fails it.
func TestBadManagers(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) }) // after all subtests
	const machine = "sys/bus/pci/devices/0000:5e:00.0/vendor = 0x1000\\n\nsys/block/sda/size = 8\\n\ndev/sda : 68719476736\ndev/sdb : 4096\n"
	dir := hostDir(t, map[string]string{"host.machine": machine, "bin/acmectl": "#!/bin/sh\necho done\n"})
	covered := map[string]bool{}
	for _, test := range badManagers(stop) {
		covered[test.check] = true
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			factory := func() hwmanager.Manager {
				m := good()
				test.breaks(m)
				return m
			}
			only(t, Check(t.Context(), factory, nil, OnHost(dir), Patience(400*time.Millisecond), func(o *options) { o.settle = 2 * time.Second }),
				test.check, test.status, test.detail)
		})
	}
	for _, c := range suite() {
		if !covered[c.name] {
			t.Errorf("no manager here fails %q", c.name)
		}
	}
}

// TestGoodManager: nothing is held against it, and nothing but reboots is skipped.
func TestGoodManager(t *testing.T) {
	t.Parallel()
	factory := func() hwmanager.Manager { return good() }
	for _, o := range Check(t.Context(), factory, nil) {
		if o.Status != OK && o.Check != "reboots" {
			t.Errorf("%s %s: %s", o.Status, o.Check, o.Detail)
		}
	}
	Run(t, factory)
}

// TestManagerThatHangs: it costs its time once, and what rests on it is skipped.
func TestManagerThatHangs(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	began := time.Now()
	failures := map[string]bool{}
	for _, o := range Check(t.Context(), func() hwmanager.Manager {
		m := good()
		m.evaluate = func(ctx, host) (level, error) { <-stop; return 0, nil }
		return m
	}, nil, Patience(300*time.Millisecond)) {
		if o.Status == Failed {
			failures[o.Check] = true
		}
	}
	if !failures["evaluate"] || failures["steps are listed"] || failures["secrets"] {
		t.Errorf("failures %v", failures)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestReport: each check has a name and says what to do; a report has a line for each.
func TestReport(t *testing.T) {
	names := map[string]bool{}
	for _, c := range suite() {
		if c.name == "" || c.advice == "" || names[c.name] {
			t.Errorf("check %q: without advice, or there twice", c.name)
		}
		names[c.name] = true
	}
	var out strings.Builder
	if Report(&out, []Outcome{{Check: "a", Status: Failed, Detail: "why", Advice: "what to do"}, {Check: "longer", Status: OK, Detail: "well"}}) {
		t.Error("a failure is reported as success")
	}
	want := "FAILED   a       why\n                 -> what to do\nok       longer  well\n\n2 checks: 1 ok, 1 failed, 0 warnings, 0 skipped\n"
	if out.String() != want {
		t.Errorf("report:\n%s\nwant:\n%s", out.String(), want)
	}
	if !Report(io.Discard, []Outcome{{Status: Warning}, {Status: Skipped}}) {
		t.Error("warnings are reported as failures")
	}
}
