package burnin

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// MemoryReport is what burnin_memory found. Sizes are in bytes.
type MemoryReport struct {
	Run
	Available int64 `json:"available_bytes"` // before the load
	Wanted    int64 `json:"wanted_bytes"`
	Tested    int64 `json:"tested_bytes"` // at most; less than wanted where the agent needs the rest
	Released  int64 `json:"released_bytes,omitempty"`
	Workers   int   `json:"workers"`
	Rounds    int64 `json:"rounds"` // of all patterns, by the slowest worker
	Verified  int64 `json:"verified_bytes"`
}

// memoryStep is how much memory is taken and given back at a time, and the unit of
// the work between two looks at the time.
const memoryStep = 8 << 20

// reserve is what is left to the agent and the kernel when size bytes are taken: twice
// their page tables, and what an agent needs to go on reporting.
func reserve(size int64) int64 { return 64<<20 + size/256 }

// memoryLoad is one run. Tamper, for tests, is called between writing and verifying.
type memoryLoad struct {
	report   *MemoryReport
	proc     string
	shed     atomic.Int64 // bytes that must be given back
	verified atomic.Int64
	tamper   func(worker int, words []uint64)
}

// Memory fills memory with patterns and verifies them for as long as o says. It
// leaves enough for the agent to live, and gives back more when that runs short. The
// first wrong word ends it: the error names its place. The report is never nil.
func Memory(ctx context.Context, h *hwmanager.Host, o MemoryOptions, progress func(ipa.Progress)) (*MemoryReport, error) {
	return loadMemory(ctx, h, o, nil, progress)
}

func loadMemory(ctx context.Context, h *hwmanager.Host, o MemoryOptions, tamper func(int, []uint64), progress func(ipa.Progress)) (*MemoryReport, error) {
	l := &memoryLoad{report: &MemoryReport{Run: begin("burnin_memory")}, proc: h.Proc, tamper: tamper}
	err := l.load(ctx, h, o, progress)
	l.report.end(err)
	return l.report, err
}

func (l *memoryLoad) load(ctx context.Context, h *hwmanager.Host, o MemoryOptions, progress func(ipa.Progress)) error {
	r := l.report
	if err := l.plan(o); err != nil {
		return err
	}
	ctx, cancel := lasting(ctx, o.Time)
	defer cancel()
	watch := sensors{h.Sys, h.Proc}.watch()
	stop := follow(progress, func() amount { return clock(r.began, o.Time, l.verified.Load()) })
	stopGuard := l.guard()
	workers := make([]*memoryWorker, r.Workers)
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range workers {
		workers[i] = &memoryWorker{load: l, number: i, share: r.Tested / int64(r.Workers) &^ int64(os.Getpagesize()-1)}
		group.Go(func() error { return withFaults(func() error { return workers[i].work(groupCtx) }) })
	}
	err := group.Wait()
	stopGuard()
	stop()
	r.Health = watch.end()
	l.sum(workers)
	switch {
	case err != nil:
		return err
	case failure(ctx) != nil:
		return failure(ctx)
	case r.Verified == 0:
		return fmt.Errorf("no memory could be written and verified within %s", o.Time)
	}
	return r.Health.fault()
}

// plan decides how much memory is taken, by how many workers.
func (l *memoryLoad) plan(o MemoryOptions) error {
	r := l.report
	available, err := MemAvailable(l.proc)
	if err != nil {
		return err
	}
	r.Available, r.Wanted = available, o.Size.Bytes
	if o.Size.Percent > 0 {
		r.Wanted = available / 100 * int64(o.Size.Percent)
	}
	most := available - reserve(min(r.Wanted, available))
	switch {
	case o.Size.Percent == 0 && r.Wanted > most:
		return fmt.Errorf("%d bytes of memory are to be tested, and %d are available, of which at most %d can be taken", r.Wanted, available, max(most, 0))
	case most < leastMemory:
		return fmt.Errorf("%d bytes of memory are available, too few to test any", available)
	}
	r.Tested = min(r.Wanted, most)
	r.Workers = o.Workers
	if r.Workers == 0 {
		r.Workers = runtime.GOMAXPROCS(0)
	}
	// Every worker has a part.
	r.Workers = int(min(int64(r.Workers), (r.Tested+memoryStep-1)/memoryStep))
	return nil
}

