package ata_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
	"ferric/images/disk/disktest"
)

// Commands, of ACS-4.
const (
	identifyDevice  = 0xec
	setPassword     = 0xf1
	unlock          = 0xf2
	erasePrepare    = 0xf3
	eraseUnit       = 0xf4
	disablePassword = 0xf6
)

const size = 3<<20 + 4096

// secret is what the disk is full of before.
const secret = 0xee

// bench is a file full of secrets as the content of a model of a disk.
type bench struct {
	model  *atamodel.Disk
	device *disk.Device
}

// newBench makes a disk as config says, which has size bytes if it says nothing.
func newBench(t *testing.T, config atamodel.Config) bench {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{secret}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := disktest.Target(t, path).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	if config.Size == 0 {
		config.Size = size
	}
	config.Content = device
	return bench{model: atamodel.New(config), device: device}
}

func (b bench) erase(t *testing.T) (erasure.Method, error) {
	return b.eraseWith(t.Context())
}

func (b bench) eraseWith(ctx context.Context) (erasure.Method, error) {
	return ata.Erase(ctx, b.device, ata.Options{Transport: b.model}, nil)
}

// secrets is how many bytes are on the disk as they were.
func (b bench) secrets(t *testing.T) int {
	t.Helper()
	all := make([]byte, size)
	if _, err := b.device.ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(all, []byte{secret})
}

// answering makes faults of answers to one command; the n-th one, from 1, or all
// of them for 0.
func answering(command byte, n int, result sgio.Result, err error) atamodel.Faults {
	seen := 0
	return atamodel.Faults{Answer: func(c byte) (sgio.Result, error, bool) {
		if c != command {
			return sgio.Result{}, nil, false
		}
		seen++
		return result, err, n == 0 || n == seen
	}}
}

func checked(sense ...byte) sgio.Result {
	return sgio.Result{Status: sgio.CheckCondition, Sense: sense}
}

var (
	aborted = atamodel.Aborted(atamodel.Linux)
	illegal = checked(0x72, 5, 0x20, 0, 0, 0, 0, 0)
)

// check compares what err says with what is on the disk.
func (b bench) check(t *testing.T, err error, fails bool) {
	t.Helper()
	if (err != nil) != fails {
		t.Errorf("error: %v", err)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("an error of several lines: %v", err)
	}
	if left := b.secrets(t); err == nil && left != 0 {
		t.Errorf("%d bytes are left, but no error", left)
	}
	if _, is := b.model.Password(); !is {
		return
	}
	for _, told := range []error{ata.ErrPasswordLeft, ata.ErrLocked, ata.ErrFrozen} {
		if errors.Is(err, told) {
			return
		}
	}
	if err == nil || !strings.Contains(err.Error(), "is locked") {
		t.Errorf("a password is left, but the error does not say so: %v", err)
	}
}
