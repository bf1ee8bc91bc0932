package inspection

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
)

// Time that one measurement takes, and all of them together at most.
const (
	benchmarkTime  = time.Second
	benchmarksTime = 2 * time.Minute
)

// addBenchmarks measures what ipa-inspection-benchmarks names, each thing for
// so long. Disks are only read.
func (f *facts) addBenchmarks(ctx context.Context, o *Options, inventory *ipa.Inventory, each time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, benchmarksTime, fmt.Errorf("benchmarks took longer than %s", benchmarksTime))
	defer cancel()
	var problems []error
	for _, name := range o.Benchmarks {
		switch name {
		case "cpu":
			f.measureCPU(ctx, each)
		case "mem":
			f.measureMemory(ctx, each)
		case "disk":
			for _, disk := range inventory.Disks {
				if err := f.measureDisk(ctx, each, o.Host.DevicePath(disk.Name), disk); err != nil {
					problems = append(problems, err)
				}
			}
		default:
			problems = append(problems, fmt.Errorf("there is no benchmark %q", name))
		}
		if ctx.Err() != nil {
			problems = append(problems, context.Cause(ctx))
			break
		}
	}
	return errors.Join(problems...)
}

// perSecond calls work for the time each, in so many threads at once, and returns
// how often it was done in a second, by all together.
func perSecond(ctx context.Context, each time.Duration, threads int, work func(stop *atomic.Bool) int) int {
	var stop atomic.Bool
	var done atomic.Int64
	var all sync.WaitGroup
	started := time.Now()
	for range threads {
		all.Go(func() { done.Add(int64(work(&stop))) })
	}
	select {
	case <-time.After(each):
	case <-ctx.Done():
	}
	stop.Store(true)
	all.Wait()
	return int(float64(done.Load()) / time.Since(started).Seconds())
}

// measureCPU counts how often a second the prime numbers below 10000 are
// found, by one thread and by all.
func (f *facts) measureCPU(ctx context.Context, each time.Duration) {
	f.add("cpu", "logical_0", "loops_per_sec", perSecond(ctx, each, 1, findPrimes))
	f.add("cpu", "logical", "loops_per_sec", perSecond(ctx, each, runtime.NumCPU(), findPrimes))
}

func findPrimes(stop *atomic.Bool) int {
	const below = 10000
	loops, found := 0, 0
	for loops == 0 || !stop.Load() {
		for n := 3; n < below; n++ {
			prime := true
			for d := 2; d*d <= n && prime; d++ {
				prime = n%d != 0
			}
			if prime {
				found++
			}
		}
		loops++
	}
	runtime.KeepAlive(found)
	return loops
}

// measureMemory copies blocks of two sizes: one fits caches, one does not. The
// unit is MiB/s.
func (f *facts) measureMemory(ctx context.Context, each time.Duration) {
	for _, block := range [...]struct {
		key string
		mib int
	}{{"bandwidth_1M", 1}, {"bandwidth_64M", 64}} {
		from, to := make([]byte, block.mib<<20), make([]byte, block.mib<<20)
		copied := perSecond(ctx, each, 1, func(stop *atomic.Bool) int {
			n := 0
			for ; n == 0 || !stop.Load(); n++ {
				copy(to, from)
			}
			return n * block.mib // a busy machine may take seconds for one
		})
		f.add("memory", "logical_cpu_0", block.key, copied)
	}
}

// measureDisk reads past the page cache, in order and at random.
func (f *facts) measureDisk(ctx context.Context, each time.Duration, path string, disk ipa.BlockDevice) error {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) { // not every file can
		file, err = os.Open(path)
	}
	if err != nil {
		return fmt.Errorf("benchmark of disks: %w", err)
	}
	defer file.Close()
	name := strings.TrimPrefix(disk.Name, "/dev/")
	for _, test := range [...]struct {
		key    string
		block  int64
		random bool
	}{{"standalone_read_1M", 1 << 20, false}, {"standalone_randread_4k", 4 << 10, true}} {
		blocks := disk.Size / test.block
		if blocks == 0 {
			continue
		}
		// Memory of its own is aligned as direct reads want it.
		buf, err := unix.Mmap(-1, 0, int(test.block), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return fmt.Errorf("benchmark of %s: %w", disk.Name, err)
		}
		var failed error
		reads := perSecond(ctx, each, 1, func(stop *atomic.Bool) int {
			n := int64(0)
			for ; failed == nil && (n == 0 || !stop.Load()); n++ {
				at := n % blocks
				if test.random {
					at = rand.Int64N(blocks)
				}
				_, failed = file.ReadAt(buf, at*test.block)
			}
			return int(n)
		})
		unix.Munmap(buf)
		if failed != nil {
			return fmt.Errorf("benchmark of %s: %w", disk.Name, failed)
		}
		f.add("disk", name, test.key+"_IOps", strconv.Itoa(reads))
		f.add("disk", name, test.key+"_KBps", strconv.FormatInt(int64(reads)*test.block>>10, 10))
	}
	return nil
}
