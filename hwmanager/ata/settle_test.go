package ata_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
)

// TestSettle: a disk is unlocked if an erase has locked it, and nothing else
// happens to it or to others.
func TestSettle(t *testing.T) {
	for name, test := range map[string]struct {
		config  atamodel.Config
		prepare func(*atamodel.Disk)
		faults  atamodel.Faults
		err     error
		state   atamodel.State
		sent    int // commands; 0: any number
	}{
		"not locked":  {state: atamodel.SEC1, sent: 1},
		"frozen":      {prepare: (*atamodel.Disk).Freeze, state: atamodel.SEC2, sent: 1},
		"no security": {config: atamodel.Config{NoSecurity: true}, state: atamodel.SEC1, sent: 1},
		"unlocked with a password": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner") }, state: atamodel.SEC5, sent: 1,
		},
		"locked by an erase": {
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() }, state: atamodel.SEC1,
		},
		"locked by an old hdparm": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("NULL"); d.PowerCycle() }, state: atamodel.SEC1,
		},
		"locked by an owner": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner"); d.PowerCycle() }, err: ata.ErrLocked, state: atamodel.SEC4,
		},
		"the password cannot be disabled": {
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() },
			faults:  answering(disablePassword, 0, aborted, nil), err: ata.ErrPasswordLeft, state: atamodel.SEC5,
		},
		"one disk of a volume": {
			config:  atamodel.Config{Size: size / 2},
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() }, state: atamodel.SEC4, sent: 1,
		},
		"no ATA disk": {faults: atamodel.Faults{Translation: atamodel.None}, state: atamodel.SEC1},
		"no answer":   {faults: answering(identifyDevice, 0, sgio.Result{Host: sgio.HostTimeOut}, nil), err: ata.ErrTimeout, state: atamodel.SEC1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.config)
				if test.prepare != nil {
					test.prepare(b.model)
				}
				b.model.Fail(test.faults)
				err := ata.Settle(t.Context(), b.device, ata.Options{Transport: b.model})
				if !errors.Is(err, test.err) || errors.Is(err, erasure.ErrNotSupported) {
					t.Errorf("%v, want %v", err, test.err)
				}
				if state := b.model.State(); state != test.state {
					t.Errorf("state SEC%d, want SEC%d", state, test.state)
				}
				if sent := len(b.model.Log()); test.sent > 0 && sent != test.sent {
					t.Errorf("%d commands, want %d", sent, test.sent)
				}
				if left := b.secrets(t); left != size {
					t.Errorf("%d of %d bytes are left", left, size)
				}
			})
		})
	}
	t.Run("no SCSI device", func(t *testing.T) {
		if err := ata.Settle(t.Context(), newBench(t, atamodel.Config{}).device, ata.Options{}); err != nil {
			t.Error(err)
		}
	})
}
