package ipmi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/types"

	"ferric/integration/faults/proxy"
)

// serialLine is the other end of ipmi_sim's serial-over-LAN: the machine's UART, at a TCP port.
type serialLine struct {
	mu    sync.Mutex
	conn  net.Conn
	typed bytes.Buffer
}

// startSerial accepts ipmi_sim's connection, again when it comes anew.
func startSerial(t *testing.T) (*serialLine, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	line := &serialLine{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line.mu.Lock()
			line.conn = conn
			line.mu.Unlock()
			running.Go(func() {
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					line.mu.Lock()
					line.typed.Write(buf[:n])
					line.mu.Unlock()
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		line.mu.Lock()
		if line.conn != nil {
			line.conn.Close()
		}
		line.mu.Unlock()
		running.Wait()
	})
	return line, l.Addr().(*net.TCPAddr).Port
}

func (s *serialLine) isUp() bool    { s.mu.Lock(); defer s.mu.Unlock(); return s.conn != nil }
func (s *serialLine) input() string { s.mu.Lock(); defer s.mu.Unlock(); return s.typed.String() }

// say has the machine print.
func (s *serialLine) say(t *testing.T, text []byte) {
	t.Helper()
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	if _, err := conn.Write(text); err != nil {
		t.Error(err)
	}
}

// startSerialSimulator is ipmi_sim with a serial line.
func startSerialSimulator(t *testing.T) (*simulator, *serialLine) {
	t.Helper()
	line, port := startSerial(t)
	sim := startSimulatorWith(t, fmt.Sprintf("  sol \"tcp:localhost:%d\" 115200\n", port))
	waitUntil(t, "ipmi_sim has the serial line", line.isUp)
	return sim, line
}

// reader gathers what a line says.
type reader struct {
	mu   sync.Mutex
	text bytes.Buffer
	err  error
}

func gather(r io.Reader) *reader {
	g := &reader{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			g.mu.Lock()
			g.text.Write(buf[:n])
			g.err = err
			g.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return g
}

func (g *reader) String() string { g.mu.Lock(); defer g.mu.Unlock(); return g.text.String() }
func (g *reader) ended() error   { g.mu.Lock(); defer g.mu.Unlock(); return g.err }

// noise is text without regularity, so that a piece that is lost or comes twice shows.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(' ' + r.IntN(95))
	}
	return b
}

func openSOL(t *testing.T, b *BMCs, info Info, takeOver bool) *SOL {
	t.Helper()
	l, err := b.OpenSOL(t.Context(), info, takeOver)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestSOL passes text both ways through ipmi_sim, as it is and over a network that loses some of it, doubles and
// delays. ipmi_sim says no more after it has repeated five packets, so it loses few.
func TestSOL(t *testing.T) {
	networks := map[string]struct {
		rule         proxy.Rule
		says, typing int
	}{
		"clean": {nil, 1 << 20, 8 << 10},
		"lossy": {func(back bool, n int, _ []byte) (int, time.Duration) {
			switch {
			case n > 12 && n < 40 && n%9 == 3:
				return 0, 0
			case n%7 == 2:
				return 2, 0
			case n%11 == 5:
				return 1, 3 * time.Millisecond
			}
			return 1, 0
		}, 16 << 10, 2 << 10},
	}
	for name, network := range networks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, machine := startSerialSimulator(t)
			info := sim.info
			if network.rule != nil {
				// At the same port, which the BMC names as that of the serial line.
				at := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2), Port: info.Port}
				proxy.StartUDPAt(t, at, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: info.Port}, network.rule)
				info.Address = at.IP.String()
			}
			line := openSOL(t, newBMCs(t, nil), info, true)
			bothWays(t, line, noise(network.says), noise(network.typing), machine.say, machine.input)
			if err := line.Break(); err != nil {
				t.Errorf("break: %v", err)
			}
			if sol := sim.ipmitool(t, "sol", "info"); !strings.Contains(sol, "Enabled                         : true") {
				t.Errorf("ipmitool's sol info:\n%s", sol)
			}
		})
	}
}

