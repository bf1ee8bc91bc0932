package matrix

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferric/api/ironic"
)

// volume is the name of the array.
const volume = "root"

// configureArray says of which disks an array is to be made.
func (r *run) configureArray(ctx context.Context) error {
	if _, err := r.site.API.UpdateNode(ctx, r.name, ironic.Patch{{Op: "add", Path: "/raid_interface", Value: "agent"}}); err != nil {
		return err
	}
	var disks []any
	for _, d := range r.members() {
		disks = append(disks, map[string]any{"serial": d.Serial})
	}
	return r.site.API.SetRAIDConfig(ctx, r.name, map[string]any{"logical_disks": []any{map[string]any{
		"controller": "software", "raid_level": "1", "size_gb": "MAX", "volume_name": volume, "physical_disks": disks,
	}}})
}

// arrayMade has the machine make the array by manual cleaning. The automated
// cleaning that follows erases the array, and leaves it there.
func (r *run) arrayMade(ctx context.Context) error {
	if !r.cell.array {
		return nil
	}
	begin := time.Now()
	for _, act := range []struct {
		request ironic.ProvisionRequest
		state   string
	}{
		{ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable},
		{ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "raid", Step: "create_configuration"}}}, ironic.StateManageable},
	} {
		if err := r.machine.Provision(ctx, act.request, act.state); err != nil {
			return err
		}
	}
	r.raid = time.Since(begin)
	if _, _, err := r.judgeArray(ctx); err != nil {
		return err
	}
	if err := r.machine.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable); err != nil {
		return err
	}
	_, _, err := r.judgeArray(ctx)
	return err
}

// What mdadm --examine says of a member.
var (
	raidLevel  = regexp.MustCompile(`(?m)^\s*Raid Level : raid1$`)
	arrayName  = regexp.MustCompile(`(?m)^\s*Name : (?:\S+:)?(\S+)`)
	arrayState = regexp.MustCompile(`(?m)^\s*Array State : AA `)
	arraySize  = regexp.MustCompile(`(?m)^\s*Array Size : (\d+)`)    // KiB
	dataOffset = regexp.MustCompile(`(?m)^\s*Data Offset : (\d+) s`) // sectors of 512 bytes
	checksum   = regexp.MustCompile(`(?m)^\s*Checksum : \S+ - correct$`)
)

// runs is what mdadm shows of the array in the deployed system.
var runs = regexp.MustCompile(`level=raid1 num-devices=2 \S+ name=(?:\S+:)?` + volume + ` \S+\s+devices=/dev/\S+,/dev/\S+`)

// judgeArray has mdadm examine the members on all disks. It returns where the
// content of the array lies on the first, and the EFI system partitions beside
// the members.
func (r *run) judgeArray(ctx context.Context) (content medium, esps []systemPartition, err error) {
	for i, d := range r.members() {
		disk := r.medium(d)
		parts, err := judgeTable(ctx, disk, r.cell.label())
		if err != nil {
			return content, nil, fmt.Errorf("disk %s: %w", d.Serial, err)
		}
		esps = append(esps, espsOf(disk, parts)...)
		found := 0
		for _, p := range parts {
			if p.kind == typeESP || p.kind == typeBIOSBoot {
				continue
			}
			member := disk.part(p.span)
			inside, err := examine(ctx, member)
			if err != nil {
				return content, nil, fmt.Errorf("disk %s, partition %d: %w", d.Serial, p.number, err)
			}
			if found++; i == 0 {
				content = member.part(inside)
			}
		}
		if found != 1 {
			return content, nil, fmt.Errorf("disk %s has %d members of arrays, want one", d.Serial, found)
		}
	}
	for _, esp := range esps {
		if err := judgeMirror(ctx, esp.medium.part(esp.tablePart.span)); err != nil {
			return content, nil, fmt.Errorf("EFI system partition %+v: %w", esp, err)
		}
	}
	return content, esps, nil
}

// judgeMirror judges a member of the array of EFI system partitions, which
// firmware takes for a file system: so does fsck.vfat, while blkid sees both.
func judgeMirror(ctx context.Context, m medium) error {
	return onLoop(ctx, m, func(device string) error {
		found, err := probe(ctx, device)
		if err == nil && found.kind != "linux_raid_member" {
			err = fmt.Errorf("blkid finds %+v", found)
		}
		if err != nil {
			return err
		}
		_, err = tool(ctx, "fsck.vfat", "-n", device)
		return err
	})
}

// judgeGRUB judges GRUB on a disk of an array: its code in the first sector, and
// what that loads: in a partition of its own of the GPT (agent contract, section
// "Boot on md"), else behind the table.
func judgeGRUB(ctx context.Context, m medium, label, name string) error {
	core := span{int64(m.sector), int64(m.sector)}
	parts, err := judgeTable(ctx, m, label)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(parts, func(p tablePart) bool { return p.kind == typeBIOSBoot })
	switch {
	case (i >= 0) != (label == "gpt"):
		return fmt.Errorf("sfdisk finds partitions %+v on a disk with a table %s", parts, label)
	case i >= 0 && (parts[i].name != name || parts[i].size != 2*mibBytes):
		return fmt.Errorf("sfdisk finds %+v, want 2 MiB with the name %s", parts[i], name)
	case i >= 0:
		core = parts[i].span
	}
	f, err := os.Open(m.file)
	if err != nil {
		return err
	}
	defer f.Close()
	boot, loader := make([]byte, m.sector), make([]byte, m.sector)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return err
	}
	if _, err := f.ReadAt(loader, core.start); err != nil {
		return err
	}
	// Both say who they are in what they show (grub 2.06, boot/i386/pc/{boot,diskboot}.S).
	if at := binary.LittleEndian.Uint64(boot[0x5c:]); !bytes.Contains(boot, []byte("GRUB ")) || at != uint64(core.start)/uint64(m.sector) {
		return fmt.Errorf("the first sector is not GRUB's, or loads sector %d instead of %d", at, core.start/int64(m.sector))
	}
	if !bytes.Contains(loader, []byte("loading")) {
		return fmt.Errorf("there is none of GRUB's code at byte %d", core.start)
	}
	return nil
}

// examine returns where the content is on a member.
func examine(ctx context.Context, m medium) (inside span, err error) {
	err = onLoop(ctx, m, func(device string) error {
		text, err := tool(ctx, "mdadm", "--examine", device)
		if err != nil {
			return err
		}
		name, size, offset := arrayName.FindStringSubmatch(text), arraySize.FindStringSubmatch(text), dataOffset.FindStringSubmatch(text)
		if !raidLevel.MatchString(text) || !arrayState.MatchString(text) || !checksum.MatchString(text) || name == nil || name[1] != volume || size == nil || offset == nil {
			return errors.New("mdadm --examine: not a sound member of the array: " + strings.Join(strings.Fields(text), " "))
		}
		kib, _ := strconv.ParseInt(size[1], 10, 64)
		sectors, _ := strconv.ParseInt(offset[1], 10, 64)
		inside = span{sectors * 512, kib * 1024}
		return nil
	})
	return inside, err
}
