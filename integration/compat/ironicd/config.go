package ironicd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"ferric/integration/lab"
)

// httpURL is [deploy]http_url.
const httpURL = "http://" + lab.Address + ":8080"

// Release in which something appeared that a configuration has to name or must not.
const (
	inBandInspection = 23 // inspect interface "agent" (2023.2)
	inspectionHooks  = 29 // all of the hooks below (2025.1)
	servicingLookup  = 39 // lookup of a node in "service wait"; 29.0.6 refuses it
)

func (i *Ironic) configPath() string { return filepath.Join(i.Dir, "ironic.conf") }
func (i *Ironic) httpRoot() string   { return filepath.Join(i.Dir, "http") }

// layOut makes Ironic's directories and its configuration.
func (i *Ironic) layOut() error {
	for _, dir := range []string{"state", "tmp", "lock", "http", "tftp/master_images", "images/master", "logs", "certificates"} {
		if err := os.MkdirAll(filepath.Join(i.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := i.copyLoaders(); err != nil {
		return err
	}
	var text strings.Builder
	inspect, hooks := "no-inspect", ""
	if i.Major() >= inBandInspection {
		inspect = "agent,no-inspect"
	}
	if i.Major() >= inspectionHooks {
		hooks = "hooks = ramdisk-error,validate-interfaces,ports,architecture,boot-mode,cpu-capabilities,extra-hardware," +
			"local-link-connection,memory,parse-lldp,pci-devices,root-device"
	}
	if err := template.Must(template.New("").Parse(config)).Execute(&text, map[string]any{
		"Dir": i.Dir, "Address": lab.Address, "Port": apiPort, "AgentPort": agentPort, "HTTP": httpURL, "Inspect": inspect, "Hooks": hooks,
		"RestrictLookup": i.Major() < inBandInspection || i.Major() >= servicingLookup,
	}); err != nil {
		return err
	}
	return os.WriteFile(i.configPath(), []byte(text.String()+i.options.Config), 0o600)
}

// config is ironic.conf. Releases ignore options that they do not know.
const config = `[DEFAULT]
debug = true
state_path = {{.Dir}}/state
tempdir = {{.Dir}}/tmp
host = compat
my_ip = {{.Address}}
auth_strategy = noauth
rpc_transport = none
graceful_shutdown_timeout = 3
enabled_hardware_types = ipmi
enabled_bios_interfaces = no-bios
enabled_boot_interfaces = ipxe
enabled_console_interfaces = no-console
enabled_deploy_interfaces = direct
enabled_firmware_interfaces = no-firmware
enabled_inspect_interfaces = {{.Inspect}}
enabled_management_interfaces = ipmitool
enabled_network_interfaces = noop
enabled_power_interfaces = ipmitool
enabled_raid_interfaces = agent,no-raid
enabled_rescue_interfaces = agent,no-rescue
enabled_storage_interfaces = noop
enabled_vendor_interfaces = no-vendor
default_network_interface = noop

[agent]
image_download_source = http
certificates_path = {{.Dir}}/certificates
deploy_logs_collect = always
deploy_logs_storage_backend = local
deploy_logs_local_path = {{.Dir}}/logs
post_deploy_get_power_state_retry_interval = 2
post_deploy_get_power_state_retries = 30

[api]
host_ip = {{.Address}}
port = {{.Port}}
public_endpoint = http://{{.Address}}:{{.Port}}
restrict_lookup = {{.RestrictLookup}}

[conductor]
automated_clean = true
heartbeat_interval = 10
sync_power_state_interval = 30
clean_callback_timeout = 900
deploy_callback_timeout = 900
rescue_callback_timeout = 900

[database]
connection = sqlite:///{{.Dir}}/ironic.sqlite

[deploy]
http_url = {{.HTTP}}
http_root = {{.Dir}}/http
default_boot_option = local
erase_devices_priority = 0
erase_devices_metadata_priority = 10

[dhcp]
dhcp_provider = none

[inspector]
require_managed_boot = true
extra_kernel_params = ipa-inspection-collectors=default,logs,pci-devices,usb-devices,numa-topology,dmi-decode,extra-hardware ipa-collect-lldp=1
pci_device_alias = {"vendor_id": "8086", "product_id": "29c0", "name": "q35"}
{{.Hooks}}

[ipmi]
min_command_interval = 1
command_retry_timeout = 10
use_ipmitool_retries = false

[oslo_concurrency]
lock_path = {{.Dir}}/lock

[oslo_messaging_notifications]
driver = noop

[pxe]
tftp_server = {{.Address}}
tftp_root = {{.Dir}}/tftp
tftp_master_path = {{.Dir}}/tftp/master_images
images_path = {{.Dir}}/images
instance_master_path = {{.Dir}}/images/master
kernel_append_params = nofb vga=normal console=ttyS0 no_timer_check

[sensor_data]
send_sensor_data = false

[service_catalog]
auth_type = none
endpoint_override = http://{{.Address}}:{{.AgentPort}}

[glance]
auth_type = none
endpoint_override = http://127.0.0.1:1

[swift]
auth_type = none
endpoint_override = http://127.0.0.1:1

[neutron]
auth_type = none
endpoint_override = http://127.0.0.1:1

[cinder]
auth_type = none
endpoint_override = http://127.0.0.1:1

[nova]
send_power_notifications = false
`

// loaders are the first-stage loaders that the distribution's package ipxe has.
var loaders = []string{"snponly.efi", "undionly.kpxe"}

func (i *Ironic) copyLoaders() error {
	for _, name := range loaders {
		data, err := os.ReadFile(filepath.Join("/usr/lib/ipxe", name))
		if err != nil {
			return fmt.Errorf("%w (package ipxe)", err)
		}
		for _, root := range []string{"tftp", "http"} {
			if err := os.WriteFile(filepath.Join(i.Dir, root, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}
