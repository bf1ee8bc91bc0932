package flow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/fake"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// thermometer is a management interface with sensors, which are read many times.
type thermometer struct {
	fake.Management
	mu    sync.Mutex
	asked map[int64]int
	fail  error
	block int64 // the node whose BMC does not answer
}

func (m *thermometer) SensorsData(ctx context.Context, n *store.Node) (map[string]map[string]map[string]any, error) {
	m.mu.Lock()
	m.asked[n.ID]++
	times, fail, block := m.asked[n.ID], m.fail, m.block == n.ID
	m.mu.Unlock()
	if block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return map[string]map[string]map[string]any{
		"Temperature": {"CPU (0x1)": {"Sensor ID": "CPU (0x1)", "Sensor Value": float64(times), "Sensor Units": "degrees C"}},
		"Fan":         {"Fan \xff (0x2)": {"Sensor ID": "Fan (0x2)", "Sensor Value": 900.0, "Sensor Units": "RPM"}},
	}, fail
}

type sensorRig struct {
	flow  *flow.Flow
	db    *store.Store
	meter *thermometer
}

func newSensorRig(t *testing.T, change func(c *flow.SensorConfig)) sensorRig {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	types, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware", "manual-management"}})
	if err != nil {
		t.Fatal(err)
	}
	hardware, err := fake.New(fake.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	meter := &thermometer{Management: hardware.Management, asked: map[int64]int{}}
	types.Add(builtin.Implementations{Management: map[string]driver.Management{"fake": meter}})
	log := logrus.New()
	log.SetOutput(io.Discard)
	tasks := task.NewManager(t.Context(), task.Config{Host: "test", WorkersPoolSize: 1}, db, logrus.NewEntry(log))
	t.Cleanup(func() { tasks.Wait(); db.Close() })
	cfg := flow.DefaultConfig()
	cfg.Sensors.Enabled, cfg.Sensors.Metrics = true, true
	if change != nil {
		change(&cfg.Sensors)
	}
	return sensorRig{flow.New(cfg, db, tasks, types, logrus.NewEntry(log)), db, meter}
}

func (r sensorRig) node(t *testing.T, state provision.State, change func(n *store.Node)) int64 {
	t.Helper()
	n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: state, InstanceUUID: set(uuid.NewString())}
	if change != nil {
		change(n)
	}
	if err := r.flow.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n.ID
}

func (r sensorRig) poll(t *testing.T) {
	t.Helper()
	if err := r.flow.PollSensors(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A pass reads the nodes that Ironic would, and what it read is shown until the
// next one, or until somebody wants it fresh.
func TestPollSensors(t *testing.T) {
	for _, undeployed := range []bool{false, true} {
		t.Run(fmt.Sprint("undeployed ", undeployed), func(t *testing.T) {
			r := newSensorRig(t, func(c *flow.SensorConfig) { c.Undeployed, c.DataTypes = undeployed, []string{"temperature"} })
			active := r.node(t, provision.Active, nil)
			free := r.node(t, provision.Available, func(n *store.Node) { n.InstanceUUID = nil })
			r.node(t, provision.Enroll, nil)
			r.node(t, provision.Active, func(n *store.Node) { n.Maintenance = true })
			r.poll(t)
			want := map[int64]int{active: 1}
			if undeployed {
				want[free] = 1
			}
			if diff := cmp.Diff(want, r.meter.asked); diff != "" {
				t.Fatal(diff)
			}
			first, err := r.flow.Sensors(t.Context(), active, false)
			if err != nil || first.Sensors["Temperature"]["CPU (0x1)"]["Sensor Value"] != 1.0 || first.Sensors["Fan"] != nil || time.Since(first.Time) > time.Minute {
				t.Fatal(first, err)
			}
			r.meter.fail = errors.New("the BMC is gone")
			r.poll(t)
			again, err := r.flow.Sensors(t.Context(), active, false)
			if err != nil || !again.Time.Equal(first.Time) || !strings.Contains(again.Error, "the BMC is gone") || again.ErrorTime == nil {
				t.Fatal("what was read before is to be shown with the failure", again, err)
			}
			if _, err := r.flow.Sensors(t.Context(), active, true); !errors.Is(err, r.meter.fail) {
				t.Fatal(err)
			}
			r.meter.fail = nil
			if now, err := r.flow.Sensors(t.Context(), active, true); err != nil || now.Sensors["Temperature"]["CPU (0x1)"]["Sensor Value"] != 4.0 {
				t.Fatal(now, err)
			}
		})
	}
}

// A BMC that does not answer costs its worker's time only, and a pass that did not
// come to its end is gone on with by the next.
func TestPollSensorsTimeout(t *testing.T) {
	r := newSensorRig(t, func(c *flow.SensorConfig) { c.Workers, c.WaitTimeout = 1, 300*time.Millisecond })
	var ids []int64
	for range 4 {
		ids = append(ids, r.node(t, provision.Active, nil))
	}
	r.meter.block = ids[1]
	r.poll(t)
	if got := r.meter.asked; got[ids[0]] != 1 || got[ids[1]] != 1 || got[ids[3]] != 0 {
		t.Fatal(got)
	}
	r.poll(t)
	if got := r.meter.asked; got[ids[3]] != 1 {
		t.Fatal("the second pass did not go on where the first ended", got)
	}
	if last, err := r.flow.Sensors(t.Context(), ids[3], false); err != nil || last.Sensors == nil || r.meter.asked[ids[3]] != 1 {
		t.Fatal(last, err)
	}
}

// What is shown as metrics is bounded, belongs to nodes that there are, and is
// fresh.
func TestSensorValues(t *testing.T) {
	r := newSensorRig(t, func(c *flow.SensorConfig) { c.MetricsMax = 3 })
	first := r.node(t, provision.Active, nil)
	r.node(t, provision.Active, nil)
	r.poll(t)
	values, leftOut := r.flow.SensorValues()
	if len(values) != 3 || leftOut != 1 || values[0].Sensor != "Fan ? (0x2)" || values[0].Value != 900 || values[0].Unit != "RPM" {
		t.Fatal(values, leftOut)
	}
	n, err := r.db.NodeByID(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.db.DeleteNode(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	r.poll(t)
	if values, leftOut := r.flow.SensorValues(); len(values) != 2 || leftOut != 0 || values[0].Node == n.UUID {
		t.Fatal(values, leftOut)
	}
}
