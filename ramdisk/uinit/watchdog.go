package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchdog keeps the machine's watchdog device from resetting the machine for as long as
// this process lives and the kernel runs. It stands guard over these two only: a failed
// agent is started again, and how long a step of it takes nobody can tell.
type watchdog struct {
	device  string        // as in /dev/watchdog
	armed   string        // a file that exists while the device is armed
	look    time.Duration // between attempts to find the device, which a late driver may bring
	timeout time.Duration // of a device that does not tell its own
	out     *console
}

func newWatchdog(out *console) *watchdog {
	return &watchdog{device: "/dev/watchdog", armed: "/run/watchdog", look: 10 * time.Second, timeout: 15 * time.Second, out: out}
}

// keep arms the device when there is one and pets it until ctx ends, then disarms it.
func (w *watchdog) keep(ctx context.Context) {
	for ctx.Err() == nil {
		f, err := os.OpenFile(w.device, os.O_WRONLY, 0) // arms it
		if err == nil {
			w.pet(ctx, f)
			return
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			w.out.printf("uinit: arm the watchdog: %v", err)
			return
		}
		pause(ctx, w.look)
	}
}

func (w *watchdog) pet(ctx context.Context, f *os.File) {
	timeout := w.timeout
	if s, err := unix.IoctlGetUint32(int(f.Fd()), unix.WDIOC_GETTIMEOUT); err == nil && s > 0 {
		timeout = time.Duration(s) * time.Second
	}
	if err := os.WriteFile(w.armed, nil, 0o644); err != nil {
		w.out.printf("uinit: note the watchdog: %v", err)
	}
	w.out.printf("uinit: watchdog armed, timeout %v", timeout)
	failed := false
	for ctx.Err() == nil {
		_, err := f.Write([]byte{0})
		if err != nil && !failed {
			w.out.printf("uinit: pet the watchdog: %v", err)
		}
		failed = err != nil
		pause(ctx, timeout/3)
	}
	// The letter V says that closing is no crash (the kernel's watchdog API, "magic close").
	_, err := f.Write([]byte("V"))
	if err := errors.Join(err, f.Close()); err != nil {
		w.out.printf("uinit: disarm the watchdog: %v", err)
	}
	os.Remove(w.armed)
}

// disarm has the first process, which holds the device, disarm it, and waits for that. A
// machine that is off must not be started again by its watchdog, nor one that restarts be
// reset in its firmware. Whoever calls the kernel to stop the machine without this relies
// on the drivers, most of which stop their device too.
func (w *watchdog) disarm(first int, patience time.Duration) error {
	if _, err := os.Stat(w.armed); err != nil {
		return nil // not armed
	}
	if err := unix.Kill(first, unix.SIGTERM); err != nil {
		return fmt.Errorf("disarm the watchdog: %w", err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(w.armed); err != nil {
			return nil
		}
	}
	return fmt.Errorf("disarm the watchdog: process %d did not in %v", first, patience)
}
