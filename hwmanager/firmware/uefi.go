package firmware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferric/hwmanager"
	"ferric/hwmanager/capsule"
	"ferric/images/efi"
)

// capsuleTask is a capsule that goes to the firmware.
type capsuleTask struct {
	capsule  *capsule.Capsule
	image    *file
	payload  capsule.Payload // that is verified after the reboot
	version  uint32
	resource capsule.Resource // before
	delivery string           // deliverBest only until it is tried
	esp      *esp
	refused  error // why it is not delivered on disk
}

func (t *capsuleTask) String() string { return t.resource.Class.String() }

// efivars is where the firmware's variables are.
func efivars(h *hwmanager.Host) string { return filepath.Join(h.Sys, "firmware/efi/efivars") }

// planCapsule makes a task of a capsule that is for this machine.
func (p *planner) planCapsule(ctx context.Context, c component) ([]task, error) {
	resources, problems := capsule.Resources(p.host.Sys)
	if len(resources) == 0 {
		return nil, errors.Join(errors.New("the machine's firmware has no EFI System Resource Table, or was not started by UEFI: it cannot be updated by capsules"), problems)
	}
	if done, found := already(c, resources); found {
		p.done = append(p.done, done)
		return nil, nil
	}
	image, err := p.fetch(ctx, c, maxUEFI)
	if err != nil {
		return nil, err
	}
	parsed, err := capsule.Parse(image, image.size)
	if err != nil {
		return nil, err
	}
	t := &capsuleTask{capsule: parsed, image: image, delivery: c.Delivery}
	if t.delivery == "" {
		t.delivery = deliverBest
	}
	if err := t.match(c, resources); err != nil {
		return nil, err
	}
	if t.resource.Version == t.version {
		p.done = append(p.done, capsuleReport(t.resource))
		return nil, nil
	}
	return []task{t}, t.ways(ctx, p.host)
}

// already is the report of firmware that has the version, where that can be told
// without its capsule.
func already(c component, resources []capsule.Resource) (report, bool) {
	class, err := capsule.ParseGUID(c.GUID)
	version, bad := parseVersion(c.Version)
	if err != nil || bad != nil {
		return report{}, false
	}
	r, found := capsule.Find(resources, class)
	return capsuleReport(r), found && r.Version == version
}

// match finds what the capsule is for, and refuses it if that is nothing of this
// machine, or not what was asked for, or not allowed by it.
func (t *capsuleTask) match(c component, resources []capsule.Resource) error {
	versions := map[capsule.GUID]uint32{}
	var there []string
	for _, r := range resources {
		versions[r.Class] = r.Version
		there = append(there, fmt.Sprintf("%s (%s, version %s)", r.Class, r.Kind, versionText(r.Version)))
	}
	for _, payload := range t.capsule.Payloads {
		r, found := capsule.Find(resources, payload.Type)
		if !found {
			return fmt.Errorf("the capsule has firmware for %s, which this machine does not have: there are %s", payload.Type, strings.Join(there, ", "))
		}
		if err := judge(payload, r, versions); err != nil {
			return err
		}
	}
	payload, err := t.chosen(c)
	if err != nil {
		return err
	}
	t.payload = payload
	t.resource, _ = capsule.Find(resources, payload.Type)
	wanted, err := parseVersion(c.Version)
	switch {
	case c.Version != "" && err != nil:
		return err
	case c.Version == "" && !payload.Known:
		return errors.New("the capsule does not tell its version: give version, as the machine shows it after the update")
	case c.Version == "":
		wanted = payload.Version
	case payload.Known && wanted != payload.Version:
		return fmt.Errorf("the capsule has version %s, not %s", versionText(payload.Version), versionText(wanted))
	}
	t.version = wanted
	switch {
	case wanted < t.resource.Lowest:
		return fmt.Errorf("version %s is older than %s, the oldest that %s takes", versionText(wanted), versionText(t.resource.Lowest), t.resource.Class)
	case wanted < t.resource.Version && c.Version == "":
		return fmt.Errorf("version %s is older than %s that %s has: give version if that is meant", versionText(wanted), versionText(t.resource.Version), t.resource.Class)
	}
	return nil
}

