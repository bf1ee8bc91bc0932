package flow

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// SensorConfig is how sensors are read without being asked for.
type SensorConfig struct {
	// Enabled reads the sensors of all nodes that have an instance, every Interval.
	Enabled  bool          `ini:"sensor_data.send_sensor_data"`
	Interval time.Duration `ini:"sensor_data.interval"`
	// Nodes can be left out, where Ironic would still send what it knows of itself.
	Nodes bool `ini:"sensor_data.enable_for_nodes"`
	// Undeployed reads those of nodes without an instance as well.
	Undeployed bool `ini:"sensor_data.enable_for_undeployed_nodes"`
	// Workers is how many machines are read at once.
	Workers int `ini:"sensor_data.workers"`
	// WaitTimeout ends a pass; the next one begins where it ended.
	WaitTimeout time.Duration `ini:"sensor_data.wait_timeout"`
	// DataTypes are the kinds of sensors that are kept; ALL is all.
	DataTypes []string `ini:"sensor_data.data_types"`
	// Metrics shows what was read as gauges, MetricsMax of them at most.
	Metrics    bool `ini:"ferric_api.sensor_metrics"`
	MetricsMax int  `ini:"ferric_api.sensor_metrics_max"`
}

func defaultSensors() SensorConfig {
	return SensorConfig{Interval: 10 * time.Minute, Nodes: true, Workers: 4, WaitTimeout: 5 * time.Minute, DataTypes: []string{allTypes}, MetricsMax: 10_000}
}

// allTypes in DataTypes, in letters of any size.
const allTypes = "ALL"

// Every is the pause between two passes; 0 is never.
func (c SensorConfig) Every() time.Duration {
	if !c.Enabled || !c.Nodes {
		return 0
	}
	return c.Interval
}

func (c SensorConfig) validate() error {
	switch {
	case c.Interval <= 0:
		return fmt.Errorf("[sensor_data]interval is %v, it must be positive", c.Interval)
	case c.WaitTimeout <= 0:
		return fmt.Errorf("[sensor_data]wait_timeout is %v, it must be positive", c.WaitTimeout)
	case c.Workers < 1:
		return fmt.Errorf("[sensor_data]workers is %d, it must be positive", c.Workers)
	case c.MetricsMax < 1:
		return fmt.Errorf("[ferric_api]sensor_metrics_max is %d, it must be positive", c.MetricsMax)
	}
	return nil
}

// wants tells whether sensors of a kind are kept.
func (c SensorConfig) wants(kind string) bool {
	return slices.ContainsFunc(c.DataTypes, func(t string) bool {
		return strings.EqualFold(t, allTypes) || strings.EqualFold(t, kind)
	})
}

// SensorReadings are what a machine's sensors said.
type SensorReadings struct {
	Sensors map[string]map[string]map[string]any `json:"sensors"`
	Time    time.Time                            `json:"time"`
	// Error is why a later attempt to read them failed, at ErrorTime.
	Error     string     `json:"error,omitempty"`
	ErrorTime *time.Time `json:"error_time,omitempty"`
}

// SensorValue is a reading that is a number.
type SensorValue struct {
	Node, Kind, Sensor, Unit string
	Value                    float64
}

// maxKeptSensors bounds the bytes of readings that are kept, and maxKeptValues
// those that metrics are made of of one node.
const (
	maxKeptSensors = 128 << 20
	maxKeptValues  = 1024
)

// sensors keeps the last readings of each node, packed.
type sensors struct {
	mu    sync.Mutex
	kept  map[int64]*keptSensors // by node
	bytes int
	after int64 // the node that the last pass ended at, 0 if it came to an end
}

type keptSensors struct {
	at      time.Time
	packed  []byte
	values  []SensorValue
	err     string
	errorAt time.Time
}

