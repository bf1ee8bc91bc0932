package generic

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/burnin"
)

// burnInCall has parameters where operators put them.
func burnInCall(info map[string]any) hwmanager.StepCall {
	return hwmanager.StepCall{Node: hwmanager.Node{"driver_info": info}, Progress: func(ipa.Progress) {}}
}

func TestBurnInSteps(t *testing.T) {
	tests := []struct {
		phase hwmanager.Phase
		want  []string
	}{
		{hwmanager.Clean, []string{"burnin_cpu", "burnin_memory", "burnin_network", "burnin_disk"}},
		{hwmanager.Deploy, nil},
		{hwmanager.Service, []string{"burnin_cpu", "burnin_memory", "burnin_network"}},
	}
	h := lab(t)
	set, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{New()})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		steps, err := set.Steps(t.Context(), h, test.phase, hwmanager.Node{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range steps["GenericHardwareManager"] {
			if !strings.HasPrefix(s.Step, "burnin_") {
				continue
			}
			got = append(got, s.Step)
			if want := (ipa.Step{Step: s.Step, Interface: "deploy", Abortable: true}); !cmp.Equal(s, want) {
				t.Errorf("%s step %+v; want %+v", test.phase, s, want)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s steps %q; want %q", test.phase, got, test.want)
		}
	}
}

// TestBurnInRefusals: what is wrong in a node is said before any load.
func TestBurnInRefusals(t *testing.T) {
	type run func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error)
	m := New()
	wrong := burnInCall(map[string]any{
		"agent_burnin_cpu_timeout": "long", "agent_burnin_vm_vm-bytes": "much", "agent_burnin_fio_disk_loops": "0",
		"agent_burnin_fio_network_pairing_backend_url": "etcd3+http://192.0.2.1",
	})
	unexpected := burnInCall(nil)
	unexpected.Args = map[string]any{"timeout": 5.0}
	odd := burnInCall(nil)
	odd.Node["driver_info"] = "none"
	for name, step := range map[string]run{"agent_burnin_cpu_timeout": m.burnInCPU, "agent_burnin_vm_vm-bytes": m.burnInMemory, "agent_burnin_fio_disk_loops": m.burnInDisk, "agent_burnin_fio_network_config": m.burnInNetwork} {
		for want, call := range map[string]hwmanager.StepCall{name: wrong, "unexpected argument timeout": unexpected, "driver_info must be an object": odd} {
			// A load would last for a day.
			if _, err := step(t.Context(), lab(t), call); !ipa.InvalidCommandParams.Is(err) || !strings.Contains(err.Error(), want) {
				t.Errorf("error = %v; want %q", err, want)
			}
		}
	}
}

