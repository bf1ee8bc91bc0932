package generic

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

// TestOverwriteLiar: a disk that takes all writes and holds what it held before,
// at least in a part, is caught in the pass of random bytes and in that of zeros.
func TestOverwriteLiar(t *testing.T) {
	const size = 3 * mib
	tests := []struct {
		name string
		info map[string]any
		from int64 // of what comes back
		at   float64
		want string
	}{
		{"random bytes", map[string]any{"agent_erase_devices_zeroize": false}, 0, 1, "random pass 1 of 1: "},
		{"random bytes, second pass", map[string]any{"agent_erase_devices_zeroize": false, "agent_erase_devices_iterations": 2.0}, 0, 1, "random pass 2 of 2: "},
		{"the end", map[string]any{"agent_erase_devices_zeroize": false}, size - 4096, 1, "1 of 64 samples"},
		{"zeros by the device", nil, 0, 1, "pass of zeros: "},
		{"zeros, written", map[string]any{"agent_erase_devices_iterations": 0.0}, 0, 1, "pass of zeros: "},
		{"before the zeros", nil, 0, 0.5, "random pass 1 of 1: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := loops(t, size, "")
			path := filepath.Join(h.Dev, "sda")
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			device := ipa.BlockDevice{Name: "/dev/sda", Size: size}
			report := func(p hwmanager.EraseProgress) {
				if p.Fraction == test.at {
					write(t, filepath.Join(filepath.Dir(h.Dev), "sda.backing"), test.from, before[test.from:])
				}
			}
			done, err := managerWith().EraseBlockDevice(t.Context(), h, call(test.info).Node, device, report)
			if !errors.Is(err, errLiar) || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "overwrite: ") {
				t.Fatalf("error = %v; want one of overwriting that says %q", err, test.want)
			}
			if a := done.Attempts[0]; a.Outcome != ipa.EraseFailed || a.Verified == nil || a.Verified.Wrong == 0 || !a.Verified.Direct {
				t.Errorf("attempt is %+v", a)
			}
		})
	}
}

// TestSamplesArePlacedEverywhere on devices of any size.
func TestSamplesArePlacedEverywhere(t *testing.T) {
	for _, size := range []int64{0, 512, 1024, 4096, 4608, 8192, 9*mib + 512, 1 << 40} {
		s := newSamples(&disk.Device{Size: size, Sector: 512})
		if len(s.at) > sampleCount || len(s.at) == 0 && size > 0 || size >= 1<<20 && len(s.at) != sampleCount {
			t.Errorf("%d bytes have %d samples", size, len(s.at))
		}
		for i, at := range s.at {
			if at%512 != 0 || at < 0 || at+int64(s.size) > size {
				t.Errorf("%d bytes: a sample of %d at %d", size, s.size, at)
			}
			if i == 0 && at != 0 || i == len(s.at)-1 && at != size-int64(s.size) {
				t.Errorf("%d bytes: neither the first nor the last sector is among the samples %v", size, s.at)
			}
			if i > 0 && at < s.at[i-1]+int64(s.size) {
				t.Errorf("%d bytes: samples overlap at %d", size, at)
			}
		}
	}
}

// TestHowItIsOverwritten: the report says by which means.
func TestHowItIsOverwritten(t *testing.T) {
	tests := []struct {
		info       map[string]any
		rotational string
		want       string
		passes     int
	}{
		{nil, "0", "random bytes, passes: 1; zeros, by the request to write zeroes; discarded after that", 2},
		{nil, "1", "random bytes, passes: 1; zeros, by the request to write zeroes", 2},
		{map[string]any{"agent_erase_devices_iterations": 0.0}, "1", "zeros, written", 1},
		{map[string]any{"agent_erase_devices_iterations": 3.0, "agent_erase_devices_zeroize": false}, "0", "random bytes, passes: 3", 3},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			h := loops(t, 9*mib+512, "")
			put(t, filepath.Join(h.Sys, "block/sda/queue/rotational"), test.rotational)
			var written int64
			c := call(test.info)
			c.Progress = func(p ipa.Progress) { written = p.Written }
			if _, err := managerWith().eraseDevices(t.Context(), h, c); err != nil {
				t.Fatal(err)
			}
			report, _ := h.Erased.Last()
			a := report.Devices[0].Attempts[0]
			if total := int64(test.passes) * (9*mib + 512); a.Detail != test.want || a.Passes != test.passes || a.Written != total || written > total {
				t.Errorf("%q in %d passes of %d bytes (%d in the progress)", a.Detail, a.Passes, a.Written, written)
			}
		})
	}
}

// TestDiscardFails: a disk that has been overwritten is erased, even if it fails to
// discard, which is a courtesy to flash; but only if it is still zero after that.
func TestDiscardFails(t *testing.T) {
	h := loops(t, 3*mib, "")
	target, err := h.Fence(ipa.BlockDevice{Name: "/dev/sda"})
	must(t, err)
	device, err := target.Open()
	must(t, err)
	defer device.Close()
	w := &overwriting{device: device, samples: newSamples(device), attempt: &ipa.EraseAttempt{}, planned: device.Size, report: func(hwmanager.EraseProgress) {}}
	path := filepath.Join(h.Dev, "sda")
	t.Cleanup(func() { tool(t, "blockdev", "--setrw", path) }) // a loop stays as it was for who gets it next
	tool(t, "blockdev", "--setro", path)
	if note, err := w.discard(t.Context()); err == nil {
		t.Errorf("%q of a disk that is not zero and takes no zeros", note)
	}
	tool(t, "blockdev", "--setrw", path)
	must(t, w.pass(t.Context(), clearBytes, ipa.ExpectZeros))
	tool(t, "blockdev", "--setro", path)
	if note, err := w.discard(t.Context()); err != nil || !strings.HasPrefix(note, "not discarded: ") || w.attempt.Verified.Expected != ipa.ExpectZeros {
		t.Errorf("%q, %v; verified %+v", note, err, w.attempt.Verified)
	}
}

// TestUnreadableIsGone: a sector that cannot be read after a sanitize gives
// nothing away, where the standard says that it may be so; otherwise it proves
// nothing.
func TestUnreadableIsGone(t *testing.T) {
	h := loops(t, 3*mib, "")
	target, err := h.Fence(ipa.BlockDevice{Name: "/dev/sda"})
	if err != nil {
		t.Fatal(err)
	}
	device, err := target.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	s := newSamples(device)
	if err := s.mark(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.check(t.Context(), ipa.ExpectGone, true); !errors.Is(err, errLiar) {
		t.Errorf("what can be read and is still there: %v", err)
	}
	closed := newSamples(device)
	closed.at, closed.holds = []int64{device.Size}, [][]byte{make([]byte, closed.size)} // beyond the end
	if _, err := closed.check(t.Context(), ipa.ExpectGone, true); err != nil {
		t.Errorf("what cannot be read counts as %v", err)
	}
	if _, err := closed.check(t.Context(), ipa.ExpectGone, false); err == nil || errors.Is(err, errLiar) {
		t.Errorf("what cannot be read, though it has to be: %v", err)
	}
}
