package atamodel_test

import (
	"testing"

	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/sgio"
)

// Commands, of ACS-4.
const (
	setPassword     = 0xf1
	unlock          = 0xf2
	erasePrepare    = 0xf3
	eraseUnit       = 0xf4
	freezeLock      = 0xf5
	disablePassword = 0xf6
)

// send sends a command with a user password, or a master password, and reports
// whether the disk did not abort it.
func send(t *testing.T, d *atamodel.Disk, command byte, control uint16, password string) bool {
	t.Helper()
	c := sgio.Command{CDB: make([]byte, 16)}
	c.CDB[0], c.CDB[1], c.CDB[2], c.CDB[14] = 0x85, 3<<1, 1<<5, command
	if command != erasePrepare && command != freezeLock {
		c.CDB[1], c.CDB[2], c.CDB[6] = 5<<1, 1<<5|1<<2|2, 1
		c.Data, c.Write = make([]byte, 512), true
		c.Data[0], c.Data[1] = byte(control), byte(control>>8)
		copy(c.Data[2:34], password)
	}
	d.Fail(atamodel.Faults{Translation: atamodel.Descriptors})
	r, err := d.Do(t.Context(), c)
	if err != nil || r.Status != sgio.CheckCondition || len(r.Sense) != 22 {
		t.Fatalf("command %02x: %+v, %v", command, r, err)
	}
	return r.Sense[21]&1 == 0
}

// TestStates: which commands each state lets through, and where they lead
// (ACS-4, figure "Security state diagram").
func TestStates(t *testing.T) {
	const user, master, maximum = 0, 1, 1 << 8
	states := map[atamodel.State]func(*atamodel.Disk){
		atamodel.SEC1: func(*atamodel.Disk) {},
		atamodel.SEC2: func(d *atamodel.Disk) { d.Freeze() },
		atamodel.SEC4: func(d *atamodel.Disk) { d.SetPassword("u"); d.PowerCycle() },
		atamodel.SEC5: func(d *atamodel.Disk) { d.SetPassword("u") },
		atamodel.SEC6: func(d *atamodel.Disk) { d.SetPassword("u"); d.Freeze() },
	}
	type outcome struct {
		ok bool
		to atamodel.State
	}
	for name, test := range map[string]struct {
		send func(*testing.T, *atamodel.Disk) bool
		ends map[atamodel.State]outcome
	}{
		"set user password": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, setPassword, user, "u") },
			map[atamodel.State]outcome{1: {true, 5}, 2: {false, 2}, 4: {false, 4}, 5: {true, 5}, 6: {false, 6}},
		},
		"set master password": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, setPassword, master, "m") },
			map[atamodel.State]outcome{1: {true, 1}, 2: {false, 2}, 4: {false, 4}, 5: {true, 5}, 6: {false, 6}},
		},
		"unlock": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, unlock, user, "u") },
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {true, 5}, 5: {true, 5}, 6: {false, 6}},
		},
		"unlock with the master password": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, unlock, master, "factory") },
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {true, 5}, 5: {true, 5}, 6: {false, 6}},
		},
		"unlock with a wrong password": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, unlock, user, "x") },
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {false, 4}, 5: {false, 5}, 6: {false, 6}},
		},
		"erase": {
			func(t *testing.T, d *atamodel.Disk) bool {
				return send(t, d, erasePrepare, 0, "") && send(t, d, eraseUnit, user, "u")
			},
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {true, 1}, 5: {true, 1}, 6: {false, 6}},
		},
		"erase without preparation": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, eraseUnit, user, "u") },
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {false, 4}, 5: {false, 5}, 6: {false, 6}},
		},
		"erase with something after the preparation": {
			func(t *testing.T, d *atamodel.Disk) bool {
				send(t, d, erasePrepare, 0, "")
				send(t, d, unlock, user, "u")
				return send(t, d, eraseUnit, user, "u")
			},
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {false, 5}, 5: {false, 5}, 6: {false, 6}},
		},
		"erase with a wrong password": {
			func(t *testing.T, d *atamodel.Disk) bool {
				send(t, d, erasePrepare, 0, "")
				return send(t, d, eraseUnit, user, "x")
			},
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {false, 4}, 5: {false, 5}, 6: {false, 6}},
		},
		"erase with the master password": {
			func(t *testing.T, d *atamodel.Disk) bool {
				return send(t, d, erasePrepare, 0, "") && send(t, d, eraseUnit, master, "factory")
			},
			map[atamodel.State]outcome{1: {true, 1}, 2: {false, 2}, 4: {true, 1}, 5: {true, 1}, 6: {false, 6}},
		},
		"disable": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, disablePassword, user, "u") },
			map[atamodel.State]outcome{1: {false, 1}, 2: {false, 2}, 4: {false, 4}, 5: {true, 1}, 6: {false, 6}},
		},
		"freeze": {
			func(t *testing.T, d *atamodel.Disk) bool { return send(t, d, freezeLock, 0, "") },
			map[atamodel.State]outcome{1: {true, 2}, 2: {true, 2}, 4: {false, 4}, 5: {true, 6}, 6: {true, 6}},
		},
		"no power": {
			func(_ *testing.T, d *atamodel.Disk) bool { d.PowerOff(); return true },
			map[atamodel.State]outcome{1: {true, 0}, 2: {true, 0}, 4: {true, 3}, 5: {true, 3}, 6: {true, 3}},
		},
		"power cycle": {
			func(_ *testing.T, d *atamodel.Disk) bool { d.PowerCycle(); return true },
			map[atamodel.State]outcome{1: {true, 1}, 2: {true, 1}, 4: {true, 4}, 5: {true, 4}, 6: {true, 4}},
		},
		"maximum level": {
			func(t *testing.T, d *atamodel.Disk) bool {
				if !send(t, d, setPassword, maximum, "u") {
					return false
				}
				d.PowerCycle()
				return send(t, d, unlock, master, "factory")
			},
			map[atamodel.State]outcome{1: {false, 4}, 2: {false, 2}, 4: {false, 4}, 5: {false, 4}, 6: {false, 6}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if len(test.ends) != len(states) {
				t.Fatalf("%d of %d states", len(test.ends), len(states))
			}
			for from, enter := range states {
				d := atamodel.New(atamodel.Config{Size: 4096})
				enter(d)
				if d.State() != from {
					t.Fatalf("SEC%d, want SEC%d", d.State(), from)
				}
				got := outcome{ok: test.send(t, d)}
				got.to = d.State()
				if want := test.ends[from]; got != want {
					t.Errorf("from SEC%d: %+v, want %+v", from, got, want)
				}
			}
		})
	}
}

// TestAttempts: after five wrong passwords even the right one is not accepted,
// until the next power cycle.
func TestAttempts(t *testing.T) {
	d := atamodel.New(atamodel.Config{Size: 4096})
	d.SetPassword("u")
	d.PowerCycle()
	for range 5 {
		if send(t, d, unlock, 0, "x") {
			t.Fatal("a wrong password was accepted")
		}
	}
	if send(t, d, unlock, 0, "u") || !send(t, d, erasePrepare, 0, "") || send(t, d, eraseUnit, 0, "u") {
		t.Error("the right password is accepted after five wrong ones")
	}
	d.PowerCycle()
	if !send(t, d, unlock, 0, "u") {
		t.Error("the right password is not accepted after a power cycle")
	}
}
