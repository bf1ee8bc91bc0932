package execplugin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Evaluate implements hwmanager.Manager.
func (p *Plugin) Evaluate(ctx context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	var level *float64 // some languages write 3.0
	err := p.ask(ctx, h, "evaluate_hardware_support", nil, &level)
	switch {
	case errors.Is(err, hwmanager.ErrNotHandled):
		return hwmanager.None, nil
	case err != nil:
		return hwmanager.None, err
	case level == nil || *level != math.Trunc(*level) || math.Abs(*level) > math.MaxInt32:
		return hwmanager.None, p.wrong("evaluate_hardware_support", errors.New("want a whole number"))
	}
	return max(hwmanager.Support(*level), hwmanager.None), nil
}

// Initialize implements hwmanager.Initializer.
func (p *Plugin) Initialize(ctx context.Context, h *hwmanager.Host) error {
	return p.ask(ctx, h, "initialize", nil, new(any))
}

// Inventory implements hwmanager.Inventorist.
func (p *Plugin) Inventory(ctx context.Context, h *hwmanager.Host) (*ipa.Inventory, error) {
	inventory, err := answer[ipa.Inventory](ctx, p, h, "list_hardware_info", nil)
	if err != nil {
		return nil, err
	}
	return &inventory, nil
}

// Interfaces implements hwmanager.InterfaceLister.
func (p *Plugin) Interfaces(ctx context.Context, h *hwmanager.Host) ([]ipa.Interface, error) {
	return answer[[]ipa.Interface](ctx, p, h, "list_network_interfaces", nil)
}

// InterfaceInfo implements hwmanager.InterfaceReader.
func (p *Plugin) InterfaceInfo(ctx context.Context, h *hwmanager.Host, name string) (ipa.Interface, error) {
	return answer[ipa.Interface](ctx, p, h, "get_interface_info", arguments{"interface_name": name})
}

// LLDP implements hwmanager.LLDPCollector.
func (p *Plugin) LLDP(ctx context.Context, h *hwmanager.Host, names []string) (map[string][]ipa.TLV, error) {
	return answer[map[string][]ipa.TLV](ctx, p, h, "collect_lldp_data", arguments{"interface_names": names})
}

// CPUs implements hwmanager.CPUReader.
func (p *Plugin) CPUs(ctx context.Context, h *hwmanager.Host) (ipa.CPU, error) {
	return answer[ipa.CPU](ctx, p, h, "get_cpus", nil)
}

// BootInfo implements hwmanager.BootReader.
func (p *Plugin) BootInfo(ctx context.Context, h *hwmanager.Host) (ipa.Boot, error) {
	return answer[ipa.Boot](ctx, p, h, "get_boot_info", nil)
}

// USBDevices implements hwmanager.USBLister.
func (p *Plugin) USBDevices(ctx context.Context, h *hwmanager.Host) ([]ipa.USBDevice, error) {
	return answer[[]ipa.USBDevice](ctx, p, h, "get_usb_devices", nil)
}

// BlockDevices implements hwmanager.DiskLister.
func (p *Plugin) BlockDevices(ctx context.Context, h *hwmanager.Host, partitions bool) ([]ipa.BlockDevice, error) {
	const method = "list_block_devices"
	disks, err := answer[[]ipa.BlockDevice](ctx, p, h, method, arguments{"include_partitions": partitions})
	for i, disk := range disks {
		if disk.Name == "" {
			return nil, p.wrong(method, fmt.Errorf("device %d has no name", i))
		}
	}
	return disks, err
}

