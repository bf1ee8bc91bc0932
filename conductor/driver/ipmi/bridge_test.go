package ipmi

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The messages are those that ipmitool 1.8.19 sends by IPMI 1.5, where they can be read: raw 6 1 with -m 0x20 -t 0x82
// -b 0, and with -m 0x20 -T 0x82 -B 0 -t 0x84 -b 7.
func TestBridgeWrap(t *testing.T) {
	for want, way := range map[string]Bridge{
		"20 18 c8 81 24 34 40 82 18 66 20 24 01 bb e7":                         {Kind: "single", LocalAddress: 0x20, TargetAddress: 0x82},
		"20 18 c8 81 24 34 40 82 18 66 20 24 34 47 84 18 64 20 24 01 bb 41 e7": {Kind: "dual", LocalAddress: 0x20, TargetChannel: 7, TargetAddress: 0x84, TransitAddress: 0x82},
	} {
		if got := way.wrap(9, types.CommandGetDeviceID, nil); hex.EncodeToString(got) != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s: % x; want %s", way.Kind, got, want)
		}
	}
}

// The first messages are what ipmi_sim answers; the others have the answer in that of the controllers between.
func TestBridgedAnswer(t *testing.T) {
	s := &rmcpPlus{rqSeq: 9}
	for name, tt := range map[string]struct {
		message string
		done    bool
		data    string
		code    types.CompletionCode // of Send Message
	}{
		"passed on":           {message: "81 1c 63 20 24 34 00 88"},
		"the answer":          {message: "20 1c c4 82 24 01 00 07 03 09 08 02 9f 34 12 00 bc 0a 00 00 00 00 91", done: true, data: "070309080 29f341200bc0a00000000"},
		"nobody there":        {message: "81 1c 63 20 24 34 83 05", code: 0x83},
		"transit refuses":     {message: "20 1c c4 82 24 34 c1 65", code: 0xc1},
		"another's answer":    {message: "20 1c c4 82 28 01 00 07 03 00"},
		"another command":     {message: "20 1c c4 82 24 02 00 07 03 00"},
		"with acknowledgment": {message: "81 1c 63 20 24 34 00 20 1c c4 82 24 01 00 aa bb 91 88", done: true, data: "aabb"},
		"in two":              {message: "81 1c 63 20 24 34 00 20 1c c4 82 24 34 00 20 1c c4 84 24 01 c3 91 00 88", done: true},
		"a nest of them":      {message: "81 1c 63 20 24 34 00 81 1c 63 20 24 34 00 81 1c 63 20 24 34 00 81 1c 63 20 24 34 00 00 00 00 00"},
		"cut off":             {message: "81 1c 63 20 24"},
		"nothing":             {},
	} {
		m, done, err := s.bridgedAnswer(unhex(t, tt.message), types.CommandGetDeviceID)
		var refused *CompletionError
		if errors.As(err, &refused) != (tt.code != 0) || refused != nil && (refused.Code != tt.code || refused.Command != types.CommandSendMessage) {
			t.Errorf("%s: %v", name, err)
		}
		if done != tt.done || done && tt.data != "" && hex.EncodeToString(m.Data) != strings.ReplaceAll(tt.data, " ", "") {
			t.Errorf("%s: %v, % x", name, done, m.Data)
		}
	}
}

