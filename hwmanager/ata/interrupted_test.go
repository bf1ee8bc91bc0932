package ata_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// TestAllSaid: no message is about a secret of more than the password of ours.
func TestAllSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, atamodel.Config{})
		b.model.SetPassword("tenant's own")
		b.model.PowerCycle()
		_, err := b.erase(t)
		if err == nil || strings.Contains(err.Error(), "tenant") || !strings.Contains(err.Error(), b.device.Path) {
			t.Errorf("%v", err)
		}
	})
}

// TestPowerLoss: what an interrupted erase leaves, the next one ends.
func TestPowerLoss(t *testing.T) {
	for _, part := range []float64{0.01, 0.5, 0.99} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, atamodel.Config{EraseTime: 4, Takes: time.Minute})
			b.model.Fail(atamodel.Faults{PowerLoss: part})
			if _, err := b.erase(t); !errors.Is(err, ata.ErrPasswordLeft) {
				t.Errorf("power lost: %v", err)
			}
			if b.secrets(t) == 0 {
				t.Fatal("the model lost its power too late")
			}
			b.model.PowerOn()
			if state := b.model.State(); state != atamodel.SEC4 {
				t.Fatalf("SEC%d after an interrupted erase", state)
			}
			_, err := b.erase(t)
			b.check(t, err, false)
			if state := b.model.State(); state != atamodel.SEC1 {
				t.Errorf("SEC%d at the end", state)
			}
		})
	}
}

// TestPowerComesBack: the disk is lost for a moment only, and comes back locked.
// It is given back at once, and the erase has failed.
func TestPowerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, atamodel.Config{Takes: time.Minute})
		b.model.Fail(atamodel.Faults{PowerLoss: 0.5})
		time.AfterFunc(time.Minute, b.model.PowerOn)
		_, err := b.erase(t)
		b.check(t, err, true)
		if errors.Is(err, ata.ErrPasswordLeft) || !strings.Contains(err.Error(), "host status 01h") {
			t.Errorf("%v", err)
		}
		if state := b.model.State(); state != atamodel.SEC1 {
			t.Errorf("SEC%d at the end", state)
		}
	})
}

// TestLostAnswer: the disk has done what it was told, and the answer is lost.
func TestLostAnswer(t *testing.T) {
	for name, command := range map[string]byte{
		"set password": setPassword, "erase prepare": erasePrepare, "erase unit": eraseUnit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, atamodel.Config{})
				_, err := ata.Erase(t.Context(), b.device, ata.Options{Transport: forgetful{b.model, command}}, nil)
				b.check(t, err, true)
				if !errors.Is(err, ata.ErrTimeout) || errors.Is(err, ata.ErrPasswordLeft) {
					t.Errorf("%v", err)
				}
				if state := b.model.State(); state != atamodel.SEC1 {
					t.Errorf("SEC%d at the end", state)
				}
			})
		})
	}
}

// forgetful loses the answers to one command.
type forgetful struct {
	sgio.Transport
	command byte
}

func (f forgetful) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	result, err := f.Transport.Do(ctx, c)
	if c.CDB[14] == f.command {
		return sgio.Result{Host: sgio.HostTimeOut}, nil
	}
	return result, err
}

// TestPasswordLeft: both failures are reported, and the password is named.
func TestPasswordLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, atamodel.Config{})
		b.model.Fail(atamodel.Faults{Answer: func(c byte) (sgio.Result, error, bool) {
			return aborted, nil, c == eraseUnit || c == disablePassword
		}})
		_, err := b.erase(t)
		b.check(t, err, true)
		if !errors.Is(err, ata.ErrPasswordLeft) {
			t.Errorf("%v, want %v", err, ata.ErrPasswordLeft)
		}
		for _, part := range []string{"SECURITY ERASE UNIT", "SECURITY DISABLE PASSWORD", "the empty one"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v does not say %q", err, part)
			}
		}
		if _, is := b.model.Password(); !is {
			t.Error("the model has no password left")
		}
	})
}

