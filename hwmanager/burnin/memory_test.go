package burnin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
)

// resident is the memory of this process in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(data), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// settled is resident without what earlier tests have left on the heap.
func settled(t *testing.T) int64 {
	debug.FreeOSMemory()
	return resident(t)
}

func TestMemoryLoad(t *testing.T) {
	const size = 100 << 20
	before, highest := settled(t), int64(0)
	report, err := Memory(t.Context(), machine(), MemoryOptions{Workers: 3, Size: Size{Bytes: size}, Time: 2 * time.Second}, func(p ipa.Progress) {
		highest = max(highest, resident(t))
	})
	if err != nil {
		t.Fatal(err)
	}
	after := settled(t)
	t.Logf("%+v; resident %d, %d, %d MiB", report, before>>20, highest>>20, after>>20)
	if report.Workers != 3 || report.Wanted != size || report.Tested < size-3*4096 || report.Tested > size || report.Verified < size {
		t.Errorf("report %+v", report)
	}
	if highest-before < size*9/10 {
		t.Errorf("resident grew by %d bytes only", highest-before)
	}
	if after-before > 16<<20 {
		t.Errorf("resident %d bytes more than before", after-before)
	}
}

func TestMemoryFaults(t *testing.T) {
	flip := func(at int, bit uint64) func(int, []uint64) {
		return func(worker int, words []uint64) {
			if worker == 1 {
				words[at] ^= bit
			}
		}
	}
	tests := []struct {
		name   string
		tamper func(worker int, words []uint64)
		want   string // pattern
	}{
		{"flipped bit", flip(1000, 1<<5), `^memory is wrong at worker 1, byte 8000, virtual address 0x[0-9a-f]+(, physical address 0x[0-9a-f]+)?: walking ones: read 0x[0-9a-f]{16}, not 0x[0-9a-f]{16}, differing in 0x0000000000000020; 1 wrong words`},
		{"last word", flip(memoryStep/8-1, 1<<63), `worker 1, byte 8388600, .* differing in 0x8000000000000000`},
		{"stuck bit", func(_ int, words []uint64) {
			for i := range words {
				words[i] |= 1 << 9
			}
		}, `not .* differing in 0x0000000000000200; 1032192 wrong words`},
		{"address line", func(_ int, words []uint64) { copy(words, words[len(words)/2:]) }, `own address|random`},
		{"unmapped", func(_ int, words []uint64) {
			err := unix.Mprotect(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 4096), unix.PROT_NONE)
			if err != nil {
				t.Error(err)
			}
		}, `^memory at virtual address 0x[0-9a-f]+ cannot be accessed`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := settled(t)
			report, err := loadMemory(t.Context(), machine(), MemoryOptions{Workers: 2, Size: Size{Bytes: 40 << 20}, Time: time.Minute}, test.tamper, ignore)
			if err == nil || !regexp.MustCompile(test.want).MatchString(err.Error()) {
				t.Errorf("error = %v; want %s", err, test.want)
			}
			if report.Error == "" || report.Seconds > promptly.Seconds() {
				t.Errorf("report %+v; want the error, long before the time", report.Run)
			}
			if after := settled(t); after-before > 16<<20 {
				t.Errorf("resident %d bytes more than before", after-before)
			}
		})
	}
}

// TestMovingInversions damages words while the inversions run.
func TestMovingInversions(t *testing.T) {
	const want = 0x5555555555555555
	for _, down := range []bool{false, true} {
		words := make([]uint64, 64)
		fill(words, 0, pattern{kind: constant, seed: want})
		words[33] ^= 4
		wrong := invert(words, want, down)
		if wrong == nil || wrong.at != 33 || wrong.expected != want || wrong.bits != 4 {
			t.Errorf("down %v: %+v", down, wrong)
		}
		words[33] ^= 4
		fill(words, 0, pattern{kind: constant, seed: want})
		if wrong := invert(words, want, down); wrong != nil {
			t.Errorf("down %v: %+v", down, wrong)
		}
		if wrong := verify(words, 0, pattern{kind: constant, seed: ^uint64(want)}); wrong != nil {
			t.Errorf("down %v, after it: %+v", down, wrong)
		}
	}
}

// Each bit of each word must be set and clear in some pattern, and no two words of
// a piece be the same in the patterns that find crossed addresses.
func TestPatterns(t *testing.T) {
	var ones, zeros uint64
	for round := range 64 {
		p := patterns(round, 0, 1)
		ones |= p[0].word(17)
		zeros |= ^p[1].word(17)
	}
	if ones != ^uint64(0) || zeros != ^uint64(0) {
		t.Errorf("over 64 rounds: ones %#x, zeros %#x", ones, zeros)
	}
	for _, p := range patterns(3, 5<<48, 99)[2:] {
		seen := map[uint64]bool{}
		for i := range uint64(1 << 16) {
			seen[p.word(i)] = true
		}
		if len(seen) != 1<<16 {
			t.Errorf("%s: %d different words of %d", p.name, len(seen), 1<<16)
		}
	}
}

