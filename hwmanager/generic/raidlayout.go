package generic

import (
	"fmt"
	"slices"

	"ferric/api/ipa"
	"ferric/images/disk"
	"ferric/images/partition"
)

// Where the first partition of an array begins, in MiB (agent contract, section
// "Create"): behind the room for what the firmware boots.
const (
	raidStartUEFI = espSize + 1
	raidStartBIOS = 8 // on a GPT, for GRUB's partition
	raidStartMBR  = 1 // the first sector that tools use
)

// Types of partitions that are members of arrays.
const (
	typeLinuxRAID = "A19D880F-05FC-4D3B-A006-743F0F84911E"
	mbrLinuxRAID  = "0xfd"
)

const mebibyte = 1 << 20

// raidPlan is which partitions of which disks become which arrays.
type raidPlan struct {
	label  string
	start  int64 // of the first partition on a disk, in bytes
	disks  []*raidDisk
	arrays []raidArray
	// candidates are the disks that could have been used.
	candidates []ipa.BlockDevice
}

// raidDisk is a disk of a plan.
type raidDisk struct {
	device ipa.BlockDevice
	room   int64 // where partitions have to end, in bytes
	used   int64 // where those that stay end, in bytes; 0 if none stay
	last   int   // the highest number of those that stay
	parts  []partition.Wanted
	freed  holder // what is deleted of it before; nothing if nothing is
}

// raidArray is an array of a plan: partition numbers[i] of disk disks[i].
type raidArray struct {
	logicalDisk
	volume  string
	disks   []*raidDisk
	numbers []int
}

// raidStart is where the first partition begins, in bytes.
func raidStart(label, bootMode string) int64 {
	switch {
	case bootMode == bootUEFI:
		return raidStartUEFI * mebibyte
	case label == partition.GPT:
		return raidStartBIOS * mebibyte
	}
	return raidStartMBR * mebibyte
}

// lay plans the partitions of the arrays, which have their disks already: the
// first on a disk ends at its size from the beginning of the disk, the others
// have theirs, that of size MAX is the last and ends with the disk.
func (p *raidPlan) lay() error {
	kind := typeLinuxRAID
	if p.label == partition.MBR {
		kind = mbrLinuxRAID
	}
	for i := range p.arrays {
		a := &p.arrays[i]
		for _, d := range a.disks {
			from := max(p.start, d.used)
			end := a.size // of the first: from the beginning of the disk
			if d.used > 0 {
				end = d.used + a.size
			}
			if a.size == 0 {
				end = d.room &^ (mebibyte - 1)
			}
			if end > d.room || end-from < mebibyte {
				return fmt.Errorf("logical disk %s of %s does not fit on %s of %d MiB, of which it would have %d to %d MiB",
					a.volume, sizeText(a.size), d.device.Name, d.device.Size>>20, from>>20, end>>20)
			}
			d.parts = append(d.parts, partition.Wanted{Start: from, Size: end - from, Type: kind, Name: a.volume})
			d.used = end
			a.numbers = append(a.numbers, d.last+len(d.parts))
		}
	}
	return nil
}

func sizeText(size int64) string {
	if size == 0 {
		return "size MAX"
	}
	return fmt.Sprintf("%d GiB", size>>30)
}

// members are the arrays' partitions as devices.
func (a raidArray) members() []string {
	var nodes []string
	for i, d := range a.disks {
		nodes = append(nodes, disk.Node(d.device.Name, a.numbers[i]))
	}
	return nodes
}

// pickDisks gives each logical disk its disks, all of them without hints;
// each of its hints takes the next match that it does not use yet.
func pickDisks(logical []logicalDisk, candidates []ipa.BlockDevice) (*raidPlan, error) {
	p := &raidPlan{candidates: candidates}
	for i, l := range logical {
		a := raidArray{logicalDisk: l, volume: l.volume(i)}
		chosen := candidates
		if l.listed {
			chosen = nil
			for n, hint := range l.disks {
				at := slices.IndexFunc(candidates, func(d ipa.BlockDevice) bool {
					used := slices.ContainsFunc(chosen, func(c ipa.BlockDevice) bool { return c.Name == d.Name })
					return !used && hint.Match(d, otherNotations(d))
				})
				if at < 0 {
					return nil, fmt.Errorf("logical disk %s: no disk is left that matches hint %d of physical_disks; there are %s", a.volume, n, nameList(candidates))
				}
				chosen = append(chosen, candidates[at])
			}
		}
		if len(chosen) < levelMembers[l.level] {
			return nil, fmt.Errorf("logical disk %s: RAID level %s needs %d disks, there are %d (%s)", a.volume, l.level, levelMembers[l.level], len(chosen), nameList(chosen))
		}
		for _, d := range chosen {
			a.disks = append(a.disks, p.disk(d))
		}
		p.arrays = append(p.arrays, a)
	}
	return p, nil
}

// disk is the one disk of the plan that the device is.
func (p *raidPlan) disk(device ipa.BlockDevice) *raidDisk {
	for _, d := range p.disks {
		if d.device.Name == device.Name {
			return d
		}
	}
	p.disks = append(p.disks, &raidDisk{device: device})
	return p.disks[len(p.disks)-1]
}