// guardInterval is how often memory is asked whether there is enough left.
const guardInterval = 200 * time.Millisecond

// guard makes workers give memory back while less than half of the reserve is
// left, until the returned function is called.
func (l *memoryLoad) guard() (stop func()) {
	quit, gone := make(chan struct{}), make(chan struct{})
	floor := reserve(l.report.Tested) / 2
	go func() {
		defer close(gone)
		ticker := time.NewTicker(guardInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if left, err := MemAvailable(l.proc); err == nil && left < floor {
					l.shed.Store(floor - left + memoryStep)
				}
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}

func (l *memoryLoad) sum(workers []*memoryWorker) {
	l.report.Tested, l.report.Verified = 0, l.verified.Load()
	for i, w := range workers {
		l.report.Tested += w.taken
		l.report.Released += w.released
		if i == 0 || w.rounds < l.report.Rounds {
			l.report.Rounds = w.rounds
		}
	}
}

// memoryWorker has a part of the memory, in pieces.
type memoryWorker struct {
	load            *memoryLoad
	number          int
	share           int64 // bytes that it may take
	taken, released int64
	pieces          [][]uint64
	rounds          int64
}

func (w *memoryWorker) work(ctx context.Context) error {
	defer w.release()
	if err := w.take(ctx); err != nil {
		return err
	}
	seed := uint64(time.Now().UnixNano())
	for round := 0; ctx.Err() == nil && len(w.pieces) > 0; round++ {
		for _, p := range patterns(round, uint64(w.number)<<48, seed) {
			if err := w.test(ctx, p); err != nil {
				return err
			}
		}
		for _, p := range inversions(round, seed) {
			if err := w.invert(ctx, p); err != nil {
				return err
			}
		}
		if ctx.Err() == nil {
			w.rounds++
		}
	}
	if len(w.pieces) == 0 && ctx.Err() == nil {
		return fmt.Errorf("memory ran short: all that worker %d had was given back", w.number)
	}
	return nil
}

// take maps memory piece by piece. It stops early where less than the reserve
// would be left: others use memory, too.
func (w *memoryWorker) take(ctx context.Context) error {
	for w.taken < w.share && ctx.Err() == nil {
		size := min(w.share-w.taken, memoryStep)
		left, err := MemAvailable(w.load.proc)
		if err != nil {
			return err
		}
		if left < reserve(w.load.report.Tested)/2+memoryStep && w.taken > 0 {
			return nil
		}
		// Populated now: a page that is first touched later may find no memory left.
		mapped, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
		if err != nil {
			return fmt.Errorf("allocate %d bytes of memory: %w", size, err)
		}
		w.pieces = append(w.pieces, unsafe.Slice((*uint64)(unsafe.Pointer(&mapped[0])), len(mapped)/8))
		w.taken += size
	}
	return nil
}

// drop gives the last piece back.
func (w *memoryWorker) drop() {
	last := len(w.pieces) - 1
	piece := w.pieces[last]
	w.pieces = w.pieces[:last]
	_ = unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(&piece[0])), 8*len(piece)))
}

func (w *memoryWorker) release() {
	for len(w.pieces) > 0 {
		w.drop()
	}
}

// relieve gives a piece back if memory is short.
func (w *memoryWorker) relieve() {
	last := len(w.pieces) - 1
	if last < 0 || w.load.shed.Load() <= 0 {
		return
	}
	size := int64(8 * len(w.pieces[last]))
	w.load.shed.Add(-size)
	w.released += size
	w.drop()
}