// asMap is a step's result as the conductor gets it.
func asMap(t *testing.T, result any) map[string]any {
	t.Helper()
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestBurnInCPUAndMemory(t *testing.T) {
	h := lab(t)
	h.Proc = "/proc"
	output := filepath.Join(t.TempDir(), "report")
	result, err := New().burnInCPU(t.Context(), h, burnInCall(map[string]any{"agent_burnin_cpu_cpu": "1", "agent_burnin_cpu_timeout": "1", "agent_burnin_cpu_outputfile": output}))
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := json.MarshalIndent(result, "", "  "); string(written) != string(want)+"\n" || asMap(t, result)["step"] != "burnin_cpu" {
		t.Errorf("written was %s; the result is %s", written, want)
	}
	result, err = New().burnInMemory(t.Context(), h, burnInCall(map[string]any{"agent_burnin_vm_vm": 1.0, "agent_burnin_vm_vm-bytes": "32M", "agent_burnin_vm_timeout": 1.0, "agent_burnin_vm_outputfile": output}))
	if err != nil {
		t.Fatal(err)
	}
	if m := asMap(t, result); m["tested_bytes"] != 32.0*mib || m["verified_bytes"].(float64) < 32*mib {
		t.Errorf("result %v", m)
	}
}

func TestBurnInDisk(t *testing.T) {
	h := lab(t)
	h.Proc = "/proc"
	names := []string{"vda", "sda", "sdb", "nvme0n1"}
	shrink(t, h, 2*mib, names...)
	result, err := New().burnInDisk(t.Context(), h, burnInCall(map[string]any{"agent_burnin_fio_disk_loops": 1.0}))
	if err != nil {
		t.Fatal(err)
	}
	report := result.(*burnin.DisksReport)
	if len(report.Disks) != len(names) {
		t.Fatalf("%d disks; want %q", len(report.Disks), names)
	}
	for _, d := range report.Disks {
		if d.Size != 2*mib || d.Loops != 1 || d.Verified != 2*mib {
			t.Errorf("%+v", d)
		}
		if data := read(t, h.DevicePath(d.Name), 2*mib-4096, 8); string(data) != "FerricBI" {
			t.Errorf("the end of %s is %q", d.Name, data)
		}
	}
}

// TestBurnInDiskFailsClosed: one disk that may not be written to keeps all others
// from it.
func TestBurnInDiskFailsClosed(t *testing.T) {
	names := []string{"vda", "sda", "sdb", "nvme0n1"}
	tests := []struct {
		name    string
		prepare func(t *testing.T, h *hwmanager.Host, call hwmanager.StepCall)
		want    string
		kind    ipa.Kind
	}{
		{"guard", func(_ *testing.T, h *hwmanager.Host, _ hwmanager.StepCall) {
			h.Guard.Allowed = []string{filepath.Join(h.Dev, "sd*")}
		}, "not running in a ramdisk", ipa.ProtectedDevice},
		{"protected", func(t *testing.T, h *hwmanager.Host, _ hwmanager.StepCall) {
			write(t, filepath.Join(h.Dev, "sdb"), gfs2Offset, []byte{0x01, 0x16, 0x19, 0x70})
		}, "Global File System 2 on /dev/sdb", ipa.ProtectedDevice},
		{"read-only", func(t *testing.T, h *hwmanager.Host, _ hwmanager.StepCall) { setReadOnly(t, h) }, "is read-only", ipa.BlockDeviceErase},
		{"a skip list of the wrong type", func(_ *testing.T, _ *hwmanager.Host, call hwmanager.StepCall) {
			call.Node["properties"] = map[string]any{"skip_block_devices": "all"}
		}, "skip_block_devices", ipa.BlockDeviceErase},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := lab(t)
			shrink(t, h, 2*mib, names...)
			call := burnInCall(map[string]any{"agent_burnin_fio_disk_loops": 1.0})
			test.prepare(t, h, call)
			_, err := New().burnInDisk(t.Context(), h, call)
			if !test.kind.Is(err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v; want %q", err, test.want)
			}
			for _, name := range names {
				if data := read(t, filepath.Join(h.Dev, name), 0, 8); string(data) != strings.Repeat("\x00", 8) {
					t.Errorf("%s was written to", name)
				}
			}
		})
	}
	t.Run("skipped", func(t *testing.T) {
		h := lab(t)
		h.Proc = "/proc"
		shrink(t, h, 2*mib, names...)
		call := burnInCall(map[string]any{"agent_burnin_fio_disk_loops": 1.0})
		call.Node["properties"] = map[string]any{"skip_block_devices": []any{map[string]any{"name": "/dev/sda"}}}
		if _, err := New().burnInDisk(t.Context(), h, call); err != nil {
			t.Fatal(err)
		}
		if data := read(t, filepath.Join(h.Dev, "sda"), 0, 8); string(data) != strings.Repeat("\x00", 8) {
			t.Error("a disk of the skip list was written to")
		}
	})
}

// TestBurnInReportsFailure: the report of a failed run is written, too.
func TestBurnInReportsFailure(t *testing.T) {
	h := lab(t)
	output := filepath.Join(t.TempDir(), "report")
	aborted := errors.New("aborted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(aborted)
	_, err := New().burnInCPU(ctx, h, burnInCall(map[string]any{"agent_burnin_cpu_outputfile": output}))
	if !errors.Is(err, aborted) {
		t.Errorf("error = %v", err)
	}
	written, err := os.ReadFile(output)
	if err != nil || !strings.Contains(string(written), `"error": "aborted"`) {
		t.Errorf("%s, %v; want the error in it", written, err)
	}
}
