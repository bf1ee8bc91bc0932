package hwmtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// ability is a question that a manager may be able to answer.
type ability struct {
	name string
	ask  func(ctx context.Context, h *hwmanager.Host) (any, error)
	// mayFail says that an error of this kind is an answer, too.
	mayFail *ipa.Kind
}

// abilities are the questions that can be put to a manager without harm.
func (x *exam) abilities(m hwmanager.Manager) []ability {
	var all []ability
	add := func(name string, ask func(ctx context.Context, h *hwmanager.Host) (any, error)) *ability {
		all = append(all, ability{name: name, ask: ask})
		return &all[len(all)-1]
	}
	type host = *hwmanager.Host
	if a, able := m.(hwmanager.Inventorist); able {
		add("list_hardware_info", func(ctx context.Context, h host) (any, error) { return a.Inventory(ctx, h) })
	}
	if a, able := m.(hwmanager.InterfaceLister); able {
		add("list_network_interfaces", func(ctx context.Context, h host) (any, error) { return a.Interfaces(ctx, h) })
	}
	if a, able := m.(hwmanager.InterfaceReader); able {
		add("get_interface_info", func(ctx context.Context, h host) (any, error) { return a.InterfaceInfo(ctx, h, "hwmtest0") })
	}
	if a, able := m.(hwmanager.LLDPCollector); able {
		add("collect_lldp_data", func(ctx context.Context, h host) (any, error) { return a.LLDP(ctx, h, []string{}) })
	}
	if a, able := m.(hwmanager.CPUReader); able {
		add("get_cpus", func(ctx context.Context, h host) (any, error) { return a.CPUs(ctx, h) })
	}
	if a, able := m.(hwmanager.BootReader); able {
		add("get_boot_info", func(ctx context.Context, h host) (any, error) { return a.BootInfo(ctx, h) })
	}
	if a, able := m.(hwmanager.USBLister); able {
		add("get_usb_devices", func(ctx context.Context, h host) (any, error) { return a.USBDevices(ctx, h) })
	}
	if a, able := m.(hwmanager.DeviceFilter); able {
		for _, device := range []any{ipa.BlockDevice{Name: "/dev/hwmtest"}, ipa.Interface{Name: "hwmtest0"}, ipa.USBDevice{}} {
			add("filter_device", func(ctx context.Context, h host) (any, error) {
				kept, err := a.FilterDevice(ctx, h, device)
				if err == nil && kept != nil && reflect.TypeOf(kept) != reflect.TypeOf(device) {
					return nil, fmt.Errorf("it makes a %T of a %T", kept, device)
				}
				return kept, err
			})
		}
	}
	if a, able := m.(hwmanager.DiskLister); able {
		add("list_block_devices", func(ctx context.Context, h host) (any, error) { return a.BlockDevices(ctx, h, true) })
	}
	if a, able := m.(hwmanager.RootPicker); able {
		add("get_os_install_device", func(ctx context.Context, h host) (any, error) { return a.InstallDevice(ctx, h, x.node) }).mayFail = &ipa.DeviceNotFound
	}
	if a, able := m.(hwmanager.Syncer); able {
		add("full_sync", func(ctx context.Context, h host) (any, error) { return nil, a.FullSync(ctx, h) })
	}
	if a, able := m.(hwmanager.Collector); able {
		add("collect", func(ctx context.Context, h host) (any, error) { return a.Collect(ctx, h) })
	}
	if a, able := m.(hwmanager.LogSource); able {
		add("collect_system_logs", func(ctx context.Context, h host) (any, error) {
			return nil, a.Logs(ctx, h, func(name string, r io.Reader) error {
				content, err := io.ReadAll(io.LimitReader(r, maxLogs))
				x.tell("the log file "+name, string(content))
				return err
			})
		})
	}
	return all
}

func checkAbilities(x *exam) verdict {
	f, err := x.empty()
	if err != nil {
		return failed("%v", err)
	}
	m, err := x.prepare(f)
	if isFault(err) {
		return skipped("it cannot be loaded: %v", err)
	}
	all := x.abilities(m)
	if len(all) == 0 {
		return skipped("it has none but its steps")
	}
	answered := 0
	for _, a := range all {
		var answer any
		err := x.ask(a.name, func(ctx context.Context) (err error) {
			answer, err = a.ask(ctx, f.Host)
			return err
		})
		x.tellError(err)
		switch {
		case passes(err) || err != nil && a.mayFail != nil && a.mayFail.Is(err):
			continue
		case err != nil:
			return failed("%s: %s", a.name, firstLine(err.Error()))
		}
		if _, err := json.Marshal(answer); err != nil {
			return failed("the answer to %s does not encode as JSON: %v", a.name, err)
		}
		x.tell("the answer to "+a.name, encoded(answer))
		answered++
	}
	return ok("of %d questions on an empty host %d answered, the others passed on", len(all), answered)
}

func checkCollected(x *exam) verdict {
	m := x.factory()
	if _, able := m.(hwmanager.Collector); !able {
		return skipped("it collects nothing")
	}
	if s := x.look(); s.level <= hwmanager.None {
		return skipped("%s", s.why)
	}
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	if m, err = x.prepare(f); err != nil {
		return skipped("it cannot be loaded: %v", err)
	}
	changes := watch(f)
	var found map[string]any
	err = x.ask("collect", func(ctx context.Context) (err error) {
		found, err = m.(hwmanager.Collector).Collect(ctx, f.Host)
		return err
	})
	x.tellError(err)
	if passes(err) {
		return ok("nothing on this host")
	}
	if err != nil {
		return failed("%v", err)
	}
	text, err := json.Marshal(found)
	switch changed := changes(); {
	case err != nil:
		return failed("it does not encode as JSON: %v", err)
	case len(text) > maxResult:
		return failed("it has %d bytes", len(text))
	case len(changed) > 0:
		return failed("collecting changes %s", some(changed))
	}
	x.tell("what is collected", string(text))
	return ok("%d members, %d bytes", len(found), len(text))
}
