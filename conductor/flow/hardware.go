package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// What only asks the hardware takes no lock, what changes something does. A
// change that may take long goes on in the background; what becomes of it is in
// the node's row, its failure in last_error.

// managed finds the management interface of the node, whose driver_info is
// known to be right.
func (f *Flow) managed(ctx context.Context, n *store.Node) (driver.Management, error) {
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return nil, err
	}
	return ifs.Management, ifs.Management.Validate(ctx, n)
}

// ability finds what a management interface can do besides; what is the name
// that a refusal has.
func ability[T any](n *store.Node, m driver.Management, what string) (T, error) {
	a, ok := m.(T)
	if !ok {
		return a, driver.Unsupported(n.Driver, what)
	}
	return a, nil
}

// keyDoing in driver_internal_info is what goes on with a node in the background,
// as last_error names it, where its state does not tell.
const keyDoing = "background_work"

// inBackground runs work on after the request was answered. A failure is kept
// in last_error, as doing names it; so is that the process ended meanwhile.
func (f *Flow) inBackground(ctx context.Context, t *task.Task, doing string, work func(ctx context.Context, t *task.Task) error) error {
	err := t.Background(doing, func(ctx context.Context, t *task.Task) error {
		err := work(ctx, t)
		delete(t.Node.DriverInternalInfo, keyDoing)
		if err != nil {
			t.SetError("Failed %s node %s: %v", doing, t.Node.UUID, err)
		}
		return t.Save(ctx)
	})
	if err != nil {
		return err
	}
	t.Node.LastError = nil
	t.Node.DriverInternalInfo[keyDoing] = doing
	return t.Save(ctx)
}

// InjectNMI interrupts the machine.
func (f *Flow) InjectNMI(ctx context.Context, id int64) error {
	return f.tasks.Do(ctx, id, "inject NMI", func(ctx context.Context, t *task.Task) error {
		m, err := f.managed(ctx, t.Node)
		if err != nil {
			return err
		}
		nmi, err := ability[driver.NMI](t.Node, m, "inject_nmi")
		if err != nil {
			return err
		}
		return nmi.InjectNMI(ctx, t)
	})
}

// Indicators are the lamps of the node, by component and name.
func (f *Flow) Indicators(ctx context.Context, id int64) (map[string]map[string]driver.Indicator, error) {
	n, ifs, err := f.node(ctx, id)
	if err != nil {
		return nil, err
	}
	lamps, err := ability[driver.Indicators](n, ifs.Management, "get_supported_indicators")
	if err != nil {
		return nil, err
	}
	return lamps.SupportedIndicators(ctx, n)
}

// indicator finds a lamp of a node and what can be done with it.
func (f *Flow) indicator(ctx context.Context, n *store.Node, component, name, what string) (driver.Indicators, driver.Indicator, error) {
	m, err := f.managed(ctx, n)
	if err != nil {
		return nil, driver.Indicator{}, err
	}
	lamps, err := ability[driver.Indicators](n, m, what)
	if err != nil {
		return nil, driver.Indicator{}, err
	}
	supported, err := lamps.SupportedIndicators(ctx, n)
	if err != nil {
		return nil, driver.Indicator{}, err
	}
	if supported[component] == nil {
		return nil, driver.Indicator{}, invalid("Invalid component %s specified.", component)
	}
	lamp, ok := supported[component][name]
	if !ok {
		return nil, driver.Indicator{}, invalid("Invalid indicator %s specified.", name)
	}
	return lamps, lamp, nil
}

// IndicatorState tells how a lamp is.
func (f *Flow) IndicatorState(ctx context.Context, id int64, component, name string) (string, error) {
	n, err := f.store.NodeByID(ctx, id)
	if err != nil {
		return "", err
	}
	lamps, _, err := f.indicator(ctx, n, component, name, "get_indicator_state")
	if err != nil {
		return "", err
	}
	return lamps.IndicatorState(ctx, n, component, name)
}

// SetIndicatorState switches a lamp.
func (f *Flow) SetIndicatorState(ctx context.Context, id int64, component, name, state string) error {
	return f.tasks.Do(ctx, id, "set indicator", func(ctx context.Context, t *task.Task) error {
		lamps, lamp, err := f.indicator(ctx, t.Node, component, name, "set_indicator_state")
		switch {
		case err != nil:
			return err
		case lamp.ReadOnly:
			return invalid("Indicator %s of component %s can only be read.", name, component)
		case !slices.Contains(lamp.States, state):
			return invalid("Invalid state %q of indicator %s, which can be %s.", state, name, strings.Join(lamp.States, ", "))
		}
		return lamps.SetIndicatorState(ctx, t, component, name, state)
	})
}

// ErrPowerFailure: the BMC of the node does not answer (503).
var ErrPowerFailure = errors.New("the power of the node has failed")

// VirtualMedia lists the drives of the machine that hold images from elsewhere.
func (f *Flow) VirtualMedia(ctx context.Context, id int64) ([]map[string]any, error) {
	n, err := f.store.NodeByID(ctx, id)
	if err != nil {
		return nil, err
	}
	m, err := f.managed(ctx, n)
	if err != nil {
		return nil, err
	}
	media, err := ability[driver.VirtualMedia](n, m, "get_virtual_media")
	if err != nil {
		return nil, err
	}
	return media.GetVirtualMedia(ctx, n)
}

// AttachVirtualMedia puts an image into a drive. As with Ironic, that the
// hardware has no such drives is known in last_error only.
func (f *Flow) AttachVirtualMedia(ctx context.Context, id int64, device, imageURL string) error {
	return f.changeMedia(ctx, id, fmt.Sprintf("attaching virtual media %s to", device), func(ctx context.Context, t *task.Task, m driver.Management) error {
		media, err := ability[driver.VirtualMedia](t.Node, m, "attach_virtual_media")
		if err != nil {
			return err
		}
		return media.AttachVirtualMedia(ctx, t, device, imageURL)
	})
}

// DetachVirtualMedia empties drives, all of them if none is named.
func (f *Flow) DetachVirtualMedia(ctx context.Context, id int64, devices []string) error {
	return f.changeMedia(ctx, id, "detaching virtual media from", func(ctx context.Context, t *task.Task, m driver.Management) error {
		media, err := ability[driver.VirtualMedia](t.Node, m, "detach_virtual_media")
		if err != nil {
			return err
		}
		return media.DetachVirtualMedia(ctx, t, devices)
	})
}

func (f *Flow) changeMedia(ctx context.Context, id int64, doing string, work func(context.Context, *task.Task, driver.Management) error) error {
	return f.tasks.Do(ctx, id, doing, func(ctx context.Context, t *task.Task) error {
		n := t.Node
		m, err := f.managed(ctx, n)
		if err != nil {
			return err
		}
		if n.Maintenance && n.Fault != nil && *n.Fault == "power failure" {
			return fmt.Errorf("%s node %s: %w", doing, n.UUID, ErrPowerFailure)
		}
		return f.inBackground(ctx, t, doing, func(ctx context.Context, t *task.Task) error { return work(ctx, t, m) })
	})
}
