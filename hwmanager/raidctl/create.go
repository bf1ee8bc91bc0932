package raidctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// undoLimit bounds the removal of what a failed step has made.
const undoLimit = 30 * time.Minute

// configure makes the volumes of a configuration, in place of those that there are
// if they are to be deleted. Nothing is touched before everything is known to be
// right. It answers with the configuration as it was made, read back from the
// controllers (Ironic's raid_config).
//
// Of a configuration that also has software RAID, the hardware volumes are made
// first and the rest is passed on: what it makes is part of the answer.
func (m *Manager) configure(ctx context.Context, h *hwmanager.Host, phase hwmanager.Phase, call hwmanager.StepCall, config map[string]any, args createArgs) (any, error) {
	hardware, software := split(config)
	if len(hardware) == 0 {
		return nil, hwmanager.ErrNotHandled
	}
	if hardware = only(hardware, args.Root, args.Others); len(hardware) == 0 && len(only(software, args.Root, args.Others)) == 0 {
		return nil, failed(phase, "no logical disk is left to create: create_root_volume is %v, create_nonroot_volumes is %v", args.Root, args.Others)
	}
	software = only(software, args.Root, args.Others)
	if err := mayChange(h); err != nil {
		return nil, err
	}
	controllers, err := m.controllers(ctx, h)
	if err != nil {
		return nil, failed(phase, "%w", err)
	}
	deletion := &deletion{}
	if args.Delete {
		if deletion, err = m.planDeletion(ctx, h, call.Node, controllers); err != nil {
			return nil, failed(phase, "%w", err)
		}
	}
	keep, err := newKeeper(ctx, h, call.Node)
	if err != nil {
		return nil, failed(phase, "%w", err)
	}
	logical, problems := parseConfig(hardware)
	problems = append(problems, softwareProblems(software, logical)...)
	p := &planner{controllers: controllers, held: keep.held(h, call.Node, controllers), doomed: deletion.set(), deletes: args.Delete, keeps: !keep.nothing(), problems: problems}
	plan := p.plan(logical)
	if len(p.problems) > 0 {
		return nil, failed(phase, "the RAID configuration cannot be made, nothing was changed: %s", strings.Join(p.problems, "; "))
	}
	lost := ""
	if args.Delete {
		if err := m.runDeletion(ctx, h, phase, call, deletion, len(software) > 0); err != nil {
			return nil, failed(phase, "%w", err)
		}
		if !deletion.empty() {
			if controllers, err = m.controllers(ctx, h); err != nil {
				return nil, failed(phase, "%w", err)
			}
		}
		if len(deletion.volumes) > 0 {
			lost = fmt.Sprintf("; the %d volumes of the former configuration are deleted", len(deletion.volumes))
		}
	}
	w := &work{m: m, h: h, before: controllers, now: controllers}
	result, err := w.makeAll(ctx, phase, call, plan, software)
	if err != nil {
		return nil, failed(phase, "%w%s", err, lost)
	}
	return result, nil
}

// softwareProblems are what is wrong with a configuration of both kinds: arrays of
// the operating system without physical_disks are made of all disks, of the new
// volumes, too.
func softwareProblems(software []any, hardware []*logicalDisk) (problems []string) {
	root := slices.ContainsFunc(hardware, func(l *logicalDisk) bool { return l.root })
	for i, item := range software {
		l, _ := item.(map[string]any)
		if disks, _ := l["physical_disks"].([]any); len(disks) == 0 {
			problems = append(problems, fmt.Sprintf("software logical disk %d needs physical_disks, because other logical disks are for hardware controllers", i))
		}
		if isRoot, _ := l["is_root_volume"].(bool); isRoot && root {
			problems = append(problems, fmt.Sprintf("software logical disk %d is a root volume, and so is another", i))
		}
	}
	return problems
}

// makeAll makes the volumes one after the other. After a failure what it has made
// is removed again.
func (w *work) makeAll(ctx context.Context, phase hwmanager.Phase, call hwmanager.StepCall, plan []*plannedVolume, software []any) (any, error) {
	result, err := w.makeHardware(ctx, plan)
	if err == nil && len(software) > 0 {
		result, err = w.makeSoftware(ctx, phase, call, result, software)
	}
	if err == nil {
		return result, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	undone, left := w.undo(ctx)
	switch {
	case left != nil:
		return nil, fmt.Errorf("%w; and what was made could not be removed, which delete_configuration may: %w", err, left)
	case undone > 0:
		return nil, fmt.Errorf("%w; what was made before is removed again", err)
	}
	return nil, fmt.Errorf("%w; nothing was made", err)
}

// work is one run of making volumes, with what is needed to take it back.
type work struct {
	m         *Manager
	h         *hwmanager.Host
	before    []*Controller // as it was when it began
	now       []*Controller // as it was read last
	exposed   []changedDisk
	reclaimed []changedDisk
	tried     []*Controller // that volumes were asked of
}

type changedDisk struct {
	controller *Controller
	id         string
}

func (w *work) makeHardware(ctx context.Context, plan []*plannedVolume) (map[string]any, error) {
	made := map[*plannedVolume]*made{}
	// Those that take all that is left of shared disks come last.
	order := slices.Clone(plan)
	slices.SortStableFunc(order, func(a, b *plannedVolume) int {
		rank := func(v *plannedVolume) int {
			if v.size == 0 {
				return 1
			}
			return 0
		}
		return rank(a) - rank(b)
	})
	for _, v := range order {
		volume, err := w.makeOne(ctx, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.logical.label(), err)
		}
		made[v] = volume
	}
	var disks []any
	for _, v := range plan {
		entry, err := w.entry(ctx, v, made[v])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.logical.label(), err)
		}
		disks = append(disks, entry)
	}
	return map[string]any{"logical_disks": disks, "physical_disks": physicalDisks(w.now)}, nil
}

