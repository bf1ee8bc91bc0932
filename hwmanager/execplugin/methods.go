package execplugin

import (
	_ "embed"
	"time"
)

// Method is one question that a plugin can be asked: its name in the agent
// contract, section "Base methods", where it has one there.
type Method struct {
	Name string
	// Ability is the interface of package hwmanager behind it; "" for what every
	// manager has.
	Ability string
	// Args are the members of the request beside sdk, method and host; "?" marks
	// those that may be absent.
	Args []string
	// Long is the method of a step: it has the time of one.
	Long bool
	// Result says what the answer is.
	Result string
}

// Methods are all questions of the protocol.
func Methods() []Method {
	return []Method{
		{"describe", "", nil, false, "what the plugin is: name, version, sdk, methods"},
		{"evaluate_hardware_support", "", nil, false, "support level: 0 not for this machine, 1 generic, 2 mainline, 3 and above service provider"},
		{"initialize", "Initializer", nil, true, "not looked at"},
		{"get_clean_steps", "CleanStepper", []string{"node"}, false, "list of steps"},
		{"get_deploy_steps", "DeployStepper", []string{"node"}, false, "list of steps"},
		{"get_service_steps", "ServiceStepper", []string{"node"}, false, "list of steps"},
		{"execute_step", "CleanStepper, DeployStepper, ServiceStepper", []string{"phase", "step", "args", "node", "ports", "resume?"}, true, "any value: the step's result"},
		{"list_hardware_info", "Inventorist", nil, false, "inventory of the whole machine"},
		{"list_network_interfaces", "InterfaceLister", nil, false, "list of network interfaces"},
		{"get_interface_info", "InterfaceReader", []string{"interface_name"}, false, "network interface"},
		{"collect_lldp_data", "LLDPCollector", []string{"interface_names"}, false, "object: lists of [type, hexadecimal value] by interface"},
		{"get_cpus", "CPUReader", nil, false, "processors"},
		{"get_boot_info", "BootReader", nil, false, "how the ramdisk was booted"},
		{"get_usb_devices", "USBLister", nil, false, "list of USB devices"},
		{"filter_device", "DeviceFilter", []string{"kind", "device"}, false, "members of the device that change, or null to hide it"},
		{"list_block_devices", "DiskLister", []string{"include_partitions"}, false, "list of block devices"},
		{"get_os_install_device", "RootPicker", []string{"node?"}, false, "block device, or its name"},
		{"erase_block_device", "DiskEraser", []string{"node", "block_device"}, true, "method and reason of the erase report, or null"},
		{"write_image", "ImageWriter", []string{"device", "image_info", "configdrive", "node"}, true, "what was written: text, device, root_uuid, …"},
		{"install_bootloader", "BootloaderInstaller", []string{"device", "root_uuid", "efi_system_part_uuid", "prep_boot_part_uuid", "target_boot_mode", "ignore_bootloader_failure"}, true, "not looked at"},
		{"execute_bootc_install", "BootcInstaller", []string{"device", "image_source", "instance_info", "pull_secret", "configdrive", "node"}, true, "what was written: text, device, root_uuid, …"},
		{"full_sync", "Syncer", nil, true, "not looked at"},
		{"collect", "Collector", nil, false, "object that goes into the inspection data under the plugin's name"},
		{"collect_system_logs", "LogSource", nil, false, "object: text, or {\"base64\": …}, by name of the log"},
	}
}

// stepLists are the methods that list steps, by which execute_step is needed.
var stepLists = [...]string{"get_clean_steps", "get_deploy_steps", "get_service_steps"}

//go:embed schema/protocol.json
var schema []byte

// Schema is the JSON schema (draft 2020-12) of the protocol: of the manifest,
// the requests, the lines of the output and the results of the methods.
func Schema() []byte { return append([]byte(nil), schema...) }

// long reports whether method has the time of a step.
func long(method string) bool {
	for _, m := range Methods() {
		if m.Name == method {
			return m.Long
		}
	}
	return false
}

// timeOf is the time that a call of method has.
func (l limits) timeOf(method string) time.Duration {
	if long(method) {
		return l.step
	}
	return l.query
}
