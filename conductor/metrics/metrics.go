// Package metrics counts what the conductor does, for Prometheus. Nothing in it
// has a label of a node, but for sensors, whose number is bounded: so is what a
// label may be. The other packages tell
// it what happens by the small interfaces and functions that they have for it;
// how many nodes there are is asked for when somebody collects.
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"ferric/conductor/netboot"
	"ferric/conductor/store"
	"ferric/conductor/task"
	"ferric/conductor/timeline"
)

// Metric is a line of the table.
type Metric struct {
	Name   string
	Kind   string // counter, gauge or histogram
	Labels []string
	Help   string
}

// Table is the literal table of the metrics of ferric's own; those of the Go
// runtime and of the process come besides. docs/operations.md is rendered from it.
var Table = []Metric{
	{"ferric_nodes", "gauge", []string{"provision_state", "power_state", "maintenance", "fault"}, "Nodes."},
	{"ferric_transitions_total", "counter", []string{"from", "to"}, "Changes of provision state."},
	{"ferric_operation_seconds", "histogram", []string{"operation", "outcome"}, "How long operations with nodes took: verify, inspect, clean, deploy, undeploy, adopt, rescue, unrescue, service; done, failed, aborted."},
	{"ferric_part_seconds", "histogram", []string{"kind", "name", "outcome"}, "How long parts of operations took: states, steps, stages of a boot."},
	{"ferric_api_requests_total", "counter", []string{"method", "route", "status"}, "Requests to the API."},
	{"ferric_api_request_seconds", "histogram", []string{"method", "route"}, "How long requests to the API took; streams are not in it."},
	{"ferric_database_commit_seconds", "histogram", nil, "How long commits of the database took."},
	{"ferric_database_commit_changes", "histogram", nil, "How many changes a commit gathers."},
	{"ferric_database_commit_failures_total", "counter", nil, "Commits that failed."},
	{"ferric_database_queue", "gauge", nil, "Changes that wait for a commit or are in one."},
	{"ferric_workers", "gauge", nil, "Workers of the pool."},
	{"ferric_workers_busy", "gauge", nil, "Workers that are busy."},
	{"ferric_workers_refused_total", "counter", nil, "Requests for a worker when all were busy."},
	{"ferric_lock_waits_total", "counter", nil, "Tasks that waited for another one of the same node."},
	{"ferric_lock_wait_seconds_total", "counter", nil, "For how long they waited in all."},
	{"ferric_lock_refused_total", "counter", nil, "Tasks that waited for a node in vain."},
	{"ferric_bmc_command_seconds", "histogram", []string{"command", "outcome"}, "Commands to BMCs, retries included: ok or failed."},
	{"ferric_netboot_requests_total", "counter", []string{"protocol", "outcome"}, "Requests of machines that boot by DHCP, TFTP and HTTP: answered or refused."},
	{"ferric_netboot_bytes_total", "counter", []string{"protocol"}, "Bytes of files that machines were sent."},
	{"ferric_heartbeats_total", "counter", []string{"outcome"}, "Heartbeats of agents: accepted, ignored because the node is busy, refused."},
	{"ferric_plugins_reported_total", "counter", []string{"outcome"}, "Plugins that agents have reported: loaded, refused, set aside."},
	{"ferric_power_sync_seconds", "histogram", nil, "How long passes of the power sync took."},
	{"ferric_power_sync_nodes_total", "counter", []string{"outcome"}, "Nodes of the power sync: compared, failed, missed because they were locked."},
	{"ferric_event_streams", "gauge", nil, "Streams of events that are open."},
	{"ferric_sensor_value", "gauge", []string{"node", "kind", "sensor", "unit"}, "What sensors of machines said when they were read last; with [ferric_api]sensor_metrics."},
	{"ferric_sensor_values_left_out", "gauge", nil, "Readings beyond [ferric_api]sensor_metrics_max."},
	{"ferric_build_info", "gauge", []string{"version", "go"}, "1, with what is running."},
}

// maxLabels bounds the values of a label that machines or operators choose.
const maxLabels = 200

// other is the label of what is too much.
const other = "other"

// Metrics are those of one conductor.
type Metrics struct {
	registry   *prometheus.Registry
	counters   map[string]*prometheus.CounterVec
	histograms map[string]*prometheus.HistogramVec
	log        *logrus.Entry

	mu    sync.Mutex
	known map[string]map[string]bool // values of labels that are bounded
}

