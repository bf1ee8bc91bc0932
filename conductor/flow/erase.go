package flow

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/task"
)

// eraseSteps are the steps of the agent that erase (agent contract, section
// "Built-in steps").
var eraseSteps = []string{"erase_devices", "erase_devices_metadata", "erase_devices_express"}

// reportPatience bounds the question for an erase report: the agent may be gone.
const reportPatience = 5 * time.Second

// keepEraseReport makes durable what the clean step that ends now did to the
// disks. Result is what the agent says of its command, nil if it says nothing;
// failure is why the step failed, "" if it did not. That a report is missing does
// not change what becomes of the node, but it takes the place of earlier ones, for
// what those tell is no longer true.
func (f *Flow) keepEraseReport(ctx context.Context, t *task.Task, result *ipa.Result, failure string) {
	step := t.Node.CleanStep.String("step")
	if !slices.Contains(eraseSteps, step) {
		return
	}
	report, err := f.reportOfAgent(ctx, t, step)
	if err != nil {
		t.Log.WithError(err).Info("the agent does not report what it erased")
	}
	now := time.Now().UTC().Truncate(time.Second)
	switch {
	case report == nil:
		report = &ipa.EraseReport{Step: step, End: now, Error: failure, Devices: reportedDevices(result)}
		if at := t.Node.ProvisionUpdatedAt; at != nil {
			report.Start = at.UTC()
		}
	case report.End.IsZero(): // the agent is cut off in the middle
		report.End, report.Error = now, failure
	case f.kept(ctx, t, report):
		return // the step was over; what failed came after it
	}
	if err := f.storeEraseReport(ctx, t, report); err != nil {
		// Too much of it, most likely: that the step ran is kept at least.
		t.Log.WithError(err).Warn("the erase report is not kept whole")
		short := ipa.EraseReport{Step: step, Start: report.Start, End: report.End, Error: failure, Devices: []ipa.DeviceErase{}}
		if err := f.storeEraseReport(ctx, t, &short); err != nil {
			t.Log.WithError(err).Error("the erase report is lost")
		}
	}
}

func (f *Flow) storeEraseReport(ctx context.Context, t *task.Task, report *ipa.EraseReport) error {
	encoded, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return f.store.AddEraseReport(ctx, t.Node.ID, encoded)
}

// kept reports whether report is the newest that was kept of the node.
func (f *Flow) kept(ctx context.Context, t *task.Task, report *ipa.EraseReport) bool {
	reports, err := f.EraseReports(ctx, t.Node.ID)
	return err == nil && len(reports) > 0 && reports[0].Step == report.Step && reports[0].Start.Equal(report.Start)
}

// reportOfAgent asks an agent of ours; nil if there is none, or if it tells of
// another step.
func (f *Flow) reportOfAgent(ctx context.Context, t *task.Task, step string) (*ipa.EraseReport, error) {
	if !strings.Contains(t.Node.DriverInternalInfo.String(driver.KeyAgentVersion), ownAgent) {
		return nil, nil
	}
	agent, err := f.cfg.Agents.Of(t.Node)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	report, err := agent.EraseReport(ctx)
	if err != nil || report.Step != step {
		return nil, err
	}
	return report, nil
}

// reportedDevices are the devices in the result of erase_devices: an agent of
// another make names them and says no more.
func reportedDevices(result *ipa.Result) []ipa.DeviceErase {
	devices := []ipa.DeviceErase{}
	var answer struct {
		Result map[string]json.RawMessage `json:"clean_result"`
	}
	if result == nil || json.Unmarshal(result.Result, &answer) != nil {
		return devices
	}
	for name, value := range answer.Result {
		device := ipa.DeviceErase{Outcome: ipa.EraseUnreported}
		if json.Unmarshal(value, &device) != nil || device.Device == "" {
			device = ipa.DeviceErase{Device: name, Outcome: ipa.EraseUnreported}
		}
		devices = append(devices, device)
	}
	slices.SortFunc(devices, func(a, b ipa.DeviceErase) int { return strings.Compare(a.Device, b.Device) })
	return devices
}

// EraseReports lists what the latest steps that erase did to the node's disks,
// newest first.
func (f *Flow) EraseReports(ctx context.Context, id int64) ([]ipa.EraseReport, error) {
	kept, err := f.store.EraseReports(ctx, id)
	if err != nil {
		return nil, err
	}
	reports := make([]ipa.EraseReport, 0, len(kept))
	for _, encoded := range kept {
		var report ipa.EraseReport
		if err := json.Unmarshal(encoded, &report); err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	return reports, nil
}
