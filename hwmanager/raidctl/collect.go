package raidctl

import (
	"context"
	"fmt"

	"ferric/hwmanager"
)

// Collect implements hwmanager.Collector: the controllers with their disks, which
// the operating system does not see, and volumes; and what an operator should look
// at, which is also logged.
func (m *Manager) Collect(ctx context.Context, h *hwmanager.Host) (map[string]any, error) {
	controllers, err := m.controllers(ctx, h)
	if err != nil {
		return nil, err
	}
	warnings := []string{}
	for _, c := range controllers {
		warnings = append(warnings, c.warnings()...)
	}
	for _, w := range warnings {
		h.Log.Warn(w)
	}
	if controllers == nil {
		controllers = []*Controller{}
	}
	return map[string]any{"controllers": controllers, "warnings": warnings}, nil
}

// warnings are what is wrong with a controller and what belongs to it.
func (c *Controller) warnings() (warnings []string) {
	warn := func(format string, args ...any) {
		warnings = append(warnings, c.Name+": "+fmt.Sprintf(format, args...))
	}
	switch c.Status {
	case "", "OK", "Optimal", "Opt":
	default:
		warn("the controller's status is %s", c.Status)
	}
	for _, d := range c.Disks {
		name := fmt.Sprintf("disk %s (%s)", d.ID, d.Model)
		if d.Serial != "" {
			name = fmt.Sprintf("disk %s (%s, serial number %s)", d.ID, d.Model, d.Serial)
		}
		switch {
		case d.State == stateFailed:
			warn("%s has failed or is unfit: %s", name, d.Status)
		case d.Predictive:
			warn("%s expects to fail soon", name)
		case d.State == stateForeign:
			warn("%s has a foreign configuration", name)
		}
		if d.Errors > 0 {
			warn("%s has had %d media errors", name, d.Errors)
		}
	}
	for _, v := range c.Volumes {
		if v.bad {
			warn("%s has the state %s", v, v.Status)
		}
	}
	return warnings
}
