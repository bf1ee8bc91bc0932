// Package clock sets the clocks of the machine from an NTP server: certificates
// need the time, and the system that is deployed begins with it (agent
// contract, sections "Start-up order" and "Reboot / power off").
package clock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Server is what to ask and how often.
type Server struct {
	Name     string // an IP address or a host name, with or without a port
	Attempts int
	Timeout  time.Duration // of one attempt
}

// pause between attempts.
const pause = 500 * time.Millisecond

// Sync asks the server for the time and sets the system's clock. It returns by
// how much the clock was wrong.
func Sync(ctx context.Context, s Server) (time.Duration, error) {
	offset, err := s.Offset(ctx)
	if err != nil {
		return 0, err
	}
	if err := step(offset); err != nil {
		return 0, fmt.Errorf("set the clock: %w", err)
	}
	return offset, nil
}

// Offset is what is to be added to the system's clock.
func (s Server) Offset(ctx context.Context) (time.Duration, error) {
	var failures []error
	for attempt := range max(s.Attempts, 1) {
		if attempt > 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		}
		offset, err := s.ask(ctx)
		if err == nil {
			return offset, nil
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		failures = append(failures, err)
	}
	return 0, fmt.Errorf("time of %s: %w", s.Name, errors.Join(failures...))
}

// step adds offset to the system's clock.
func step(offset time.Duration) error {
	now := time.Now().Add(offset)
	if now.Before(earliest) || now.After(latest) {
		return fmt.Errorf("%s cannot be the time", now.UTC().Format(time.RFC3339))
	}
	ts, err := unix.TimeToTimespec(now)
	if err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// WriteHardware writes the system's time to the hardware clock below dev, in
// UTC as Linux has it.
func WriteHardware(dev string) error {
	var failures []error
	for _, name := range []string{"rtc0", "rtc"} {
		err := writeRTC(filepath.Join(dev, name), time.Now().UTC())
		if err == nil {
			return nil
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("set the hardware clock: %w", errors.Join(failures...))
}

func writeRTC(path string, now time.Time) error {
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	value := rtcTime(now)
	if err := unix.IoctlSetRTCTime(int(f.Fd()), &value); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// rtcTime is the kernel's struct rtc_time, which counts like struct tm.
func rtcTime(t time.Time) unix.RTCTime {
	const firstYear = 1900
	return unix.RTCTime{
		Sec: int32(t.Second()), Min: int32(t.Minute()), Hour: int32(t.Hour()),
		Mday: int32(t.Day()), Mon: int32(t.Month()) - 1, Year: int32(t.Year()) - firstYear,
		Wday: int32(t.Weekday()), Yday: int32(t.YearDay()) - 1,
	}
}
