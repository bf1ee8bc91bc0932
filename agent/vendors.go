package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"ferric/hwmanager"
)

// makeTime is what New of a vendor's package may take.
const makeTime = 10 * time.Second

// Make calls New of a vendor's package. Where New panics, hangs or returns nil, the
// manager is one that is set aside with this as the reason: the agent starts, and the other
// managers go on.
func Make(pkg string, newManager func() hwmanager.Manager) hwmanager.Manager {
	type made struct {
		manager hwmanager.Manager
		err     error
	}
	done := make(chan made, 1)
	go func() {
		var m made
		m.err = guarded(func() { m.manager = newManager() })
		if m.err == nil && m.manager == nil {
			m.err = errors.New("it returns nil")
		}
		done <- m
	}()
	select {
	case m := <-done:
		if m.err != nil {
			return unmade{pkg, fmt.Errorf("New of %s: %w", pkg, m.err)}
		}
		return m.manager
	case <-time.After(makeTime):
		return unmade{pkg, fmt.Errorf("New of %s does not return within %s", pkg, makeTime)}
	}
}

// unmade stands for a manager that could not be made.
type unmade struct {
	pkg string
	err error
}

func (u unmade) Name() string      { return u.pkg }
func (u unmade) ClassName() string { return u.pkg }
func (unmade) Version() string     { return "" }
func (u unmade) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.None, u.err
}

// guarded is the panic of f, with where it was.
func guarded(f func()) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v%s", value, panicPlace())
		}
	}()
	f()
	return nil
}

// panicPlace is the line that panicked, called in a deferred function.
func panicPlace() string {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	panicking := false
	for {
		frame, more := frames.Next()
		switch inRuntime := strings.HasPrefix(frame.Function, "runtime."); {
		case frame.Function == "runtime.gopanic":
			panicking = true
		case panicking && !inRuntime:
			return fmt.Sprintf(" (%s:%d)", frame.File, frame.Line)
		}
		if !more {
			return ""
		}
	}
}