// Buckets: of answers, in fractions of a second, and of operations, in minutes.
var (
	short   = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	long    = []float64{.1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 4 * 3600, 24 * 3600}
	amounts = []float64{1, 2, 4, 8, 16, 32, 64, 128}
)

// New makes the metrics and their registry.
func New(log *logrus.Entry) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), counters: map[string]*prometheus.CounterVec{}, histograms: map[string]*prometheus.HistogramVec{}, log: log, known: map[string]map[string]bool{}}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, line := range Table {
		switch {
		case line.Kind == "histogram":
			buckets := short
			switch line.Name {
			case "ferric_operation_seconds", "ferric_part_seconds", "ferric_power_sync_seconds":
				buckets = long
			case "ferric_database_commit_changes":
				buckets = amounts
			}
			h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: line.Name, Help: line.Help, Buckets: buckets}, line.Labels)
			m.histograms[line.Name] = h
			m.registry.MustRegister(h)
		case line.Kind == "counter" && !collected[line.Name]:
			c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: line.Name, Help: line.Help}, line.Labels)
			m.counters[line.Name] = c
			m.registry.MustRegister(c)
		}
	}
	return m
}

func (m *Metrics) count(name string, by float64, labels ...string) {
	m.counters[name].WithLabelValues(labels...).Add(by)
}

func (m *Metrics) observe(name string, value float64, labels ...string) {
	m.histograms[name].WithLabelValues(labels...).Observe(value)
}

// bounded is the value of a label, or other where there are too many.
func (m *Metrics) bounded(label, value string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := m.known[label]
	if values == nil {
		values = map[string]bool{}
		m.known[label] = values
	}
	if !values[value] {
		if len(values) >= maxLabels {
			return other
		}
		values[value] = true
	}
	return value
}

// Handler answers who collects.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: m.log, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 30 * time.Second})
}

// Commit counts a commit of the database.
func (m *Metrics) Commit(c store.Commit) {
	m.observe("ferric_database_commit_seconds", c.Took.Seconds())
	m.observe("ferric_database_commit_changes", float64(c.Changes))
	if c.Err != nil {
		m.count("ferric_database_commit_failures_total", 1)
	}
}

// Request counts a request to the API; took is 0 for a stream.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	m.count("ferric_api_requests_total", 1, method, route, strconv.Itoa(status))
	if took > 0 {
		m.observe("ferric_api_request_seconds", took.Seconds(), method, route)
	}
}

// BMCCommand counts a command to a BMC.
func (m *Metrics) BMCCommand(command string, took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	m.observe("ferric_bmc_command_seconds", took.Seconds(), m.bounded("command", command), outcome)
}

// Sighting counts a request of a machine that boots.
func (m *Metrics) Sighting(s netboot.Sighting) {
	outcome := "answered"
	if s.Reason != "" {
		outcome = "refused"
	}
	m.count("ferric_netboot_requests_total", 1, s.Protocol, outcome)
	if s.Bytes > 0 {
		m.count("ferric_netboot_bytes_total", float64(s.Bytes), s.Protocol)
	}
}

// Heartbeat counts a heartbeat: accepted, ignored or refused.
func (m *Metrics) Heartbeat(outcome string) { m.count("ferric_heartbeats_total", 1, outcome) }

// Plugins counts what an agent has reported.
func (m *Metrics) Plugins(loaded, refused, setAside int) {
	for outcome, n := range map[string]int{"loaded": loaded, "refused": refused, "set aside": setAside} {
		m.count("ferric_plugins_reported_total", float64(n), outcome)
	}
}

// PowerSync counts a pass.
func (m *Metrics) PowerSync(took time.Duration, compared, failed, missed int) {
	m.observe("ferric_power_sync_seconds", took.Seconds())
	for outcome, n := range map[string]int{"compared": compared, "failed": failed, "missed": missed} {
		m.count("ferric_power_sync_nodes_total", float64(n), outcome)
	}
}

// followBatch is how many events are read at a time.
const followBatch = 500

// Follow counts transitions, operations and their parts from the events that
// are committed, until ctx ends: nobody who works on a node waits for it.
func (m *Metrics) Follow(ctx context.Context, db *store.Store) error {
	changed, stop := db.WatchEvents()
	defer stop()
	_, after, err := db.EventRange(ctx)
	if err != nil {
		return err
	}
	trackers := map[int64]*timeline.Tracker{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		for {
			list, err := db.EventsOf(ctx, store.EventFilter{After: after, Limit: followBatch})
			if err != nil {
				if ctx.Err() == nil {
					m.log.WithError(err).Warn("metrics cannot read events")
				}
				break
			}
			for i := range list {
				m.event(trackers, &list[i])
				after = list[i].ID
			}
			if len(list) < followBatch {
				break
			}
		}
	}
}