// each calls do with all pieces in turn and the numbers of their first words,
// until ctx ends or do has found something wrong.
func (w *memoryWorker) each(ctx context.Context, name string, down bool, do func(words []uint64, first uint64) *wrongWord) error {
	for n, count := 0, len(w.pieces); n < count; n++ {
		w.relieve()
		if ctx.Err() != nil {
			return nil
		}
		i := n
		if down {
			i = count - 1 - n
		}
		if i >= len(w.pieces) {
			continue
		}
		if wrong := do(w.pieces[i], uint64(i)*memoryStep/8); wrong != nil {
			return w.describe(name, i, wrong)
		}
	}
	return nil
}

// test fills all memory before any of it is verified, so that what is read is
// what memory has kept, and no cache.
func (w *memoryWorker) test(ctx context.Context, p pattern) error {
	err := w.each(ctx, p.name, false, func(words []uint64, first uint64) *wrongWord {
		fill(words, first, p)
		return nil
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	return w.check(ctx, p)
}

// check verifies all memory.
func (w *memoryWorker) check(ctx context.Context, p pattern) error {
	if w.load.tamper != nil && len(w.pieces) > 0 {
		w.load.tamper(w.number, w.pieces[0])
	}
	return w.each(ctx, p.name, false, func(words []uint64, first uint64) *wrongWord {
		wrong := verify(words, first, p)
		w.load.verified.Add(int64(8 * len(words)))
		return wrong
	})
}

// invert is the test of moving inversions: every word is inverted right after
// it was read, upwards and then downwards, so that a cell that disturbs another
// one is found in both orders.
func (w *memoryWorker) invert(ctx context.Context, p pattern) error {
	if err := w.test(ctx, p); err != nil {
		return err
	}
	want := p.seed
	for _, down := range []bool{false, true} {
		expected := want
		err := w.each(ctx, p.name, down, func(words []uint64, _ uint64) *wrongWord {
			wrong := invert(words, expected, down)
			w.load.verified.Add(int64(8 * len(words)))
			return wrong
		})
		if err != nil || ctx.Err() != nil {
			return err
		}
		want = ^want
	}
	return w.check(ctx, p)
}

// describe says where memory is wrong: in the worker's own count, at which
// address and, where the kernel tells, at which physical one.
func (w *memoryWorker) describe(name string, piece int, wrong *wrongWord) error {
	words := w.pieces[piece]
	address := uintptr(unsafe.Pointer(&words[wrong.at]))
	place := fmt.Sprintf("worker %d, byte %d, virtual address %#x", w.number, piece*memoryStep+8*wrong.at, address)
	if physical, ok := physicalAddress(w.load.proc, uint64(address)); ok {
		place += fmt.Sprintf(", physical address %#x", physical)
	}
	return fmt.Errorf("memory is wrong at %s: %s: read %#016x, not %#016x, differing in %#016x; %d wrong words from there on in its %d bytes, differing in %#016x",
		place, name, wrong.read, wrong.expected, wrong.read^wrong.expected, wrong.count, 8*len(words), wrong.bits)
}

// physicalAddress is where a virtual address of this process is in memory
// (Documentation/admin-guide/mm/pagemap.rst: bits 0-54 are the page's frame
// number, 0 for who may not know it; bit 63 says that it is present).
func physicalAddress(proc string, virtual uint64) (uint64, bool) {
	f, err := os.Open(filepath.Join(proc, "self/pagemap"))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	page := uint64(os.Getpagesize())
	var entry [8]byte
	if _, err := f.ReadAt(entry[:], int64(virtual/page*8)); err != nil {
		return 0, false
	}
	value := binary.NativeEndian.Uint64(entry[:])
	frame := value & (1<<55 - 1)
	return frame*page + virtual%page, value>>63 == 1 && frame != 0
}

// MemAvailable is the memory in bytes that can be taken without swapping.
func MemAvailable(proc string) (int64, error) {
	path := filepath.Join(proc, "meminfo")
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("available memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "MemAvailable:" || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err == nil && kib >= 0 && kib < 1<<50 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("available memory: %s does not tell", path)
}
