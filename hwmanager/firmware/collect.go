package firmware

import (
	"context"
	"fmt"

	"ferric/hwmanager"
	"ferric/hwmanager/capsule"
	"ferric/hwmanager/nvme"
)

// Collect implements hwmanager.Collector: every component with its firmware's
// version. What a drive does not tell now is what it told the kernel when it was
// started.
func (m *Manager) Collect(ctx context.Context, h *hwmanager.Host) (map[string]any, error) {
	components := []map[string]any{}
	if version := text(h.Sys, "class/dmi/id/bios_version"); version != "" {
		components = append(components, map[string]any{
			"component": "bios", "name": "bios", "current_version": version,
			"vendor": text(h.Sys, "class/dmi/id/bios_vendor"), "build_date": text(h.Sys, "class/dmi/id/bios_date"),
		})
	}
	resources, problems := capsule.Resources(h.Sys)
	if problems != nil {
		h.Log.WithError(problems).Warn("inventory of firmware is incomplete")
	}
	for _, r := range resources {
		components = append(components, map[string]any{
			"component": kindUEFI, "name": r.Class.String(), "kind": r.Kind.String(),
			"current_version": fmt.Sprint(r.Version), "lowest_supported_version": fmt.Sprint(r.Lowest),
			"last_attempt_version": fmt.Sprint(r.LastVersion), "last_attempt_status": r.LastStatus.String(),
		})
	}
	all, err := drives(h)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		c := map[string]any{
			"component": kindNVMe, "name": d.Name, "model": d.Model, "serial_number": d.Serial, "current_version": d.Revision,
		}
		if f, err := m.ask(ctx, h, d); err == nil {
			c["current_version"], c["updatable"] = f.Firmware, f.TakesFirmware()
			c["slots"] = slots(f)
		} else {
			h.Log.WithError(err).Debugf("firmware slots of %s", d)
		}
		components = append(components, c)
	}
	return map[string]any{"components": components}, nil
}

func (m *Manager) ask(ctx context.Context, h *hwmanager.Host, d drive) (nvme.Firmware, error) {
	device, err := m.open(h.DevicePath("/dev/" + d.Name))
	if err != nil {
		return nvme.Firmware{}, err
	}
	defer device.Close()
	return nvme.ReadFirmware(ctx, device)
}

// slots are those of a drive: number, what it holds, what becomes of it.
func slots(f nvme.Firmware) []map[string]any {
	list := []map[string]any{}
	for slot := 1; slot <= f.SlotCount(); slot++ {
		list = append(list, map[string]any{
			"slot": slot, "version": f.Slots.Revisions[slot-1], "active": slot == f.Slots.Active,
			"next": slot == f.Slots.Next, "read_only": slot == 1 && f.FirstReadOnly(),
		})
	}
	return list
}
