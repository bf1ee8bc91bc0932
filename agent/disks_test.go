package agent

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"ferric/agent/config"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// slowBus is a manager whose disks appear one by one.
type slowBus struct {
	born  time.Time
	after map[string]time.Duration // by name
}

func (slowBus) Name() string      { return "slow" }
func (slowBus) ClassName() string { return "Slow" }
func (slowBus) Version() string   { return "1" }
func (slowBus) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}
func (b slowBus) BlockDevices(context.Context, *hwmanager.Host, bool) ([]ipa.BlockDevice, error) {
	var disks []ipa.BlockDevice
	for _, name := range []string{"/dev/sda", "/dev/sdb"} {
		if after, known := b.after[name]; known && time.Since(b.born) >= after {
			disks = append(disks, ipa.BlockDevice{Name: name})
		}
	}
	return disks, nil
}
func (b slowBus) InstallDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) (ipa.BlockDevice, error) {
	disks, _ := b.BlockDevices(ctx, h, false)
	for _, disk := range disks {
		if disk.Name == node["root"] {
			return disk, nil
		}
	}
	return ipa.BlockDevice{}, ipa.DeviceNotFound.New("not yet")
}
func (b slowBus) CleanSteps(ctx context.Context, h *hwmanager.Host, _ hwmanager.Node) ([]hwmanager.Step, error) {
	var steps []hwmanager.Step
	disks, _ := b.BlockDevices(ctx, h, false)
	for _, disk := range disks {
		steps = append(steps, hwmanager.NewStep(ipa.Step{Step: disk.Name, Interface: "deploy"}, func(context.Context, *hwmanager.Host, hwmanager.StepCall, struct{}) (any, error) {
			return nil, nil
		}))
	}
	return steps, nil
}

// onSlowBus is an agent that has just started on such a machine.
func onSlowBus(t *testing.T, after map[string]time.Duration) *Agent {
	t.Helper()
	a := New(&config.Config{DiskWaitAttempts: 10, DiskWaitDelay: 3 * time.Second}, nil, io.Discard)
	var err error
	if a.set, err = hwmanager.Load(t.Context(), a.host, []hwmanager.Manager{slowBus{time.Now(), after}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.lookAtDisks(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestStepsWaitForDisks asks for the steps at a given time after the start.
func TestStepsWaitForDisks(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		after map[string]time.Duration
		asked time.Duration
		steps int
		waits time.Duration
	}{
		{"all there, asked late", map[string]time.Duration{"/dev/sda": 0}, 2 * time.Second, 1, 0},
		{"all there, asked early", map[string]time.Duration{"/dev/sda": 0}, 500 * ms, 1, time.Second},
		{"one appears meanwhile", map[string]time.Duration{"/dev/sda": 0, "/dev/sdb": 1000 * ms}, 500 * ms, 2, 2000 * ms},
		{"one has appeared since", map[string]time.Duration{"/dev/sda": 0, "/dev/sdb": 1000 * ms}, 5 * time.Second, 2, diskSettle},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := onSlowBus(t, test.after)
				a.setNode(map[string]any{"uuid": "u"})
				time.Sleep(test.asked)
				asked := time.Now()
				got, err := a.getSteps(t.Context(), hwmanager.Clean, params{"node": map[string]any{"uuid": "u"}, "ports": []any{}})
				if err != nil {
					t.Fatal(err)
				}
				steps := got.(map[string]any)["clean_steps"].(map[string][]ipa.Step)["Slow"]
				if len(steps) != test.steps || time.Since(asked) != test.waits {
					t.Errorf("%d steps after %s; want %d after %s", len(steps), time.Since(asked), test.steps, test.waits)
				}
			})
		})
	}
}

func TestRootDiskIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := onSlowBus(t, map[string]time.Duration{"/dev/sda": 0, "/dev/sdb": 10 * time.Second})
		began := time.Now()
		wait := func(node map[string]any) time.Duration {
			before := time.Now()
			if _, _, err := a.cacheNode(t.Context(), params{"node": node, "ports": []any{}}); err != nil {
				t.Fatal(err)
			}
			return time.Since(before)
		}
		if got := wait(map[string]any{"uuid": "a", "root": "/dev/sda"}); got != 0 {
			t.Errorf("waited %s for a disk that is there", got)
		}
		if wait(map[string]any{"uuid": "b", "root": "/dev/sdb"}); time.Since(began) != 10*time.Second {
			t.Errorf("the root disk of another node was waited for %s; want 10s", time.Since(began))
		}
		if got := wait(map[string]any{"uuid": "b", "root": "/dev/sdx"}); got != 0 {
			t.Errorf("waited %s for the node that is known", got)
		}
		if got := wait(map[string]any{"uuid": "c", "root": "/dev/sdx"}); got != 30*time.Second {
			t.Errorf("waited %s for a disk that never comes; want 30s", got)
		}
	})
}
