package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/conductor/console"
	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Console tells whether the node's console is on, and how to reach it.
func (f *Flow) Console(ctx context.Context, id int64) (enabled bool, info map[string]any, err error) {
	n, ifs, err := f.node(ctx, id)
	if err != nil || !n.ConsoleEnabled {
		return false, nil, err
	}
	if err := ifs.Console.Validate(ctx, n); err != nil {
		return false, nil, err
	}
	info, err = ifs.Console.GetConsole(ctx, n)
	return true, info, err
}

// SetConsole switches the console on or off; nothing happens if it is already.
func (f *Flow) SetConsole(ctx context.Context, id int64, on bool) error {
	n, ifs, err := f.node(ctx, id)
	if err != nil {
		return err
	}
	if err := ifs.Console.Validate(ctx, n); err != nil || n.ConsoleEnabled == on {
		return err
	}
	doing, change := "stopping the console of", ifs.Console.StopConsole
	if on {
		doing, change = "starting the console of", ifs.Console.StartConsole
	}
	return f.tasks.Do(ctx, id, "console", func(ctx context.Context, t *task.Task) error {
		return f.inBackground(ctx, t, doing, func(ctx context.Context, t *task.Task) error {
			if err := change(ctx, t); err != nil {
				return err
			}
			t.Node.ConsoleEnabled = on
			return t.Save(ctx)
		})
	})
}

// AttachConsole looks at a console that is on.
func (f *Flow) AttachConsole(ctx context.Context, id int64, withRecent bool) (*console.Viewer, error) {
	n, ifs, err := f.node(ctx, id)
	if err != nil {
		return nil, err
	}
	shown, ok := ifs.Console.(driver.ConsoleViewer)
	switch {
	case !ok:
		return nil, driver.Unsupported(n.Driver, "attach_console")
	case !n.ConsoleEnabled:
		return nil, fmt.Errorf("node %s: %w", n.UUID, console.ErrStopped)
	}
	return shown.AttachConsole(n, withRecent)
}

// consoleRetry is the pause before the nodes are tried again that somebody else
// had locked.
const consoleRetry = 5 * time.Second

// StartConsoles starts the consoles that were on when the conductor ended. A
// node that is at work, as after a crash, is waited for. It returns when all are
// started, or ctx has ended.
func (f *Flow) StartConsoles(ctx context.Context) error {
	var waiting []int64
	err := f.store.Sweep(ctx, store.Query{Where: []string{"console_enabled = ?"}, Args: []any{true}}, func(n *store.Node) { waiting = append(waiting, n.ID) })
	if err != nil {
		return fmt.Errorf("start consoles: %w", err)
	}
	for {
		var locked []int64
		for _, id := range waiting {
			err := f.tasks.TryDo(ctx, id, "console", f.restartConsole)
			var taken *task.LockedError
			switch {
			case errors.As(err, &taken):
				locked = append(locked, id)
			case err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil:
				f.log.WithField("node", id).WithError(err).Error("cannot start a console")
			}
		}
		if waiting = locked; len(waiting) == 0 {
			return nil
		}
		select {
		case <-time.After(consoleRetry):
		case <-ctx.Done():
			return nil
		}
	}
}

// restartConsole starts the console of a node that has it switched on. A failure
// is in last_error, and the console stays switched on.
func (f *Flow) restartConsole(ctx context.Context, t *task.Task) error {
	if !t.Node.ConsoleEnabled {
		return nil
	}
	ifs, err := f.drivers.Interfaces(t.Node)
	if err == nil {
		err = ifs.Console.StartConsole(ctx, t)
	}
	if err == nil {
		return nil
	}
	t.SetError("Failed starting the console of node %s: %v", t.Node.UUID, err)
	return t.Save(ctx)
}

// stopConsole ends a console that is on, and leaves it switched on: it is
// started again with the conductor, or when it is switched off and on.
func stopConsole(ctx context.Context, t *task.Task, ifs driver.Interfaces) error {
	if !t.Node.ConsoleEnabled {
		return nil
	}
	if err := ifs.Console.StopConsole(ctx, t); err != nil && !errors.Is(err, driver.ErrUnsupported) {
		return err
	}
	return nil
}