// Sensors are those of the machine: what was read last without being asked for,
// if anything was and nobody wants them to be read now.
func (f *Flow) Sensors(ctx context.Context, id int64, refresh bool) (SensorReadings, error) {
	n, err := f.store.NodeByID(ctx, id)
	if err != nil {
		return SensorReadings{}, err
	}
	if !refresh {
		if last, ok, err := f.sensors.last(id); ok || err != nil {
			return last, err
		}
	}
	all, err := f.readSensors(ctx, n)
	return SensorReadings{Sensors: all, Time: time.Now().UTC()}, err
}

func (f *Flow) readSensors(ctx context.Context, n *store.Node) (map[string]map[string]map[string]any, error) {
	m, err := f.managed(ctx, n)
	if err != nil {
		return nil, err
	}
	able, err := ability[driver.Sensors](n, m, "get_sensors_data")
	if err != nil {
		return nil, err
	}
	return able.SensorsData(ctx, n)
}

// SensorValues are the numbers among the readings that are not older than three
// passes, and how many were left out because there are too many.
func (f *Flow) SensorValues() (values []SensorValue, leftOut int) {
	s := &f.sensors
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]int64, 0, len(s.kept))
	for id, k := range s.kept {
		if time.Since(k.at) < 3*f.cfg.Sensors.Interval+f.cfg.Sensors.WaitTimeout {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids) // so that the same ones are left out each time
	for _, id := range ids {
		k := s.kept[id]
		n := min(len(k.values), f.cfg.Sensors.MetricsMax-len(values))
		values, leftOut = append(values, k.values[:n]...), leftOut+len(k.values)-n
	}
	return values, leftOut
}

// sensorPage is how many nodes are read from the database at a time.
const sensorPage = 100

// PollSensors is one pass over the nodes. One that lasts too long is ended, and
// the next begins with the node that it had come to.
func (f *Flow) PollSensors(ctx context.Context) error {
	cfg, began := f.cfg.Sensors, time.Now()
	parent := ctx
	ctx, cancel := context.WithTimeout(ctx, cfg.WaitTimeout)
	defer cancel()
	where, args := []string{"maintenance = ?", "provision_state != ?"}, []any{false, string(provision.Enroll)}
	if !cfg.Undeployed {
		where = append(where, "instance_uuid IS NOT NULL")
	}
	var pass errgroup.Group
	pass.SetLimit(cfg.Workers)
	var read, failed atomic.Int64
	start := func(n *store.Node) {
		pass.Go(func() error {
			if f.pollNode(ctx, n) {
				read.Add(1)
			} else {
				failed.Add(1)
			}
			return nil
		})
	}
	f.sensors.mu.Lock()
	first := f.sensors.after
	f.sensors.mu.Unlock()
	seen := map[int64]bool{}
	// sweep starts the nodes behind one, up to another, until the pass has lasted too long.
	sweep := func(after, upTo int64) (last int64, err error) {
		for query := (store.Query{Where: where, Args: args, After: after, Limit: sensorPage}); ; {
			page, err := f.store.Swept(parent, query)
			if err != nil || len(page) == 0 {
				return query.After, err
			}
			for _, n := range page {
				if ctx.Err() != nil || n.ID > upTo {
					return query.After, nil
				}
				start(n)
				seen[n.ID], query.After = true, n.ID
			}
		}
	}
	last, err := sweep(first, math.MaxInt64)
	if err == nil && first > 0 && ctx.Err() == nil {
		last, err = sweep(0, first)
	}
	complete := ctx.Err() == nil
	_ = pass.Wait() // whose errors have been kept
	if err != nil {
		return err
	}
	if complete {
		last = 0
		f.sensors.keepOnly(seen)
	}
	f.sensors.mu.Lock()
	f.sensors.after = last
	f.sensors.mu.Unlock()
	f.log.WithFields(logrus.Fields{"read": read.Load(), "failed": failed.Load(), "complete": complete,
		"seconds": time.Since(began).Round(time.Millisecond).Seconds()}).Info("sensors: pass done")
	return nil
}

