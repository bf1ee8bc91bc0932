package fake

import (
	"context"
	"fmt"
	"path"
	"slices"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// RAID makes no arrays but takes every configuration.
type RAID struct {
	none
	delay delay
}

func (RAID) ValidateRAIDConfig(context.Context, *store.Node, store.Object) error { return nil }

// ConfiguresRAID: it is as if.
func (RAID) ConfiguresRAID() bool { return true }

// BIOS has the settings that were applied last, in the database only.
type BIOS struct {
	none
	delay delay
}

// CacheBIOSSettings has nothing to ask.
func (b BIOS) CacheBIOSSettings(ctx context.Context, _ *task.Task) error { return b.delay.wait(ctx) }

// CleanSteps apply and forget settings.
func (b BIOS) CleanSteps() []driver.Step {
	return []driver.Step{
		{Interface: "bios", Name: "apply_configuration", Restartable: true, Run: b.apply,
			ArgsInfo: map[string]ipa.Arg{"settings": {Description: "List of BIOS settings, each an object with the members name and value.", Required: true}}},
		{Interface: "bios", Name: "factory_reset", Restartable: true, Run: b.reset},
	}
}

func (b BIOS) apply(ctx context.Context, t *task.Task, args map[string]any) (driver.Outcome, error) {
	list, err := objects(args, "settings")
	if err != nil {
		return 0, err
	}
	var settings []store.BIOSSetting
	for i, item := range list {
		name, ok := item["name"].(string)
		if !ok || name == "" {
			return 0, driver.Invalid("settings[%d] has no name.", i)
		}
		value := fmt.Sprint(item["value"])
		settings = append(settings, store.BIOSSetting{Name: name, Value: &value})
	}
	if err := b.delay.wait(ctx); err != nil {
		return 0, err
	}
	return driver.Finished, t.Store.SetBIOSSettings(ctx, t.Node.ID, settings)
}

func (b BIOS) reset(ctx context.Context, t *task.Task, _ map[string]any) (driver.Outcome, error) {
	if err := b.delay.wait(ctx); err != nil {
		return 0, err
	}
	return driver.Finished, t.Store.SetBIOSSettings(ctx, t.Node.ID, nil)
}

// Firmware has the versions that were flashed last, in the database only.
type Firmware struct {
	none
	delay delay
}

// CacheFirmwareComponents has nothing to ask.
func (f Firmware) CacheFirmwareComponents(ctx context.Context, _ *task.Task) error {
	return f.delay.wait(ctx)
}

// CleanSteps flash firmware, as do those of servicing.
func (f Firmware) CleanSteps() []driver.Step {
	return []driver.Step{{Interface: "firmware", Name: "update", Run: f.update,
		ArgsInfo: map[string]ipa.Arg{"settings": {Description: "List of firmware components, each an object with the members component and url.", Required: true}}}}
}

// ServiceSteps are the same.
func (f Firmware) ServiceSteps() []driver.Step { return f.CleanSteps() }

// update takes the name of the file for the version that is in it.
func (f Firmware) update(ctx context.Context, t *task.Task, args map[string]any) (driver.Outcome, error) {
	list, err := objects(args, "settings")
	if err != nil {
		return 0, err
	}
	have, err := t.Store.FirmwareComponents(ctx, t.Node.ID)
	if err != nil {
		return 0, err
	}
	var components []store.FirmwareComponent
	for _, c := range have {
		components = append(components, *c)
	}
	for i, item := range list {
		name, _ := item["component"].(string)
		url, _ := item["url"].(string)
		if name == "" || url == "" {
			return 0, driver.Invalid("settings[%d] needs a component and a url.", i)
		}
		version := path.Base(url)
		at := slices.IndexFunc(components, func(c store.FirmwareComponent) bool { return c.Component == name })
		if at < 0 {
			components = append(components, store.FirmwareComponent{Component: name, InitialVersion: version})
			at = len(components) - 1
		}
		components[at].CurrentVersion, components[at].LastVersionFlashed = &version, &version
	}
	if err := f.delay.wait(ctx); err != nil {
		return 0, err
	}
	return driver.Finished, t.Store.SetFirmwareComponents(ctx, t.Node.ID, components)
}

// objects reads an argument that is a list of objects.
func objects(args map[string]any, name string) ([]map[string]any, error) {
	list, ok := args[name].([]any)
	if !ok {
		return nil, driver.Invalid("%s has to be a list of objects.", name)
	}
	var out []map[string]any
	for i, item := range list {
		o, ok := item.(map[string]any)
		if !ok {
			return nil, driver.Invalid("%s[%d] is not an object.", name, i)
		}
		out = append(out, o)
	}
	return out, nil
}

var (
	_ driver.RAID           = RAID{}
	_ driver.BIOS           = BIOS{}
	_ driver.CleanStepper   = BIOS{}
	_ driver.Firmware       = Firmware{}
	_ driver.CleanStepper   = Firmware{}
	_ driver.ServiceStepper = Firmware{}
)
