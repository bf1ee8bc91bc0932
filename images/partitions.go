package images

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"ferric/api/ipa"
	"ferric/images/configdrive"
	"ferric/images/disk"
	"ferric/images/fat"
	"ferric/images/partition"
	"ferric/images/volume"
)

// The partitions of a partition image, under the names that
// get_partition_uuids has for them; on a GPT they are the partitions' names.
const (
	PartESP         = "efi system partition"
	PartBIOSBoot    = "BIOS boot partition"
	PartPReP        = "PReP Boot partition"
	PartEphemeral   = "ephemeral"
	PartSwap        = "swap"
	PartConfigDrive = "configdrive"
	PartRoot        = "root"
)

// Labels of the file systems (agent contract, section "Partition images").
const (
	ESPLabel       = "efi-part"
	EphemeralLabel = "ephemeral0"
	swapLabel      = "swap1"
)

// Layout says which partitions a partition image gets, in MiB; 0 is none. Root
// must be given.
type Layout struct {
	Label     string // partition.GPT or partition.MBR
	ESP       int64
	BIOSBoot  int64
	PReP      int64
	Ephemeral int64
	Swap      int64
	Root      int64
	// PreserveEphemeral leaves the content of the ephemeral partition alone,
	// which must be on the disk already where it would be made.
	PreserveEphemeral bool
}

const mib = 1 << 20

// maxMiB keeps sums of sizes in bytes from overflowing: the largest disk that
// 2^63 bytes allow has room for all partitions of this size.
const maxMiB = 1 << 39

// wanted are the partitions in the order of the agent contract; drive is the
// size of the config drive in bytes.
func (l Layout) wanted(drive int64) ([]partition.Wanted, error) {
	types := func(gpt, mbr string) string {
		if l.Label == partition.MBR {
			return mbr
		}
		return gpt
	}
	linux := types(partition.TypeLinux, partition.MBRLinux)
	var wanted []partition.Wanted
	for _, p := range []struct {
		name, kind string
		size       int64
		boot       bool
	}{
		{PartESP, types(partition.TypeESP, partition.MBRESP), l.ESP, false},
		{PartBIOSBoot, partition.TypeBIOSBoot, l.BIOSBoot, false},
		{PartPReP, types(partition.TypePReP, partition.MBRPReP), l.PReP, true},
		{PartEphemeral, linux, l.Ephemeral, false},
		{PartSwap, types(partition.TypeSwap, partition.MBRSwap), l.Swap, false},
		{PartConfigDrive, linux, (drive + mib - 1) / mib, false},
		{PartRoot, linux, l.Root, l.ESP == 0 && l.PReP == 0},
	} {
		if p.size < 0 || p.size > maxMiB || p.size == 0 && p.name == PartRoot {
			return nil, fmt.Errorf("%w: %d MiB for the %s partition", ErrRequest, p.size, p.name)
		}
		if p.size > 0 {
			wanted = append(wanted, partition.Wanted{Size: p.size * mib, Type: p.kind, Name: p.name, Boot: p.boot && l.Label == partition.MBR})
		}
	}
	return wanted, nil
}

// DeployPartitions partitions the disk and writes the image into its
// root partition, with config drive (as for Deploy), swap space and an empty
// EFI system partition where the layout has them. The partition table is
// written last, so that whatever dies before leaves a disk that nothing boots
// from; an ephemeral partition is left for the caller to format. An image that
// is larger than the root partition is an ErrRequest.
func DeployPartitions(ctx context.Context, target disk.Target, req Request, l Layout, configDrive string, progress func(ipa.Progress)) (Deployment, error) {
	m := watch(progress)
	p := &partitioning{target: target, layout: l, monitor: m}
	err := p.run(ctx, req, configDrive)
	m.finish(err == nil)
	if err != nil {
		return p.made, fmt.Errorf("deploy image%s to partitions of %s: %w", named(p.made.URL), target.Path(), err)
	}
	return p.made, nil
}

// partitioning is one partition image on its way to a disk.
type partitioning struct {
	target  disk.Target
	layout  Layout
	monitor *monitor

	dev          *disk.Device
	drive        []byte // the config drive
	driveOptions configdrive.Options
	table        *partition.Table
	began        bool // the disk was written to
	made         Deployment
}

func (p *partitioning) run(ctx context.Context, req Request, configDrive string) (err error) {
	if configDrive != "" {
		p.monitor.enter(ipa.PhaseConfigDrive)
		p.driveOptions = req.driveOptions()
		if p.drive, err = configdrive.Decode(ctx, configDrive, p.driveOptions); err != nil {
			return err
		}
	}
	if err := p.write(ctx, req); err != nil {
		return p.undo(ctx, err)
	}
	if err := partition.Reread(ctx, p.target.Path()); err != nil {
		return p.undo(ctx, err)
	}
	return nil
}

// undo leaves nothing that could boot, but for a disk with contents to
// preserve, whose root partition was wiped when the image failed.
func (p *partitioning) undo(ctx context.Context, err error) error {
	if !p.began || p.layout.PreserveEphemeral {
		return err
	}
	if werr := wipe(context.WithoutCancel(ctx), p.target); werr != nil {
		err = fmt.Errorf("%w; and the disk could not be wiped again: %w", err, werr)
	}
	return err
}

