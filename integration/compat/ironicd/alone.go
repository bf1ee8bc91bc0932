package ironicd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// alone follows the configuration of the rack: no machines, no network but
// loopback, fake hardware.
const alone = `
[DEFAULT]
debug = false
host = alone
my_ip = 127.0.0.1
enabled_hardware_types = fake-hardware
enabled_bios_interfaces = fake,no-bios
enabled_boot_interfaces = fake
enabled_console_interfaces = fake,no-console
enabled_deploy_interfaces = fake
enabled_firmware_interfaces = fake,no-firmware
enabled_inspect_interfaces = fake,no-inspect
enabled_management_interfaces = fake
enabled_power_interfaces = fake
enabled_raid_interfaces = fake,no-raid
enabled_rescue_interfaces = fake,no-rescue
enabled_vendor_interfaces = fake,no-vendor
[api]
host_ip = 127.0.0.1
port = %d
public_endpoint = http://127.0.0.1:%[1]d
restrict_lookup = false
[agent]
require_tls = false
[conductor]
sync_power_state_interval = 60
`

// Alone lays out an Ironic without a rack, on loopback with fake hardware, and
// makes its database. It answers its release and the program to start.
func Alone(ctx context.Context, dir, python string, port int) (release string, argv []string, err error) {
	release, err = Release(ctx, python)
	if err != nil {
		return "", nil, err
	}
	i := &Ironic{Dir: dir, Release: release, options: Options{Python: python, Config: fmt.Sprintf(alone, port)}}
	if err := i.layOut(); err != nil {
		return "", nil, fmt.Errorf("set Ironic %s up: %w", release, err)
	}
	script := filepath.Join(dir, "program.py")
	if err := os.WriteFile(script, []byte(program), 0o600); err != nil {
		return "", nil, err
	}
	if _, err := run(ctx, python, "-B", script, "ironic-dbsync", "--config-file", i.configPath(), "create_schema"); err != nil {
		return "", nil, fmt.Errorf("make the database of Ironic %s: %w", release, err)
	}
	return release, strings.Fields(python + " -B " + script + " ironic --config-file " + i.configPath()), nil
}