func TestMemoryPlan(t *testing.T) {
	const gib = 1 << 30
	tests := []struct {
		name      string
		available int64
		size      Size
		tested    int64
		err       string
	}{
		{"a share of much", 1024 * gib, Size{Percent: 98}, 1024 * gib / 100 * 98, ""},
		{"a share of little", 300 << 20, Size{Percent: 98}, 300<<20 - 64<<20 - (300<<20)/100*98/256, ""},
		{"less", gib, Size{Percent: 50}, gib / 100 * 50, ""},
		{"bytes", 8 * gib, Size{Bytes: 4 * gib}, 4 * gib, ""},
		{"too many bytes", 4 * gib, Size{Bytes: 4 * gib}, 0, "4294967296 bytes of memory are to be tested, and 4294967296 are available, of which at most"},
		{"nothing left", 64 << 20, Size{Percent: 98}, 0, "too few to test any"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			proc := t.TempDir()
			info := fmt.Sprintf("MemTotal: 1 kB\nMemAvailable:   %d kB\n", test.available>>10)
			if err := os.WriteFile(filepath.Join(proc, "meminfo"), []byte(info), 0o644); err != nil {
				t.Fatal(err)
			}
			l := &memoryLoad{report: &MemoryReport{}, proc: proc}
			err := l.plan(MemoryOptions{Size: test.size})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error = %v; want %q", err, test.err)
				}
				return
			}
			if err != nil || l.report.Tested != test.tested || l.report.Workers < 1 {
				t.Errorf("%+v, %v; want %d bytes", l.report, err, test.tested)
			}
		})
	}
	for _, info := range []string{"", "MemAvailable: many kB\n", "MemAvailable: -1 kB\n", "MemAvailable: 9223372036854775807 kB\n"} {
		proc := t.TempDir()
		if err := os.WriteFile(filepath.Join(proc, "meminfo"), []byte(info), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := MemAvailable(proc); err == nil {
			t.Errorf("%q is taken for memory", info)
		}
	}
}

// TestMemoryGivesWay lets memory run short during the load.
func TestMemoryGivesWay(t *testing.T) {
	h := machine()
	h.Proc = t.TempDir()
	available := func(kib int) {
		path := filepath.Join(h.Proc, "meminfo")
		err := os.WriteFile(path+".new", fmt.Appendf(nil, "MemAvailable: %d kB\n", kib), 0o644)
		if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
			t.Error(err)
		}
	}
	available(1 << 20)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	checks := 0
	l := &memoryLoad{report: &MemoryReport{Run: begin("burnin_memory")}, proc: h.Proc}
	l.tamper = func(int, []uint64) {
		switch checks++; checks {
		case 1:
			available(20 << 10) // the floor is 32 MiB
			for l.shed.Load() == 0 && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			available(1 << 20)
		case 2: // by now memory was given back
			cancel(enough)
		}
	}
	err := l.load(ctx, h, MemoryOptions{Workers: 1, Size: Size{Bytes: 96 << 20}, Time: time.Minute}, ignore)
	if r := l.report; !errors.Is(err, enough) || r.Released < memoryStep || r.Released > r.Tested/2 || r.Released%memoryStep != 0 {
		t.Errorf("%d bytes of %d given back, %v; want some", r.Released, r.Tested, err)
	}

	_, err = loadMemory(t.Context(), h, MemoryOptions{Workers: 2, Size: Size{Bytes: 64 << 20}, Time: time.Minute}, func(worker int, _ []uint64) {
		if worker == 0 {
			available(1 << 10)
		}
	}, ignore)
	if err == nil || !strings.Contains(err.Error(), "memory ran short") {
		t.Errorf("error = %v; want that memory ran short", err)
	}
}

func TestMemoryAbort(t *testing.T) {
	aborted := errors.New("aborted by the operator")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(300*time.Millisecond, func() { cancel(aborted) })
	began := time.Now()
	_, err := Memory(ctx, machine(), MemoryOptions{Size: Size{Bytes: 256 << 20}, Time: time.Hour}, ignore)
	if !errors.Is(err, aborted) || time.Since(began) > promptly {
		t.Errorf("error = %v after %s; want the cause at once", err, time.Since(began))
	}
}

func TestOutput(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	report := &MemoryReport{Run: begin("burnin_memory"), Verified: 4711}
	for range 2 { // a report takes the place of an older one
		if err := WriteReport(path, report); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(`"verified_bytes": 4711`)) {
		t.Errorf("%s, %v", data, err)
	}
	other, link, into := filepath.Join(dir, "other"), filepath.Join(dir, "link"), filepath.Join(dir, "into")
	for _, err := range []error{os.WriteFile(other, []byte("precious"), 0o644), os.Symlink(path, link), os.Symlink("/dev", into), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, wrong := range []string{"report.json", "/", "/dev/sda", "/proc/x", "/sys/x", "/tmp/../dev/sda", other, link, into + "/sda", dir, filepath.Join(dir, "fifo"), filepath.Join(dir, "missing/x"), "/tmp/a\x00b"} {
		if err := WriteReport(wrong, report); err == nil || !strings.HasPrefix(err.Error(), "output file ") {
			t.Errorf("%s: error = %v", wrong, err)
		}
	}
	if data, _ := os.ReadFile(other); string(data) != "precious" {
		t.Errorf("another file was written over: %q", data)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".burnin-*")); len(left) > 0 {
		t.Errorf("files left behind: %q", left)
	}
}