// pollNode reads one machine's sensors. What fails is kept with the readings
// from before; hardware that has no sensors is passed over.
func (f *Flow) pollNode(ctx context.Context, n *store.Node) bool {
	all, err := f.readSensors(ctx, n)
	if errors.Is(err, driver.ErrUnsupported) {
		return true
	}
	if err != nil && ctx.Err() != nil { // cut off by the end of the pass
		err = fmt.Errorf("the pass ended: see [sensor_data]wait_timeout and workers: %w", err)
	}
	if err != nil {
		f.log.WithField("node", n.UUID).WithError(err).Warn("cannot read the sensors of the node")
		f.sensors.failed(n.ID, err)
		return false
	}
	k := &keptSensors{at: time.Now().UTC()}
	for kind := range all {
		if !f.cfg.Sensors.wants(kind) {
			delete(all, kind)
		}
	}
	if f.cfg.Sensors.Metrics {
		k.values = sensorValues(n.UUID, all)
	}
	if k.packed, err = pack(all); err != nil {
		f.sensors.failed(n.ID, err)
		return false
	}
	f.sensors.keep(n.ID, k)
	return true
}

// sensorValues are the readings that are numbers, in an order that stays.
func sensorValues(node string, all map[string]map[string]map[string]any) (values []SensorValue) {
	for kind, list := range all {
		for name, fields := range list {
			if value, ok := fields["Sensor Value"].(float64); ok {
				unit, _ := fields["Sensor Units"].(string)
				values = append(values, SensorValue{Node: node, Kind: kind, Sensor: strings.ToValidUTF8(name, "?"), Unit: strings.ToValidUTF8(unit, "?"), Value: value})
			}
		}
	}
	slices.SortFunc(values, func(a, b SensorValue) int { return strings.Compare(a.Kind+"\x00"+a.Sensor, b.Kind+"\x00"+b.Sensor) })
	return slices.Clip(values[:min(len(values), maxKeptValues)])
}

func (s *sensors) last(id int64) (r SensorReadings, ok bool, err error) {
	s.mu.Lock()
	k := s.kept[id]
	if k != nil {
		copied := *k
		k = &copied
	}
	s.mu.Unlock()
	if k == nil || k.packed == nil {
		return r, false, nil
	}
	r = SensorReadings{Time: k.at, Error: k.err}
	if k.err != "" {
		r.ErrorTime = &k.errorAt
	}
	if err := json.NewDecoder(flate.NewReader(bytes.NewReader(k.packed))).Decode(&r.Sensors); err != nil {
		return r, false, fmt.Errorf("unpack the readings of sensors: %w", err)
	}
	return r, true, nil
}

func pack(all map[string]map[string]map[string]any) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(json.NewEncoder(w).Encode(all), w.Close()); err != nil {
		return nil, fmt.Errorf("pack the readings of sensors: %w", err)
	}
	return bytes.Clone(out.Bytes()), nil
}

// keep replaces what is kept of a node, and forgets the oldest where it is too much.
func (s *sensors) keep(id int64, k *keptSensors) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(id)
	s.kept[id] = k
	s.bytes += k.size()
	for s.bytes > maxKeptSensors && len(s.kept) > 1 {
		oldest := id
		for other, o := range s.kept {
			if o.at.Before(s.kept[oldest].at) {
				oldest = other
			}
		}
		s.forget(oldest)
	}
}

// failed notes that readings are no longer fresh.
func (s *sensors) failed(id int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.kept[id]; k != nil {
		k.err, k.errorAt = err.Error(), time.Now().UTC()
	}
}

// keepOnly forgets the nodes that are not among those.
func (s *sensors) keepOnly(ids map[int64]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.kept {
		if !ids[id] {
			s.forget(id)
		}
	}
}

func (s *sensors) forget(id int64) {
	if k := s.kept[id]; k != nil {
		s.bytes -= k.size()
		delete(s.kept, id)
	}
}

// size is about what it takes in memory; labels share their strings.
func (k *keptSensors) size() int { return len(k.packed) + 160*len(k.values) + 200 }
