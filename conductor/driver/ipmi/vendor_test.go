package ipmi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/types"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// TestSendRaw sets boot flags with the bytes that ipmitool would be given.
func TestSendRaw(t *testing.T) {
	vendor := NewVendor(newBMCs(t, func(c *Config) { c.Passthru = true }))
	node, chassis := newNode(t, nil)
	method := vendor.Methods()["send_raw"]
	args := map[string]any{"raw_bytes": "0x00 8 0x05 0xe0 0x08 0 0 0"}
	if err := method.Validate(node.Node, args); err != nil {
		t.Fatal(err)
	}
	if _, err := method.Run(t.Context(), node, args); err != nil {
		t.Fatal(err)
	}
	if flags, err := chassis.GetBootFlags(t.Context()); err != nil || flags.Pack()[0] != 0xe0 || flags.Pack()[1] != 0x08 {
		t.Errorf("boot flags %v, %v", flags, err)
	}
	step := vendor.CleanSteps()[0]
	outcome, err := step.Run(t.Context(), node, map[string]any{"raw_bytes": "0x00 0x08 0x05 0x80 0x04 0 0 0"})
	if flags, _ := chassis.GetBootFlags(t.Context()); err != nil || outcome != driver.Finished || flags.Pack()[1] != 0x04 {
		t.Errorf("step %s: boot flags %v, %v, %v", step.Name, flags, outcome, err)
	}
	// A refusal of the BMC is told.
	if _, err := method.Run(t.Context(), node, map[string]any{"raw_bytes": "0x2e 0x99"}); err == nil || !strings.Contains(err.Error(), "raw command") {
		t.Errorf("command that the BMC does not know: %v", err)
	}
	for _, bytes := range []any{nil, "", " ", "0x00", "256 1", "0x00 0x1g", 7., "1 2", "0x40 1", strings.Repeat("0 ", 201), []any{}} {
		var missing *driver.MissingParameterError
		var invalid *driver.InvalidParameterError
		if err := method.Validate(node.Node, map[string]any{"raw_bytes": bytes}); !errors.As(err, &missing) && !errors.As(err, &invalid) {
			t.Errorf("raw_bytes %v: %v", bytes, err)
		}
	}
}

// TestSentOnce counts the commands that must not be repeated, whatever the BMC
// answers to them.
func TestSentOnce(t *testing.T) {
	got := make(chan string, 8)
	registry := handlers.NewRegistry()
	handlers.RegisterAllHandlers(registry)
	for _, cmd := range []types.Command{types.CommandWarmReset, types.CommandColdReset, types.CommandChassisControl} {
		registry.RegisterFunc(cmd, func(_ context.Context, _ *handlers.HandlerContext, data []byte) ([]byte, types.CompletionCode, error) {
			got <- fmt.Sprintf("%s %x", cmd.Name, data)
			return nil, types.CodeNodeBusy, nil // which is tried again where it may be
		})
	}
	info, _ := serveReference(t, []server.ServerOption{server.WithHandlerRegistry(registry)})
	bmcs := newBMCs(t, nil)
	for what, send := range map[string]func() error{
		"Warm Reset ":        func() error { return bmcs.Reset(t.Context(), info, true) },
		"Cold Reset ":        func() error { return bmcs.Reset(t.Context(), info, false) },
		"Chassis Control 04": func() error { return bmcs.InjectNMI(t.Context(), info) },
	} {
		err := send()
		var busy *CompletionError
		if len(got) != 1 || <-got != what || !errors.As(err, &busy) {
			t.Errorf("%s: not what the BMC got, or not once; error %v", what, err)
		}
	}
}

func TestWarmReset(t *testing.T) {
	method := NewVendor(newBMCs(t, func(c *Config) { c.Passthru = true })).Methods()["bmc_reset"]
	node := &store.Node{DriverInfo: store.Object{"ipmi_address": "a"}}
	for _, tc := range []struct {
		warm any
		ok   bool
	}{{nil, true}, {true, true}, {"false", true}, {"tepid", false}, {[]any{}, false}} {
		if err := method.Validate(node, map[string]any{"warm": tc.warm}); (err == nil) != tc.ok {
			t.Errorf("warm %v: %v", tc.warm, err)
		}
	}
}

// What can do anything to a BMC is off until somebody switches it on; the rest of the methods is not.
func TestPassthruIsOff(t *testing.T) {
	methods := NewVendor(newBMCs(t, nil)).Methods()
	node := &store.Node{DriverInfo: store.Object{"ipmi_address": "a"}}
	for name, off := range map[string]bool{"send_raw": true, "bmc_reset": true, "get_sel": false, "clear_sel": false} {
		err := methods[name].Validate(node, map[string]any{"raw_bytes": "6 1"})
		if (err != nil) != off || off && !strings.Contains(err.Error(), "[ferric]ipmi_passthru") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
