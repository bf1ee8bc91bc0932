package ipmi

import (
	"bytes"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"
)

// newSession returns a session with made-up keys, for packing and unpacking.
func newSession(tb testing.TB, id int) *rmcpPlus {
	tb.Helper()
	s, err := suiteOf(id)
	if err != nil {
		tb.Fatal(err)
	}
	size := map[int]int{3: 12, 17: 16}[id]
	return &rmcpPlus{suite: s, consoleID: 7, bmcID: 7, k1: bytes.Repeat([]byte{1}, 32), k2: bytes.Repeat([]byte{2}, 32), authCodeSize: size}
}

func TestSealUnseal(t *testing.T) {
	for _, id := range []int{3, 17} {
		s := newSession(t, id)
		for n := range 40 {
			message := bytes.Repeat([]byte{0xab}, n)
			datagram, err := s.seal(types.PayloadTypeIPMI, message)
			if err != nil {
				t.Fatal(err)
			}
			if _, got, ok := s.unseal(datagram); !ok || !bytes.Equal(got, message) {
				t.Fatalf("suite %d, %d bytes: got %x, %t", id, n, got, ok)
			}
			for i := 4; i < len(datagram); i++ {
				datagram[i] ^= 0x10
				if _, got, ok := s.unseal(datagram); ok {
					t.Fatalf("suite %d: took a packet with byte %d changed as %x", id, i, got)
				}
				datagram[i] ^= 0x10
			}
			if _, _, ok := s.unseal(datagram[:len(datagram)-1]); ok {
				t.Fatalf("suite %d: took a packet that was cut", id)
			}
		}
	}
}

func FuzzReceive(f *testing.F) {
	s := newSession(f, 3)
	if datagram, err := s.seal(types.PayloadTypeIPMI, []byte("a message")); err == nil {
		f.Add(datagram)
	}
	f.Add([]byte{0x06, 0, 0xff, 0x07, 0x06, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 4}) // ipmi_sim refuses a suite
	f.Add([]byte{0x06, 0, 0xff, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0x81, 0x1c, 0x63, 0x20, 0, 1, 0xc1, 0x1e})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, size := range []int{0, 12, 16} {
			p, ok := parsePacket(b, size)
			if ok && p.authentic && len(p.authCode) != size {
				t.Errorf("authentication code of %d bytes; want %d", len(p.authCode), size)
			}
		}
		if _, message, ok := s.unseal(b); ok {
			parseMessage(message)
		}
		if m, ok := parseMessage(b); ok && m.Unpack(b) != nil {
			t.Error("took a message that does not unpack")
		}
		isLAN15(b)
		if device, persistent := parseBootFlags(b); (device == "") != (persistent == nil) {
			t.Errorf("device %q with persistent %v", device, persistent)
		}
	})
}

func TestStatusErrors(t *testing.T) {
	if err := statusError(types.RmcpStatusCodeNoErrors); err != nil {
		t.Errorf("status 0: %v", err)
	}
	for code := range 0x20 {
		if err := statusError(types.RmcpStatusCode(code)); (err == nil) != (code == 0) {
			t.Errorf("status %#x: %v", code, err)
		}
	}
}
