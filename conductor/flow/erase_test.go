package flow_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
)

// ownAgent makes the rig's agent one of ours, which sends erase reports.
func (r *rig) ownAgent(report *ipa.EraseReport) {
	r.agent.mu.Lock()
	defer r.agent.mu.Unlock()
	r.agent.version, r.agent.erased = "12.0.0+ferric.0.1.0", report
}

func (r *rig) eraseReports() []ipa.EraseReport {
	r.t.Helper()
	reports, err := r.flow.EraseReports(r.t.Context(), r.node)
	if err != nil {
		r.t.Fatal(err)
	}
	return reports
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestEraseThatFails: a node of which one disk could not be erased is not to be
// had, says which disk it was and by what it was tried, and keeps the report,
// also over a restart of the conductor.
func TestEraseThatFails(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil) // erase_devices_metadata
	r.beat()
	want := ipa.EraseReport{
		Step: "erase_devices", Start: noon, End: noon.Add(time.Hour), Error: "/dev/sdb: overwrite: write at 4096: input/output error",
		Devices: []ipa.DeviceErase{
			{Device: "/dev/sda", Serial: "S1", Size: 1 << 30, Outcome: ipa.EraseDone, Method: ipa.MethodOverwrite, Start: noon, End: noon.Add(time.Minute),
				Attempts: []ipa.EraseAttempt{{Method: ipa.MethodOverwrite, Outcome: ipa.EraseDone, Passes: 2, Written: 2 << 30, Verified: &ipa.EraseCheck{Samples: 64, SampleBytes: 4096, Expected: ipa.ExpectZeros, Direct: true}}}},
			{Device: "/dev/sdb", Outcome: ipa.EraseFailed, Method: ipa.MethodOverwrite, Reason: "write at 4096: input/output error"},
		},
	}
	r.ownAgent(&want)
	r.agent.finish(ipa.StatusFailed, ipa.BlockDeviceErase.New("%s", want.Error))
	r.beat()
	n := r.reach(provision.CleanFailed)
	for _, part := range []string{"/dev/sdb", "overwrite", "input/output error", "erase_devices"} {
		if !strings.Contains(*n.LastError, part) {
			t.Errorf("last_error %q does not tell %q", *n.LastError, part)
		}
	}
	if !n.Maintenance || n.Fault == nil || *n.Fault != "clean failure" {
		t.Errorf("maintenance %v, fault %v; want a node that nobody uses", n.Maintenance, n.Fault)
	}
	if err := r.do("active", flow.ProvisionRequest{}); err == nil {
		t.Error("a node whose disks could not be erased is deployed")
	}
	r.kill()
	r.tasks.Wait()
	r.db.Close()
	r.start()
	reports := r.eraseReports()
	if len(reports) != 2 || reports[1].Step != "erase_devices_metadata" {
		t.Fatalf("%d reports are kept: %+v", len(reports), reports)
	}
	if diff := cmp.Diff(want, reports[0]); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestEraseReportsOfOtherAgents: what an agent of another make tells is kept;
// it is asked nothing that it does not know.
func TestEraseReportsOfOtherAgents(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.agent.answer = map[string]any{"/dev/sdb": nil, "/dev/sda": nil}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Available)
	want := []ipa.DeviceErase{{Device: "/dev/sda", Outcome: ipa.EraseUnreported}, {Device: "/dev/sdb", Outcome: ipa.EraseUnreported}}
	if diff := cmp.Diff(want, r.eraseReports()[0].Devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

// TestEraseReportOfAnAbort: an erase that was ended in the middle takes the
// place of an earlier one that succeeded, even if its report is absurdly large.
func TestEraseReportOfAnAbort(t *testing.T) {
	for name, report := range map[string]*ipa.EraseReport{
		"the agent tells nothing":         nil,
		"the agent was in the middle":     {Step: "erase_devices_metadata", Start: noon, Devices: []ipa.DeviceErase{}},
		"the agent tells of another step": {Step: "erase_devices", Start: noon, End: noon, Devices: []ipa.DeviceErase{}},
		"the agent tells too much":        {Step: "erase_devices_metadata", Start: noon, Devices: make([]ipa.DeviceErase, 100_000)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.ownAgent(report)
			r.boot()
			n := r.must("abort", provision.CleanFailed)
			got := r.eraseReports()
			if len(got) != 1 || got[0].Step != "erase_devices_metadata" || got[0].End.IsZero() || got[0].Error != *n.LastError || len(got[0].Devices) != 0 {
				t.Errorf("reports are %.500s", fmt.Sprint(got))
			}
		})
	}
}

// TestEraseReportsAreBounded: the latest are kept.
func TestEraseReportsAreBounded(t *testing.T) {
	r := newRig(t, nil)
	for range 30 {
		if err := r.db.AddEraseReport(t.Context(), r.node, []byte(`{"step": "erase_devices"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.db.AddEraseReport(t.Context(), r.node, []byte(`{"step": "erase_devices_metadata"}`)); err != nil {
		t.Fatal(err)
	}
	if got := r.eraseReports(); len(got) != 10 || got[0].Step != "erase_devices_metadata" {
		t.Errorf("%d reports are kept, the newest of %s", len(got), got[0].Step)
	}
	if err := r.db.AddEraseReport(t.Context(), r.node, make([]byte, 2<<20)); err == nil {
		t.Error("a report of 2 MiB is kept")
	}
}
