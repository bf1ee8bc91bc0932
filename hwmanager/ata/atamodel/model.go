// Package atamodel is a model of an ATA disk with the Security feature set, as
// it is seen through SG_IO and a translation of SCSI to ATA. It is for tests: no
// disk that can be had virtually implements that feature set.
//
// The states and transitions are those of ACS-4, section "Security feature set",
// figure "Security state diagram"; the answers those of SAT-4 as Linux gives
// them. What real disks and bridges do otherwise is in Faults.
package atamodel

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"ferric/hwmanager/sgio"
)

// State of the Security state diagram.
type State int

// The states of ACS-4.
const (
	SEC0 State = iota // powered down, no user password
	SEC1              // disabled, not frozen
	SEC2              // disabled, frozen
	SEC3              // powered down, user password set
	SEC4              // enabled, locked
	SEC5              // enabled, not locked, not frozen
	SEC6              // enabled, not locked, frozen
)

// Config is what a disk is.
type Config struct {
	Serial, Firmware, Model string
	Size                    int64       // bytes
	Sector                  int         // logical sector size; 0: 512
	Content                 io.WriterAt // what is on it; nil: nothing
	NoSecurity, NoEnhanced  bool
	EraseTime, EnhancedTime uint16        // words 89 and 90
	Takes                   time.Duration // how long an erase takes
}

// Faults is what a disk, or what is between it and the host, does wrong.
type Faults struct {
	// Answer answers a command in the place of the disk, if it returns true.
	Answer func(command byte) (sgio.Result, error, bool)
	// Translation is how answers are given.
	Translation Translation
	// Lies: an erase ends well, and the content stays.
	Lies bool
	// KeepsPassword: an erase ends well, and the user password stays.
	KeepsPassword bool
	// Hangs: an erase does not end before its timeout.
	Hangs bool
	// PowerLoss: the power goes when this part of an erase is done.
	PowerLoss float64
	// Attentions is how many commands end with UNIT ATTENTION first.
	Attentions int
}

// Translation is what is between the host and the disk.
type Translation int

// Translations.
const (
	Linux       Translation = iota // a SATA port, as Linux 6.1 was seen to answer
	Descriptors                    // sense data with descriptors
	FixedFormat                    // sense data in the fixed format
	Silent                         // success without sense data, whatever was asked for
	None                           // ATA PASS-THROUGH is not implemented
)

// Disk is a model of a disk. It is a sgio.Transport.
type Disk struct {
	config Config

	mu       sync.Mutex
	faults   Faults
	off      bool
	frozen   bool
	locked   bool
	user     []byte // nil: none
	master   []byte
	maximum  bool
	attempts int
	prepared bool   // the last command was SECURITY ERASE PREPARE
	log      []byte // ATA commands that have reached the disk
}

const (
	passwordSize   = 32
	passwordTries  = 5 // ACS-4: the initial value of the password attempt counter
	factoryMaster  = "factory"
	erasedEnhanced = 0x5a // what the enhanced mode leaves
)

// New makes a disk that is powered up and not frozen, in SEC1.
func New(config Config) *Disk {
	if config.Sector == 0 {
		config.Sector = 512
	}
	return &Disk{config: config, master: padded(factoryMaster), attempts: passwordTries}
}

func padded(password string) []byte {
	b := make([]byte, passwordSize)
	copy(b, password)
	return b
}

// Fail makes the disk fail as f says, from now on.
func (d *Disk) Fail(f Faults) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = f
}

// State is the state of the disk's security.
func (d *Disk) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch enabled := d.user != nil; {
	case d.off && enabled:
		return SEC3
	case d.off:
		return SEC0
	case enabled && d.locked:
		return SEC4
	case enabled && d.frozen:
		return SEC6
	case enabled:
		return SEC5
	case d.frozen:
		return SEC2
	default:
		return SEC1
	}
}

// Password is the user password, without the zeros after it; false: none is set.
func (d *Disk) Password() (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(bytes.TrimRight(d.user, "\x00")), d.user != nil
}

// SetPassword sets the user password as its owner would have done.
func (d *Disk) SetPassword(password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.user = padded(password)
}

// Freeze is what the firmware of a machine does before it boots.
func (d *Disk) Freeze() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = !d.locked
}

// PowerOff takes the power from the disk.
func (d *Disk) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
}

// PowerOn gives it back: what has a user password comes up locked.
func (d *Disk) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off, d.frozen, d.prepared, d.locked, d.attempts = false, false, false, d.user != nil, passwordTries
}

// PowerCycle takes the power and gives it back.
func (d *Disk) PowerCycle() {
	d.PowerOff()
	d.PowerOn()
}

// Log is the ATA commands that have reached the disk.
func (d *Disk) Log() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.log)
}