// chosen is the payload that the component names, or the only one.
func (t *capsuleTask) chosen(c component) (capsule.Payload, error) {
	if c.GUID == "" {
		if len(t.capsule.Payloads) > 1 {
			return capsule.Payload{}, fmt.Errorf("the capsule has firmware for %d devices: give guid, that of the one whose version is to be verified", len(t.capsule.Payloads))
		}
		return t.capsule.Payloads[0], nil
	}
	class, err := capsule.ParseGUID(c.GUID)
	if err != nil {
		return capsule.Payload{}, err
	}
	at := slices.IndexFunc(t.capsule.Payloads, func(p capsule.Payload) bool { return p.Type == class })
	if at < 0 {
		return capsule.Payload{}, fmt.Errorf("the capsule is for %s, not for %s", t.capsule.Payloads[0].Type, class)
	}
	return t.capsule.Payloads[at], nil
}

// judge refuses a payload that the machine would refuse.
func judge(p capsule.Payload, r capsule.Resource, versions map[capsule.GUID]uint32) error {
	if p.Known && p.Version < r.Lowest {
		return fmt.Errorf("the capsule has version %s, which is older than %s, the oldest that %s takes", versionText(p.Version), versionText(r.Lowest), r.Class)
	}
	if p.Depends == nil {
		return nil
	}
	ok, err := capsule.Satisfied(p.Depends, versions)
	if err != nil {
		return fmt.Errorf("%w: %w", capsule.ErrFormat, err)
	}
	if !ok {
		return fmt.Errorf("the capsule for %s depends on firmware of other versions than this machine has", r.Class)
	}
	return nil
}

func versionText(v uint32) string { return fmt.Sprintf("%d (%#x)", v, v) }

// capsuleReport is an entry of the table with what it has.
func capsuleReport(r capsule.Resource) report {
	now := fmt.Sprint(r.Version)
	return report{Component: kindUEFI, Name: r.Class.String(), Model: r.Kind.String(), Initial: now, Current: now}
}

// ways finds out how the capsule can be delivered. On disk it survives every kind
// of reboot, in memory only one that keeps the memory.
func (t *capsuleTask) ways(ctx context.Context, h *hwmanager.Host) error {
	if t.delivery != deliverMemory {
		t.esp, t.refused = findESP(ctx, h)
		switch {
		case t.refused == nil:
			t.delivery = deliverDisk
			return nil
		case t.delivery == deliverDisk:
			return fmt.Errorf("the capsule cannot be delivered on disk: %w", t.refused)
		}
	}
	t.delivery = deliverMemory
	if t.capsule.Flags&capsule.FlagReset != 0 && !t.capsule.Managed() {
		return errors.Join(capsule.ErrResets, t.refused)
	}
	if err := loadDriver(ctx, h); err != nil {
		return errors.Join(err, t.refused)
	}
	return h.Guard.Check(loader(h))
}

// loader is the file of the kernel's driver capsule-loader.
func loader(h *hwmanager.Host) string { return h.DevicePath("/dev/efi_capsule_loader") }

// loadDriver has the kernel load the driver if it is not there.
func loadDriver(ctx context.Context, h *hwmanager.Host) error {
	if _, err := os.Stat(loader(h)); err == nil {
		return nil
	}
	var err error
	if h.Guard.InRamdisk {
		_, err = h.Run.Run(ctx, "modprobe", "capsule-loader")
	}
	if _, missing := os.Stat(loader(h)); missing != nil {
		return errors.Join(errors.New("the capsule cannot be delivered in memory: the kernel has no capsule-loader"), err)
	}
	return nil
}