// InstallDevice implements hwmanager.RootPicker. A plugin may answer with the
// name alone, which is looked for among the disks of the machine.
func (p *Plugin) InstallDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) (ipa.BlockDevice, error) {
	const method = "get_os_install_device"
	args := arguments{}
	if node != nil {
		args["node"] = node
	}
	var none ipa.BlockDevice
	text, err := answer[json.RawMessage](ctx, p, h, method, args)
	if err != nil {
		return none, err
	}
	var name string
	if json.Unmarshal(text, &name) != nil {
		var disk ipa.BlockDevice
		if err := json.Unmarshal(text, &disk); err != nil {
			return none, p.wrong(method, err)
		}
		if disk.Name == "" {
			return none, ipa.DeviceNotFound.New("plugin %s chose no device", p.Name())
		}
		return disk, nil
	}
	if name == "" {
		return none, ipa.DeviceNotFound.New("plugin %s chose no device", p.Name())
	}
	if h.Set == nil {
		return ipa.BlockDevice{Name: name}, nil
	}
	disks, err := hwmanager.First(h.Set, "list_block_devices", func(l hwmanager.DiskLister) ([]ipa.BlockDevice, error) {
		return l.BlockDevices(ctx, h, false)
	})
	if err != nil {
		return none, fmt.Errorf("look for %s, which plugin %s chose: %w", name, p.Name(), err)
	}
	i := slices.IndexFunc(disks, func(d ipa.BlockDevice) bool { return d.Name == name })
	if i < 0 {
		return none, ipa.DeviceNotFound.New("plugin %s chose %s, which is not among the disks", p.Name(), name)
	}
	return disks[i], nil
}

// FilterDevice implements hwmanager.DeviceFilter: the members that the plugin
// answers with replace those of the device.
func (p *Plugin) FilterDevice(ctx context.Context, h *hwmanager.Host, device any) (any, error) {
	switch d := device.(type) {
	case ipa.BlockDevice:
		filtered, err := filter(ctx, p, h, "block_device", d)
		if changed, kept := filtered.(ipa.BlockDevice); kept && changed.Name == d.Name {
			changed.Identity = d.Identity
			return changed, err
		}
		return filtered, err
	case ipa.Interface:
		return filter(ctx, p, h, "interface", d)
	case ipa.USBDevice:
		return filter(ctx, p, h, "usb_device", d)
	}
	return nil, hwmanager.ErrNotHandled
}

func filter[D any](ctx context.Context, p *Plugin, h *hwmanager.Host, kind string, device D) (any, error) {
	const method = "filter_device"
	result, err := answer[json.RawMessage](ctx, p, h, method, arguments{"kind": kind, "device": device})
	if err != nil || string(result) == "null" {
		return nil, err
	}
	var changes map[string]json.RawMessage
	if err := json.Unmarshal(result, &changes); err != nil {
		return nil, p.wrong(method, err)
	}
	text, err := json.Marshal(device)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	maps.Copy(members, changes)
	if text, err = json.Marshal(members); err != nil {
		return nil, err
	}
	var changed D
	if err := json.Unmarshal(text, &changed); err != nil {
		return nil, p.wrong(method, err)
	}
	return changed, nil
}

// EraseBlockDevice implements hwmanager.DiskEraser.
func (p *Plugin) EraseBlockDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, device ipa.BlockDevice, report func(hwmanager.EraseProgress)) (ipa.DeviceErase, error) {
	const method = "erase_block_device"
	if !p.offers(method) {
		return ipa.DeviceErase{}, hwmanager.ErrNotHandled
	}
	if err := mayWrite(h, device); err != nil {
		return ipa.DeviceErase{}, err
	}
	var done *struct {
		Method string `json:"method"`
		Reason string `json:"reason"`
	}
	c := call{method: method, args: arguments{"node": node, "block_device": device}, progress: func(r progressReport) {
		report(hwmanager.EraseProgress{Fraction: r.fraction(), Written: r.Written})
	}}
	if err := p.answerTo(ctx, h, c, &done); err != nil || done == nil {
		return ipa.DeviceErase{}, err
	}
	return ipa.DeviceErase{Method: done.Method, Reason: done.Reason}, nil
}

// mayWrite is nil if device is still the disk that was chosen, and may be
// written to: what the plugin does to it is beyond the fence.
func mayWrite(h *hwmanager.Host, device ipa.BlockDevice) error {
	target, err := h.Fence(device)
	if err != nil {
		return err
	}
	return target.Check()
}

// written is what a plugin says of an image that it has put onto a disk.
type written struct {
	Text       string            `json:"text"`
	Device     string            `json:"device"`
	RootUUID   string            `json:"root_uuid"`
	ESPUUID    string            `json:"efi_system_partition_uuid"`
	PRePUUID   string            `json:"prep_boot_partition_uuid"`
	Partitions map[string]string `json:"partitions"`
}

