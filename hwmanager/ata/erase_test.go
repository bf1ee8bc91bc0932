package ata_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
)

// TestErase drives the disk through every answer of the standard, and some that
// are of none. Whatever happens, there must be an error where there are secrets
// left, and no password where the error does not say so.
func TestErase(t *testing.T) {
	for name, test := range map[string]struct {
		config  atamodel.Config
		prepare func(*atamodel.Disk)
		faults  atamodel.Faults

		method   string // of an erase that goes well
		err      error  // of one that does not
		says     []string
		state    atamodel.State
		password string
		log      []byte // all commands, where it matters
	}{
		"enhanced": {
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
			log: []byte{identifyDevice, setPassword, identifyDevice, erasePrepare, eraseUnit, identifyDevice},
		},
		"normal": {
			config: atamodel.Config{NoEnhanced: true},
			method: "ata-security-erase", state: atamodel.SEC1,
		},
		"large sectors": {
			config: atamodel.Config{Sector: 4096},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"a bridge with sense data in descriptors": {
			faults: atamodel.Faults{Translation: atamodel.Descriptors},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"a bridge with sense data in the fixed format": {
			faults: atamodel.Faults{Translation: atamodel.FixedFormat},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"a bridge that returns no registers": {
			faults: atamodel.Faults{Translation: atamodel.Silent},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"after a reset": {
			faults: atamodel.Faults{Attentions: 2},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"unit attention without end": {
			faults: atamodel.Faults{Attentions: 1 << 30},
			says:   []string{"unit attention"}, state: atamodel.SEC1,
		},

		// Not applicable.
		"no security": {
			config: atamodel.Config{NoSecurity: true},
			err:    erasure.ErrNotSupported, state: atamodel.SEC1, log: []byte{identifyDevice},
		},
		"a controller that does not pass commands on": {
			faults: atamodel.Faults{Translation: atamodel.None},
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"a field of the command is refused": {
			faults: answering(identifyDevice, 0, checked(0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0, 0, 0), nil),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"a driver that refuses": {
			faults: answering(identifyDevice, 0, sgio.Result{Host: sgio.HostBadTarget}, nil),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"a kernel that refuses": {
			faults: answering(identifyDevice, 0, sgio.Result{}, sgio.ErrNotSCSI),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"an optical drive": {
			faults: answering(identifyDevice, 0, aborted, nil),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"an optical drive, by a descriptor": {
			faults: answering(identifyDevice, 0, atamodel.Aborted(atamodel.Descriptors), nil),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"an optical drive, in the fixed format": {
			faults: answering(identifyDevice, 0, atamodel.Aborted(atamodel.FixedFormat), nil),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"a command that is given up before the disk has answered": {
			faults: answering(identifyDevice, 0, checked(0x70, 0, 0xb, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), nil),
			says:   []string{"sense key Bh"}, state: atamodel.SEC1,
		},
		"zeros in place of an answer": {
			faults: answering(identifyDevice, 0, sgio.Result{}, nil),
			err:    erasure.ErrNotSupported, state: atamodel.SEC1,
		},
		"one disk of a volume": {
			config: atamodel.Config{Size: size / 2},
			err:    erasure.ErrNotSupported, says: []string{"not the same"}, state: atamodel.SEC1,
		},
		"a partition": {
			config: atamodel.Config{Size: size + 512},
			err:    erasure.ErrNotSupported, says: []string{"not the same"}, state: atamodel.SEC1,
		},

		// Refusals by the state.
		"frozen": {
			prepare: (*atamodel.Disk).Freeze,
			err:     ata.ErrFrozen, says: []string{"firmware", "power-cycle", "suspend"}, state: atamodel.SEC2,
			log: []byte{identifyDevice},
		},
		"frozen with a password": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner"); d.Freeze() },
			err:     ata.ErrFrozen, state: atamodel.SEC6, password: "owner",
		},
		"locked by an owner": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner"); d.PowerCycle() },
			err:     ata.ErrLocked, says: []string{"owner"}, state: atamodel.SEC4, password: "owner",
			log: []byte{identifyDevice, unlock, identifyDevice, unlock, identifyDevice},
		},
		"locked by an owner, behind a bridge": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner"); d.PowerCycle() },
			faults:  atamodel.Faults{Translation: atamodel.FixedFormat},
			err:     ata.ErrLocked, state: atamodel.SEC4, password: "owner",
		},
		"locked by an interrupted erase": {
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() },
			method:  "ata-security-erase-enhanced", state: atamodel.SEC1,
			log: []byte{identifyDevice, unlock, identifyDevice, erasePrepare, eraseUnit, identifyDevice},
		},
		"locked by an interrupted old hdparm": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("NULL"); d.PowerCycle() },
			method:  "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"locked by an interrupted old hdparm, behind a bridge": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("NULL"); d.PowerCycle() },
			faults:  atamodel.Faults{Translation: atamodel.FixedFormat},
			method:  "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"enabled, not locked": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner") },
			method:  "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"unlocking is refused by a bridge": {
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() },
			faults:  answering(unlock, 0, illegal, nil),
			says:    []string{"locked", "SECURITY UNLOCK"}, state: atamodel.SEC4,
		},
		"unlocking reported, not done": {
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() },
			faults:  answering(unlock, 0, sgio.Result{}, nil),
			err:     ata.ErrLocked, state: atamodel.SEC4,
		},

		"the disk cannot be asked after it was unlocked": {
			prepare: func(d *atamodel.Disk) { d.SetPassword(""); d.PowerCycle() },
			faults:  answering(identifyDevice, 2, sgio.Result{Host: sgio.HostReset}, nil),
			says:    []string{"host status 08h"}, state: atamodel.SEC1,
		},
		"the disk cannot be asked after a wrong password": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner"); d.PowerCycle() },
			faults:  answering(identifyDevice, 2, sgio.Result{Host: sgio.HostReset}, nil),
			says:    []string{"is locked", "host status 08h"}, state: atamodel.SEC4, password: "owner",
			log: []byte{identifyDevice, unlock},
		},

		// SECURITY SET PASSWORD.
		"setting the password is aborted": {
			faults: answering(setPassword, 0, aborted, nil),
			says:   []string{"SECURITY SET PASSWORD", "aborted"}, state: atamodel.SEC1,
		},
		"replacing the password is aborted": {
			prepare: func(d *atamodel.Disk) { d.SetPassword("owner") },
			faults:  answering(setPassword, 0, aborted, nil),
			err:     ata.ErrPasswordLeft, says: []string{"aborted", "had a user password before"}, state: atamodel.SEC5, password: "owner",
		},
		"setting the password is refused by a bridge": {
			faults: answering(setPassword, 0, illegal, nil),
			says:   []string{"SECURITY SET PASSWORD"}, state: atamodel.SEC1,
		},
		"setting the password is reported, not done": {
			faults: answering(setPassword, 0, sgio.Result{}, nil),
			says:   []string{"not enabled"}, state: atamodel.SEC1,
		},

		// SECURITY ERASE PREPARE and SECURITY ERASE UNIT.
		"the preparation is aborted": {
			faults: answering(erasePrepare, 0, aborted, nil),
			says:   []string{"SECURITY ERASE PREPARE", "aborted"}, state: atamodel.SEC1,
			log: []byte{identifyDevice, setPassword, identifyDevice, identifyDevice, disablePassword, identifyDevice},
		},
		"the preparation is reported, not done": {
			faults: answering(erasePrepare, 0, sgio.Result{}, nil),
			says:   []string{"SECURITY ERASE UNIT", "aborted"}, state: atamodel.SEC1,
		},
		"the erase is aborted": {
			faults: answering(eraseUnit, 0, aborted, nil),
			says:   []string{"SECURITY ERASE UNIT: the device aborted the command (status 51h, error 04h)"}, state: atamodel.SEC1,
		},
		"the erase is aborted, as Linux 6.1 told of an emulated SATA disk": {
			faults: answering(eraseUnit, 0, checked(0x70, 0, 0xb, 0, 0, 0, 0, 10, 4, 0x41, 0, 0, 0, 0, 0, 0, 0, 0), nil),
			says:   []string{"SECURITY ERASE UNIT: the device aborted the command (status 41h, error 04h)"}, state: atamodel.SEC1,
		},
		"the erase ends with a fault": {
			faults: answering(eraseUnit, 0, checked(0x72, 4, 0, 0, 0, 0, 0, 14, 9, 12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x71), nil),
			says:   []string{"SECURITY ERASE UNIT"}, state: atamodel.SEC1,
		},
		"the erase hangs": {
			faults: atamodel.Faults{Hangs: true},
			err:    ata.ErrTimeout, says: []string{"SECURITY ERASE UNIT"}, state: atamodel.SEC1,
		},
		"the erase takes longer than announced": {
			config: atamodel.Config{EnhancedTime: 60, Takes: 5 * time.Hour}, // 2 h
			err:    ata.ErrTimeout, state: atamodel.SEC1,
		},
		"the erase takes a little longer than announced": {
			config: atamodel.Config{EnhancedTime: 60, Takes: 150 * time.Minute},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"the erase takes more than any number": {
			config: atamodel.Config{EnhancedTime: 255, Takes: 10 * time.Hour},
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"the erase is reported, but security stays enabled": {
			faults: atamodel.Faults{KeepsPassword: true},
			says:   []string{"reports success", "enabled, not locked"}, state: atamodel.SEC1,
		},
		"the erase ends with sense data that are too short": {
			faults: answering(eraseUnit, 0, checked(0x72), nil),
			err:    sgio.ErrSense, state: atamodel.SEC1,
		},
		"the erase ends with sense data that are none": {
			faults: answering(eraseUnit, 0, checked(bytes.Repeat([]byte{0x5a}, 32)...), nil),
			err:    sgio.ErrSense, state: atamodel.SEC1,
		},
		"the erase ends with a descriptor that is cut off": {
			faults: answering(eraseUnit, 0, checked(0x72, 0, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0), nil),
			says:   []string{"sense key 0h"}, state: atamodel.SEC1,
		},
		"the erase ends with an error of an earlier command": {
			faults: answering(eraseUnit, 0, checked(0x73, 1, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50), nil),
			says:   []string{"earlier"}, state: atamodel.SEC1,
		},
		"the registers tell of an error where the sense key tells of success": {
			faults: answering(eraseUnit, 0, checked(0x72, 1, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x51), nil),
			says:   []string{"aborted"}, state: atamodel.SEC1,
		},
		"the erase is refused as busy": {
			faults: answering(eraseUnit, 0, sgio.Result{Status: 0x08}, nil),
			says:   []string{"SCSI status 08h"}, state: atamodel.SEC1,
		},
		"the link is reset during the erase": {
			faults: answering(eraseUnit, 0, sgio.Result{Host: sgio.HostReset}, nil),
			says:   []string{"host status 08h"}, state: atamodel.SEC1,
		},
		"the kernel fails during the erase": {
			faults: answering(eraseUnit, 0, sgio.Result{}, os.ErrDeadlineExceeded),
			err:    os.ErrDeadlineExceeded, state: atamodel.SEC1,
		},
		"the kernel refuses during the erase": {
			faults: answering(eraseUnit, 0, sgio.Result{}, sgio.ErrNotSCSI),
			err:    sgio.ErrNotSCSI, state: atamodel.SEC1,
		},
		"the power goes during the erase": {
			faults: atamodel.Faults{PowerLoss: 0.5},
			err:    ata.ErrPasswordLeft, says: []string{"the empty one", "SECURITY ERASE UNIT"}, state: atamodel.SEC3,
		},

		// IDENTIFY DEVICE.
		"the answer is damaged": {
			faults: answering(identifyDevice, 1, sgio.Result{Residual: 100}, nil),
			says:   []string{"100 of 512 bytes"}, state: atamodel.SEC1,
		},
		"the disk has gone": {
			prepare: (*atamodel.Disk).PowerOff,
			says:    []string{"host status 01h"}, state: atamodel.SEC0,
		},
		"the disk cannot be asked after the erase, for a while": {
			faults: answering(identifyDevice, 3, sgio.Result{Host: sgio.HostReset}, nil),
			method: "ata-security-erase-enhanced", state: atamodel.SEC1,
		},
		"the disk cannot be asked after the password was set": {
			faults: answering(identifyDevice, 2, sgio.Result{Host: sgio.HostReset}, nil),
			says:   []string{"host status 08h"}, state: atamodel.SEC1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, test.config)
				if test.prepare != nil {
					test.prepare(b.model)
				}
				b.model.Fail(test.faults)
				method, err := b.erase(t)
				b.model.Fail(atamodel.Faults{})
				if method.Name != test.method {
					t.Errorf("method %q, want %q", method.Name, test.method)
				}
				b.check(t, err, test.method == "")
				if test.err != nil && !errors.Is(err, test.err) {
					t.Errorf("%v, want %v", err, test.err)
				}
				if err != nil && errors.Is(err, erasure.ErrNotSupported) != errors.Is(test.err, erasure.ErrNotSupported) {
					t.Errorf("not supported: %v", err)
				}
				for _, part := range test.says {
					if err == nil || !strings.Contains(err.Error(), part) {
						t.Errorf("%v does not say %q", err, part)
					}
				}
				if state := b.model.State(); state != test.state {
					t.Errorf("state SEC%d, want SEC%d", state, test.state)
				}
				if password, _ := b.model.Password(); password != test.password {
					t.Errorf("password %q, want %q", password, test.password)
				}
				if log := b.model.Log(); test.log != nil && !bytes.Equal(log, test.log) {
					t.Errorf("commands % x, want % x", log, test.log)
				}
			})
		})
	}
}
