// Command guest erases the disks of an emulated machine, in the place of the
// agent, and says on the console what came of it.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferric/hwmanager/ata"
	erase "ferric/hwmanager/erasure"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/scsi"
	"ferric/images/disk"
	"ferric/images/partition"
	"ferric/integration/erasure"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Printf("%sfailed: %v\n", erasure.Line, err)
	}
	fmt.Println(erasure.Done)
	_ = exec.Command("poweroff").Run()
	select {} // until the machine is off
}

func run(ctx context.Context) error {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(string(line)), erasure.Consent) {
		return errors.New("this is not the machine of a test")
	}
	disks, err := list()
	if err != nil {
		return err
	}
	for _, name := range disks {
		if err := fill(ctx, name); err != nil {
			return fmt.Errorf("fill %s: %w", name, err)
		}
	}
	for _, name := range disks {
		seen, err := try(ctx, name, disks)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		text, err := json.Marshal(seen)
		if err != nil {
			return err
		}
		fmt.Printf("%s%s\n", erasure.Line, text)
	}
	return nil
}

// list waits until the kernel has found no further disk for a while.
func list() (disks []string, err error) {
	const quiet = 3 * time.Second
	for changed := time.Now(); time.Since(changed) < quiet; time.Sleep(100 * time.Millisecond) {
		paths, err := filepath.Glob("/sys/block/*")
		if err != nil {
			return nil, err
		}
		var now []string
		for _, path := range paths {
			name := filepath.Base(path)
			if _, err := os.Stat(filepath.Join("/dev", name)); err != nil || strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "sr") {
				continue // the paths of a multipath drive have no nodes
			}
			now = append(now, name)
		}
		if !slices.Equal(now, disks) {
			disks, changed = now, time.Now()
		}
	}
	return disks, nil
}

// target is a disk of this machine, all of which are there to be erased.
func target(name string) disk.Target {
	return disk.Fence("/dev/"+name, func(*os.File) error { return nil })
}

const sample = 1 << 20

// samples are where a disk is looked at.
func samples(d *disk.Device) []int64 {
	return []int64{sample, d.Size / 2, d.Size - 2*sample}
}

// content is what a disk holds before it is erased.
func content(name string) []byte {
	seed := fnv.New64a()
	seed.Write([]byte(name))
	noise := rand.New(rand.NewPCG(seed.Sum64(), 0))
	b := disk.Buffer(sample)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], noise.Uint64())
	}
	return b
}

// fill writes content, and a table with one partition.
func fill(ctx context.Context, name string) error {
	t := target(name)
	d, err := t.Open()
	if err != nil {
		return err
	}
	for _, at := range samples(d) {
		if _, err := d.WriteAt(content(name), at); err != nil {
			return errors.Join(err, d.Close())
		}
	}
	table := disk.Buffer(4096)
	entry := table[446:]
	entry[4] = 0x83
	binary.LittleEndian.PutUint32(entry[8:], 256) // sectors of 512 or 4096 bytes
	binary.LittleEndian.PutUint32(entry[12:], 1024)
	table[510], table[511] = 0x55, 0xaa
	_, err = d.WriteAt(table, 0)
	if err := errors.Join(err, d.Sync(), d.Close()); err != nil {
		return err
	}
	return partition.Reread(ctx, t.Path())
}

// kept lists the disks that have the content that was written to them.
func kept(disks []string) (names []string, err error) {
	for _, name := range disks {
		d, err := disk.OpenReadOnly("/dev/" + name)
		if err != nil {
			return nil, err
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.File().Fd(), unix.BLKFLSBUF, 0); errno != 0 {
			return nil, errors.Join(fmt.Errorf("drop cache of %s: %w", name, errno), d.Close())
		}
		there := 0
		now := disk.Buffer(sample)
		for _, at := range samples(d) {
			if _, err := d.ReadAt(now, at); err != nil {
				return nil, errors.Join(err, d.Close())
			}
			if bytes.Equal(now, content(name)) {
				there++
			}
		}
		d.Close()
		switch there {
		case 3:
			names = append(names, name)
		case 0:
		default:
			names = append(names, fmt.Sprintf("%s (%d of 3 samples)", name, there))
		}
	}
	return names, nil
}

// try erases a disk in all ways.
func try(ctx context.Context, name string, disks []string) (seen erasure.Disk, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	part, err := target(name).Partition(1).Open()
	if err != nil {
		return seen, err
	}
	_, err = nvme.Erase(ctx, part, nvme.Options{}, nil)
	seen.PartitionNVMe = failure(err)
	_, err = scsi.Erase(ctx, part, scsi.Options{}, nil)
	seen.PartitionSCSI = failure(err)
	if err := part.Close(); err != nil {
		return seen, err
	}

	d, err := target(name).Open()
	if err != nil {
		return seen, err
	}
	defer d.Close()
	seen.Name, seen.Size = name, d.Size
	seen.Controller, seen.Namespace, err = nvme.Identify(ctx, d)
	seen.NVMe = failure(err)
	seen.Inquiry, err = scsi.Inquire(ctx, d)
	seen.SCSI = failure(err)
	seen.Identity, err = ata.Identify(ctx, d, ata.Options{})
	seen.ATA = failure(err)
	_, err = nvme.Sanitize(ctx, d, nvme.Options{}, nil)
	seen.Sanitize = failure(err)
	_, err = scsi.Erase(ctx, d, scsi.Options{}, nil)
	seen.SCSIErase = failure(err)
	_, err = ata.Erase(ctx, d, ata.Options{}, nil)
	seen.ATAErase = failure(err)
	if seen.Before, err = kept(disks); err != nil {
		return seen, err
	}
	began := time.Now()
	seen.Method, err = nvme.Erase(ctx, d, nvme.Options{}, func(f float64) { seen.Progress = append(seen.Progress, f) })
	seen.Erase, seen.Seconds = failure(err), time.Since(began).Seconds()
	seen.After, err = kept(disks)
	return seen, err
}

func failure(err error) *erasure.Failure {
	if err == nil {
		return nil
	}
	return &erasure.Failure{Text: strings.ReplaceAll(err.Error(), "\n", "; "), NotSupported: errors.Is(err, erase.ErrNotSupported)}
}
