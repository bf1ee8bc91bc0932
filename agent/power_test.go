package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// syncer is a manager that flushes disks, which fails or hangs.
type syncer struct {
	hwmanager.Manager
	do func(context.Context) error
}

func (syncer) Name() string      { return "syncer" }
func (syncer) ClassName() string { return "Syncer" }
func (syncer) Version() string   { return "1" }
func (syncer) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}
func (s syncer) FullSync(ctx context.Context, _ *hwmanager.Host) error { return s.do(ctx) }

// TestLeave stops a machine whose programs and kernel do so, or not.
func TestLeave(t *testing.T) {
	bad := errors.New("disk does not answer")
	for name, c := range map[string]struct {
		program string // shell text of poweroff, "" for none
		sync    error
		sysrq   bool // the kernel has the key
		pressed string
		fails   string
	}{
		"program":                  {program: "exit 0", sysrq: true},
		"disks fail":               {program: "exit 0", sync: bad, sysrq: true},
		"program fails":            {program: "echo no bus >&2; exit 1", sysrq: true, pressed: "o"},
		"program does nothing":     {program: "echo Running in chroot, ignoring request. >&2", sysrq: true, pressed: "o"},
		"no program":               {sysrq: true, pressed: "o"},
		"no program, no emergency": {fails: "poweroff"},
	} {
		t.Run(name, func(t *testing.T) {
			a := onSlowBus(t, map[string]time.Duration{"/dev/sda": 0})
			a.host.Guard.InRamdisk = true
			a.host.Proc = t.TempDir()
			synced := false
			var err error
			a.set, err = hwmanager.Load(t.Context(), a.host, []hwmanager.Manager{syncer{do: func(context.Context) error {
				synced = true
				return c.sync
			}}})
			if err != nil {
				t.Fatal(err)
			}
			bin := t.TempDir()
			t.Setenv("PATH", bin)
			ran := filepath.Join(bin, "ran")
			if c.program != "" {
				text := "#!/bin/sh\necho >>" + ran + "\n" + c.program + "\n"
				if err := os.WriteFile(filepath.Join(bin, "poweroff"), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			trigger := filepath.Join(a.host.Proc, "sysrq-trigger")
			if c.sysrq {
				err = os.WriteFile(trigger, nil, 0o600)
			} else {
				err = os.Mkdir(trigger, 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.powerOff(t.Context(), nil, nil)
			if c.fails == "" && err != nil || c.fails != "" && (!ipa.SystemReboot.Is(err) || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error %v, want one with %q", err, c.fails)
			}
			if !synced {
				t.Error("the disks are not flushed")
			}
			if _, err := os.Stat(ran); (err == nil) != (c.program != "") {
				t.Errorf("poweroff: %v", err)
			}
			if pressed, _ := os.ReadFile(trigger); string(pressed) != c.pressed {
				t.Errorf("emergency key %q, want %q", pressed, c.pressed)
			}
		})
	}
}

// TestWithin has a disk that never answers, which must not keep the machine on.
func TestWithin(t *testing.T) {
	forever := make(chan struct{})
	defer close(forever)
	began := time.Now()
	err := within(t.Context(), 50*time.Millisecond, func(context.Context) error {
		<-forever
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v, want the end of the time limit", err, time.Since(began))
	}
	if err := within(t.Context(), time.Minute, func(context.Context) error { return errIgnored }); err != errIgnored {
		t.Errorf("error %v, want the one of what ran", err)
	}
}