// write does all that is done while the disk is claimed.
func (p *partitioning) write(ctx context.Context, req Request) (err error) {
	want, err := req.Digest.resolve(ctx, req)
	if err != nil {
		return err
	}
	if p.dev, err = claim(ctx, p.target); err != nil {
		return fmt.Errorf("%w: %w", ErrWrite, err)
	}
	defer func() { err = errors.Join(err, p.dev.Close()) }()
	if err := p.plan(); err != nil {
		return err
	}
	root, err := p.section(PartRoot)
	if err != nil {
		return err
	}
	bounded, cancel := req.bound(ctx)
	defer cancel()
	t := &transfer{dev: root, req: req, want: want, urls: req.URLs, monitor: p.monitor, before: p.clear}
	p.made.Result, err = t.run(bounded)
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: the image is larger than root_mb of %d: %w", ErrRequest, p.layout.Root, err)
	}
	if err != nil {
		return err
	}
	p.monitor.enter(ipa.PhasePartitioning)
	if err := p.fill(); err != nil {
		return err
	}
	if err := p.dev.Sync(); err != nil {
		return fmt.Errorf("%w: %w", ErrWrite, err)
	}
	return p.table.Commit(p.dev)
}

// plan lays the partitions out. An ephemeral partition that is to be preserved
// must be where it would be made.
func (p *partitioning) plan() error {
	wanted, err := p.layout.wanted(configdrive.Room(p.drive, p.dev.Sector, p.driveOptions))
	if err != nil {
		return err
	}
	if p.layout.ESP > 0 {
		if err := fat.Check(p.layout.ESP*mib, p.dev.Sector); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRequest, PartESP, err)
		}
	}
	var old *partition.Table
	if p.layout.PreserveEphemeral {
		if old, err = partition.Read(p.dev); err != nil {
			return fmt.Errorf("preserve_ephemeral: %w", err)
		}
	}
	if p.table, err = partition.Plan(p.dev, p.layout.Label, wanted, old); err != nil {
		return err
	}
	p.made.Partitions = map[string]int{}
	for i, q := range p.table.Partitions {
		p.made.Partitions[wanted[i].Name] = q.Number
	}
	if old == nil {
		return nil
	}
	if old.Label != p.layout.Label { // whose remains nobody would wipe
		return fmt.Errorf("preserve_ephemeral: %w: %s has a table of the kind %s, wanted is %s", partition.ErrBadTable, p.target.Path(), old.Label, p.layout.Label)
	}
	n := p.made.Partitions[PartEphemeral]
	if n == 0 {
		return nil
	}
	planned := p.table.Partitions[n-1]
	for _, q := range old.Partitions {
		if q.Number == n && q.Start == planned.Start && q.Size == planned.Size {
			return nil
		}
	}
	return fmt.Errorf("preserve_ephemeral: %w: %s has no partition %d of %d MiB from %d MiB on that could be the ephemeral one",
		partition.ErrBadTable, p.target.Path(), n, planned.Size/mib, planned.Start/mib)
}

// section is the partition with the name as a device.
func (p *partitioning) section(name string) (*disk.Device, error) {
	q := p.table.Partitions[p.made.Partitions[name]-1]
	return p.dev.Section(q.Start, q.Size)
}

// clear wipes the disk's former identity, or with contents to preserve that of
// all partitions but the ephemeral one. It runs when the image has been found
// to be one.
func (p *partitioning) clear(ctx context.Context) error {
	p.began = true
	if p.layout.PreserveEphemeral {
		// The table stays until the image is there, and nothing starts what the
		// boot loader of the former one is left of.
		if err := p.dev.Zero(0, partition.BootCode); err != nil {
			return err
		}
	} else if err := wipeAll(ctx, p.dev); err != nil {
		return err
	}
	for name := range p.made.Partitions {
		if name == PartEphemeral && p.layout.PreserveEphemeral {
			continue
		}
		s, err := p.section(name)
		if err != nil {
			return err
		}
		if err := s.WipeEnds(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fill writes what belongs into the partitions beside the image, and notes
// their identities. It turns a panic into an error, as Deploy does: the root
// file system comes from the image.
func (p *partitioning) fill() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: what is on the disk now cannot be read: %v", ErrCorrupt, r)
		}
	}()
	fills := map[string]func(*disk.Device, partition.Partition) error{
		PartESP: p.makeESP,
		PartSwap: func(d *disk.Device, _ partition.Partition) error {
			_, err := volume.MakeSwap(d, d.Size, swapLabel)
			return err
		},
		PartConfigDrive: func(d *disk.Device, _ partition.Partition) error {
			return configdrive.Store(d, p.drive, p.driveOptions)
		},
		PartPReP: func(_ *disk.Device, q partition.Partition) error {
			p.made.PRePUUID = q.UUID
			return nil
		},
		PartRoot: func(d *disk.Device, q partition.Partition) error {
			p.made.RootUUID = q.UUID
			if info, ok := volume.Identify(d, d.Size); ok && info.UUID != "" {
				p.made.RootUUID = info.UUID
			}
			return nil
		},
	}
	for name, n := range p.made.Partitions {
		fill := fills[name]
		if fill == nil {
			continue
		}
		d, err := p.section(name)
		if err != nil {
			return err
		}
		if err := fill(d, p.table.Partitions[n-1]); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrWrite, name, err)
		}
	}
	return nil
}

func (p *partitioning) makeESP(d *disk.Device, _ partition.Partition) error {
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	serial := binary.BigEndian.Uint32(id[:])
	p.made.ESPUUID = fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff)
	return fat.Build(d, d.Size, d.Sector, ESPLabel, serial, nil)
}
