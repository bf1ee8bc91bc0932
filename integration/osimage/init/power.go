package main

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Of linux/input-event-codes.h.
const (
	evKey    = 1
	keyPower = 116
)

// watchButton returns a channel that gets a value when the ACPI power button
// is pressed.
func watchButton() <-chan struct{} {
	pressed := make(chan struct{})
	paths, _ := filepath.Glob("/dev/input/event*") // the pattern is well-formed
	for _, path := range paths {
		if f, err := os.Open(path); err == nil {
			go watchKeys(f, pressed)
		}
	}
	return pressed
}

func powerOff() error {
	for _, dir := range []string{"/config", "/root"} {
		_ = unix.Unmount(dir, 0) // both are read-only
	}
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func watchKeys(f *os.File, pressed chan<- struct{}) {
	defer f.Close()
	// struct input_event of 64-bit machines: time (16), type, code, value.
	for event := make([]byte, 24); ; {
		if _, err := io.ReadFull(f, event); err != nil {
			return
		}
		kind, code := binary.NativeEndian.Uint16(event[16:]), binary.NativeEndian.Uint16(event[18:])
		if kind == evKey && code == keyPower && binary.NativeEndian.Uint32(event[20:]) == 1 {
			pressed <- struct{}{}
		}
	}
}
