package burnin

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

// DiskTarget is a disk that is written over; Name is for messages.
type DiskTarget struct {
	Name   string
	Target disk.Target
}

// DisksReport is what burnin_disk found.
type DisksReport struct {
	Run
	Disks []DiskReport `json:"disks"`
}

// DiskReport is one disk of it.
type DiskReport struct {
	Name      string  `json:"name"`
	Size      int64   `json:"size_bytes"`
	Loops     int     `json:"loops"` // that ended: the whole disk was written and verified
	Written   int64   `json:"written_bytes"`
	Verified  int64   `json:"verified_bytes"`
	WriteRate float64 `json:"write_bytes_per_second"`
	ReadRate  float64 `json:"read_bytes_per_second"`
	Error     string  `json:"error,omitempty"`
	SMARTTest string  `json:"smart_test,omitempty"` // what the disk said of its extended self-test
}

const (
	diskBlock = 4 << 10 // one block; the end of a disk may be a shorter one
	diskChunk = 1 << 19 // of one request
	diskDepth = 4       // requests in flight for each disk
)

// medium is an open disk, as a load sees it.
type medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// diskLoad is one disk under load.
type diskLoad struct {
	report   *DiskReport
	medium   medium
	run      uint64
	runs     map[uint64]string // names of all disks, by their runs
	buffers  [][]byte          // one for each request in flight
	written  atomic.Int64
	verified atomic.Int64
	writing  time.Duration
	reading  time.Duration
}

// Disks writes blocks over all disks, all at once, and verifies them, until each has
// had its loops or the time is up. All are claimed before the first is written to. The
// first failure ends it: the error names disk, offset and kind. The report is never nil.
func Disks(ctx context.Context, h *hwmanager.Host, o DiskOptions, targets []DiskTarget, progress func(ipa.Progress)) (*DisksReport, error) {
	return loadDisks(ctx, h, o, targets, openMedium, progress)
}

func loadDisks(ctx context.Context, h *hwmanager.Host, o DiskOptions, targets []DiskTarget, open func(DiskTarget) (medium, int64, error), progress func(ipa.Progress)) (*DisksReport, error) {
	report := &DisksReport{Run: begin("burnin_disk"), Disks: make([]DiskReport, len(targets))}
	err := report.load(ctx, h, o, targets, open, progress)
	report.end(err)
	return report, err
}

func (r *DisksReport) load(ctx context.Context, h *hwmanager.Host, o DiskOptions, targets []DiskTarget, open func(DiskTarget) (medium, int64, error), progress func(ipa.Progress)) (err error) {
	if len(targets) == 0 {
		return errors.New("there is no disk to burn in")
	}
	if o.SMARTTest {
		if err := haveSMART(ctx, h); err != nil {
			return err
		}
	}
	loads := make([]*diskLoad, 0, len(targets))
	defer func() {
		for _, l := range loads {
			err = errors.Join(err, l.close())
		}
	}()
	runs := map[uint64]string{}
	for i, t := range targets {
		l, err := newDiskLoad(t, &r.Disks[i], runs, open)
		if err != nil {
			return fmt.Errorf("%s: nothing was written to any disk: %w", t.Name, err)
		}
		loads = append(loads, l)
	}
	watch := sensors{h.Sys, h.Proc}.watch()
	stop := follow(progress, func() amount { return diskAmount(r, o, loads) })
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range loads {
		group.Go(func() error {
			err := l.work(groupCtx, r.began, o)
			l.sum()
			if err != nil {
				l.report.Error = err.Error()
				return fmt.Errorf("%s: %w", l.report.Name, err)
			}
			return nil
		})
	}
	err = group.Wait()
	stop()
	if err == nil && o.SMARTTest {
		err = testSMART(ctx, h, r.Disks, smartInterval)
	}
	r.Health = watch.end()
	if err != nil {
		return err
	}
	return r.Health.fault()
}

func newDiskLoad(t DiskTarget, report *DiskReport, runs map[uint64]string, open func(DiskTarget) (medium, int64, error)) (*diskLoad, error) {
	m, size, err := open(t)
	if err != nil {
		return nil, err
	}
	var id [8]byte
	_, _ = crand.Read(id[:]) // never fails (it ends the program instead)
	l := &diskLoad{report: report, medium: m, run: binary.LittleEndian.Uint64(id[:]), runs: runs}
	*report = DiskReport{Name: t.Name, Size: size}
	runs[l.run] = t.Name
	for range diskDepth {
		// Outside of the heap, and aligned as direct requests want it.
		buf, err := unix.Mmap(-1, 0, diskChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("allocate buffers: %w", err), l.close())
		}
		l.buffers = append(l.buffers, buf)
	}
	return l, nil
}

func (l *diskLoad) close() error {
	for _, buf := range l.buffers {
		_ = unix.Munmap(buf)
	}
	return l.medium.Close()
}

// diskAmount is by bytes, unless the time is what ends the load.
func diskAmount(r *DisksReport, o DiskOptions, loads []*diskLoad) amount {
	var a amount
	for _, l := range loads {
		a.bytes += l.written.Load() + l.verified.Load()
		a.total += l.report.Size * int64(o.Loops) * 2
	}
	if o.Time > 0 {
		return clock(r.began, o.Time, a.bytes)
	}
	a.done = a.bytes
	return a
}

