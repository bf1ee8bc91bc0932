package ipmi

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Vendor is Ironic's vendor interface "ipmitool": raw commands and the reset of the BMC itself.
type Vendor struct{ bmcs *BMCs }

// NewVendor returns the vendor interface over bmcs.
func NewVendor(bmcs *BMCs) *Vendor { return &Vendor{bmcs} }

// Properties describes the driver_info keys.
func (v *Vendor) Properties() map[string]string { return Properties() }

// Methods are Ironic's send_raw and bmc_reset, and get_sel, clear_sel and get_sol_config of ours.
func (v *Vendor) Methods() map[string]driver.VendorMethod {
	return map[string]driver.VendorMethod{
		"send_raw": {
			Async: true, HTTPMethods: []string{"POST"}, RequireExclusiveLock: true,
			Description: "Send raw bytes to the BMC. Required argument: 'raw_bytes' - a string of raw bytes (e.g. '0x00 0x01').",
			Validate: func(n *store.Node, args map[string]any) error {
				if err := v.allowed("send_raw"); err != nil {
					return err
				}
				if _, err := rawBytes(args); err != nil {
					return err
				}
				_, err := nodeInfo(n)
				return err
			},
			Run: func(ctx context.Context, t *task.Task, args map[string]any) (any, error) {
				return nil, v.sendRaw(ctx, t, args)
			},
		},
		"bmc_reset": {
			Async: true, HTTPMethods: []string{"POST"}, RequireExclusiveLock: true,
			Description: "Reset the BMC. Required argument: 'warm' (Boolean) - for warm (True) or cold (False) reset.",
			Validate: func(n *store.Node, args map[string]any) error {
				if err := v.allowed("bmc_reset"); err != nil {
					return err
				}
				if _, err := warmReset(args); err != nil {
					return err
				}
				_, err := nodeInfo(n)
				return err
			},
			Run: func(ctx context.Context, t *task.Task, args map[string]any) (any, error) {
				warm, err := warmReset(args)
				if err != nil {
					return nil, err
				}
				info, err := nodeInfo(t.Node)
				if err != nil {
					return nil, err
				}
				return nil, v.bmcs.Reset(ctx, info, warm)
			},
		},
		"get_sel": {
			HTTPMethods: []string{"GET", "POST"},
			Description: "Read the BMC's event log, oldest first. Optional arguments: 'from' - the entry to begin at; 'limit' - so many entries at most, up to 1000.",
			Validate: func(n *store.Node, args map[string]any) error {
				if _, _, err := selPage(args); err != nil {
					return err
				}
				_, err := nodeInfo(n)
				return err
			},
			Run: func(ctx context.Context, t *task.Task, args map[string]any) (any, error) {
				from, limit, err := selPage(args)
				if err != nil {
					return nil, err
				}
				info, err := nodeInfo(t.Node)
				if err != nil {
					return nil, err
				}
				return v.bmcs.Events(ctx, info, from, limit)
			},
		},
		"clear_sel": {
			HTTPMethods: []string{"POST", "DELETE"}, RequireExclusiveLock: true,
			Description: "Empty the BMC's event log.",
			Validate:    valid,
			Run: func(ctx context.Context, t *task.Task, _ map[string]any) (any, error) {
				info, err := nodeInfo(t.Node)
				if err != nil {
					return nil, err
				}
				return nil, v.bmcs.ClearEvents(ctx, info)
			},
		},
		"get_sol_config": {
			HTTPMethods: []string{"GET"},
			Description: "Read how the BMC does serial-over-LAN.",
			Validate:    valid,
			Run: func(ctx context.Context, t *task.Task, _ map[string]any) (any, error) {
				info, err := nodeInfo(t.Node)
				if err != nil {
					return nil, err
				}
				return v.bmcs.SOLConfig(ctx, info)
			},
		},
	}
}

// allowed refuses a method that has to be switched on. Steps are forbidden where the configuration names them.
func (v *Vendor) allowed(method string) error {
	if v.bmcs.cfg.Passthru {
		return nil
	}
	return driver.Invalid("%s is switched off. Set [ferric]ipmi_passthru to allow it.", method)
}

// valid is for methods without arguments.
func valid(n *store.Node, _ map[string]any) error {
	_, err := nodeInfo(n)
	return err
}

// selPage reads the arguments from and limit.
func selPage(args map[string]any) (from uint16, limit int, err error) {
	limit = maxSELPage
	if v := args["limit"]; v != nil {
		if limit, err = integer(v); err != nil || limit < 1 {
			return 0, 0, driver.Invalid("limit must be a positive number.")
		}
	}
	if v := args["from"]; v != nil {
		n, err := integer(v)
		if err != nil || n < 0 || n >= lastRecord {
			return 0, 0, driver.Invalid("from must be the number of an entry.")
		}
		from = uint16(n)
	}
	return from, limit, nil
}

