package ata

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// Why a disk with the Security feature set cannot be erased.
var (
	// ErrFrozen: the firmware of the machine has frozen the security settings.
	ErrFrozen = errors.New("security is frozen until the disk's next power cycle, mostly by the firmware of the machine: " +
		"power-cycle the disk alone, suspend the machine and resume it, or have the firmware not freeze it")
	// ErrLocked: somebody has locked the disk with a password of theirs.
	ErrLocked = errors.New("locked with a user password that is neither empty nor the letters NULL, so not by an erase that was interrupted: " +
		"it has to be unlocked with its owner's password, or the master password")
	// ErrExpired: the disk has been given too many wrong passwords.
	ErrExpired = errors.New("the disk has been given too many wrong passwords and accepts none until its next power cycle")
	// ErrPasswordLeft: a password is still set.
	ErrPasswordLeft = errors.New("a user password is still set")
)

// Erase has the disk erase itself by SECURITY ERASE UNIT, in the enhanced mode
// where it has one. The time that this takes is the disk's; it tells progress,
// which may be nil, what part of the announced time has gone by, every few
// seconds, from a goroutine that has ended when Erase returns.
//
// The error is erasure.ErrNotSupported, with nothing changed, where the device
// is no ATA disk, has no Security feature set, or is not the whole of the disk
// that answers. Every other error means that the disk is not erased; that is so
// for ErrFrozen, ErrLocked and ErrExpired as well, which leave it as it was.
//
// While it is being erased the disk has an empty user password. After a failure
// the password is disabled again; if that fails, too, the error is
// ErrPasswordLeft, as well, and names it. An erase that was cut off by a loss of
// power leaves the disk locked; the next Erase unlocks it and begins anew.
//
// A context that is done before SECURITY ERASE UNIT ends Erase early, without a
// password left behind. After that command nothing but a loss of power stops
// the disk, and Linux does not give the caller back before it has ended: Erase
// waits for the end, and reports how it was.
//
// The page cache still has what was on the disk before. The disk is to be read
// past it afterwards.
func Erase(ctx context.Context, dev *disk.Device, options Options, progress func(fraction float64)) (erasure.Method, error) {
	if progress == nil {
		progress = func(float64) {}
	}
	method, err := erasure.Method{}, dev.Writable()
	if err == nil {
		method, err = driveOf(dev, options).erase(ctx, progress)
	}
	if err != nil {
		return erasure.Method{}, fmt.Errorf("ATA security erase of disk %s: %w", dev.Path, err)
	}
	return method, nil
}

// unsupported makes erasure.ErrNotSupported of what says that this is no ATA
// disk, or that none can be reached. It is for a first command only.
func unsupported(err error) error {
	var answer *CommandError
	switch {
	case errors.Is(err, errRefused), errors.Is(err, errNoDisk), errors.Is(err, sgio.ErrNotSCSI),
		errors.As(err, &answer) && answer.aborted(): // as a PACKET device does (ACS-4, section "IDENTIFY DEVICE")
		return fmt.Errorf("%w: %w", erasure.ErrNotSupported, err)
	}
	return err
}

func (d *drive) erase(ctx context.Context, progress func(float64)) (erasure.Method, error) {
	id, err := d.identify(ctx)
	switch {
	case err != nil:
		return erasure.Method{}, unsupported(err)
	case !d.whole(id):
		return erasure.Method{}, fmt.Errorf("%w: the disk that answers has %d bytes, but %s has %d, so it is not the same",
			erasure.ErrNotSupported, id.Size, d.path, d.size)
	case !id.Security.Supported:
		return erasure.Method{}, fmt.Errorf("%w: the disk has no Security feature set", erasure.ErrNotSupported)
	case id.Security.Frozen:
		return erasure.Method{}, ErrFrozen
	case id.Security.Expired:
		return erasure.Method{}, ErrExpired
	}
	password, err := d.own(ctx, id.Security)
	if err != nil {
		return erasure.Method{}, err
	}
	expected, timeout := id.Security.time().expected(d.size)
	stop := clock(expected, progress)
	err = d.eraseUnit(ctx, password, id.Security.Enhanced, timeout)
	stop()
	if err == nil {
		err = d.verify(ctx)
	}
	if err != nil {
		return erasure.Method{}, both(err, d.giveBack(ctx, password))
	}
	progress(1)
	return id.Security.method(), nil
}

// time is that of the erase that is used.
func (s Security) time() EraseTime {
	if s.Enhanced {
		return s.EnhancedEraseTime
	}
	return s.EraseTime
}

// method is that of the erase that is used. In the normal mode all sectors read
// as zeros or all as ones, in the enhanced one as a pattern of the
// manufacturer's (ACS-4, section "SECURITY ERASE UNIT").
func (s Security) method() erasure.Method {
	if s.Enhanced {
		return erasure.Method{Name: "ata-security-erase-enhanced", Leaves: erasure.Changed}
	}
	return erasure.Method{Name: "ata-security-erase", Leaves: erasure.Changed}
}