// Do implements sgio.Transport.
func (d *Disk) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	if ctx.Err() != nil {
		return sgio.Result{}, context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(c.CDB) != 16 || c.CDB[0] != passThrough16 || d.faults.Translation == None {
		return check(senseOf(sgio.IllegalRequest, invalidOpcode)), nil
	}
	code := c.CDB[14]
	if d.faults.Answer != nil {
		if result, err, ok := d.faults.Answer(code); ok {
			return result, err
		}
	}
	if d.off {
		return sgio.Result{Host: sgio.HostNoConnect}, nil
	}
	if d.faults.Attentions > 0 {
		d.faults.Attentions--
		return check(senseOf(unitAttention, powerOnOccurred)), nil
	}
	if !wellFormed(c) {
		return check(senseOf(sgio.IllegalRequest, invalidField)), nil
	}
	d.log = append(d.log, code)
	return d.execute(c, code), nil
}

// execute is the disk's part.
func (d *Disk) execute(c sgio.Command, code byte) sgio.Result {
	prepared := d.prepared
	d.prepared = false
	if code == identifyDevice {
		copy(c.Data, d.identity())
		return d.success(c)
	}
	if d.config.NoSecurity || !d.accepts(code) {
		return d.abort()
	}
	ok := true
	switch code {
	case securityFreezeLock:
		d.frozen = true
	case securityErasePrepare:
		d.prepared = true
	case securitySetPassword:
		d.setPassword(c.Data)
	case securityUnlock:
		ok = d.unlock(c.Data)
	case securityDisablePassword:
		if ok = d.matches(c.Data, !d.maximum); ok {
			d.user = nil
		}
	case securityEraseUnit:
		if !prepared || d.attempts == 0 || c.Data[0]&enhanced != 0 && d.config.NoEnhanced || !d.matches(c.Data, true) {
			return d.abort()
		}
		return d.erase(c, c.Data[0]&enhanced != 0)
	}
	if !ok {
		return d.abort()
	}
	return d.success(c)
}

// accepts says whether the state lets a command through (ACS-4, table "Security
// command actions", and the transitions of the state diagram).
func (d *Disk) accepts(code byte) bool {
	switch code {
	case securityFreezeLock:
		return !d.locked
	case securitySetPassword, securityDisablePassword:
		return !d.locked && !d.frozen
	case securityUnlock, securityErasePrepare, securityEraseUnit:
		return !d.frozen
	}
	return false
}

func (d *Disk) setPassword(data []byte) {
	password := bytes.Clone(data[2 : 2+passwordSize])
	if data[0]&master != 0 {
		d.master = password
		return
	}
	d.user, d.maximum = password, data[1]&maximumLevel != 0
}

// matches says whether the password in data is the one that it says to be;
// without a user password none can match it.
func (d *Disk) matches(data []byte, masterCounts bool) bool {
	password := data[2 : 2+passwordSize]
	if data[0]&master != 0 {
		return masterCounts && bytes.Equal(password, d.master)
	}
	return d.user != nil && bytes.Equal(password, d.user)
}

// unlock counts wrong passwords while the disk is locked.
func (d *Disk) unlock(data []byte) bool {
	if d.user == nil || d.attempts == 0 {
		return false
	}
	ok := d.matches(data, !d.maximum)
	switch {
	case ok:
		d.locked = false
	case d.locked:
		d.attempts--
	}
	return ok
}

// erase overwrites the content, and unsets the user password when all is done.
func (d *Disk) erase(c sgio.Command, enhanced bool) sgio.Result {
	if d.faults.Hangs || d.config.Takes > c.Timeout {
		time.Sleep(c.Timeout)
		return sgio.Result{Host: sgio.HostTimeOut}
	}
	part := 1.0
	if d.faults.PowerLoss > 0 {
		part = d.faults.PowerLoss
	}
	time.Sleep(time.Duration(float64(d.config.Takes) * part))
	if !d.faults.Lies {
		if err := d.fill(int64(float64(d.config.Size)*part), enhanced); err != nil {
			return d.fault()
		}
	}
	if part < 1 {
		d.off = true
		d.faults.PowerLoss = 0
		return sgio.Result{Host: sgio.HostNoConnect}
	}
	if !d.faults.KeepsPassword {
		d.user, d.locked = nil, false
	}
	return d.success(c)
}

func (d *Disk) fill(n int64, enhanced bool) error {
	if d.config.Content == nil {
		return nil
	}
	pattern := byte(0)
	if enhanced {
		pattern = erasedEnhanced
	}
	buf := bytes.Repeat([]byte{pattern}, 1<<20)
	for off := int64(0); off < n; {
		k, err := d.config.Content.WriteAt(buf[:min(int64(len(buf)), n-off)], off)
		if err != nil {
			return err
		}
		off += int64(k)
	}
	return nil
}
