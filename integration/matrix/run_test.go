package matrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

// cellLimit bounds one cell, bootLimit what firmware does with its disk; they
// take two minutes and a quarter of one beside another cell.
const (
	cellLimit = 20 * time.Minute
	bootLimit = 3 * time.Minute
)

// Of each machine's disks the decoy is the first, so that it is the one that
// is taken without a hint.
const (
	decoyDisk  = 0
	rootDisk   = 1
	secondDisk = 2 // of an array
)

func nodeName(i int) string { return fmt.Sprintf("cell%d", i) }

// node is the machine of a cell.
func (c cell) node(dir string, i int) lab.NodeConfig {
	n := lab.NodeConfig{Name: nodeName(i), Firmware: c.firmware}
	disks := rootDisk + 1
	if c.array {
		disks = secondDisk + 1
	}
	for disk := range disks {
		d := lab.Disk{Kind: c.bus, Sector: c.sector, SizeMiB: diskMiB, Serial: fmt.Sprintf("SN%03d%d", i, disk), Data: disk == decoyDisk}
		if c.bus == lab.SCSI || c.bus == lab.SATA {
			d.WWN = 0x5000c50015ea7000 + uint64(i)<<4 + uint64(disk)
			d.SSD = i%2 == 0
			if !d.SSD {
				d.RPM = 7200
			}
		}
		n.Disks = append(n.Disks, d)
	}
	if c.want == cannot {
		// SeaBIOS tells there what it thinks of each disk.
		n.Arguments = []string{"-chardev", "file,id=debug,path=" + firmwareLog(dir, n.Name), "-device", "isa-debugcon,iobase=0x402,chardev=debug"}
	}
	return n
}

func firmwareLog(dir, name string) string { return filepath.Join(dir, name+"-firmware.log") }

// run is one cell on its machine.
type run struct {
	cell   cell
	site   *stories.Site
	name   string
	images images
	stale  stale

	machine *stories.Machine
	decoy   string // its fingerprint
	// How long the acts took.
	clean, raid, deploy, boot time.Duration
	note                      string
}

func (r *run) root() lab.Disk { return r.machine.Config.Disks[rootDisk] }

// members are the disks that the image goes to.
func (r *run) members() []lab.Disk { return r.machine.Config.Disks[rootDisk:] }

func (r *run) medium(d lab.Disk) medium { return medium{file: d.File, sector: d.Sector} }

// do performs the acts; after each, others judge the disks.
func (r *run) do(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cellLimit)
	defer cancel()
	for _, act := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"prepare", r.prepare},
		{"clean", r.cleaned},
		{"disk after cleaning", r.judgeCleaned},
		{"array", r.arrayMade},
		{"deploy", r.deployed},
		{"boot", r.booted},
		{"disk after deployment", r.judgeDeployed},
		{"boot from the other disk", r.bootedOther},
	} {
		if err := act.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
		if err := r.judgeDecoy(); err != nil {
			return fmt.Errorf("after act %q: %w", act.name, err)
		}
	}
	return nil
}

// prepare plants the disks, enrols the machine and makes it manageable.
func (r *run) prepare(ctx context.Context) error {
	file, format := r.images.file(r.cell)
	var err error
	if r.machine, err = r.site.Machine(r.name, file, format); err != nil {
		return err
	}
	if !r.cell.array {
		r.machine.RootSerial = r.root().Serial
	} else {
		r.machine.RootSerial = ""
	}
	switch {
	case r.cell.image == partition:
		r.machine.InstanceInfo = map[string]any{"image_type": "partition", "root_gb": 1, "swap_mb": 64}
	case r.cell.installer:
		r.machine.InstanceInfo = map[string]any{"image_rootfs_uuid": osimage.RootUUID}
	}
	if err := copyDisk(ctx, r.stale.file, r.root().File); err != nil {
		return err
	}
	decoy := r.machine.Config.Disks[decoyDisk].File
	if err := plantDecoy(ctx, decoy, r.cell.sector); err != nil {
		return err
	}
	if r.decoy, err = fingerprint(decoy); err != nil {
		return err
	}
	if err := r.machine.Enrol(ctx); err != nil {
		return err
	}
	hint := map[string]any{"serial": r.root().Serial}
	switch r.cell.hint {
	case "wwn":
		hint = map[string]any{"wwn": fmt.Sprintf("%#x", r.root().WWN)}
	case "name":
		hint = map[string]any{"name": "/dev/md0"}
	}
	skip := []any{map[string]any{"serial": r.machine.Config.Disks[decoyDisk].Serial}}
	if _, err := r.site.API.UpdateNode(ctx, r.name, ironic.Patch{
		{Op: "add", Path: "/properties/capabilities", Value: fmt.Sprintf("boot_mode:%s,disk_label:%s", r.cell.firmware, r.cell.label())},
		{Op: "add", Path: "/properties/root_device", Value: hint},
		{Op: "add", Path: "/properties/skip_block_devices", Value: skip},
	}); err != nil {
		return err
	}
	if r.cell.array {
		if err := r.configureArray(ctx); err != nil {
			return err
		}
	}
	return r.machine.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable)
}

