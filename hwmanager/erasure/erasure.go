// Package erasure is what the ways have in common in which a disk erases
// itself: hwmanager/ata, hwmanager/nvme and hwmanager/scsi. Each has a function
//
//	Erase(ctx, dev *disk.Device, options, progress func(fraction float64)) (Method, error)
//
// that answers with ErrNotSupported where the disk has no such command, and
// then has changed nothing; any other error means that it was tried, and that
// the disk must be taken for not erased.
package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotSupported: the disk cannot erase itself in this way, or not without
// erasing more than was agreed on. Nothing was changed.
var ErrNotSupported = errors.New("not supported by the device")

// Content is what a disk reads as after it has erased itself.
type Content int

const (
	// Changed: no sector that had content reads as before. What it reads as
	// instead is not defined: zeros, a pattern of the manufacturer's, or what
	// another key makes of the cells. A sector that was full of zeros before,
	// or had never been written, may read as before.
	//
	// To verify it, write noise to samples, make sure that it is on the medium,
	// and compare after the erase, reading past the page cache: it has the former
	// content still.
	Changed Content = iota
	// Zeros: every sector reads as zeros.
	Zeros
)

// Method is how a disk has erased itself.
type Method struct {
	Name   string // in the erase report: "nvme-sanitize-block-erase"
	Leaves Content
	// Unreadable: a sector may fail to be read until it has been written
	// (SBC-4 "write after sanitize required"; protection information that the
	// new content does not match). Such a failure gives nothing away of the
	// former content, so it counts as changed.
	Unreadable bool
}

// Call runs a call that cannot be interrupted, such as an ioctl, and gives up
// waiting for it when ctx ends. The call goes on in the background then: it
// must use nothing that the caller uses afterwards.
func Call(ctx context.Context, call func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the device still works on it: %w", context.Cause(ctx))
	}
}

// Sleep waits for d, or until ctx ends; the error is its cause then.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