// made is a volume, or a disk that the operating system sees as it is.
type made struct {
	id  string // of the volume, or of the disk
	wwn string
}

// makeOne makes one volume and finds it among those that the controller shows then.
func (w *work) makeOne(ctx context.Context, v *plannedVolume) (*made, error) {
	if v.present != nil {
		return &made{v.present.ID, v.present.WWN}, nil
	}
	c, err := again(w.now, v.controller)
	if err != nil {
		return nil, err
	}
	if v.level == "JBOD" {
		return w.expose(ctx, c, v)
	}
	for _, id := range v.jbod {
		d := c.disk(id)
		if d == nil || d.State != stateJBOD {
			continue
		}
		w.reclaimed = append(w.reclaimed, changedDisk{c, id})
		if err := w.m.change(ctx, func() error { return c.backend.reclaim(ctx, c, d) }); err != nil {
			return nil, fmt.Errorf("take disk %s for a volume: %w", id, err)
		}
	}
	w.tried = append(w.tried, c)
	if err := w.m.change(ctx, func() error { return c.backend.create(ctx, c, v) }); err != nil {
		return nil, fmt.Errorf("create RAID %s of %s on %s: %w", v.level, strings.Join(v.disks, ", "), c, err)
	}
	now, err := w.readBack(ctx, c)
	if err != nil {
		return nil, err
	}
	fresh := newVolumes(c, now)
	if len(fresh) != 1 {
		return nil, fmt.Errorf("%s reports success, but shows %d new volumes", c, len(fresh))
	}
	if err := v.verify(fresh[0]); err != nil {
		return nil, fmt.Errorf("%s made another volume than it was asked for: %w", c, err)
	}
	return &made{fresh[0].ID, fresh[0].WWN}, nil
}

// readBack reads all controllers again, and finds the one that was changed.
func (w *work) readBack(ctx context.Context, changed *Controller) (*Controller, error) {
	all, err := w.m.controllers(ctx, w.h)
	if err != nil {
		return nil, fmt.Errorf("read back what was made: %w", err)
	}
	w.now = all
	return again(all, changed)
}

// newVolumes are those of now that were not there before.
func newVolumes(before, now *Controller) []*Volume {
	return slices.DeleteFunc(slices.Clone(now.Volumes), func(v *Volume) bool {
		return slices.ContainsFunc(before.Volumes, v.same)
	})
}

// same reports whether both are one volume. Numbers are used again, world-wide
// names are not; where one is not told, it counts as the former volume, which is
// not to be removed by mistake.
func (v *Volume) same(other *Volume) bool {
	return v.ID == other.ID && (v.WWN == other.WWN || v.WWN == "" || other.WWN == "")
}

// sizeTolerance is the part of a volume that controllers may round away, for its
// strips to come out even.
const sizeTolerance = 1000

// verify compares a volume with what was planned.
func (v *plannedVolume) verify(got *Volume) error {
	switch {
	case got.Level != v.level && !(v.level == "1+0" && got.Level == "1") && !(v.level == "1" && got.Level == "1+0"):
		return fmt.Errorf("%s has not RAID level %s", got, v.level)
	case len(got.Disks) > 0 && !sameSet(got.Disks, v.disks):
		return fmt.Errorf("%s is of the disks %s", got, strings.Join(got.Disks, ", "))
	case got.Size < v.size-v.size/sizeTolerance-64<<20:
		return fmt.Errorf("%s is smaller than %s", got, gibibytes(v.size))
	case v.size == 0 && got.Size < v.expected-v.expected/10:
		return fmt.Errorf("%s is smaller than the %s that are there", got, gibibytes(v.expected))
	case got.bad:
		return fmt.Errorf("%s has the state %s", got, got.Status)
	}
	return nil
}

func (w *work) expose(ctx context.Context, c *Controller, v *plannedVolume) (*made, error) {
	d := c.disk(v.disks[0])
	if d == nil {
		return nil, fmt.Errorf("disk %s is not shown any more", v.disks[0])
	}
	if d.State == stateJBOD {
		return &made{d.ID, d.WWN}, nil
	}
	w.exposed = append(w.exposed, changedDisk{c, d.ID})
	if err := w.m.change(ctx, func() error { return c.backend.expose(ctx, c, d) }); err != nil {
		return nil, fmt.Errorf("show disk %s as it is: %w", d.ID, err)
	}
	now, err := w.readBack(ctx, c)
	if err != nil {
		return nil, err
	}
	if d = now.disk(v.disks[0]); d == nil || d.State != stateJBOD {
		return nil, fmt.Errorf("%s reports success, but does not show disk %s as it is", c, v.disks[0])
	}
	return &made{d.ID, d.WWN}, nil
}

// failed is an error of the phase, unless it says what is protected.
func failed(phase hwmanager.Phase, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	switch {
	case ipa.ProtectedDevice.Is(err):
		return ipa.ProtectedDevice.New("%v", err)
	case phase == hwmanager.Clean:
		return ipa.Cleaning.New("%v", err)
	case phase == hwmanager.Service:
		return ipa.Servicing.New("%v", err)
	}
	return ipa.Deployment.New("%v", err)
}