// cleaned has the machine cleaned by itself, with erase_devices_metadata.
func (r *run) cleaned(ctx context.Context) error {
	begin := time.Now()
	err := r.machine.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable)
	r.clean = time.Since(begin)
	return err
}

func (r *run) judgeCleaned(ctx context.Context) error {
	if r.machine.Powered() {
		return errors.New("the machine is still on")
	}
	for _, d := range r.members() {
		if err := judgeErased(ctx, r.medium(d), r.stale.parts); err != nil {
			return fmt.Errorf("disk %s: %w", d.Serial, err)
		}
	}
	return nil
}

func (r *run) judgeDecoy() error {
	now, err := fingerprint(r.machine.Config.Disks[decoyDisk].File)
	if err == nil && now != r.decoy {
		err = errors.New("the disk that is none of the deployment's was written to")
	}
	return err
}

// deployed has the image deployed, or refused.
func (r *run) deployed(ctx context.Context) error {
	begin := time.Now()
	err := r.machine.Deploy(ctx, false)
	r.deploy = time.Since(begin)
	if r.cell.want != refused {
		return err
	}
	var failed *client.StateError
	if !errors.As(err, &failed) || failed.State != ironic.StateDeployFailed || !strings.Contains(err.Error(), "enable_bios_bootloader_install") {
		return fmt.Errorf("not refused: %w", err)
	}
	r.note = "without enable_bios_bootloader_install"
	return nil
}

var (
	up        = regexp.MustCompile(`ferric-os: up\s*$`)
	generated = regexp.MustCompile(`ferric-os: menu=generated\s*$`) // GRUB's, by its installer
	// What SeaBIOS says when it starts a disk and when there is none, and on its
	// debug port of one that has not 512 bytes a sector (seabios 1.16: boot.c,
	// virtio-blk.c, blockcmd.c).
	fromDisk = regexp.MustCompile(`Booting from Hard Disk`)
	noDisk   = regexp.MustCompile(`No bootable device`)
	ignored  = regexp.MustCompile(`(?m)^.*(block size 4096 is unsupported|unsupported block size 4096).*$`)
)

// booted waits for the deployed system, or for the firmware to give up.
func (r *run) booted(ctx context.Context) error {
	if r.cell.want == refused {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	on, since, err := r.lastBoot()
	if err != nil {
		return err
	}
	if r.cell.want == cannot {
		line, err := r.machine.Console.WaitFor(ctx, since, noDisk)
		if err != nil {
			return err
		}
		r.boot = line.Time.Sub(on)
		r.note, err = r.firmwareSays()
		return err
	}
	if r.cell.want == noLoader {
		line, err := r.machine.Console.WaitFor(ctx, since, fromDisk)
		if err != nil {
			return err
		}
		r.boot = line.Time.Sub(on)
		r.note = "SeaBIOS: " + strings.TrimSpace(line.Text) + " (the image has no loader for it)"
		return nil
	}
	last, err := r.up(ctx, since)
	r.boot = last.Sub(on)
	return err
}

// up waits until the deployed system is, whose lines begin at since, and returns
// when.
func (r *run) up(ctx context.Context, since int) (time.Time, error) {
	if _, err := r.machine.Booted(ctx, since); err != nil {
		return time.Time{}, err
	}
	if r.cell.installer {
		if _, err := r.machine.Console.WaitFor(ctx, since, generated); err != nil {
			return time.Time{}, err
		}
	}
	last, err := r.machine.Console.WaitFor(ctx, since, up)
	return last.Time, err
}

// bootedOther boots from the second disk of an array, where the loader is on each
// of them: firmware starts the first, so both change places.
func (r *run) bootedOther(ctx context.Context) error {
	if !r.cell.array || r.cell.firmware != lab.BIOS {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	first, second := r.machine.Config.Disks[rootDisk].File, r.machine.Config.Disks[secondDisk].File
	for _, move := range [][2]string{{first, first + ".other"}, {second, first}, {first + ".other", second}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			return err
		}
	}
	if err := r.machine.PowerOn(); err != nil {
		return err
	}
	defer r.machine.PowerOff()
	on, since, err := r.lastBoot()
	if err != nil {
		return err
	}
	last, err := r.up(ctx, since)
	r.note = fmt.Sprintf("from the second disk in %s s", seconds(last.Sub(on)))
	return err
}

// lastBoot is when the last boot began, and the number of its first line.
func (r *run) lastBoot() (on time.Time, since int, err error) {
	on, ok := r.lastOn()
	if !ok {
		return on, 0, errors.New("the machine was never switched on")
	}
	for _, line := range r.machine.Console.Lines(0) {
		if !line.Time.IsZero() && line.Time.Before(on) { // an empty line has no time
			since = line.Number + 1
		}
	}
	return on, since, nil
}

func (r *run) lastOn() (time.Time, bool) {
	events := r.machine.Events()
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].What == lab.PoweredOn || events[i].What == lab.WasReset {
			return events[i].Time, true
		}
	}
	return time.Time{}, false
}

