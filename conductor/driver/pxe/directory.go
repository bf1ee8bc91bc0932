package pxe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// Directory answers the netboot servers out of the database.
type Directory struct {
	Store *store.Store
	// Fallback sends machines that are to boot no ramdisk on to their disks.
	Fallback bool
	// DefaultBootMode is that of nodes that nothing else is said of; without it, "uefi".
	DefaultBootMode string
	// Unknown is what machines boot that are no node's; nil: nothing.
	Unknown *netboot.Machine
}

// Machine finds the node that owns a MAC address.
func (d *Directory) Machine(ctx context.Context, mac net.HardwareAddr) (netboot.Machine, error) {
	port, err := d.Store.PortByAddress(ctx, mac.String())
	if errors.Is(err, store.ErrNotFound) {
		if d.Unknown != nil {
			return *d.Unknown, nil
		}
		return netboot.Machine{}, netboot.ErrUnknownMAC
	}
	if err != nil {
		return netboot.Machine{}, err
	}
	n, err := d.Store.NodeByID(ctx, port.NodeID)
	if err != nil {
		return netboot.Machine{}, err
	}
	return d.machine(n, port)
}

// Node finds a node and one of the ports that it boots from.
func (d *Directory) Node(ctx context.Context, uuid string) (net.HardwareAddr, netboot.Machine, error) {
	n, err := d.Store.Node(ctx, uuid)
	if errors.Is(err, store.ErrNotFound) {
		return nil, netboot.Machine{}, netboot.ErrUnknownMAC
	}
	if err != nil {
		return nil, netboot.Machine{}, err
	}
	ports, err := d.Store.NodePorts(ctx, n.ID)
	if err != nil {
		return nil, netboot.Machine{}, err
	}
	i := slices.IndexFunc(ports, func(p *store.Port) bool { return p.PXEEnabled })
	if i < 0 {
		return nil, netboot.Machine{}, fmt.Errorf("node %s has no port that boots from the network: %w", uuid, netboot.ErrUnknownMAC)
	}
	mac, err := net.ParseMAC(ports[i].Address)
	if err != nil {
		return nil, netboot.Machine{}, fmt.Errorf("port %s: %w", ports[i].UUID, err)
	}
	m, err := d.machine(n, ports[i])
	return mac, m, err
}

// machine is what a node boots from a port of it.
func (d *Directory) machine(n *store.Node, port *store.Port) (netboot.Machine, error) {
	m := machine(n, loaderOf(n), d.DefaultBootMode)
	m.Action = netboot.Ignore
	if !port.PXEEnabled {
		return m, nil
	}
	if d.Fallback {
		m.Action = netboot.LocalDisk
	}
	var boot target
	if n.DriverInternalInfo[driver.KeyNetboot] == nil {
		return m, nil
	}
	if err := n.DriverInternalInfo.Decode(driver.KeyNetboot, &boot); err != nil {
		return m, err
	}
	if n.ProvisionState == provision.Active && !boot.Instance {
		return m, nil
	}
	if boot.ISO != "" {
		m.Action, m.ISO = netboot.BootISO, boot.ISO
		return m, nil
	}
	m.Action, m.Kernel, m.Ramdisk, m.Params = netboot.Ramdisk, boot.Kernel, boot.Ramdisk, boot.Params
	return m, nil
}

var _ netboot.NodeDirectory = (*Directory)(nil)

// Discovery is what machines boot that are no node's, where these are to be
// discovered: the agent, told to inspect. It is nil where no agent is configured:
// then the operator boots it by other means. n stands for the nodes that are enrolled so.
func Discovery(cfg Config, n *store.Node, params map[string]string) *netboot.Machine {
	const arch = "x86_64" // the machine does not say before it is answered
	b := New(cfg, nil, loaderOf(n))
	boot := b.configured(arch, false)
	if boot.Kernel == "" || boot.Ramdisk == "" {
		return nil
	}
	return &netboot.Machine{
		Action: netboot.Ramdisk, Loader: b.loader, Kernel: boot.Kernel, Ramdisk: boot.Ramdisk,
		Params: cfg.KernelParams("", b.agentWords(params)...),
	}
}

// agentWords are the agent's parameters on the kernel command line, sorted.
func (b *Boot) agentWords(params map[string]string) []string {
	words := []string{"ipa-api-url=" + b.cfg.APIURL}
	if b.cfg.Debug {
		words = append(words, "ipa-debug=1")
	}
	for _, key := range slices.Sorted(maps.Keys(params)) {
		words = append(words, strings.TrimSuffix(key+"="+params[key], "="))
	}
	slices.Sort(words)
	return words
}
