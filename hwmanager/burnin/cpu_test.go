package burnin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// machine is this one.
func machine() *hwmanager.Host {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &hwmanager.Host{Sys: "/sys", Proc: "/proc", Dev: "/dev", Run: hwmanager.Exec{}, Log: logrus.NewEntry(log)}
}

func ignore(ipa.Progress) {}

// promptly is long before a load ends by itself, on a machine that has much else
// to do.
const promptly = 30 * time.Second

func TestComputationsAreRight(t *testing.T) {
	s, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	for _, c := range computations() {
		for range 2 { // what one leaves in the scratch memory must not matter
			began := time.Now()
			if err := c.run(s); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			t.Logf("%s: %s", c.name, time.Since(began).Round(100*time.Microsecond))
		}
	}
}

// TestComputationsNotice damages what a computation relies on.
func TestComputationsNotice(t *testing.T) {
	s, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	s.chain[4711] ^= 1
	if err := pointerChase(s); err == nil {
		t.Error("a broken chain is not noticed")
	}
}

// TestCPULoad shows that every worker is pinned and wants its processor all the
// time: of a second, each runs or, because others use this machine, waits for its
// turn (the first two numbers of schedstat, in nanoseconds).
func TestCPULoad(t *testing.T) {
	const duration = 2 * time.Second
	var mu sync.Mutex
	wanted, ran := map[int]int64{}, map[int]int64{}
	look := func() error {
		data, err := os.ReadFile("/proc/thread-self/schedstat")
		if err != nil {
			return err
		}
		var running, waiting int64
		if _, err := fmt.Sscan(string(data), &running, &waiting); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		wanted[unix.Gettid()], ran[unix.Gettid()] = running+waiting, running
		return nil
	}
	tests := computations()
	for i, c := range tests {
		tests[i].run = func(s *scratch) error { return errors.Join(c.run(s), look()) }
	}
	var reports atomic.Int64
	report, err := loadCPU(t.Context(), machine(), CPUOptions{Time: duration}, tests, func(p ipa.Progress) {
		reports.Add(1)
		if p.Phase != ipa.PhaseBurnIn || p.Total != int64(duration/time.Second) || p.Done > p.Total {
			t.Errorf("progress %+v", p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var allWanted, allRan int64
	for thread := range wanted {
		allWanted += wanted[thread]
		allRan += ran[thread]
	}
	whole := report.Seconds * float64(len(report.Workers))
	t.Logf("%d workers wanted %.0f %% and got %.0f %% of the time; the process took %.2f s in %.2f s: %v", len(report.Workers),
		float64(allWanted)/1e7/whole, float64(allRan)/1e7/whole, report.CPUSeconds, report.Seconds, report.Rounds)
	if len(wanted) != len(report.Workers) || float64(allWanted)/1e9 < 0.5*whole { // the last look is a while ago
		t.Errorf("%d threads wanted %.2f s of %.2f", len(wanted), float64(allWanted)/1e9, whole)
	}
	if report.Seconds < duration.Seconds() || reports.Load() < 2 {
		t.Errorf("it took %.2f s with %d reports; want 2 s with one each second", report.Seconds, reports.Load())
	}
	total := int64(0)
	for _, w := range report.Workers {
		total += w.Rounds
		if w.CPU < 0 || w.Rounds == 0 {
			t.Errorf("worker %+v: want it pinned and at work", w)
		}
	}
	for _, rounds := range report.Rounds {
		total -= rounds
	}
	if total != 0 || len(report.Rounds) != len(tests) {
		t.Errorf("workers %+v, rounds %v", report.Workers, report.Rounds)
	}
}

// TestCPUNeedsMemory: workers that the machine has no memory for would make the
// kernel end the agent.
func TestCPUNeedsMemory(t *testing.T) {
	h := machine()
	h.Proc = t.TempDir()
	if err := os.WriteFile(filepath.Join(h.Proc, "meminfo"), []byte("MemAvailable: 262144 kB\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := CPU(t.Context(), h, CPUOptions{Workers: mostWorkers, Time: time.Hour}, ignore)
	if err == nil || !strings.Contains(err.Error(), "4096 workers need 28") || !strings.Contains(err.Error(), "268435456 are available") {
		t.Errorf("error = %v", err)
	}
}

func TestCPUFaultIsNamed(t *testing.T) {
	tests := computations()
	var rounds atomic.Int64
	sound := tests[5].run
	tests[5].run = func(s *scratch) error {
		if rounds.Add(1) > 3 {
			return differs("ciphertext", "00", "01")
		}
		return sound(s)
	}
	report, err := loadCPU(t.Context(), machine(), CPUOptions{Workers: 2, Time: time.Minute}, tests, ignore)
	if err == nil || !strings.Contains(err.Error(), "computed wrongly: AES: ciphertext is 01, not 00") || !strings.HasPrefix(err.Error(), "processor ") {
		t.Errorf("error = %v", err)
	}
	if report.Error == "" || report.Seconds > promptly.Seconds() {
		t.Errorf("report %+v; want the error, long before the time", report.Run)
	}
}

func TestCPUAbort(t *testing.T) {
	aborted := errors.New("aborted by the operator")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(aborted) })
	began := time.Now()
	_, err := CPU(ctx, machine(), CPUOptions{Time: time.Hour}, ignore)
	if !errors.Is(err, aborted) {
		t.Errorf("error = %v; want the cause", err)
	}
	if took := time.Since(began); took > promptly {
		t.Errorf("it went on for %s after it was aborted", took)
	}
}

func TestCPUFaultOfMemory(t *testing.T) {
	err := withFaults(func() error {
		s, err := newScratch()
		if err != nil {
			return err
		}
		chain := s.chain
		s.release()
		chain[0]++
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "cannot be accessed") {
		t.Errorf("error = %v", err)
	}
}

// sensorTree is a machine with sensors.
func sensorTree(t *testing.T) (sensors, func(path, content string)) {
	root := t.TempDir()
	set := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set("sys/class/hwmon/hwmon0/name", "coretemp\n")
	set("sys/class/hwmon/hwmon0/temp1_input", "41000\n")
	set("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n")
	set("sys/class/hwmon/hwmon0/temp2_input", "nonsense\n")
	set("sys/devices/system/edac/mc/mc0/ce_count", "3\n")
	set("sys/devices/system/edac/mc/mc0/ue_count", "0\n")
	set("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "7\n")
	set("proc/interrupts", "           CPU0       CPU1\n  0:  1  2  IO-APIC\nMCE:          0          0   Machine check exceptions\nTRM:  1 1  Thermal event interrupts\n")
	return sensors{filepath.Join(root, "sys"), filepath.Join(root, "proc")}, set
}

func TestHealth(t *testing.T) {
	s, set := sensorTree(t)
	w := s.watch()
	set("sys/class/hwmon/hwmon0/temp1_input", "63500\n")
	set("sys/devices/system/edac/mc/mc0/ce_count", "4\n")
	set("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "9\n")
	h := w.end()
	if got := h.Temperatures["hwmon0 coretemp temp1 Package id 0"]; got != (Temperature{41, 63.5}) || len(h.Temperatures) != 1 {
		t.Errorf("temperatures %v", h.Temperatures)
	}
	if got := strings.Join(h.Grown(), "; "); got != "cpu1 throttled grew from 7 to 9; mc0 corrected memory errors grew from 3 to 4" {
		t.Errorf("grown: %s", got)
	}
	if err := h.fault(); err != nil {
		t.Errorf("corrected errors are a fault: %v", err)
	}

	for name, change := range map[string][2]string{
		"mc0 uncorrected memory errors: 2": {"sys/devices/system/edac/mc/mc0/ue_count", "2\n"},
		"machine checks: 5":                {"proc/interrupts", "MCE:  4  1   Machine check exceptions\n"},
	} {
		s, set := sensorTree(t)
		w := s.watch()
		set(change[0], change[1])
		if err := w.end().fault(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error = %v; want %q", err, name)
		}
	}
}