// bothWays has the machine say one text while the other is typed, and compares what arrives.
func bothWays(t *testing.T, line *SOL, says, typed []byte, say func(*testing.T, []byte), input func() string) {
	t.Helper()
	seen, began := gather(line), time.Now()
	var both sync.WaitGroup
	both.Go(func() { say(t, says) })
	both.Go(func() {
		if _, err := line.Write(typed); err != nil {
			t.Errorf("write: %v", err)
		}
	})
	both.Wait()
	waitUntil(t, "all text is here", func() bool { return len(seen.String()) >= len(says) || seen.ended() != nil })
	t.Logf("%d characters in %s", len(says), time.Since(began).Round(time.Millisecond))
	if got := seen.String(); got != string(says) {
		t.Errorf("the machine's text is not what came: %d characters of %d, the same up to %d; %v", len(got), len(says), same(got, string(says)), seen.ended())
	}
	waitUntil(t, "all is typed", func() bool { return len(input()) >= len(typed) || seen.ended() != nil })
	if got := input(); got != string(typed) {
		t.Errorf("what was typed is not what came: %d characters of %d, the same up to %d; %v", len(got), len(typed), same(got, string(typed)), seen.ended())
	}
}

// TestSOLLoses a fifth of the datagrams of each side, with cipher suite 17.
func TestSOLLoses(t *testing.T) {
	t.Parallel()
	conn := &mock.FakeConsoleConn{}
	info := referenceSerial(t, conn)
	bmcs := newBMCs(t, nil)
	const retries, interval = 7, 2 // of the BMC, in 10 ms
	if err := bmcs.SendRaw(t.Context(), info, []byte{uint8(types.NetFnTransportRequest), 0x21, 0x0e, 4, retries, interval}); err != nil {
		t.Fatal(err)
	}
	info, _ = behindProxy(t, info, func(_ bool, n int, _ []byte) (int, time.Duration) {
		n-- // the question for the cipher suites comes first
		switch {
		case n > 12 && n%5 == 3:
			return 0, 0
		case n%7 == 2:
			return 2, 0
		case n%11 == 5:
			return 1, 3 * time.Millisecond
		}
		return 1, 0
	})
	say := func(_ *testing.T, text []byte) { conn.FeedRX(text) }
	bothWays(t, openSOL(t, bmcs, info, true), noise(16<<10), noise(2<<10), say, conn.TXString)
}

