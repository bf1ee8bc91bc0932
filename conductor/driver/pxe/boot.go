// Package pxe has the boot interfaces "ipxe", "pxe", "http" and "http-ipxe": a
// machine is booted over the network through conductor/netboot, by the boot
// loader that the interface is named after. What a machine is to boot is in its
// row; the netboot servers ask for it at every request.
package pxe

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Config of the interface.
type Config struct {
	// DeployKernel and DeployRamdisk are the agent's, unless a node's
	// driver_info has its own: absolute path, file:// or http(s) URL.
	DeployKernel  string `ini:"conductor.deploy_kernel"`
	DeployRamdisk string `ini:"conductor.deploy_ramdisk"`
	// DeployKernelByArch and DeployRamdiskByArch go before them for nodes with
	// that cpu_arch.
	DeployKernelByArch  map[string]string `ini:"conductor.deploy_kernel_by_arch"`
	DeployRamdiskByArch map[string]string `ini:"conductor.deploy_ramdisk_by_arch"`
	// RescueKernel and RescueRamdisk are those of a rescue; without them it
	// boots what a deployment does.
	RescueKernel        string            `ini:"conductor.rescue_kernel"`
	RescueRamdisk       string            `ini:"conductor.rescue_ramdisk"`
	RescueKernelByArch  map[string]string `ini:"conductor.rescue_kernel_by_arch"`
	RescueRamdiskByArch map[string]string `ini:"conductor.rescue_ramdisk_by_arch"`
	// FileURLAllowedPaths are the directories of which nodes may name files;
	// others are the configuration's to name: whoever may enrol nodes is not to
	// read any file of the conductor's by booting it.
	FileURLAllowedPaths []string `ini:"conductor.file_url_allowed_paths"`
	// EnableNetbootFallback answers machines that are to boot no ramdisk too, and
	// sends them on to their disks; without it, they are left to find them.
	EnableNetbootFallback bool `ini:"pxe.enable_netboot_fallback"`
	// DefaultBootMode is that of nodes that nothing else is said of: "uefi" or "bios".
	DefaultBootMode string `ini:"deploy.default_boot_mode"`
	// APIURL is the base URL of the conductor's API as machines reach it.
	APIURL string `ini:"service_catalog.endpoint_override"`
	// Debug adds ipa-debug=1 to the kernel command line.
	Debug bool `ini:"DEFAULT.debug"`
	// KernelParams makes the kernel command line, see netboot.Config.
	KernelParams func(append string, agent ...string) string `ini:"-"`
	// AppendParams makes the part of it that operators choose.
	AppendParams func(append string) string `ini:"-"`
	// CheckLoader tells whether there is a boot loader for a machine, see netboot.Server. May be nil.
	CheckLoader func(m netboot.Machine, cpu string) error `ini:"-"`
}

// DefaultConfig has Ironic's directories, and ferric's own.
func DefaultConfig() Config {
	return Config{
		FileURLAllowedPaths:   []string{"/var/lib/ferric", "/var/lib/ironic", "/shared/html", "/templates", "/opt/cache/files", "/vagrant"},
		EnableNetbootFallback: true, DefaultBootMode: "uefi",
	}
}

// Boot implements driver.Boot.
type Boot struct {
	cfg     Config
	drivers driver.Resolver
	loader  netboot.Loader
}

// New makes the interface that is named after a loader.
func New(cfg Config, drivers driver.Resolver, loader netboot.Loader) *Boot {
	return &Boot{cfg, drivers, loader}
}

// Interfaces makes all of them, by their names.
func Interfaces(cfg Config, drivers driver.Resolver) map[string]driver.Boot {
	all := map[string]driver.Boot{}
	for _, loader := range netboot.Loaders() {
		all[string(loader)] = New(cfg, drivers, loader)
	}
	return all
}

// Properties describes what is read of driver_info.
func (b *Boot) Properties() map[string]string {
	return map[string]string{
		"deploy_kernel":                "Kernel of the agent's ramdisk: absolute path, file:// or http(s) URL. Default: [conductor]deploy_kernel.",
		"deploy_ramdisk":               "Ramdisk of the agent: absolute path, file:// or http(s) URL. Default: [conductor]deploy_ramdisk.",
		"rescue_kernel":                "Kernel of the ramdisk of a rescue. Default: that of the agent.",
		"rescue_ramdisk":               "Ramdisk of a rescue. Default: that of the agent.",
		"kernel_append_params":         "Additional kernel parameters of the ramdisk; %default% stands for the configured ones.",
		"force_persistent_boot_device": "Whether the boot device is set persistently: Default, Always or Never.",
		"bootloader":                   "File name of the boot loader that the firmware is given instead of the configured one. URLs and paths, which are of images for virtual media, are left alone.",
	}
}

// target is what a machine boots, as it is kept in driver_internal_info.
type target struct {
	Kernel  string `json:"kernel"`
	Ramdisk string `json:"ramdisk"`
	Params  string `json:"params"`
	ISO     string `json:"iso,omitempty"` // instead of the others
	// Instance says that this is the instance, not an agent.
	Instance bool `json:"instance,omitempty"`
}

// Validate checks kernel and ramdisk, and that there is a boot loader for the machine.
func (b *Boot) Validate(_ context.Context, n *store.Node) error {
	if err := b.validateLoader(n); err != nil {
		return err
	}
	_, err := b.files(n)
	return err
}