// CleanSteps has send_raw, which configurations forbid unless told otherwise.
func (v *Vendor) CleanSteps() []driver.Step {
	return []driver.Step{{Interface: "vendor", Name: "send_raw",
		ArgsInfo: map[string]ipa.Arg{"raw_bytes": {Description: "A string of raw bytes to convey the request to transmit to the remote BMC.", Required: true}},
		Run: func(ctx context.Context, t *task.Task, args map[string]any) (driver.Outcome, error) {
			return driver.Finished, v.sendRaw(ctx, t, args)
		}}}
}

// ServiceSteps are the same.
func (v *Vendor) ServiceSteps() []driver.Step { return v.CleanSteps() }

func (v *Vendor) sendRaw(ctx context.Context, t *task.Task, args map[string]any) error {
	raw, err := rawBytes(args)
	if err != nil {
		return err
	}
	info, err := nodeInfo(t.Node)
	if err != nil {
		return err
	}
	return v.bmcs.SendRaw(ctx, info, raw)
}

// rawBytes reads the argument raw_bytes in the notations that ipmitool takes.
func rawBytes(args map[string]any) ([]byte, error) {
	text, ok := args["raw_bytes"].(string)
	if args["raw_bytes"] == nil || ok && strings.TrimSpace(text) == "" {
		return nil, driver.Missing("Parameter raw_bytes (string of bytes) was not specified.")
	}
	var raw []byte
	for word := range strings.FieldsSeq(text) {
		b, err := strconv.ParseUint(word, 0, 8)
		if err != nil {
			return nil, driver.Invalid("raw_bytes: %.20q is not a byte, like 0x1f.", word)
		}
		raw = append(raw, byte(b))
	}
	if len(raw) < 2 || len(raw) > maxRaw || raw[0]&1 != 0 || raw[0] > 0x3f {
		return nil, driver.Invalid("raw_bytes has to be a string of a network function, which is even and at most 0x3e, a command, and at most %d bytes of data.", maxRaw-2)
	}
	return raw, nil
}

// maxRaw is what fits into a message that every BMC takes.
const maxRaw = 200

// warmReset reads the argument warm, true by default.
func warmReset(args map[string]any) (bool, error) {
	warm := true
	if args["warm"] == nil {
		return warm, nil
	}
	if err := parseBool(&warm, args["warm"]); err != nil {
		return false, driver.Invalid("warm %v", err)
	}
	return warm, nil
}

// SendRaw sends a network function, a command and its data, once.
func (b *BMCs) SendRaw(ctx context.Context, info Info, raw []byte) error {
	return b.once(ctx, info, "raw command", types.Command{NetFn: types.NetFn(raw[0]), ID: raw[1], Name: "raw command"}, raw[2:])
}

// Reset restarts the BMC: the warm way, or as if it had lost its power.
func (b *BMCs) Reset(ctx context.Context, info Info, warm bool) error {
	if warm {
		return b.once(ctx, info, "warm reset", types.CommandWarmReset, nil)
	}
	return b.once(ctx, info, "cold reset", types.CommandColdReset, nil)
}

// InjectNMI has the BMC interrupt the machine.
func (b *BMCs) InjectNMI(ctx context.Context, info Info) error {
	return b.once(ctx, info, "diagnostic interrupt", types.CommandChassisControl, []byte{uint8(chassis.ChassisControlDiagnosticInterrupt)})
}

// once sends a command that must not be repeated. Where no answer comes, nobody
// knows whether the BMC has obeyed.
func (b *BMCs) once(ctx context.Context, info Info, name string, cmd types.Command, data []byte) error {
	ctx, o, end, err := b.begin(ctx, info, name, b.commandLimit(1))
	if err != nil {
		return err
	}
	defer end()
	leave, err := o.queue(ctx, cmd)
	if err != nil {
		return err
	}
	defer leave()
	if kept := o.take(ctx); kept != nil { // it may be dead, which would show too late
		b.logout(ctx, kept)
	}
	if _, err = o.attemptAnew(ctx, cmd, data); err != nil {
		err = o.explain(o.interrupted(ctx, fmt.Errorf("%w (sent once only)", err)))
	}
	o.contact.note(name, err)
	return err
}

var (
	_ driver.Vendor         = (*Vendor)(nil)
	_ driver.CleanStepper   = (*Vendor)(nil)
	_ driver.ServiceStepper = (*Vendor)(nil)
)
