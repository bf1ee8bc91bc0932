package ipmi

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	refbmc "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/types"

	"ferric/conductor/store"
)

// What worked is known to the next process, which does not ask; a BMC that has another suite by then is logged in on
// nevertheless, and a wrong password is not tried with another suite that the BMC has.
func TestSuiteIsRemembered(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const list, login, command = 1, 4, 1
	only := func(id types.CipherSuiteID) Info {
		info, _ := startReference(t, refbmc.WithCipherSuites([]types.CipherSuiteID{id}))
		return info
	}
	three, seventeen := only(3), only(17)
	ask := func(info Info, want, datagrams int) {
		t.Helper()
		info, p := behindProxy(t, info, nil)
		if err := db.SetCipherSuite(t.Context(), info.endpoint(), want); want != 0 && err != nil {
			t.Fatal(err)
		}
		bmcs := newBMCs(t, func(c *Config) { c.Memory = db })
		defer bmcs.Close()
		if _, err := bmcs.PowerState(t.Context(), info); err != nil {
			t.Fatal(err)
		}
		if got := p.Requests(); got != datagrams {
			t.Errorf("%d datagrams, want %d", got, datagrams)
		}
		got, err := db.CipherSuite(t.Context(), info.endpoint())
		if err != nil || got != bmcs.bmcs[info.endpoint()].suite || got == 0 {
			t.Errorf("remembered %d, %v", got, err)
		}
	}
	ask(three, 0, list+login+command) // which is not tried with 17 first
	ask(three, 3, login+command)      // as after a restart
	ask(seventeen, 17, login+command)
	ask(seventeen, 3, 1+list+login+command) // the firmware has changed: one refusal
	ask(three, 17, 1+list+login+command)
	ask(three, 5, list+login+command) // not one that is allowed
	info, p := behindProxy(t, three, nil)
	if err := db.SetCipherSuite(t.Context(), info.endpoint(), 3); err != nil {
		t.Fatal(err)
	}
	info.Password = "rotated"
	bmcs := newBMCs(t, func(c *Config) { c.Memory = db })
	if _, err := bmcs.PowerState(t.Context(), info); !errors.Is(err, ErrAuth) || !strings.Contains(err.Error(), "suite 3") {
		t.Error(err)
	}
	if got := p.Requests(); got != 2+list {
		t.Errorf("%d datagrams for a wrong password", got)
	}
	if bmcs.bmcs[info.endpoint()].suite != 3 {
		t.Error("the suite is forgotten for a wrong password")
	}
}

// A list longer than an answer comes in parts; suites of vendors are none of ours, and what breaks off is left out.
func TestListSuites(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	records := unhex(t, "c0 03 01 41 81 c1 80 57 01 00 01 41 81 c0 08 02 42 81 c0 11 03 44 81 c0")
	go func() {
		b := make([]byte, 100)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil || n < 23 {
				return
			}
			part := records[min(len(records), int(b[22]&0x3f)*suitePartSize):]
			body := append([]byte{0x81, 0x1c, 0x63, 0x20, b[18], 0x54, 0x00, 0x01}, part[:min(len(part), suitePartSize)]...)
			body = append(body, -sum(body[3:]))
			conn.WriteTo(append([]byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, uint8(len(body))}, body...), from)
		}
	}()
	w, err := dial(t.Context(), conn.LocalAddr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if got, err := listSuites(t.Context(), w); err != nil || !slices.Equal(got, []int{3, 8, 17}) {
		t.Fatal(got, err)
	}
}

func FuzzSessionless(f *testing.F) {
	f.Add([]byte("\x06\x00\xff\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03abc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := sessionless(b); ok && len(m) > len(b)-rmcpHeaderSize-sessionHeader15 {
			t.Fatal(m)
		}
	})
}
