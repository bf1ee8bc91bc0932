package raidctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// undo removes what the work has made, in reverse: volumes that were not there
// before on controllers that were asked for some, and what became of single disks.
// left is what could not be removed.
func (w *work) undo(ctx context.Context) (undone int, left error) {
	if len(w.tried)+len(w.exposed)+len(w.reclaimed) == 0 {
		return 0, nil
	}
	now, err := w.m.controllers(ctx, w.h)
	if err != nil {
		return 0, err
	}
	var problems []error
	for _, former := range w.before {
		c, err := again(now, former)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		if !slices.ContainsFunc(w.tried, c.same) {
			continue
		}
		for _, v := range slices.Backward(newVolumes(former, c)) {
			undone++
			if err := w.m.change(ctx, func() error { return c.backend.remove(ctx, c, v) }); err != nil {
				problems = append(problems, fmt.Errorf("%s on %s is left: %w", v, c, err))
			}
		}
	}
	for _, list := range []struct {
		disks []changedDisk
		back  func(*Controller, *Disk) error
		is    state
	}{
		{w.exposed, func(c *Controller, d *Disk) error { return c.backend.reclaim(ctx, c, d) }, stateJBOD},
		{w.reclaimed, func(c *Controller, d *Disk) error { return c.backend.expose(ctx, c, d) }, stateGood},
	} {
		if len(list.disks) == 0 {
			continue
		}
		if now, err = w.m.controllers(ctx, w.h); err != nil {
			return undone, errors.Join(append(problems, err)...)
		}
		for _, changed := range slices.Backward(list.disks) {
			c, err := again(now, changed.controller)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			d := c.disk(changed.id)
			if d == nil || d.State != list.is {
				continue // it was not changed
			}
			undone++
			if err := w.m.change(ctx, func() error { return list.back(c, d) }); err != nil {
				problems = append(problems, fmt.Errorf("disk %s of %s stays as it is (%s): %w", d.ID, c, d.State, err))
			}
		}
	}
	return undone, errors.Join(problems...)
}
