package clock

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// ntpServer answers on loopback with the time ahead by ahead; change may spoil
// an answer, the nth.
func ntpServer(t *testing.T, ahead time.Duration, change func(n int, answer []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 100)
		for n := 1; ; n++ {
			size, from, err := conn.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || size != packetSize {
				continue
			}
			if answer := change(n, answerTo(b[:size], time.Now().Add(ahead))); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func answerTo(question []byte, now time.Time) []byte {
	a := make([]byte, packetSize)
	a[0], a[1] = 4<<3|modeServer, 2
	copy(a[24:], question[40:48])
	putTime(a[32:], now)
	putTime(a[40:], now)
	return a
}

func putTime(b []byte, t time.Time) {
	binary.BigEndian.PutUint32(b, uint32(t.Unix()+2208988800))
	binary.BigEndian.PutUint32(b[4:], uint32(int64(t.Nanosecond())<<32/1e9))
}

func good(_ int, a []byte) []byte { return a }

func TestOffset(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -30 * time.Second, 12 * 365 * 24 * time.Hour} { // into the second era
		s := Server{Name: ntpServer(t, ahead, good), Attempts: 1, Timeout: 5 * time.Second}
		got, err := s.Offset(t.Context())
		if wrong := (got - ahead).Abs(); err != nil || wrong > time.Second {
			t.Errorf("offset %s, %v; want %s", got, err, ahead)
		}
	}
}

func TestBadAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		change func(int, []byte) []byte
		want   string
	}{
		"another question":  {func(_ int, a []byte) []byte { a[24]++; return a }, "not an answer to our question"},
		"a client":          {func(_ int, a []byte) []byte { a[0] = clientV4; return a }, "not an answer to our question"},
		"kiss of death":     {func(_ int, a []byte) []byte { a[1] = 0; copy(a[12:], "RATE"); return a }, "RATE"},
		"no time":           {func(_ int, a []byte) []byte { a[0] |= unknown << 6; return a }, "no time itself"},
		"too short":         {func(_ int, a []byte) []byte { return a[:20] }, "20 bytes"},
		"1998":              {func(_ int, a []byte) []byte { putTime(a[32:], time.Date(1998, 1, 1, 0, 0, 0, 0, time.UTC)); return a }, "cannot be"},
		"nothing":           {func(int, []byte) []byte { return nil }, "i/o timeout"},
		"answered too soon": {func(_ int, a []byte) []byte { putTime(a[40:], time.Now().Add(-time.Hour)); return a }, "cannot be"},
	} {
		s := Server{Name: ntpServer(t, 0, test.change), Attempts: 1, Timeout: 200 * time.Millisecond}
		if got, err := s.Offset(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: offset %s, %v; want %q", name, got, err, test.want)
		}
	}
}

func TestAttempts(t *testing.T) {
	lost := func(n int, a []byte) []byte {
		if n < 2 {
			return nil
		}
		return a
	}
	s := Server{Name: ntpServer(t, time.Hour, lost), Attempts: 2, Timeout: 200 * time.Millisecond}
	if got, err := s.Offset(t.Context()); err != nil || got < 59*time.Minute {
		t.Errorf("offset %s, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Offset(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want that of the context", err)
	}
}

func TestSplitPort(t *testing.T) {
	for name, want := range map[string][2]string{
		"192.0.2.1": {"192.0.2.1", "123"}, "ntp.example:1123": {"ntp.example", "1123"}, "2001:db8::1": {"2001:db8::1", "123"}, "x:": {"x:", "123"},
	} {
		host, port := splitPort(name)
		if diff := cmp.Diff(want, [2]string{host, port}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestHardwareClock(t *testing.T) {
	got := rtcTime(time.Date(2027, 3, 1, 13, 14, 15, 0, time.UTC))
	want := unix.RTCTime{Sec: 15, Min: 14, Hour: 13, Mday: 1, Mon: 2, Year: 127, Wday: 1, Yday: 59}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("time of the hardware clock (-want +got):\n%s", diff)
	}
	dev := t.TempDir()
	if err := os.WriteFile(filepath.Join(dev, "rtc0"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteHardware(dev); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("error %v; want that a file is no clock", err)
	}
}

func FuzzAnswer(f *testing.F) {
	sent := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	f.Add(answerTo(make([]byte, packetSize), sent.Add(time.Hour)))
	f.Add(answerTo(make([]byte, packetSize), time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		offset, err := evaluate(answer, [8]byte{}, sent, time.Millisecond)
		if now := sent.Add(offset); err == nil && (now.Before(earliest.Add(-time.Hour)) || now.After(latest.Add(time.Hour))) {
			t.Errorf("%x gave %s", answer, now)
		}
	})
}