func (p *Plugin) writes(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, c call, report func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	if !p.offers(c.method) {
		return nil, hwmanager.ErrNotHandled
	}
	if err := mayWrite(h, device); err != nil {
		return nil, err
	}
	if report != nil {
		c.progress = func(r progressReport) { report(r.progress()) }
	}
	var done written
	if err := p.answerTo(ctx, h, c, &done); err != nil {
		return nil, err
	}
	if done.Device == "" || done.Text == "" {
		return nil, p.wrong(c.method, errors.New("want at least text and device"))
	}
	return &hwmanager.ImageResult{
		Text: done.Text, Device: done.Device, RootUUID: done.RootUUID,
		ESPUUID: done.ESPUUID, PRePUUID: done.PRePUUID, Partitions: done.Partitions,
	}, nil
}

// WriteImage implements hwmanager.ImageWriter.
func (p *Plugin) WriteImage(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node hwmanager.Node, report func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	return p.writes(ctx, h, device, call{method: "write_image", args: arguments{
		"device": device, "image_info": info, "configdrive": configDrive, "node": node,
	}}, report)
}

// InstallBootc implements hwmanager.BootcInstaller.
func (p *Plugin) InstallBootc(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, req hwmanager.BootcRequest, node hwmanager.Node, report func(ipa.Progress)) (*hwmanager.ImageResult, error) {
	return p.writes(ctx, h, device, call{method: "execute_bootc_install", args: arguments{
		"device": device, "image_source": req.Source, "instance_info": req.InstanceInfo,
		"pull_secret": req.PullSecret, "configdrive": req.ConfigDrive, "node": node,
	}}, report)
}

// InstallBootloader implements hwmanager.BootloaderInstaller.
func (p *Plugin) InstallBootloader(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, req hwmanager.BootloaderRequest) error {
	const method = "install_bootloader"
	if !p.offers(method) {
		return hwmanager.ErrNotHandled
	}
	if err := mayWrite(h, device); err != nil {
		return err
	}
	return p.ask(ctx, h, method, arguments{
		"device": device, "root_uuid": req.RootUUID, "efi_system_part_uuid": req.ESPUUID, "prep_boot_part_uuid": req.PRePUUID,
		"target_boot_mode": req.TargetBootMode, "ignore_bootloader_failure": req.IgnoreFailure,
	}, new(any))
}

// FullSync implements hwmanager.Syncer.
func (p *Plugin) FullSync(ctx context.Context, h *hwmanager.Host) error {
	return p.ask(ctx, h, "full_sync", nil, new(any))
}

// Collect implements hwmanager.Collector.
func (p *Plugin) Collect(ctx context.Context, h *hwmanager.Host) (map[string]any, error) {
	return answer[map[string]any](ctx, p, h, "collect", nil)
}

// Logs implements hwmanager.LogSource. The members of the archive lie in a
// directory of the plugin's name.
func (p *Plugin) Logs(ctx context.Context, h *hwmanager.Host, add func(name string, r io.Reader) error) error {
	const method = "collect_system_logs"
	logs, err := answer[map[string]json.RawMessage](ctx, p, h, method, nil)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		if name == "" || strings.HasPrefix(name, ".") || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f }) {
			return p.wrong(method, fmt.Errorf("%.80q is no name for a log: want one without slashes and control characters", name))
		}
		data, err := logData(logs[name])
		if err != nil {
			return p.wrong(method, fmt.Errorf("log %s: %w", name, err))
		}
		if err := add(p.Name()+"/"+name, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return nil
}

// logData is a log: a text, or bytes in base64.
func logData(value json.RawMessage) ([]byte, error) {
	var text *string
	if err := json.Unmarshal(value, &text); err == nil && text != nil {
		return []byte(*text), nil
	}
	var encoded struct {
		Base64 *string `json:"base64"`
	}
	if err := json.Unmarshal(value, &encoded); err != nil || encoded.Base64 == nil {
		return nil, errors.New(`want a text, or an object with "base64"`)
	}
	data, err := base64.StdEncoding.DecodeString(*encoded.Base64)
	if err != nil {
		return nil, fmt.Errorf("decode base64: %w", err)
	}
	return data, nil
}