// Two controllers are behind one BMC: both are reached through it in one session each, and ipmitool finds the same.
func TestBridged(t *testing.T) {
	t.Parallel()
	sim := startSimulatorIn(t, "", func(dir string) {
		emu := filepath.Join(dir, "sim.emu")
		text, err := os.ReadFile(emu)
		if err == nil {
			err = os.WriteFile(emu, append(text, "mc_add 0x82 7 no-device-sdrs 0x23 9 8 0x9f 0x2a2 0xabc\nmc_enable 0x82\n"...), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	bmcs := newBMCs(t, func(c *Config) { c.CommandRetryTimeout = 2 * time.Second })
	if out := sim.ipmitool(t, "-t", "0x82", "-b", "0", "mc", "info"); !strings.Contains(out, "674") {
		t.Fatalf("ipmitool says %s", out)
	}
	behind := func(address uint8) Info {
		info := sim.info
		info.Bridge = Bridge{Kind: "single", LocalAddress: 0x20, TargetAddress: address}
		return info
	}
	for range 2 {
		if vendor, err := bmcs.Vendor(t.Context(), behind(0x82)); vendor != "dell" || err != nil {
			t.Fatal(vendor, err)
		}
		if vendor, err := bmcs.Vendor(t.Context(), sim.info); vendor != "" || err != nil {
			t.Fatal(vendor, err)
		}
	}
	_, err := bmcs.Vendor(t.Context(), behind(0x84))
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "controller 0x84 on channel 0") {
		t.Fatal(err)
	}
	if c, ok := bmcs.Contacts(behind(0x84)); !ok || c.Last.OK {
		t.Error("the missing controller is not told", c)
	}
	if c, ok := bmcs.Contacts(behind(0x82)); !ok || !c.Last.OK || !c.Failure.At.IsZero() {
		t.Error("the failure of another controller is told", c)
	}
	dual := sim.info
	dual.Bridge = Bridge{Kind: "dual", LocalAddress: 0x20, TransitAddress: 0x82, TargetAddress: 0x84}
	var refused *CompletionError
	if _, err := bmcs.Vendor(t.Context(), dual); !errors.As(err, &refused) || refused.Code != 0xc1 || refused.Command != types.CommandSendMessage {
		t.Error("the simulated controller passes nothing on, which is to be told", err)
	}
}

func TestParseBridge(t *testing.T) {
	parsed := func(extra map[string]any) (Bridge, error) {
		extra["ipmi_address"] = "bmc"
		info, err := ParseInfo(extra)
		return info.Bridge, err
	}
	got, err := parsed(map[string]any{"ipmi_bridging": "dual", "ipmi_target_channel": 7.0, "ipmi_target_address": "0x84", "ipmi_transit_channel": "0", "ipmi_transit_address": "130", "ipmi_local_address": "0x22"})
	if want := (Bridge{Kind: "dual", TargetChannel: 7, TargetAddress: 0x84, TransitAddress: 0x82, LocalAddress: 0x22}); got != want || err != nil {
		t.Error(got, err)
	}
	got, err = parsed(map[string]any{"ipmi_bridging": "single", "ipmi_target_channel": "0", "ipmi_target_address": "0x82", "ipmi_transit_channel": "nonsense"})
	if want := (Bridge{Kind: "single", TargetAddress: 0x82, LocalAddress: 0x20}); got != want || err != nil {
		t.Error(got, err)
	}
	if _, err := parsed(map[string]any{"ipmi_bridging": "dual", "ipmi_target_channel": "0", "ipmi_target_address": "0x82"}); !errors.Is(err, ErrMissingParameter) ||
		!strings.Contains(err.Error(), "ipmi_transit_channel, ipmi_transit_address") {
		t.Error(err)
	}
	for key, value := range map[string]any{"ipmi_target_channel": "16", "ipmi_target_address": "0x100", "ipmi_local_address": "twenty", "ipmi_protocol_version": "1.5"} {
		with := map[string]any{"ipmi_bridging": "single", "ipmi_target_channel": "0", "ipmi_target_address": "0x82"}
		with[key] = value
		if _, err := parsed(with); !errors.Is(err, ErrInvalidParameter) || !strings.Contains(err.Error(), key) {
			t.Error(key, err)
		}
	}
}

func TestVendorName(t *testing.T) {
	for id, want := range map[uint32]string{674: "dell", 10876: "supermicro", 47488: "supermicro", 0xf00000 | 343: "intel", 0: "", 999_999: ""} {
		if got := vendorName(id); got != want {
			t.Errorf("%d is %q, want %q", id, got, want)
		}
	}
}