// own brings the disk into the state in which it can be erased (SEC5: enabled,
// neither locked nor frozen; ACS-4, figure "Security state diagram") and returns
// the user password that it then has. After an error the disk has no password of
// ours, unless the error says so.
func (d *drive) own(ctx context.Context, s Security) (string, error) {
	if s.Locked {
		return d.open(ctx)
	}
	// A disk that is enabled but not locked gets the password as well: the one
	// that it has is not known.
	err := d.setPassword(ctx, userPassword)
	if err == nil {
		var now Identity
		if now, err = d.identify(ctx); err == nil && (!now.Security.Enabled || now.Security.Locked || now.Security.Frozen) {
			err = fmt.Errorf("SECURITY SET PASSWORD was accepted, but now the disk says that it is %v", now.Security)
		}
	}
	if err != nil {
		err = both(err, d.giveBack(ctx, userPassword))
		if s.Enabled {
			err = fmt.Errorf("%w (the disk had a user password before)", err)
		}
		return "", err
	}
	return userPassword, nil
}

// open unlocks a disk whose erase was interrupted, and returns its password.
func (d *drive) open(ctx context.Context) (string, error) {
	for _, password := range userPasswords() {
		err := d.unlock(ctx, password)
		var answer *CommandError
		if err != nil && !errors.As(err, &answer) {
			return "", fmt.Errorf("the disk is locked: %w", err)
		}
		id, identifyErr := d.identify(ctx)
		switch {
		case identifyErr != nil && err == nil: // so this was the password
			return "", both(identifyErr, d.giveBack(ctx, password))
		case identifyErr != nil:
			return "", fmt.Errorf("the disk is locked: %w", both(err, identifyErr))
		case id.Security.Expired:
			return "", both(ErrExpired, ErrLocked)
		case id.Security.Frozen:
			return "", ErrFrozen
		case !id.Security.Locked:
			return password, nil
		}
	}
	return "", ErrLocked
}

// verify asks the disk whether it has become free: an erase ends with the user
// password gone (SEC1).
func (d *drive) verify(ctx context.Context) error {
	id, err := d.settled(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if id.Security.Enabled || id.Security.Locked {
		return fmt.Errorf("the disk reports success, but then that it is %v", id.Security)
	}
	return nil
}

// String tells the state as hdparm does.
func (s Security) String() string {
	not := func(is bool, what string) string {
		if is {
			return what
		}
		return "not " + what
	}
	return not(s.Enabled, "enabled") + ", " + not(s.Locked, "locked") + ", " + not(s.Frozen, "frozen")
}

// The time that a disk is given to answer again after a failure.
const (
	settleTime  = 3 * time.Minute
	settlePause = 5 * time.Second
)

// settled identifies a disk that may be recovering from a reset of its link.
func (d *drive) settled(ctx context.Context) (Identity, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTime, errors.New("the disk does not identify itself any more"))
	defer cancel()
	for {
		id, err := d.identify(ctx)
		if err == nil || ctx.Err() != nil {
			return id, err
		}
		select {
		case <-ctx.Done():
			return Identity{}, both(err, context.Cause(ctx))
		case <-time.After(settlePause):
		}
	}
}

// giveBack disables the password after a failure. It does so whether or not ctx
// is done, and whatever the disk said to the password's being set: only
// IDENTIFY DEVICE says that there is none.
func (d *drive) giveBack(ctx context.Context, password string) error {
	ctx = context.WithoutCancel(ctx)
	id, err := d.settled(ctx)
	if err != nil {
		return left(password, err)
	}
	if id.Security.Locked {
		err = d.unlock(ctx, password)
	}
	err = both(err, d.disablePassword(ctx, password))
	after, identifyErr := d.settled(ctx)
	switch {
	case identifyErr != nil:
		return left(password, both(err, identifyErr))
	case after.Security.Enabled || after.Security.Locked:
		return left(password, both(err, fmt.Errorf("the disk is %v", after.Security)))
	}
	return nil
}

func left(password string, err error) error {
	return fmt.Errorf("%w, probably %s, which the next erase will try: %w", ErrPasswordLeft, named(password), err)
}

// named is a password of ours in words.
func named(password string) string {
	if password == "" {
		return "the empty one (NULL to hdparm)"
	}
	return strconv.Quote(password)
}

// both is an error of two, on one line; either may be nil.
func both(first, second error) error {
	if first == nil || second == nil {
		return cmp.Or(first, second)
	}
	return fmt.Errorf("%w; %w", first, second)
}

// tick is how often progress is told.
const tick = 5 * time.Second

// clock tells progress what part of the expected time has gone by, until the
// returned function is called. The end it does not tell.
func clock(expected time.Duration, progress func(float64)) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	start := time.Now()
	progress(0)
	go func() {
		defer close(ended)
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				progress(min(float64(time.Since(start))/float64(max(expected, 1)), 0.99))
			}
		}
	}()
	return func() { close(done); <-ended }
}
