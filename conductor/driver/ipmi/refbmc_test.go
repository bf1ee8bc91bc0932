package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	refbmc "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/google/go-cmp/cmp"

	"ferric/integration/faults/proxy"
)

const refPassword = "20-bytes-of-password"

// startReference runs go-ipmi's BMC: all cipher suites, boot flags with all their bits. It has an administrator
// "admin" and a "viewer" who may only look.
func startReference(t *testing.T, options ...refbmc.Option) (Info, hal.ChassisHAL) {
	t.Helper()
	return serveReference(t, nil, options...)
}

func serveReference(t *testing.T, serving []server.ServerOption, options ...refbmc.Option) (Info, hal.ChassisHAL) {
	t.Helper()
	return serveMachine(t, nil, serving, options...)
}

// serveMachine is serveReference with a machine that edit may change.
func serveMachine(t *testing.T, edit func(*mock.HAL), serving []server.ServerOption, options ...refbmc.Option) (Info, hal.ChassisHAL) {
	t.Helper()
	return serveMachineAt(t, 623, edit, serving, options...)
}

// serveMachineAt says that its serial console is at payloadPort.
func serveMachineAt(t *testing.T, payloadPort uint16, edit func(*mock.HAL), serving []server.ServerOption, options ...refbmc.Option) (Info, hal.ChassisHAL) {
	t.Helper()
	machine := mock.New()
	if edit != nil {
		edit(machine)
	}
	b := refbmc.New(refbmc.DeviceInfo{}, [16]byte{0xa1, 0x23}, machine, options...)
	for id, user := range map[uint8]struct {
		name  string
		level refbmc.PrivilegeLevel
	}{2: {"admin", refbmc.PrivilegeLevelAdministrator}, 3: {"viewer", refbmc.PrivilegeLevelUser}} {
		if _, err := b.Users.Add(id, user.name); err != nil {
			t.Fatal(err)
		}
		if err := b.Users.Update(id, func(u *refbmc.User) error {
			u.SetPassword([]byte(refPassword))
			u.Password20, u.Enabled = true, true
			u.ChannelAccess = map[uint8]refbmc.UserChannelAccess{1: {MaxPrivilege: user.level, Enabled: true}}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := udp.Listen("127.0.0.1:0", udp.WithReadTimeout(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	s := server.NewServer(b, conn, serving...)
	b.SOL.Config().PayloadPort = payloadPort
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Serve(ctx) })
	t.Cleanup(func() { cancel(); s.Close(); running.Wait() })
	info := parse(t, map[string]any{"ipmi_address": "127.0.0.1", "ipmi_port": conn.LocalAddr().(*net.UDPAddr).Port,
		"ipmi_username": "admin", "ipmi_password": refPassword})
	return info, machine.Chassis()
}

func TestBootFlags(t *testing.T) {
	info, chassis := startReference(t)
	bmcs := newBMCs(t, nil)
	device, persistent, err := bmcs.BootDevice(t.Context(), info)
	if device != "" || persistent != nil || err != nil {
		t.Errorf("before any was set: %q, %v, %v; want unknown", device, persistent, err)
	}
	for _, device := range SupportedBootDevices() {
		for _, persistent := range []bool{false, true} {
			for _, uefi := range []bool{false, true} {
				name := fmt.Sprintf("%s persistent=%t uefi=%t", device, persistent, uefi)
				if err := bmcs.SetBootDevice(t.Context(), info, device, persistent, uefi); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				flags, err := chassis.GetBootFlags(t.Context())
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				first := byte(0x80)
				if persistent {
					first |= 0x40
				}
				if uefi {
					first |= 0x20
				}
				want := []byte{first, map[string]byte{"pxe": 0x04, "disk": 0x08, "cdrom": 0x14, "bios": 0x18, "safe": 0x0c}[device], 0, 0, 0}
				if diff := cmp.Diff(want, flags.Pack()); diff != "" {
					t.Errorf("%s: flags (-want +got):\n%s", name, diff)
				}
				gotDevice, gotPersistent, err := bmcs.BootDevice(t.Context(), info)
				if err != nil || gotDevice != device || gotPersistent == nil || *gotPersistent != persistent {
					t.Errorf("%s: read back %q, %v, %v", name, gotDevice, gotPersistent, err)
				}
			}
		}
	}
	info.Vendor = "supermicro"
	if err := bmcs.SetBootDevice(t.Context(), info, "disk", true, true); err != nil {
		t.Fatal(err)
	}
	if flags, _ := chassis.GetBootFlags(t.Context()); flags.Pack()[1] != 0x24 {
		t.Errorf("Supermicro UEFI disk selector %#x; want 0x24", flags.Pack()[1])
	}
}

func TestCipherSuites(t *testing.T) {
	tests := []struct {
		name   string
		bmc    []types.CipherSuiteID
		pinned int
		want   int
	}{
		{"both, 17 first", []types.CipherSuiteID{3, 17}, 0, 17},
		{"only 17", []types.CipherSuiteID{17}, 0, 17},
		{"only 3", []types.CipherSuiteID{3}, 0, 3},
		{"both, 3 pinned", []types.CipherSuiteID{3, 17}, 3, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, _ := startReference(t, refbmc.WithCipherSuites(tt.bmc))
			info.CipherSuite = tt.pinned
			bmcs := newBMCs(t, nil)
			for range 2 { // the second time with the remembered suite
				if _, err := bmcs.PowerState(t.Context(), info); err != nil {
					t.Fatal(err)
				}
				if got := bmcs.bmcs[info.endpoint()].suite; got != tt.want {
					t.Errorf("suite %d; want %d", got, tt.want)
				}
			}
		})
	}
	t.Run("forgets a suite that the BMC lost", func(t *testing.T) {
		info, _ := startReference(t, refbmc.WithCipherSuites([]types.CipherSuiteID{3}))
		bmcs := newBMCs(t, nil)
		if _, err := bmcs.PowerState(t.Context(), info); err != nil {
			t.Fatal(err)
		}
		bmcs.closeKept()
		bmcs.bmcs[info.endpoint()].suite = 17
		if _, err := bmcs.PowerState(t.Context(), info); err != nil || bmcs.bmcs[info.endpoint()].suite != 3 {
			t.Errorf("error %v, suite %d; want 3", err, bmcs.bmcs[info.endpoint()].suite)
		}
	})
}

func TestKgKey(t *testing.T) {
	key := []byte("0123456789abcdefghij")
	info, _ := startReference(t, refbmc.WithKG(key))
	bmcs := newBMCs(t, nil)
	info.KgKey = Secret(key)
	if _, err := bmcs.PowerState(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []Secret{"", "01234567890123456789"} {
		info.KgKey = wrong
		if _, err := bmcs.PowerState(t.Context(), info); !errors.Is(err, ErrAuth) || !strings.Contains(err.Error(), "ipmi_hex_kg_key") {
			t.Errorf("wrong key: %v; want ErrAuth that names ipmi_hex_kg_key", err)
		}
	}
}

func TestPrivilege(t *testing.T) {
	info, chassis := startReference(t)
	bmcs := newBMCs(t, nil)
	info.Username = "viewer"
	_, err := bmcs.PowerState(t.Context(), info)
	if !errors.Is(err, ErrPrivilege) || errors.Is(err, ErrAuth) || !strings.Contains(err.Error(), "ipmi_priv_level") {
		t.Errorf("viewer as administrator: %v; want ErrPrivilege", err)
	}
	info.PrivilegeLevel = types.PrivilegeLevelUser
	if state, err := bmcs.PowerState(t.Context(), info); err != nil {
		t.Errorf("viewer reads: %q, %v", state, err)
	}
	before, _ := chassis.PowerState(t.Context())
	target := "power on"
	if before {
		target = "power off"
	}
	if err := bmcs.SetPower(t.Context(), info, target, 0); !errors.Is(err, ErrPrivilege) {
		t.Errorf("viewer switches: %v; want ErrPrivilege", err)
	}
	if after, _ := chassis.PowerState(t.Context()); after != before {
		t.Errorf("viewer switched the machine")
	}
}

func TestConcurrentOperations(t *testing.T) {
	info, _ := startReference(t)
	p := proxy.StartUDP(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: info.Port}, func(fromBMC bool, _ int, _ []byte) (int, time.Duration) {
		if fromBMC {
			return 1, 2 * time.Millisecond
		}
		return 1, 0
	})
	bmcs := newBMCs(t, nil)
	info.Port = p.Port()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if i%3 == 0 {
				if err := bmcs.SetBootDevice(t.Context(), info, "pxe", false, true); err != nil {
					t.Error(err)
				}
				return
			}
			if _, err := bmcs.PowerState(t.Context(), info); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p.MaxInAir() != 1 {
		t.Errorf("up to %d requests at once on one BMC; want 1", p.MaxInAir())
	}
}
