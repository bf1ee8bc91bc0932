package pxe

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/netboot"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// bootsRamdisk says that the instance of the node is booted over the network
// each time, as with the deploy interface "ramdisk".
func bootsRamdisk(n *store.Node) bool {
	name := n.InstanceInfo.String("deploy_interface")
	if name == "" && n.DeployInterface != nil {
		name = *n.DeployInterface
	}
	return name == "ramdisk"
}

// ValidateInstance checks what an instance that is booted each time is booted from.
func (b *Boot) ValidateInstance(_ context.Context, n *store.Node) error {
	_, err := b.instance(n)
	return err
}

// instance is what such an instance boots: an ISO image, else a kernel and a
// ramdisk, of instance_info.
func (b *Boot) instance(n *store.Node) (target, error) {
	t := target{Instance: true, ISO: n.InstanceInfo.String("boot_iso")}
	if m := machine(n, b.loader, b.cfg.DefaultBootMode); t.ISO != "" && b.loader != netboot.LoaderIPXE && b.loader != netboot.LoaderHTTPIPXE && m.BootMode == "uefi" {
		return t, driver.Invalid("The boot interface %s boots no ISO image by UEFI, which node %s has in instance_info: give it the boot interface ipxe or http-ipxe, or set kernel and ramdisk.", b.loader, n.UUID)
	}
	places := map[string]*string{"boot_iso": &t.ISO}
	if t.ISO == "" {
		t.Kernel, t.Ramdisk = n.InstanceInfo.String("kernel"), n.InstanceInfo.String("ramdisk")
		places = map[string]*string{"kernel": &t.Kernel, "ramdisk": &t.Ramdisk}
		custom := n.DriverInfo.String("kernel_append_params")
		if s := n.InstanceInfo.String("kernel_append_params"); s != "" {
			custom = s
		}
		words := []string{"root=/dev/ram0", "text", b.cfg.AppendParams(custom), n.InstanceInfo.String("ramdisk_kernel_arguments")}
		t.Params = strings.Join(strings.Fields(strings.Join(words, " ")), " ")
	}
	for key, place := range places {
		u, err := url.Parse(*place)
		if err != nil || !filepath.IsAbs(*place) && !slices.Contains([]string{"file", "http", "https"}, u.Scheme) {
			return t, driver.Invalid("%s %q in instance_info of node %s is neither an absolute path nor a file://, http:// or https:// URL.", key, *place, n.UUID)
		}
		if (u.Scheme == "file" || u.Scheme == "") && !b.allowed(u.Path) {
			return t, driver.Invalid("%s %q in instance_info of node %s is in none of the directories of [conductor]file_url_allowed_paths.", key, *place, n.UUID)
		}
	}
	return t, nil
}

// prepareRamdiskInstance makes the machine boot its instance over the network
// from now on.
func (b *Boot) prepareRamdiskInstance(ctx context.Context, t *task.Task) error {
	boot, err := b.instance(t.Node)
	if err != nil {
		return err
	}
	if err := t.Node.DriverInternalInfo.Encode(driver.KeyNetboot, boot); err != nil {
		return err
	}
	if err := t.Save(ctx); err != nil {
		return err
	}
	return b.setBootDevice(ctx, t, driver.BootPXE, true)
}