func (m *Metrics) event(trackers map[int64]*timeline.Tracker, e *store.NodeEvent) {
	t := trackers[e.NodeID]
	if t == nil {
		t = &timeline.Tracker{}
	}
	if from, to := e.Data.String("from"), e.Data.String("to"); e.Kind == "state" {
		m.count("ferric_transitions_total", 1, m.bounded("state", from), m.bounded("state", to))
	}
	ended, parts := t.Feed(timeline.Event{Time: e.Time, Kind: e.Kind, Detail: e.Detail, Data: e.Data})
	for _, p := range parts {
		m.observe("ferric_part_seconds", p.Seconds, p.Kind, m.bounded(p.Kind, p.Name), p.Outcome)
	}
	if ended != nil {
		m.observe("ferric_operation_seconds", ended.Seconds, ended.Name, ended.Outcome)
	}
	if t.Open() != nil || e.Kind == "verb" {
		trackers[e.NodeID] = t
	} else {
		delete(trackers, e.NodeID) // nothing is remembered of nodes that rest
	}
}

// Sources are what is asked when somebody collects.
type Sources struct {
	Store   *store.Store
	Tasks   *task.Manager
	Streams func() int
	Version string
	// Sensors tells the readings that there are, and how many it left out; it may be nil.
	Sensors func(tell func(value float64, node, kind, sensor, unit string)) (leftOut int)
}

// collected are the lines of the table that are asked for when somebody collects.
var collected = map[string]bool{
	"ferric_nodes": true, "ferric_database_queue": true, "ferric_workers": true, "ferric_workers_busy": true, "ferric_workers_refused_total": true,
	"ferric_lock_waits_total": true, "ferric_lock_wait_seconds_total": true, "ferric_lock_refused_total": true, "ferric_event_streams": true, "ferric_build_info": true,
	"ferric_sensor_value": true, "ferric_sensor_values_left_out": true,
}

// Collect has the sources asked whenever somebody collects.
func (m *Metrics) Collect(s Sources) {
	c := &collector{sources: s, log: m.log, descriptions: map[string]*prometheus.Desc{}, kinds: map[string]prometheus.ValueType{}}
	for _, line := range Table {
		if collected[line.Name] {
			c.descriptions[line.Name] = prometheus.NewDesc(line.Name, line.Help, line.Labels, nil)
			c.kinds[line.Name] = map[string]prometheus.ValueType{"gauge": prometheus.GaugeValue, "counter": prometheus.CounterValue}[line.Kind]
		}
	}
	m.registry.MustRegister(c)
}

type collector struct {
	sources      Sources
	log          *logrus.Entry
	descriptions map[string]*prometheus.Desc
	kinds        map[string]prometheus.ValueType
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descriptions {
		out <- d
	}
}

// countTimeout bounds the counting of nodes.
const countTimeout = 10 * time.Second

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	tell := func(name string, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descriptions[name], c.kinds[name], value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counts, err := c.sources.Store.NodeCounts(ctx)
	if err != nil {
		c.log.WithError(err).Warn("metrics cannot count the nodes")
	}
	for _, n := range counts {
		tell("ferric_nodes", float64(n.Count), n.ProvisionState, n.PowerState, strconv.FormatBool(n.Maintenance), n.Fault)
	}
	busy, all := c.sources.Tasks.Workers()
	locks := c.sources.Tasks.Stats()
	tell("ferric_database_queue", float64(c.sources.Store.Waiting()))
	tell("ferric_workers", float64(all))
	tell("ferric_workers_busy", float64(busy))
	tell("ferric_workers_refused_total", float64(locks.WorkersRefused))
	tell("ferric_lock_waits_total", float64(locks.LockWaits))
	tell("ferric_lock_wait_seconds_total", locks.LockWait.Seconds())
	tell("ferric_lock_refused_total", float64(locks.LocksRefused))
	tell("ferric_event_streams", float64(c.sources.Streams()))
	if c.sources.Sensors != nil {
		leftOut := c.sources.Sensors(func(value float64, node, kind, sensor, unit string) {
			tell("ferric_sensor_value", value, node, kind, sensor, unit)
		})
		tell("ferric_sensor_values_left_out", float64(leftOut))
	}
	tell("ferric_build_info", 1, c.sources.Version, runtime.Version())
}

// Version is that of the program, as it was built.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
