package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager/hwmtest"
)

func TestReadLAN(t *testing.T) {
	type key struct{ channel, parameter, set byte }
	type lan map[key][]byte
	v6 := func(set, source byte, addr string, status byte) []byte {
		data := append([]byte{set, source}, addr...)
		return append(data, 64, status)
	}
	const global = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x15"
	const other = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x16"
	const unset = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	address, mac := []byte{192, 0, 2, 115}, []byte{0x3c, 0xec, 0xef, 0xaa, 0xbb, 0xcc}
	tests := []struct {
		name            string
		lan             lan
		v4, v6, bmcMAC  string
		dead, wantError bool
	}{
		{"nothing configured", nil, "0.0.0.0", "::/0", "", false, false},
		{"first channel", lan{{1, 3, 0}: address, {1, 5, 0}: mac}, "192.0.2.115", "::/0", "3c:ec:ef:aa:bb:cc", false, false},
		{"channel 8, others zero", lan{{1, 3, 0}: {0, 0, 0, 0}, {1, 5, 0}: {1, 2, 3, 4, 5, 6}, {2, 3, 0}: {255, 255, 255, 255}, {8, 3, 0}: address, {8, 5, 0}: mac},
			"192.0.2.115", "::/0", "3c:ec:ef:aa:bb:cc", false, false},
		{"no MAC address", lan{{1, 3, 0}: address, {1, 5, 0}: {0, 0, 0, 0, 0, 0}}, "192.0.2.115", "::/0", "", false, false},
		{"families on two channels", lan{{1, 3, 0}: address, {3, 51, 0}: {1}, {3, 55, 0}: {1, 1, 0}, {3, 59, 0}: v6(0, 2, global, 0)},
			"192.0.2.115", "2001:db8::115", "", false, false},
		{"dynamic before static", lan{{1, 51, 0}: {2}, {1, 55, 0}: {1, 1, 0}, {1, 56, 0}: v6(0, 0x80, other, 0), {1, 59, 0}: v6(0, 1, global, 0)},
			"0.0.0.0", "2001:db8::115", "", false, false},
		{"second static one is the enabled one", lan{{1, 51, 0}: {2}, {1, 55, 0}: {2, 0, 0}, {1, 56, 0}: v6(0, 0, other, 0), {1, 56, 1}: v6(1, 0x80, global, 0)},
			"0.0.0.0", "2001:db8::115", "", false, false},
		{"not active", lan{{1, 51, 0}: {1}, {1, 55, 0}: {1, 0, 0}, {1, 56, 0}: v6(0, 0x80, global, 1)}, "0.0.0.0", "::/0", "", false, false},
		{"not set", lan{{1, 51, 0}: {1}, {1, 55, 0}: {1, 0, 0}, {1, 56, 0}: v6(0, 0x80, unset, 0)}, "0.0.0.0", "::/0", "", false, false},
		{"IPv6 switched off", lan{{1, 51, 0}: {0}, {1, 55, 0}: {1, 0, 0}, {1, 56, 0}: v6(0, 0x80, global, 0)}, "0.0.0.0", "::/0", "", false, false},
		{"too short", lan{{1, 3, 0}: {192, 0}, {1, 5, 0}: {1}, {1, 51, 0}: {1}, {1, 55, 0}: {255, 255}, {1, 56, 0}: {0, 0x80}}, "0.0.0.0", "::/0", "", false, false},
		{"dead", nil, "", "", "", true, true},
	}
	for _, test := range tests {
		requests := 0
		facts, err := readLAN(context.Background(), func(channel, parameter, set byte) ([]byte, error) {
			requests++
			if test.dead {
				return nil, fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)
			}
			data, ok := test.lan[key{channel, parameter, set}]
			if !ok {
				return nil, errors.New("parameter not supported")
			}
			return append([]byte{0x11}, data...), nil
		})
		if (err != nil) != test.wantError {
			t.Errorf("%s: error %v", test.name, err)
			continue
		}
		if test.dead && requests != 1 {
			t.Errorf("%s: %d requests; each costs a time limit", test.name, requests)
		}
		if err != nil {
			continue
		}
		got := []string{*facts.v4, *facts.v6, facts.mac}
		if diff := cmp.Diff([]string{test.v4, test.v6, test.bmcMAC}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestNoBMC: without a device there is no address, not even an empty one.
func TestNoBMC(t *testing.T) {
	var cache bmcCache
	facts, err := cache.read(context.Background(), hwmtest.Machine(t, "testdata/lab.machine"), false)
	if err != nil || facts.v4 != nil || facts.v6 != nil || facts.mac != "" {
		t.Errorf("facts %+v, error %v; want none of either", facts, err)
	}
}

// TestDeadBMC: a file is no device, so the first request fails; it is not
// repeated at once.
func TestDeadBMC(t *testing.T) {
	h := hwmtest.Machine(t, "testdata/lab.machine")
	path := h.Dev + "/ipmi0"
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var cache bmcCache
	if _, err := cache.read(context.Background(), h, false); err == nil {
		t.Fatal("a file answered as a BMC")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.read(context.Background(), h, false); err == nil {
		t.Error("a BMC that failed was asked again at once")
	}
}

// TestLateBMC: the device of a BMC that the firmware announces appears while it
// is waited for; it is waited for once.
func TestLateBMC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hwmtest.Machine(t, "testdata/lab.machine")
		var cache bmcCache
		started := time.Now()
		if facts, err := cache.read(t.Context(), h, true); err != nil || facts.v4 != nil {
			t.Errorf("facts %+v, error %v; want none of either", facts, err)
		}
		if facts, err := cache.read(t.Context(), h, true); err != nil || facts.v4 != nil {
			t.Errorf("facts %+v, error %v; want none of either", facts, err)
		}
		if took := time.Since(started); took != bmcPatience {
			t.Errorf("waited %s; want %s", took, bmcPatience)
		}
		other := bmcCache{}
		go func() {
			time.Sleep(time.Second)
			// Not a device, but there.
			if err := os.WriteFile(h.Dev+"/ipmi0", nil, 0o600); err != nil {
				t.Error(err)
			}
		}()
		started = time.Now()
		if _, err := other.read(t.Context(), h, true); err == nil {
			t.Error("a file answered as a BMC")
		}
		if took := time.Since(started); took < time.Second || took > time.Second+bmcPoll {
			t.Errorf("waited %s for a device that appears after 1s", took)
		}
	})
}
