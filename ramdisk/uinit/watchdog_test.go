package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWatchdog pets a file in the device's place, which appears late, and disarms it as
// the program poweroff does.
func TestWatchdog(t *testing.T) {
	out, log := logConsole(t)
	dir := t.TempDir()
	w := &watchdog{device: filepath.Join(dir, "watchdog"), armed: filepath.Join(dir, "armed"),
		look: time.Millisecond, timeout: 30 * time.Millisecond, out: out}
	if err := w.disarm(os.Getpid(), time.Second); err != nil {
		t.Errorf("disarm without a watchdog: %v", err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), unix.SIGTERM)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.keep(ctx)
	}()
	if err := os.WriteFile(w.device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	petted := func() int {
		text, err := os.ReadFile(w.device)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Trim(string(text), "\x00") != "" {
			t.Fatalf("the watchdog was given %q", text)
		}
		return len(text)
	}
	for began := time.Now(); petted() < 4; pause(t.Context(), time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("petted %d times in 30 s", petted())
		}
	}
	if err := w.disarm(os.Getpid(), 30*time.Second); err != nil {
		t.Error(err)
	}
	<-ended
	text, err := os.ReadFile(w.device)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(text), "\x00V") {
		t.Errorf("the watchdog was given %q, want a V at the end", text)
	}
	if said, err := os.ReadFile(log); err != nil || !strings.Contains(string(said), "uinit: watchdog armed, timeout 30ms\n") {
		t.Errorf("log %q, %v", said, err)
	}
}

// TestWatchdogThatStays reports a first process that does not answer.
func TestWatchdogThatStays(t *testing.T) {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, unix.SIGTERM)
	defer signal.Stop(ignored)
	w := &watchdog{armed: filepath.Join(t.TempDir(), "armed")}
	if err := os.WriteFile(w.armed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.disarm(os.Getpid(), 20*time.Millisecond); err == nil {
		t.Error("no error")
	}
}
