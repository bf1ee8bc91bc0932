package flow_test

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// TestLogsOfFailures: the logs of an agent whose operation failed are kept.
func TestLogsOfFailures(t *testing.T) {
	const archive = "\x1f\x8b logs"
	for name, tt := range map[string]struct {
		collect, logs string
		want          bool
	}{
		"on failure":         {"on_failure", base64.StdEncoding.EncodeToString([]byte(archive)), true},
		"never":              {"never", base64.StdEncoding.EncodeToString([]byte(archive)), false},
		"the agent has none": {"on_failure", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *flow.Config) { c.Logs.Collect = tt.collect })
			r.agent.logs = tt.logs
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.boot()
			r.agent.finish(ipa.StatusFailed, ipa.Cleaning.New("too hot"))
			r.beat()
			n := r.reach(provision.CleanFailed)
			if !strings.Contains(*n.LastError, "too hot") || *n.PowerState != driver.PowerOff {
				t.Errorf("last_error %q, %s", *n.LastError, *n.PowerState)
			}
			files, err := filepath.Glob(filepath.Join(r.cfg.Logs.LocalPath, "*"))
			if err != nil || len(files) != 1 == tt.want {
				t.Fatalf("files %q, %v; want some: %v", files, err, tt.want)
			}
			if !tt.want {
				return
			}
			text, err := os.ReadFile(files[0])
			if base := filepath.Base(files[0]); err != nil || string(text) != archive || !strings.HasPrefix(base, n.UUID+"_") || !strings.HasSuffix(base, ".tar.gz") {
				t.Errorf("%s has %q, %v", files[0], text, err)
			}
		})
	}
}

// TestLogsAlways: on request the logs are kept at a good end as well.
func TestLogsAlways(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.Logs.Collect = "always" })
	r.agent.logs = base64.StdEncoding.EncodeToString([]byte("logs"))
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.clean()
	instance := "11111111-2222-4333-8444-555555555555"
	r.change(func(n *store.Node) { n.InstanceUUID = &instance })
	r.must("active", provision.WaitCallback)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Active)
	files, err := filepath.Glob(filepath.Join(r.cfg.Logs.LocalPath, "*.tar.gz"))
	if err != nil || len(files) != 2 || !strings.Contains(strings.Join(files, " "), "_"+instance+"_") {
		t.Errorf("files %q, %v; want those of a cleaning and of a deployment", files, err)
	}
}

// TestBootRetry: a machine from which nothing is heard is booted again, one that
// works, or has been booted just now, is not.
func TestBootRetry(t *testing.T) {
	early, late := time.Now().UTC().Add(-time.Hour), time.Now().UTC()
	for name, tt := range map[string]struct {
		change func(r *rig)
		want   []string
	}{
		"silent":         {func(r *rig) { r.poweredOn(early) }, []string{"power off requested", "power on requested"}},
		"just booted":    {func(r *rig) { r.poweredOn(late) }, nil},
		"an agent works": {func(r *rig) { r.boot(); r.poweredOn(early) }, nil},
		"in maintenance": {func(r *rig) { r.poweredOn(early); r.change(maintenance) }, nil},
		"never powered": {func(r *rig) {
			r.change(func(n *store.Node) { delete(n.DriverInternalInfo, driver.KeyLastPowerChange) })
		}, nil},
		"somebody has it": {func(r *rig) { r.poweredOn(early); _, _ = r.db.Reserve(t.Context(), "other", r.node) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *flow.Config) { c.BootRetryTimeout = time.Minute })
			r.must("manage", provision.Manageable)
			n := r.must("provide", provision.CleanWait)
			since := *n.ProvisionUpdatedAt
			tt.change(r)
			before := len(r.power())
			for range 2 { // the second finds it just booted
				if err := r.flow.RetryBoots(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.tasks.Wait()
			}
			if got := r.power()[before:]; !slices.Equal(got, tt.want) {
				t.Errorf("power: %q; want %q", got, tt.want)
			}
			n = r.row()
			if n.ProvisionState != provision.CleanWait || tt.want != nil && !n.ProvisionUpdatedAt.Equal(since) {
				t.Errorf("%s since %v; want the wait to go on as it was", n.ProvisionState, n.ProvisionUpdatedAt)
			}
		})
	}
}

// poweredOn says when the machine was switched on.
func (r *rig) poweredOn(at time.Time) {
	r.change(func(n *store.Node) {
		n.DriverInternalInfo[driver.KeyLastPowerChange] = at.Format("2006-01-02T15:04:05.000000")
	})
}

// checked is a management interface with verify steps and a vendor.
type checked struct {
	driver.Management
	ran *[]string
	err error
}

func (c checked) VerifySteps() []driver.Step {
	step := func(name string, priority int, outcome driver.Outcome, err error) driver.Step {
		return driver.Step{Interface: "management", Name: name, Priority: priority, Run: func(context.Context, *task.Task, map[string]any) (driver.Outcome, error) {
			*c.ran = append(*c.ran, name)
			return outcome, err
		}}
	}
	return []driver.Step{step("clock", 1, driver.Finished, c.err), step("licence", 5, driver.Finished, nil), step("wait", 0, driver.Waiting, nil)}
}

func (c checked) DetectVendor(context.Context, *store.Node) (string, error) { return "acme", nil }

// TestVerifySteps: the steps of a verification run by their priorities, which
// the configuration may change, and one that fails leaves the node enrolled.
func TestVerifySteps(t *testing.T) {
	for name, tt := range map[string]struct {
		override map[string]string
		err      error
		ran      string
		fails    string
	}{
		"by priority":          {nil, nil, "licence clock", ""},
		"another order":        {map[string]string{"management.clock": "9"}, nil, "clock licence", ""},
		"one is switched off":  {map[string]string{"management.licence": "0"}, nil, "clock", ""},
		"one fails":            {nil, errors.New("the clock is a year off"), "licence clock", "verify step management.clock: the clock is a year off"},
		"one cannot be waited": {map[string]string{"management.wait": "7"}, nil, "wait", "cannot be waited for"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *flow.Config) { c.VerifyStepPriorityOverride = tt.override })
			var ran []string
			r.with(func(ifs *driver.Interfaces) { ifs.Management = checked{ifs.Management, &ran, tt.err} })
			if err := r.do("manage", flow.ProvisionRequest{}); err != nil {
				t.Fatal(err)
			}
			want := provision.Manageable
			if tt.fails != "" {
				want = provision.Enroll
			}
			n := r.reach(want)
			r.tasks.Wait()
			if got := strings.Join(ran, " "); got != tt.ran {
				t.Errorf("ran %q; want %q", got, tt.ran)
			}
			if tt.fails == "" && (n.DriverInternalInfo["vendor"] != "acme" || n.Properties["vendor"] != "acme") || tt.fails != "" && (n.LastError == nil || !strings.Contains(*n.LastError, tt.fails)) {
				t.Errorf("vendor %v, last_error %v", n.DriverInternalInfo["vendor"], n.LastError)
			}
		})
	}
}
