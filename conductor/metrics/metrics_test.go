package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/sirupsen/logrus"

	"ferric/conductor/metrics"
	"ferric/conductor/netboot"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// TestMetrics lets everything happen that is counted, collects, and reads the
// answer with Prometheus's own parser.
func TestMetrics(t *testing.T) {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	m := metrics.New(logrus.NewEntry(logger))
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.OnCommit(m.Commit)
	tasks := task.NewManager(t.Context(), task.Config{Host: "h", WorkersPoolSize: 2}, db, logrus.NewEntry(logger))
	m.Collect(metrics.Sources{Store: db, Tasks: tasks, Streams: func() int { return 3 }, Version: "v",
		Sensors: func(tell func(value float64, node, kind, sensor, unit string)) int {
			tell(42, "u", "Temperature", "Inlet (0x1)", "degrees C")
			return 5
		}})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	following := make(chan error, 1)
	go func() { following <- m.Follow(ctx, db) }()

	n := &store.Node{UUID: "u", Driver: "fake-hardware", ProvisionState: "available"}
	if err := db.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	collect := func() map[string]float64 {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(w.Body)
		if err != nil || w.Code != 200 {
			t.Fatal(w.Code, err)
		}
		values := map[string]float64{}
		for name, f := range families {
			for _, sample := range f.Metric {
				var labels []string
				for _, l := range sample.Label {
					labels = append(labels, l.GetValue())
				}
				values[name+"{"+strings.Join(labels, ",")+"}"] = sample.GetCounter().GetValue() + sample.GetGauge().GetValue() + float64(sample.GetHistogram().GetSampleCount())
				values[name]++
			}
		}
		return values
	}
	state := func(from, to string) {
		t.Helper()
		if err := db.AddEvents(t.Context(), n.ID, []store.Event{{Time: time.Now(), Kind: "state", Data: store.Object{"from": from, "to": to}}}); err != nil {
			t.Fatal(err)
		}
	}
	// It follows from where it began: say something until it is heard.
	for deadline := time.Now().Add(20 * time.Second); collect()["ferric_transitions_total"] == 0; {
		if time.Now().After(deadline) {
			t.Fatal("transitions are not counted")
		}
		state("a", "b")
	}
	state("available", "deploying")
	state("deploying", "deploy failed")
	m.Request("GET", "/nodes", 200, time.Millisecond)
	m.Request("GET", "/ferric/v1/events", 200, 0)
	m.BMCCommand("power status", time.Second, errors.New("x"))
	m.Sighting(netboot.Sighting{Protocol: "tftp", Answer: "sent", Bytes: 7})
	m.Sighting(netboot.Sighting{Protocol: "dhcp", Reason: "unknown"})
	m.Heartbeat("ignored")
	m.PowerSync(time.Second, 3, 2, 1)
	m.Plugins(2, 1, 0)
	m.Commit(store.Commit{Changes: 2, Took: time.Millisecond, Err: errors.New("x")})
	for i := range 300 {
		m.BMCCommand(fmt.Sprint("command ", i), 0, nil)
	}
	want := map[string]float64{
		"ferric_nodes{,false,available,}": 1, "ferric_operation_seconds{deploy,failed}": 1, "ferric_part_seconds{state,deploying,failed}": 1,
		"ferric_transitions_total{available,deploying}": 1, "ferric_api_requests_total{GET,/nodes,200}": 1, "ferric_api_requests_total{GET,/ferric/v1/events,200}": 1,
		"ferric_api_request_seconds{GET,/nodes}": 1, "ferric_bmc_command_seconds{power status,failed}": 1, "ferric_netboot_requests_total{answered,tftp}": 1,
		"ferric_netboot_requests_total{refused,dhcp}": 1, "ferric_netboot_bytes_total{tftp}": 7, "ferric_heartbeats_total{ignored}": 1,
		"ferric_power_sync_nodes_total{missed}": 1, "ferric_power_sync_seconds{}": 1, "ferric_plugins_reported_total{refused}": 1, "ferric_database_commit_failures_total{}": 1, "ferric_workers{}": 2,
		"ferric_event_streams{}": 3, "ferric_sensor_value{u,Temperature,Inlet (0x1),degrees C}": 42, "ferric_sensor_values_left_out{}": 5, "ferric_bmc_command_seconds": 201,
	}
	var got map[string]float64
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got = collect()
		if got["ferric_operation_seconds{deploy,failed}"] == 1 || time.Now().After(deadline) {
			break
		}
	}
	for name, value := range want {
		stated := got[name]
		for other, v := range got { // labels come in the order of their names
			if sameLabels(name, other) {
				stated = v
			}
		}
		if stated != value {
			t.Errorf("%s is %v, want %v", name, stated, value)
		}
	}
	for _, line := range metrics.Table {
		if got[line.Name] == 0 {
			t.Errorf("%s is not collected", line.Name)
		}
	}
	for _, name := range []string{"go_goroutines{}", "process_open_fds{}"} {
		if got[name] == 0 {
			t.Errorf("%s is missing", name)
		}
	}
	if got["ferric_database_commit_seconds{}"] < 4 {
		t.Errorf("%v commits were seen", got["ferric_database_commit_seconds{}"])
	}
	stop()
	if err := <-following; err != nil {
		t.Error(err)
	}
}

// sameLabels compares names with labels in any order.
func sameLabels(a, b string) bool {
	nameA, labelsA, _ := strings.Cut(strings.TrimSuffix(a, "}"), "{")
	nameB, labelsB, ok := strings.Cut(strings.TrimSuffix(b, "}"), "{")
	if !ok || nameA != nameB {
		return false
	}
	count := map[string]int{}
	for l := range strings.SplitSeq(labelsA, ",") {
		count[l]++
	}
	for l := range strings.SplitSeq(labelsB, ",") {
		count[l]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return strings.Contains(a, "{")
}