// work runs the loops. Of the time that is left when one begins, writing may take
// half: what could not be verified any more would have been written for nothing.
func (l *diskLoad) work(ctx context.Context, began time.Time, o DiskOptions) error {
	for loop := 1; loop <= o.Loops; loop++ {
		var half, end time.Time // zero for never
		if o.Time > 0 {
			end = began.Add(o.Time)
			half = time.Now().Add(time.Until(end) / 2)
			if !time.Now().Before(end) {
				break
			}
		}
		at := block{run: l.run, generation: uint32(loop)}
		started := time.Now()
		length, err := l.pass(ctx, l.report.Size, half, func(p []byte, off int64) error { return l.write(at, p, off) })
		if err == nil {
			err = l.medium.Sync()
		}
		l.writing += time.Since(started)
		if err != nil {
			return fmt.Errorf("loop %d: %w", loop, err)
		}
		started = time.Now()
		verified, err := l.pass(ctx, length, end, func(p []byte, off int64) error { return l.verify(at, p, off) })
		l.reading += time.Since(started)
		if err != nil {
			return fmt.Errorf("loop %d: %w", loop, err)
		}
		if verified == l.report.Size {
			l.report.Loops++
		}
	}
	if l.verified.Load() == 0 {
		return fmt.Errorf("nothing could be written and verified within %s", o.Time)
	}
	return nil
}

func (l *diskLoad) sum() {
	r := l.report
	r.Written, r.Verified = l.written.Load(), l.verified.Load()
	if s := l.writing.Seconds(); s > 0 {
		r.WriteRate = float64(r.Written) / s
	}
	if s := l.reading.Seconds(); s > 0 {
		r.ReadRate = float64(r.Verified) / s
	}
}

// pass calls do for the first length bytes of the disk, in chunks, several at a
// time, until the given time, and tells up to where all is done.
func (l *diskLoad) pass(ctx context.Context, length int64, until time.Time, do func(p []byte, off int64) error) (int64, error) {
	var next atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	for _, buf := range l.buffers {
		group.Go(func() error {
			for groupCtx.Err() == nil && (until.IsZero() || time.Now().Before(until)) {
				off := next.Add(diskChunk) - diskChunk
				if off >= length {
					return nil
				}
				if err := do(buf[:min(diskChunk, length-off)], off); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	// Offsets are taken in their order, and each that is taken is done.
	return min(next.Load(), length), err
}

func (l *diskLoad) write(at block, p []byte, off int64) error {
	for i := 0; i < len(p); i += diskBlock {
		at.offset = off + int64(i)
		at.stamp(p[i:min(i+diskBlock, len(p))])
	}
	if _, err := l.medium.WriteAt(p, off); err != nil {
		return fmt.Errorf("write error at offset %d: %w", off, err)
	}
	l.written.Add(int64(len(p)))
	return nil
}

func (l *diskLoad) verify(at block, p []byte, off int64) error {
	if _, err := l.medium.ReadAt(p, off); err != nil {
		return l.narrow(p, off, err)
	}
	for i := 0; i < len(p); i += diskBlock {
		at.offset = off + int64(i)
		wrong := at.check(p[i:min(i+diskBlock, len(p))])
		if wrong == nil {
			continue
		}
		text := wrong.text
		if wrong.kind == kindForeign {
			if other := l.runs[binary.LittleEndian.Uint64(p[i+8:])]; other != "" {
				text += ", which is that of " + other
			}
		}
		return fmt.Errorf("%s block at offset %d: %s", wrong.kind, at.offset, text)
	}
	l.verified.Add(int64(len(p)))
	return nil
}

// narrow finds the block that made reading a chunk fail.
func (l *diskLoad) narrow(p []byte, off int64, failed error) error {
	for i := 0; i < len(p); i += diskBlock {
		if _, err := l.medium.ReadAt(p[i:min(i+diskBlock, len(p))], off+int64(i)); err != nil {
			return fmt.Errorf("read error at offset %d: %w", off+int64(i), err)
		}
	}
	return fmt.Errorf("read error in the %d bytes at offset %d, not repeated when they were read block by block: %w", len(p), off, failed)
}

// directMedium is a disk whose reads bypass the page cache, too: what is verified
// is what the disk has kept.
type directMedium struct {
	*disk.Device
	reader *os.File
	direct bool
}

// openMedium opens and claims a disk. Its size is what whole sectors have.
func openMedium(t DiskTarget) (medium, int64, error) {
	d, err := t.Target.Open()
	if err != nil {
		return nil, 0, err
	}
	size := d.Size - d.Size%int64(max(d.Sector, 512))
	if size < blockLeast {
		return nil, 0, errors.Join(fmt.Errorf("it has %d bytes only", d.Size), d.Close())
	}
	m := &directMedium{Device: d, direct: true}
	// Through the descriptor that was checked, whatever has the path by now.
	path := fmt.Sprintf("/proc/self/fd/%d", d.File().Fd())
	if m.reader, err = os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0); errors.Is(err, unix.EINVAL) { // a file system without
		m.direct = false
		m.reader, err = os.OpenFile(path, os.O_RDONLY, 0)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open for reading: %w", err), d.Close())
	}
	return m, size, nil
}

// ReadAt reads from the medium; where there are no direct reads, from pages that
// the kernel was asked to read anew.
func (m *directMedium) ReadAt(p []byte, off int64) (int, error) {
	if !m.direct {
		_ = unix.Fadvise(int(m.reader.Fd()), off, int64(len(p)), unix.FADV_DONTNEED)
	}
	return m.reader.ReadAt(p, off)
}

func (m *directMedium) Close() error { return errors.Join(m.reader.Close(), m.Device.Close()) }
