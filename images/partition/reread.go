package partition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ferric/images/disk"
)

// How long the kernel may find the disk busy, and how often it is asked.
// (agent contract: check_device_max_retries 20, check_device_interval 1 s)
const (
	rereadTimeout  = 20 * time.Second
	rereadInterval = 250 * time.Millisecond
)

// Reread makes the kernel's partitions of device those of the table on it. It
// asks the kernel to read the table and corrects the outcome partition by
// partition, for kernels that do not know the table's format. A disk in use is
// asked again for 20 s. A regular file needs nothing.
func Reread(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, rereadTimeout)
	defer cancel()
	for {
		err := rereadOnce(device)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		timer := time.NewTimer(rereadInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func rereadOnce(device string) error {
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		return err
	}
	defer d.Close()
	if !d.IsBlock() {
		return nil
	}
	if mapped, err := isMapped(d); err != nil || mapped {
		return err
	}
	fd := int(d.File().Fd())
	err = unix.IoctlSetInt(fd, unix.BLKRRPART, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("re-read partitions of %s: %w", device, err)
	}
	t, err := Read(d)
	if errors.Is(err, ErrNoTable) {
		t = &Table{}
	} else if err != nil {
		return err
	}
	known, err := kernelPartitions(d)
	if err != nil {
		return err
	}
	return reconcile(d, t, known)
}

// reconcile changes the kernel's list where it differs from the table. Logical
// partitions (numbers from 5 of an MBR) are left to the kernel.
func reconcile(d *disk.Device, t *Table, known map[int]Partition) error {
	want := map[int]Partition{}
	for _, p := range t.Partitions {
		want[p.Number] = p
	}
	for n, p := range known {
		w, ok := want[n]
		if ok && w.Start == p.Start && w.Size == p.Size {
			delete(want, n)
			continue
		}
		if t.Label == MBR && (n > 4 || isExtended(w)) {
			delete(want, n)
			continue
		}
		if err := blkpg(d, unix.BLKPG_DEL_PARTITION, p); err != nil {
			return fmt.Errorf("remove partition %d of %s: %w", n, d.Path, err)
		}
	}
	for n, p := range want {
		if isExtended(p) {
			continue
		}
		if err := blkpg(d, unix.BLKPG_ADD_PARTITION, p); err != nil {
			return fmt.Errorf("add partition %d of %s: %w", n, d.Path, err)
		}
	}
	return nil
}

// isExtended tells containers of logical partitions, which the kernel shows as
// a partition of one or two sectors.
func isExtended(p Partition) bool {
	return p.Type == "0x05" || p.Type == "0x0f" || p.Type == "0x85"
}

// isMapped tells a device of the device mapper, as multipath makes them: the kernel
// knows no partitions of it (linux, drivers/md/dm.c: GENHD_FL_NO_PART). Those are
// further mapped devices, which kpartx makes; an image needs none of them.
func isMapped(d *disk.Device) (bool, error) {
	dir, err := sysDir(d)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(filepath.Join(dir, "dm"))
	return err == nil, nil
}

// sysDir is the directory of the disk in sysfs.
func sysDir(d *disk.Device) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(d.File().Fd()), &st); err != nil {
		return "", fmt.Errorf("stat %s: %w", d.Path, err)
	}
	return fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))), nil
}

// kernelPartitions are the partitions of d that the kernel shows in sysfs.
func kernelPartitions(d *disk.Device) (map[int]Partition, error) {
	dir, err := sysDir(d)
	if err != nil {
		return nil, err
	}
	numbers, err := filepath.Glob(dir + "/*/partition")
	if err != nil {
		return nil, err
	}
	known := map[int]Partition{}
	for _, path := range numbers {
		n, err1 := readInt(path)
		start, err2 := readInt(filepath.Join(filepath.Dir(path), "start"))
		size, err3 := readInt(filepath.Join(filepath.Dir(path), "size"))
		if err := errors.Join(err1, err2, err3); err != nil {
			continue // it went away
		}
		// sysfs counts in 512 bytes, whatever the sector.
		known[int(n)] = Partition{Number: int(n), Start: start * 512, Size: size * 512}
	}
	return known, nil
}

// Former are the partitions of d as it is: those that the kernel shows, which may
// be logical ones, and those of the table, if it can be read. It is for wiping
// what is on them.
func Former(d *disk.Device) []Partition {
	var former []Partition
	if d.IsBlock() {
		known, _ := kernelPartitions(d) // none is no error, and what is not seen cannot be named
		former = slices.Collect(maps.Values(known))
	}
	if t, err := Read(d); err == nil {
		for _, p := range t.Partitions {
			if !slices.ContainsFunc(former, func(q Partition) bool { return q.Start == p.Start && q.Size == p.Size }) {
				former = append(former, p)
			}
		}
	}
	return former[:min(len(former), maxFormer)]
}

// maxFormer bounds what a hostile table makes be wiped; a GPT has room for so
// many.
const maxFormer = 128

func readInt(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// Arguments of the ioctl BLKPG (linux/blkpg.h).
type (
	blkpgArg struct {
		op, flags, length int32
		_                 int32
		data              unsafe.Pointer
	}
	blkpgPartition struct {
		start, length int64
		number        int32
		_             [128]byte // devname, volname
		_             int32
	}
)

func blkpg(d *disk.Device, op int32, p Partition) error {
	part := &blkpgPartition{start: p.Start, length: p.Size, number: int32(p.Number)}
	arg := &blkpgArg{op: op, length: int32(unsafe.Sizeof(*part)), data: unsafe.Pointer(part)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.File().Fd(), unix.BLKPG, uintptr(unsafe.Pointer(arg)))
	runtime.KeepAlive(arg)
	runtime.KeepAlive(part)
	if errno != 0 && !(op == unix.BLKPG_DEL_PARTITION && errno == unix.ENXIO) {
		return errno
	}
	return nil
}