// run implements task.
func (t *capsuleTask) run(ctx context.Context, h *hwmanager.Host, progress func(float64)) (report, *pending, error) {
	r := capsuleReport(t.resource)
	w := &pending{
		Wanted: fmt.Sprint(t.version), LastVersion: t.resource.LastVersion, LastStatus: uint32(t.resource.LastStatus), Delivery: t.delivery,
	}
	for _, result := range capsule.Results(efivars(h)) {
		w.Results = append(w.Results, result.Name+" "+result.Processed.String())
	}
	progress(0)
	var err error
	if t.delivery == deliverDisk {
		err = t.esp.place(ctx, h, t)
	} else {
		err = t.load(ctx, h)
	}
	if err != nil {
		return r, nil, err
	}
	progress(1)
	r.Flashed = w.Wanted
	return r, w, nil
}

// load delivers the capsule in memory.
func (t *capsuleTask) load(ctx context.Context, h *hwmanager.Host) error {
	whole, err := t.capsule.Deferred(t.image)
	if err != nil {
		return err
	}
	err = capsule.Load(ctx, loader(h), whole)
	if errors.Is(err, capsule.ErrRefused) && t.refused != nil {
		return fmt.Errorf("%w; and it cannot be delivered on disk: %w", err, t.refused)
	}
	return err
}

// open is the capsule as it is.
func (t *capsuleTask) open() io.Reader { return io.NewSectionReader(t.image, 0, t.image.size) }

// capsuleAfter sees what the firmware has made of a capsule.
func capsuleAfter(h *hwmanager.Host, w pending) (report, error) {
	r := w.Report
	class, err := capsule.ParseGUID(r.Name)
	if err != nil {
		return r, err
	}
	wanted, err := parseVersion(w.Wanted)
	if err != nil {
		return r, err
	}
	resources, problems := capsule.Resources(h.Sys)
	now, found := capsule.Find(resources, class)
	if !found {
		return r, errors.Join(errors.New("the machine's EFI System Resource Table does not list it any more"), problems)
	}
	r.Current = fmt.Sprint(now.Version)
	said := newResults(h, class, w.Results)
	for _, result := range said {
		r.Notes = append(r.Notes, fmt.Sprintf("%s: %s", result.Name, result.Status))
	}
	if now.Version == wanted {
		return r, nil
	}
	tried := now.LastVersion != w.LastVersion || uint32(now.LastStatus) != w.LastStatus || len(said) > 0
	switch {
	case now.LastStatus != capsule.Success && (tried || now.LastVersion == wanted):
		return r, fmt.Errorf("the firmware has not taken version %s: %s; it has %s", versionText(wanted), now.LastStatus, versionText(now.Version))
	case len(said) > 0 && said[len(said)-1].Status != 0:
		return r, fmt.Errorf("the firmware has not taken version %s: %s; it has %s", versionText(wanted), said[len(said)-1].Status, versionText(now.Version))
	case tried:
		return r, fmt.Errorf("the firmware has taken a capsule with success, and shows version %s, not %s", versionText(now.Version), versionText(wanted))
	case w.Delivery == deliverMemory:
		return r, fmt.Errorf("the firmware has not seen the capsule, and has version %s: it lay in memory, which a power cycle loses. "+
			"Have the machine restarted without its power going off, or deliver it on disk", versionText(now.Version))
	}
	return r, fmt.Errorf("the firmware has not looked at the capsule on the EFI system partition, and has version %s", versionText(now.Version))
}

// newResults are those of the class that were not there before.
func newResults(h *hwmanager.Host, class capsule.GUID, before []string) []capsule.Result {
	var fresh []capsule.Result
	for _, result := range capsule.Results(efivars(h)) {
		if result.For(class) && !slices.Contains(before, result.Name+" "+result.Processed.String()) {
			fresh = append(fresh, result)
		}
	}
	return fresh
}

// fileCapsules is nil if the firmware looks for capsules on disk.
func fileCapsules(h *hwmanager.Host) error {
	supported, err := efi.Indications(efivars(h))
	if err != nil {
		return err
	}
	if supported&efi.FileCapsules == 0 {
		return errors.New("the firmware does not look for capsules on disk (OsIndicationsSupported)")
	}
	return nil
}
