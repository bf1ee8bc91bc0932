package burnin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferric/hwmanager"
)

const (
	smartInterval = 30 * time.Second // agent contract: polled every 30 s
	// smartTime is what disks have for their extended self-tests: the largest
	// announce two days.
	smartTime = 7 * 24 * time.Hour
	// smartctlTime is what smartctl has for one answer, of a disk that may hang.
	smartctlTime = 2 * time.Minute
)

func smartctl(ctx context.Context, h *hwmanager.Host, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, smartctlTime, fmt.Errorf("no answer within %s", smartctlTime))
	defer cancel()
	return h.Run.Run(ctx, "smartctl", args...)
}

// haveSMART is nil if self-tests can be started.
func haveSMART(ctx context.Context, h *hwmanager.Host) error {
	_, err := smartctl(ctx, h, "--version")
	if hwmanager.NoProgram(err) {
		return errors.New("agent_burnin_fio_disk_smart_test is set, and smartctl is not installed in this ramdisk")
	}
	if err != nil {
		return fmt.Errorf("self-test of the disks: %w", err)
	}
	return nil
}

// testSMART runs the extended self-test of all disks at once and waits for the
// last one. The first that failed is the error; the others' outcomes are noted.
func testSMART(ctx context.Context, h *hwmanager.Host, disks []DiskReport, interval time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, smartTime, fmt.Errorf("extended self-tests took longer than %s", smartTime))
	defer cancel()
	for _, d := range disks {
		// smartctl(8), section "Exit status": bits 0 to 2 say that it did not do
		// what it was asked for, the others what it knows of the disk.
		_, err := smartctl(ctx, h, "-t", "long", h.DevicePath(d.Name))
		var exit interface{ ExitCode() int }
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 0 || exit.ExitCode()&7 != 0) {
			return fmt.Errorf("%s: start extended self-test: %w", d.Name, err)
		}
	}
	running := make(map[int]bool, len(disks))
	for i := range disks {
		running[i] = true
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var failures []error
	for len(running) > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		for i := range disks {
			if !running[i] {
				continue
			}
			status, err := smartStatus(ctx, h, disks[i].Name)
			if err == nil && status.running {
				continue
			}
			delete(running, i)
			if err == nil {
				disks[i].SMARTTest = status.text
			}
			if err == nil && !status.passed {
				err = fmt.Errorf("extended self-test: %s", status.text)
			}
			if err != nil {
				disks[i].Error = err.Error()
				failures = append(failures, fmt.Errorf("%s: %w", disks[i].Name, err))
			}
		}
	}
	return errors.Join(failures...)
}

// smartResult is what a disk says of its latest self-test.
type smartResult struct {
	running, passed bool
	text            string
}

// smartStatus asks a disk. What smartctl writes counts, for its exit status tells
// of much else; where it failed, its output says nothing of a test.
func smartStatus(ctx context.Context, h *hwmanager.Host, name string) (smartResult, error) {
	out, failed := smartctl(ctx, h, "-j", "-a", h.DevicePath(name))
	result, err := parseSMART(out)
	if err != nil {
		return smartResult{}, fmt.Errorf("extended self-test: %w", errors.Join(err, failed))
	}
	return result, nil
}

// smartOutput are the parts of smartctl's JSON that differ by kind of disk.
type smartOutput struct {
	ATA *struct {
		SelfTest struct {
			Status struct {
				Value  *int   `json:"value"`
				String string `json:"string"`
			} `json:"status"`
		} `json:"self_test"`
	} `json:"ata_smart_data"`
	NVMe *struct {
		Current struct {
			Value int `json:"value"`
		} `json:"current_self_test_operation"`
		Table []struct {
			Result struct {
				Value  *int   `json:"value"`
				String string `json:"string"`
			} `json:"self_test_result"`
		} `json:"table"`
	} `json:"nvme_self_test_log"`
	SCSI *struct {
		Result struct {
			Value  *int   `json:"value"`
			String string `json:"string"`
		} `json:"result"`
	} `json:"scsi_self_test_0"`
}

func parseSMART(out []byte) (smartResult, error) {
	var o smartOutput
	if err := json.Unmarshal(out, &o); err != nil {
		return smartResult{}, fmt.Errorf("the output of smartctl is not understood: %w", err)
	}
	of := func(running, passed bool, text string) (smartResult, error) {
		const most = 200
		return smartResult{running, passed, strings.ToValidUTF8(text[:min(len(text), most)], "?")}, nil
	}
	switch {
	case o.ATA != nil && o.ATA.SelfTest.Status.Value != nil:
		// ACS-4, table "Self-test execution status": the upper four bits; 15 while it runs, 0 for success.
		status := *o.ATA.SelfTest.Status.Value >> 4
		return of(status == 15, status == 0, o.ATA.SelfTest.Status.String)
	case o.NVMe != nil && o.NVMe.Current.Value != 0: // NVMe base 2.0, figure 202: current operation
		return of(true, false, "")
	case o.NVMe != nil && len(o.NVMe.Table) > 0 && o.NVMe.Table[0].Result.Value != nil:
		return of(false, *o.NVMe.Table[0].Result.Value == 0, o.NVMe.Table[0].Result.String)
	case o.SCSI != nil && o.SCSI.Result.Value != nil: // SPC-5, table "Self-test results": as of ATA
		return of(*o.SCSI.Result.Value == 15, *o.SCSI.Result.Value == 0, o.SCSI.Result.String)
	}
	return smartResult{}, errors.New("smartctl tells of no self-test of this disk")
}