// firmwareSays is why the firmware ignores the disk, in its own words.
func (r *run) firmwareSays() (string, error) {
	text, err := os.ReadFile(firmwareLog(r.site.Dir, r.name))
	if err != nil {
		return "", err
	}
	if words := ignored.Find(text); words != nil {
		return "SeaBIOS: " + strings.TrimSpace(string(words)), nil
	}
	return "", fmt.Errorf("the firmware did not say why it ignores the disk:\n%s", text[max(0, len(text)-4000):])
}

// judgeDeployed switches the machine off and has others look at its disk.
func (r *run) judgeDeployed(ctx context.Context) error {
	// Otherwise the conductor switches it on again.
	if err := r.site.API.SetMaintenance(ctx, r.name, "its disks are looked at"); err != nil {
		return err
	}
	r.machine.PowerOff()
	if r.cell.want == refused {
		return nil
	}
	disk, label := r.medium(r.root()), r.cell.label()
	var esps []systemPartition
	if r.cell.array {
		var err error
		if disk, esps, err = r.judgeArray(ctx); err != nil {
			return err
		}
		label = "gpt" // of the image
	}
	parts, err := judgeTable(ctx, disk, label)
	if err != nil {
		return err
	}
	if !r.cell.array {
		esps = espsOf(disk, parts)
	}
	found := map[string]contents{}
	for _, p := range parts {
		c, err := judgeContents(ctx, disk.part(p.span))
		if err != nil {
			return fmt.Errorf("partition %d: %w", p.number, err)
		}
		if c.kind != "" {
			found[c.kind+" "+strings.ToLower(c.label)] = c
		}
	}
	want := r.wanted()
	for _, w := range want {
		if _, ok := found[w]; !ok {
			return fmt.Errorf("blkid does not find %q but %v", w, found)
		}
	}
	if len(found) != len(want) {
		return fmt.Errorf("blkid finds %v, want %v and no more", found, want)
	}
	if r.cell.image == partition {
		if root := found["ext4 ferric-root"].uuid; root != osimage.PartitionRootUUID {
			return fmt.Errorf("blkid: root file system %s, want that of the image, %s", root, osimage.PartitionRootUUID)
		}
	}
	if r.cell.want != boots {
		return nil
	}
	if err := r.judgeFirmware(ctx, esps); err != nil || !r.cell.array {
		return err
	}
	shown, status := shownBy(r.machine.Node, 0, showArrays)
	if text := strings.Join(shown, " "); status != "<nil>" || !runs.MatchString(text) {
		return fmt.Errorf("%s in the deployed system: %s: %s", showArrays, status, text)
	}
	return nil
}

// judgeFirmware judges what the firmware takes the loader from: boot entries for
// the EFI system partitions, or GRUB on each disk of an array.
func (r *run) judgeFirmware(ctx context.Context, esps []systemPartition) error {
	if r.cell.firmware == lab.UEFI {
		shown, status := shownBy(r.machine.Node, 0, show)
		if status != "<nil>" {
			return fmt.Errorf("%s in the deployed system: %s: %s", show, status, strings.Join(shown, "; "))
		}
		return judgeEntries(ctx, shown, esps)
	}
	if !r.cell.array {
		return nil
	}
	for i, d := range r.members() {
		if err := judgeGRUB(ctx, r.medium(d), r.cell.label(), fmt.Sprintf("bios-boot-part-%d", i)); err != nil {
			return fmt.Errorf("disk %s: %w", d.Serial, err)
		}
	}
	return nil
}

// wanted is what blkid has to find on the partitions: types and labels.
func (r *run) wanted() []string {
	// Isofs cannot be mounted where sectors are larger than its own (agent
	// contract, section "Config drive").
	want := []string{map[int]string{512: "iso9660 config-2", 4096: "vfat config-2"}[r.cell.sector]}
	switch {
	case r.cell.array && r.cell.firmware == lab.UEFI: // the image's loader moves to the disks
		want = append(want, "ext4 ferric-root")
	case r.cell.image == whole:
		want = append(want, "vfat ferric-esp", "ext4 ferric-root")
	default:
		want = append(want, "ext4 ferric-root", "swap swap1")
		if r.cell.firmware == lab.UEFI {
			want = append(want, "vfat efi-part")
		}
	}
	return want
}
