package burnin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smartTool answers as the tool does: "-t" by starting, "-a" by the next output of the disk.
type smartTool struct {
	outputs map[string][]string
	start   error
	began   []string
}

func (s *smartTool) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if end, limited := ctx.Deadline(); !limited || time.Until(end) > smartctlTime {
		return nil, errors.New("it may hang for ever")
	}
	device := args[len(args)-1]
	switch {
	case s.outputs == nil:
		return nil, fmt.Errorf("run %s: %w", name, exec.ErrNotFound)
	case args[0] == "-t":
		s.began = append(s.began, device)
		return nil, s.start
	case args[0] == "--version":
		return []byte("smartctl 7.3"), nil
	}
	next := s.outputs[device][0]
	if len(s.outputs[device]) > 1 {
		s.outputs[device] = s.outputs[device][1:]
	}
	return []byte(next), errors.New("exit status 64") // its error log is not empty
}

func TestSMART(t *testing.T) {
	ata := func(value int, text string) string {
		return fmt.Sprintf(`{"ata_smart_data": {"self_test": {"status": {"value": %d, "string": %q, "remaining_percent": 10}}}}`, value, text)
	}
	nvme := func(current, result int) string {
		return fmt.Sprintf(`{"nvme_self_test_log": {"current_self_test_operation": {"value": %d}, "table": [{"self_test_result": {"value": %d, "string": "result %d"}}]}}`, current, result, result)
	}
	scsi := func(value int) string {
		return fmt.Sprintf(`{"scsi_self_test_0": {"result": {"value": %d, "string": "result %d"}}}`, value, value)
	}
	tests := []struct {
		name string
		a, b []string
		err  string
	}{
		{"passed", []string{ata(249, "in progress"), ata(241, "in progress"), ata(0, "completed without error")}, []string{nvme(2, 0), nvme(0, 0)}, ""},
		{"SCSI", []string{scsi(15), scsi(0)}, []string{scsi(0)}, ""},
		{"ATA failed", []string{ata(0x75, "completed: read failure")}, []string{nvme(0, 0)}, "/dev/sda: extended self-test: completed: read failure"},
		{"NVMe failed", []string{ata(0, "ok")}, []string{nvme(2, 0), nvme(0, 7)}, "/dev/sdb: extended self-test: result 7"},
		{"aborted", []string{ata(0x10, "was aborted by the host")}, []string{nvme(0, 0)}, "was aborted by the host"},
		{"no such test", []string{`{}`}, []string{nvme(0, 0)}, "/dev/sda: extended self-test: smartctl tells of no self-test of this disk"},
		{"garbage", []string{`<xml>`}, []string{nvme(0, 0)}, "is not understood"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tool := &smartTool{outputs: map[string][]string{"/dev/sda": test.a, "/dev/sdb": test.b}}
			h := machine()
			h.Run = tool
			disks := []DiskReport{{Name: "/dev/sda"}, {Name: "/dev/sdb"}}
			err := testSMART(t.Context(), h, disks, time.Millisecond)
			if len(tool.began) != 2 || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("began %q, error = %v; want %q", tool.began, err, test.err)
			}
		})
	}
	t.Run("not started", func(t *testing.T) {
		h := machine()
		h.Run = &smartTool{outputs: map[string][]string{}, start: errors.New("exit status 4")}
		if err := testSMART(t.Context(), h, []DiskReport{{Name: "/dev/sda"}}, time.Millisecond); err == nil || !strings.Contains(err.Error(), "start extended self-test") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("refused before any load", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		h := machine()
		h.Run = &smartTool{}
		_, err := Disks(t.Context(), h, DiskOptions{Loops: 1, SMARTTest: true}, targets(t, file), ignore)
		if err == nil || !strings.Contains(err.Error(), "smartctl is not installed in this ramdisk") {
			t.Errorf("error = %v", err)
		}
		if data, _ := os.ReadFile(file); string(data) != string(make([]byte, 4096)) {
			t.Error("the disk was written to")
		}
	})
}

func FuzzSMART(f *testing.F) {
	f.Add([]byte(`{"ata_smart_data": {"self_test": {"status": {"value": 249}}}}`))
	f.Add([]byte(`{"nvme_self_test_log": {"table": [{}]}}`))
	f.Fuzz(func(t *testing.T, out []byte) {
		if r, err := parseSMART(out); err == nil && r.running && r.passed {
			t.Errorf("%+v", r)
		}
	})
}