func same(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestSOLBesideIpmitool has the line taken over from ipmitool, left to it, and taken back by it.
func TestSOLBesideIpmitool(t *testing.T) {
	sim, machine := startSerialSimulator(t)
	script := tool(t, "script")
	bmcs := newBMCs(t, nil)
	bmcs.solQuiet = 200 * time.Millisecond
	other := func() (shown *reader, end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		command := fmt.Sprintf("ipmitool -I lanplus -C 3 -H %s -p %d -U %s -P %s sol activate", sim.info.Address, sim.info.Port, sim.info.Username, simPassword)
		cmd := exec.CommandContext(ctx, script, "-qfec", command, "/dev/null")
		keys, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown = gather(out)
		end = sync.OnceFunc(func() {
			keys.Write([]byte("~."))
			done := make(chan struct{})
			go func() { cmd.Wait(); close(done) }()
			select {
			case <-done:
			case <-time.After(5 * time.Second):
			}
			cancel()
		})
		t.Cleanup(end)
		waitUntil(t, "ipmitool has the line", func() bool { return strings.Contains(shown.String(), "SOL Session operational") })
		return shown, end
	}

	theirs, end := other()
	if _, err := bmcs.OpenSOL(t.Context(), sim.info, false); !errors.Is(err, ErrConsoleTaken) {
		t.Fatalf("while ipmitool has the line: %v; want ErrConsoleTaken", err)
	}
	machine.say(t, []byte("for ipmitool\r\n"))
	waitUntil(t, "ipmitool shows it", func() bool { return strings.Contains(theirs.String(), "for ipmitool") })
	ours := gather(openSOL(t, bmcs, sim.info, true))
	machine.say(t, []byte("for ferric\r\n"))
	waitUntil(t, "ferric shows it", func() bool { return strings.Contains(ours.String(), "for ferric") })
	if strings.Contains(theirs.String(), "for ferric") {
		t.Error("ipmitool shows what came after it lost the line")
	}
	end() // which frees the line, whoever has it
	waitUntil(t, "ferric knows that it has lost the line", func() bool { return ours.ended() != nil })
	if err := ours.ended(); !errors.Is(err, errLineEnded) {
		t.Errorf("the line ended with %v", err)
	}
	_, end = other()
	if _, err := bmcs.OpenSOL(t.Context(), sim.info, false); !errors.Is(err, ErrConsoleTaken) {
		t.Errorf("ipmitool has the line again: %v; want ErrConsoleTaken", err)
	}
	end()
	waitUntil(t, "the line is free", func() bool {
		l, err := bmcs.OpenSOL(t.Context(), sim.info, false)
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}

// referenceSerial is go-ipmi's BMC with a serial line.
func referenceSerial(t *testing.T, conn hal.ConsoleConn) Info {
	t.Helper()
	info, _ := serveMachine(t, func(m *mock.HAL) {
		m.SetConsole(&mock.Console{OpenHook: func(context.Context) (hal.ConsoleConn, error) { return conn, nil }})
	}, nil)
	return info
}

// TestSOLOnReference uses cipher suite 17 and a machine that takes seven characters at a time.
func TestSOLOnReference(t *testing.T) {
	conn := &mock.FakeConsoleConn{WriteLimit: 7}
	info := referenceSerial(t, conn)
	bmcs := newBMCs(t, nil)
	line := openSOL(t, bmcs, info, true)
	seen, text := gather(line), noise(16<<10)
	conn.FeedRX(text)
	typed := noise(300)
	if _, err := line.Write(typed); err != nil {
		t.Fatal(err)
	}
	if got := conn.TXString(); got != string(typed) {
		t.Errorf("typed %d characters of %d, the same up to %d", len(got), len(typed), same(got, string(typed)))
	}
	waitUntil(t, "all text is here", func() bool { return len(seen.String()) >= len(text) })
	if got := seen.String(); got != string(text) {
		t.Errorf("text is the same up to %d of %d", same(got, string(text)), len(text))
	}
	if err := line.Break(); err != nil || conn.Breaks != 1 {
		t.Errorf("break: %v, the machine got %d", err, conn.Breaks)
	}
	config, err := bmcs.SOLConfig(t.Context(), info)
	if err != nil || config.Enabled == nil || !*config.Enabled || config.BitRate == nil || *config.BitRate != 115.2 || config.Port == nil || *config.Port != 623 {
		t.Errorf("settings %+v, %v", config, err)
	}
	if suite := line.session.suite.id; suite != 17 {
		t.Errorf("cipher suite %d; want 17", suite)
	}
}

// TestSOLIsEnabled opens the line of a BMC that has serial-over-LAN switched off.
func TestSOLIsEnabled(t *testing.T) {
	conn := &mock.FakeConsoleConn{}
	info := referenceSerial(t, conn)
	bmcs := newBMCs(t, nil)
	if err := bmcs.SendRaw(t.Context(), info, []byte{uint8(types.NetFnTransportRequest), 0x21, 0x0e, 1, 0}); err != nil {
		t.Fatal(err)
	}
	line := openSOL(t, bmcs, info, true)
	if _, err := line.Write([]byte("x")); err != nil || conn.TXString() != "x" {
		t.Errorf("typed %q, %v", conn.TXString(), err)
	}
}

// TestSOLEnds has the BMC fall silent under an open line, and the driver shut down.
func TestSOLEnds(t *testing.T) {
	t.Parallel()
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		info := referenceSerial(t, &mock.FakeConsoleConn{})
		info, p := behindProxy(t, info, nil)
		bmcs := newBMCs(t, nil)
		bmcs.solQuiet = 50 * time.Millisecond
		line := openSOL(t, bmcs, info, true)
		p.SetRule(func(bool, int, []byte) (int, time.Duration) { return 0, 0 })
		if _, err := line.Read(make([]byte, 1)); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%v; want ErrUnreachable", err)
		}
	})
	t.Run("shut down", func(t *testing.T) {
		t.Parallel()
		bmcs := newBMCs(t, nil)
		line := openSOL(t, bmcs, referenceSerial(t, &mock.FakeConsoleConn{}), true)
		bmcs.Close()
		if _, err := line.Write([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("%v; want ErrClosed", err)
		}
	})
	t.Run("a machine that takes nothing", func(t *testing.T) {
		t.Parallel()
		conn := &busyConn{}
		conn.isBusy.Store(true)
		line := openSOL(t, newBMCs(t, nil), referenceSerial(t, conn), true)
		if _, err := line.Write([]byte("x")); !errors.Is(err, ErrNotTaken) {
			t.Errorf("%v; want ErrNotTaken", err)
		}
		conn.isBusy.Store(false)
		if _, err := line.Write([]byte("y")); err != nil || !strings.HasSuffix(conn.TXString(), "y") {
			t.Errorf("when it takes again: %q, %v", conn.TXString(), err)
		}
	})
}

// busyConn takes nothing at times.
type busyConn struct {
	mock.FakeConsoleConn
	isBusy atomic.Bool
}

func (c *busyConn) Write(b []byte) (int, error) {
	if c.isBusy.Load() {
		return 0, nil
	}
	return c.FakeConsoleConn.Write(b)
}

// TestSOLAtAnotherPort has a BMC that names another port than the one that it is managed by.
func TestSOLAtAnotherPort(t *testing.T) {
	conn := &mock.FakeConsoleConn{}
	second := referenceSerial(t, conn)
	first, _ := serveMachineAt(t, uint16(second.Port), func(m *mock.HAL) {
		m.SetConsole(&mock.Console{Conn: &mock.FakeConsoleConn{}})
	}, nil)
	line := openSOL(t, newBMCs(t, nil), first, true)
	if _, err := line.Write([]byte("x")); err != nil || conn.TXString() != "x" {
		t.Errorf("typed %q, %v", conn.TXString(), err)
	}
}

func TestPayloadEndpoint(t *testing.T) {
	for _, tc := range []struct {
		port  uint16
		want  string
		other bool
	}{
		{0, "bmc:7623", false}, {623, "bmc:7623", false}, {0x6f02, "bmc:7623", false}, {7623, "bmc:7623", false}, {0xc71d, "bmc:7623", false},
		{664, "bmc:664", true},
	} {
		if got, other := payloadEndpoint("bmc:7623", tc.port); got != tc.want || other != tc.other {
			t.Errorf("port %d: %s, %t; want %s, %t", tc.port, got, other, tc.want, tc.other)
		}
	}
}

// TestIncoming follows packets of the BMC that come twice, late, longer when repeated, or in any order.
func TestIncoming(t *testing.T) {
	l := &SOL{text: make(chan []byte, 16), session: newSession(t, 3)}
	local, far := net.Pipe()
	go io.Copy(io.Discard, far)
	t.Cleanup(func() { local.Close(); far.Close() })
	l.session.wire = &wire{conn: local}
	packet := func(n uint8, text string, number uint32) {
		l.incoming(types.SOLPayloadPacket{SequenceNumber: n, CharacterData: []byte(text)}, number)
	}
	packet(4, "one ", 20)
	packet(4, "one ", 21)     // the acknowledgement was lost
	packet(4, "one two ", 23) // with more text
	packet(4, "one ", 22)     // overtaken
	packet(4, "one two ", 23) // doubled
	packet(5, "three ", 24)
	packet(6, "four ", 26)
	packet(4, "one two ", 21) // late
	packet(5, "three ", 25)
	packet(6, "four five", 27)
	close(l.text)
	var got []byte
	for text := range l.text {
		got = append(got, text...)
	}
	if string(got) != "one two three four five" {
		t.Errorf("got %q", got)
	}
}

func FuzzSOL(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0, 'a', 'b'}, uint32(7))
	f.Add([]byte{0, 1, 255, 0x70}, uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint32) {
		p, ok := parseSOL(b)
		if !ok {
			return
		}
		local, far := net.Pipe()
		defer local.Close()
		go io.Copy(io.Discard, far)
		defer far.Close()
		l := &SOL{text: make(chan []byte, 4), session: newSession(t, 17), log: quiet(), maxChars: 4}
		l.session.wire = &wire{conn: local}
		w := &solWrite{data: []byte("a longer text"), done: make(chan error, 1)}
		l.sent = w
		l.transmit()
		for range 3 {
			l.packet(p, number)
			if l.sent != nil && (len(w.data) > 13 || w.inPacket < 0 || w.inPacket > len(w.data)) {
				t.Fatalf("a write with %d characters left, %d in the packet", len(w.data), w.inPacket)
			}
		}
	})
}
