package generic

import (
	"context"
	"maps"
	"slices"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// CleanSteps implements hwmanager.CleanStepper.
func (m *Manager) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return slices.Concat([]hwmanager.Step{
		{Declaration: cleanStep("erase_devices_metadata", 99), Run: m.eraseMetadata},
		{Declaration: cleanStep("erase_devices", 10), Run: m.eraseDevices},
		{Declaration: cleanStep("erase_devices_express", 0), Run: m.eraseExpress},
		{Declaration: cleanStep("erase_pstore", 0), Run: m.erasePstore},
		{Declaration: abortable(cleanNVRAMStep()), Run: m.cleanNVRAM},
	}, m.raidSteps(hwmanager.Clean), m.burnInSteps(hwmanager.Clean)), nil
}

func abortable(step ipa.Step) ipa.Step {
	step.Abortable = true
	return step
}

func cleanStep(name string, priority int) ipa.Step {
	return ipa.Step{Step: name, Interface: "deploy", Priority: priority, Abortable: true}
}

// DeploySteps implements hwmanager.DeployStepper.
func (m *Manager) DeploySteps(_ context.Context, h *hwmanager.Host, _ hwmanager.Node) ([]hwmanager.Step, error) {
	return append([]hwmanager.Step{
		{Declaration: ipa.Step{Step: "erase_devices_metadata", Interface: "deploy"}, Run: m.eraseMetadata},
		{Declaration: cleanNVRAMStep(), Run: m.cleanNVRAM},
		{Declaration: writeImageStep(), Run: m.writeImage},
		{Declaration: bootcStep(), Run: m.executeBootcInstall},
		{Declaration: injectFilesStep(h.Settings), Run: m.injectFiles},
	}, m.raidSteps(hwmanager.Deploy)...), nil
}

// ServiceSteps implements hwmanager.ServiceStepper.
func (m *Manager) ServiceSteps(_ context.Context, h *hwmanager.Host, _ hwmanager.Node) ([]hwmanager.Step, error) {
	return slices.Concat([]hwmanager.Step{
		{Declaration: writeImageStep(), Run: m.writeImage},
		{Declaration: bootcStep(), Run: m.executeBootcInstall},
		{Declaration: injectFilesStep(h.Settings), Run: m.injectFiles},
	}, m.raidSteps(hwmanager.Service), m.burnInSteps(hwmanager.Service)), nil
}

func writeImageStep() ipa.Step {
	return ipa.Step{
		Step: "write_image", Interface: "deploy",
		ArgsInfo: map[string]ipa.Arg{
			"image_info":  {Description: "Dictionary with the image information.", Required: true},
			"configdrive": {Description: "Config drive: base64 of a gzipped image, or its URL.", Required: false},
		},
	}
}

// writeImage picks the disk and writes the image onto it.
func (m *Manager) writeImage(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args, "image_info", "configdrive"); err != nil {
		return nil, err
	}
	info, err := hwmanager.ParseImageInfo(call.Args["image_info"], h.Settings.MD5Enabled)
	if err != nil {
		return nil, err
	}
	configDrive, ok := call.Args["configdrive"].(string)
	if !ok && call.Args["configdrive"] != nil {
		return nil, ipa.InvalidCommandParams.New("configdrive must be a string")
	}
	device, err := m.InstallDevice(ctx, h, call.Node)
	if err != nil {
		return nil, err
	}
	h.Image.Set(nil)
	result, err := m.WriteImage(ctx, h, device, info, configDrive, call.Node, call.Progress)
	if err != nil {
		return nil, err
	}
	h.Image.Set(result)
	return map[string]string{"result": "prepare_image: " + result.Text}, nil
}

// onlyArgs refuses arguments that a step does not know.
func onlyArgs(args map[string]any, known ...string) error {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !slices.Contains(known, name) {
			return ipa.InvalidCommandParams.New("unexpected argument %s", name)
		}
	}
	return nil
}