// configured is what nodes of an architecture boot that name nothing themselves.
func (b *Boot) configured(arch string, rescue bool) target {
	c := b.cfg
	t := target{Kernel: cmp.Or(c.DeployKernelByArch[arch], c.DeployKernel), Ramdisk: cmp.Or(c.DeployRamdiskByArch[arch], c.DeployRamdisk)}
	if rescue {
		t.Kernel = cmp.Or(c.RescueKernelByArch[arch], c.RescueKernel, t.Kernel)
		t.Ramdisk = cmp.Or(c.RescueRamdiskByArch[arch], c.RescueRamdisk, t.Ramdisk)
	}
	return t
}

func (b *Boot) files(n *store.Node) (target, error) {
	rescue := slices.Contains([]provision.State{provision.Rescuing, provision.RescueWait}, n.ProvisionState)
	t := b.configured(n.Properties.String("cpu_arch"), rescue)
	var missing []string
	for _, f := range []struct {
		key   string
		field *string
	}{{"deploy_kernel", &t.Kernel}, {"deploy_ramdisk", &t.Ramdisk}} {
		key, field := f.key, f.field
		named := n.DriverInfo.String(key)
		if v := n.DriverInfo.String(strings.Replace(key, "deploy", "rescue", 1)); v != "" && rescue {
			named = v
		}
		if named != "" {
			*field = named
		}
		if *field == "" {
			missing = append(missing, "'"+key+"'")
			continue
		}
		u, err := url.Parse(*field)
		if err != nil || !filepath.IsAbs(*field) && !slices.Contains([]string{"file", "http", "https"}, u.Scheme) {
			return t, driver.Invalid("%s %q of node %s is neither an absolute path nor a file://, http:// or https:// URL.", key, *field, n.UUID)
		}
		if named != "" && (u.Scheme == "file" || u.Scheme == "") && !b.allowed(u.Path) {
			return t, driver.Invalid("%s %q of node %s is in none of the directories of [conductor]file_url_allowed_paths.", key, named, n.UUID)
		}
	}
	if missing != nil {
		return t, driver.Missing("Cannot validate PXE bootloader. Some parameters were missing in node's driver_info and configuration. Missing are: [%s]", strings.Join(missing, ", "))
	}
	return t, nil
}

// allowed tells whether nodes may name the file, wherever links lead.
func (b *Boot) allowed(path string) bool {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return slices.ContainsFunc(b.cfg.FileURLAllowedPaths, func(dir string) bool {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		return strings.HasPrefix(path, filepath.Clean(dir)+"/")
	})
}

// PrepareRamdisk records what to boot and sets the boot device to the network.
func (b *Boot) PrepareRamdisk(ctx context.Context, t *task.Task, params map[string]string) error {
	n := t.Node
	boot, err := b.files(n)
	if err != nil {
		return err
	}
	custom := n.DriverInfo.String("kernel_append_params")
	if s := n.InstanceInfo.String("kernel_append_params"); s != "" {
		custom = s
	}
	boot.Params = b.cfg.KernelParams(custom, b.agentWords(params)...)
	if err := n.DriverInternalInfo.Encode(driver.KeyNetboot, boot); err != nil {
		return err
	}
	if err := t.Save(ctx); err != nil {
		return err
	}
	return b.setBootDevice(ctx, t, driver.BootPXE, false)
}

// CleanUpRamdisk stops offering the ramdisk.
func (b *Boot) CleanUpRamdisk(ctx context.Context, t *task.Task) error {
	delete(t.Node.DriverInternalInfo, driver.KeyNetboot)
	return t.Save(ctx)
}

// PrepareInstance makes the machine boot from its disk from now on, or over the
// network if that is what the instance is.
func (b *Boot) PrepareInstance(ctx context.Context, t *task.Task) error {
	if bootsRamdisk(t.Node) {
		return b.prepareRamdiskInstance(ctx, t)
	}
	if err := b.CleanUpRamdisk(ctx, t); err != nil {
		return err
	}
	if t.Node.ProvisionState == provision.Deploying && keepsBootOrder(t.Node, b.cfg.DefaultBootMode) {
		return nil
	}
	return b.setBootDevice(ctx, t, driver.BootDisk, true)
}

// keepsBootOrder tells whether the machine boots what was deployed by the entry
// that the agent made in the firmware's boot order, which one of Lenovo's under
// UEFI would lose again if its BMC were told of a boot device before it restarts.
func keepsBootOrder(n *store.Node, defaultBootMode string) bool {
	return strings.EqualFold(n.Properties.String("vendor"), "lenovo") && driver.BootModeOr(n, defaultBootMode) == "uefi"
}

// CleanUpInstance has nothing to take back: the boot device stays until the
// next ramdisk needs another.
func (b *Boot) CleanUpInstance(context.Context, *task.Task) error { return nil }

// setBootDevice sets the device at the BMC, once or for good as
// force_persistent_boot_device says. The order of a machine that is adopted, and
// goes on running what it runs, is its operator's.
func (b *Boot) setBootDevice(ctx context.Context, t *task.Task, device string, persistent bool) error {
	if t.Node.ProvisionState == provision.Adopting {
		return nil
	}
	ifs, err := b.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	// It was a boolean once, of which the true one means Always.
	switch strings.ToLower(fmt.Sprint(t.Node.DriverInfo["force_persistent_boot_device"])) {
	case "always", "true", "t", "1", "on", "yes", "y":
		persistent = true
	case "never":
		persistent = false
	}
	if err := ifs.Management.SetBootDevice(ctx, t, device, persistent); err != nil {
		return fmt.Errorf("set the boot device of node %s to %s: %w", t.Node.Label(), device, err)
	}
	t.Event(ctx, "boot-device", "%s", device)
	return nil
}

var _ driver.Boot = (*Boot)(nil)