// TestExpired: wrong passwords are counted until the next power cycle.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, atamodel.Config{})
		b.model.SetPassword("owner")
		b.model.PowerCycle()
		for range 2 { // of five attempts, two each
			if _, err := b.erase(t); !errors.Is(err, ata.ErrLocked) || errors.Is(err, ata.ErrExpired) {
				t.Fatalf("%v, want %v", err, ata.ErrLocked)
			}
		}
		if _, err := b.erase(t); !errors.Is(err, ata.ErrExpired) {
			t.Errorf("with the last attempt: %v, want %v", err, ata.ErrExpired)
		}
		sent := len(b.model.Log())
		if _, err := b.erase(t); !errors.Is(err, ata.ErrExpired) {
			t.Errorf("without an attempt: %v, want %v", err, ata.ErrExpired)
		}
		if more := b.model.Log()[sent:]; !bytes.Equal(more, []byte{identifyDevice}) {
			t.Errorf("commands % x without an attempt left", more)
		}
	})
}

// TestCancelled: before the erase the password is taken back; after its start it
// runs to its end.
func TestCancelled(t *testing.T) {
	for name, test := range map[string]struct {
		command byte // during which the context ends
		goes    bool
	}{
		"while identifying":          {command: identifyDevice},
		"while setting the password": {command: setPassword},
		"while preparing":            {command: erasePrepare},
		"while erasing":              {command: eraseUnit, goes: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, atamodel.Config{EnhancedTime: 30, Takes: time.Hour})
				gone := errors.New("the step was aborted")
				ctx, cancel := context.WithCancelCause(t.Context())
				b.model.Fail(atamodel.Faults{Answer: func(c byte) (sgio.Result, error, bool) {
					if c == test.command {
						cancel(gone)
					}
					return sgio.Result{}, nil, false
				}})
				_, err := b.eraseWith(ctx)
				b.check(t, err, !test.goes)
				if !test.goes && !errors.Is(err, gone) {
					t.Errorf("%v, want %v", err, gone)
				}
				if state := b.model.State(); state != atamodel.SEC1 {
					t.Errorf("SEC%d at the end", state)
				}
			})
		})
	}
	t.Run("before", func(t *testing.T) {
		b := newBench(t, atamodel.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := b.eraseWith(ctx)
		if !errors.Is(err, context.Canceled) || len(b.model.Log()) != 0 {
			t.Errorf("%v, commands % x", err, b.model.Log())
		}
	})
}

// TestReadOnly: a disk that was opened for reading is not erased.
func TestReadOnly(t *testing.T) {
	b := newBench(t, atamodel.Config{})
	reader, err := disk.OpenReadOnly(b.device.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	_, err = ata.Erase(t.Context(), reader, ata.Options{Transport: b.model}, nil)
	if !errors.Is(err, os.ErrPermission) || errors.Is(err, erasure.ErrNotSupported) || len(b.model.Log()) != 0 {
		t.Errorf("%v, commands % x", err, b.model.Log())
	}
}

// TestLiar: a disk that says that it erased and did not looks erased from here;
// only reading back can tell.
func TestLiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, atamodel.Config{})
		b.model.Fail(atamodel.Faults{Lies: true})
		if _, err := b.erase(t); err != nil {
			t.Fatal(err)
		}
		if left := b.secrets(t); left != size {
			t.Errorf("%d of %d bytes are left", left, size)
		}
	})
}

// TestProgress: time goes by as announced, and only the end is the whole.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, atamodel.Config{EnhancedTime: 5, Takes: 12 * time.Minute}) // 10 min
		var told []float64
		_, err := ata.Erase(t.Context(), b.device, ata.Options{Transport: b.model}, func(f float64) { told = append(told, f) })
		if err != nil {
			t.Fatal(err)
		}
		if len(told) < 100 || told[0] != 0 || told[len(told)-1] != 1 || !slices.IsSorted(told) {
			t.Errorf("progress %v", told)
		}
		for _, f := range told[:len(told)-1] {
			if f >= 1 {
				t.Errorf("told %v before the end", f)
			}
		}
		if half := told[len(told)*5/12]; half < 0.4 || half > 0.6 {
			t.Errorf("%v after half the time", half)
		}
	})
}
