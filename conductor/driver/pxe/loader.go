package pxe

import (
	"strings"

	"github.com/google/uuid"

	"ferric/conductor/driver"
	"ferric/conductor/netboot"
	"ferric/conductor/store"
)

// machine is what of a node decides on its boot loader. defaultBootMode is that
// of nodes that nothing is said of.
func machine(n *store.Node, loader netboot.Loader, defaultBootMode string) netboot.Machine {
	m := netboot.Machine{NodeUUID: n.UUID, Name: n.Label(), Loader: loader, BootMode: driver.BootModeOr(n, defaultBootMode)}
	for _, capabilities := range []any{n.InstanceInfo["capabilities"], n.Properties["capabilities"]} {
		if driver.Capabilities(capabilities)["secure_boot"] == "true" {
			m.SecureBoot = true
		}
	}
	// Elsewhere it is an image for virtual media: a URL, a path or an identifier of Glance.
	name := n.DriverInfo.String("bootloader")
	if _, err := uuid.Parse(name); err != nil && !strings.Contains(name, "/") {
		m.Bootloader = name
	}
	return m
}

// loaderOf is the loader of the node's boot interface; one that boots by other
// means has iPXE should it ask after all.
func loaderOf(n *store.Node) netboot.Loader {
	name := n.InstanceInfo.String("boot_interface")
	if name == "" && n.BootInterface != nil {
		name = *n.BootInterface
	}
	for _, loader := range netboot.Loaders() {
		if string(loader) == name {
			return loader
		}
	}
	return netboot.LoaderIPXE
}

// validateLoader checks that the machine's firmware can be given a boot loader.
func (b *Boot) validateLoader(n *store.Node) error {
	m := machine(n, b.loader, b.cfg.DefaultBootMode)
	byHTTP := b.loader == netboot.LoaderHTTP || b.loader == netboot.LoaderHTTPIPXE
	if byHTTP && m.BootMode != "uefi" {
		return driver.Invalid("The boot interface %s needs UEFI, and node %s has boot mode %q: set boot_mode:uefi in the capabilities of its properties, or give it the boot interface pxe or ipxe.", b.loader, n.UUID, m.BootMode)
	}
	if b.cfg.CheckLoader == nil {
		return nil
	}
	if err := b.cfg.CheckLoader(m, n.Properties.String("cpu_arch")); err != nil {
		return driver.Invalid("Node %s cannot be booted by the boot interface %s: %v", n.UUID, b.loader, err)
	}
	return nil
}
