package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// APIPort is where the conductor's API listens inside the rack, and by default on the host's loopback.
const APIPort = 6385

// ConductorOptions are what a rack's conductor needs to know besides the rack.
type ConductorOptions struct {
	DeployKernel  string // paths or URLs
	DeployRamdisk string
	ImageDir      string // served by HTTP at [Address]:8080
	FullErase     bool   // automated cleaning erases whole disks, not only their metadata
}

// WriteConductorConfig writes DIR/ferric.conf for a conductor in this rack and returns its path. Pauses that spare real
// BMCs are set to nothing.
func (r *Rack) WriteConductorConfig(o ConductorOptions) (string, error) {
	erase, metadata := 0, 10 // Ironic's priorities for "metadata only", and the other way round
	if o.FullErase {
		erase, metadata = 10, 0
	}
	text := fmt.Sprintf(`[DEFAULT]
host = lab
my_ip = %[1]s
enabled_hardware_types = ipmi,fake-hardware

[api]
host_ip = 0.0.0.0
port = %[2]d

[database]
connection = sqlite:///%[3]s/ferric.sqlite

[conductor]
deploy_kernel = %[4]s
deploy_ramdisk = %[5]s
automated_clean = true

[deploy]
http_url = http://%[1]s:8080
http_root = %[6]s
erase_devices_priority = %[7]d
erase_devices_metadata_priority = %[8]d

[service_catalog]
endpoint_override = http://%[1]s:%[2]d

[pxe]
# An emulated timer that comes late on a busy host is not broken: no_timer_check.
kernel_append_params = nofb vga=normal console=ttyS0 no_timer_check

[ipmi]
min_command_interval = 0

[netboot]
interface = %[9]s
dhcp = full
range_begin = 192.168.77.100
range_end = 192.168.77.199
http_listen = :8080
`, Address, APIPort, r.Dir, o.DeployKernel, o.DeployRamdisk, o.ImageDir, erase, metadata, Bridge)
	path := filepath.Join(r.Dir, "ferric.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write the conductor's configuration: %w", err)
	}
	return path, nil
}

// Serve builds a rack that runs by itself, with its control socket, until ctx ends or it is told to go down. Then
// start is called, to start the conductor and whatever else belongs to the rack; its error takes the rack down.
func Serve(ctx context.Context, ns *Namespace, config Config, start func(context.Context, *Rack) error) (err error) {
	if _, err := QueryStatus(ctx, config.Dir); err == nil {
		return fmt.Errorf("a rack is already running in %s", config.Dir)
	}
	rack, err := Up(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rack.Close()) }()
	if err := start(ctx, rack); err != nil {
		return err
	}
	control, err := newControl(ctx, rack, ns.Listening)
	if err != nil {
		return err
	}
	defer control.listener.Close()
	select {
	case <-ctx.Done():
	case <-control.down:
	}
	return nil
}

// ParseNode reads a machine from "NAME,key=value,…" with the keys firmware, netboot, nic, memory (MiB), and disk
// (kind, or kind:MiB; may be given several times).
func ParseNode(text string) (NodeConfig, error) {
	name, rest, _ := strings.Cut(text, ",")
	n := NodeConfig{Name: name}
	if rest == "" {
		return n, nil
	}
	for _, option := range strings.Split(rest, ",") {
		key, value, _ := strings.Cut(option, "=")
		var err error
		switch key {
		case "firmware":
			n.Firmware = Firmware(value)
		case "netboot":
			n.NetBoot = NetBoot(value)
		case "nic":
			n.NIC = value
		case "memory":
			_, err = fmt.Sscanf(value, "%d", &n.MemoryMiB)
		case "disk":
			kind, size, sized := strings.Cut(value, ":")
			disk := Disk{Kind: DiskKind(kind)}
			if sized {
				_, err = fmt.Sscanf(size, "%d", &disk.SizeMiB)
			}
			n.Disks = append(n.Disks, disk)
		default:
			return n, fmt.Errorf("machine %q: unknown key %q", name, key)
		}
		if err != nil {
			return n, fmt.Errorf("machine %q: %q is no number of MiB", name, value)
		}
	}
	return n, nil
}
