// Package netboot brings machines from power-on to a running kernel: DHCP (a
// full service for a range, or a proxy beside the network's own server), TFTP,
// HTTP and the iPXE scripts between them.
//
// The chain is the same for every firmware: a BIOS or UEFI PXE client is given
// an iPXE binary by TFTP, a UEFI HTTP client the same binary by HTTP; iPXE, be
// it that binary or the card's own ROM, is given <http_url>/boot.ipxe, which
// fetches the script of its MAC address, which loads kernel and ramdisk.
//
// The package keeps no state about nodes. It asks a Directory at each step what
// the owner of a MAC address is to boot, so a change there is effective with the
// next packet. What it keeps itself are leases (see LeaseStore) and, for the
// length of a lease, which machine was seen behind a MAC address.
package netboot

import (
	"context"
	"errors"
	"net"
	"time"
)

// Errors of this package, to be tested with errors.Is.
var (
	// ErrUnknownMAC is what a Directory returns for an address that is no port of any node.
	ErrUnknownMAC = errors.New("no port has this MAC address")
	// ErrConfig marks a configuration that cannot be used.
	ErrConfig = errors.New("invalid netboot configuration")
	// ErrListen marks a listener that could not be opened.
	ErrListen = errors.New("cannot listen")
	// ErrLoaderMissing marks an iPXE binary that is in none of the searched directories.
	ErrLoaderMissing = errors.New("boot loader not found")
	// ErrRangeExhausted says that every address of the range is leased.
	ErrRangeExhausted = errors.New("no free address in the DHCP range")
)

// Action is what a machine is to do when its firmware boots from the network.
type Action int

const (
	// Ignore leaves the firmware without an answer, so that it goes on to its next
	// boot device. An operating system on the port still gets an address.
	Ignore Action = iota
	// Ramdisk boots Machine.Kernel and Machine.Ramdisk.
	Ramdisk
	// LocalDisk answers, and sends iPXE on to the machine's own disk.
	LocalDisk
	// BootISO boots Machine.ISO.
	BootISO
)

// String returns the name used in logs and events.
func (a Action) String() string {
	switch a {
	case Ignore:
		return "ignore"
	case Ramdisk:
		return "ramdisk"
	case LocalDisk:
		return "local disk"
	case BootISO:
		return "ISO image"
	}
	return "unknown action"
}

// Machine is what to boot on the machine that owns a MAC address.
type Machine struct {
	NodeUUID string
	Name     string // for people, may be empty
	Action   Action
	// Kernel and Ramdisk are absolute paths, file:// URLs or http(s) URLs. Files are
	// served at /<node uuid>/deploy_kernel and deploy_ramdisk; http(s) URLs are given
	// to iPXE as they are.
	Kernel, Ramdisk string
	// ISO is such a path or URL too; a file is served at /<node uuid>/boot_iso.
	ISO string
	// Params is the kernel command line without initrd= and BOOTIF=, see KernelParams.
	Params string

	// Loader is which boot loader the firmware is given.
	Loader Loader
	// BootMode is bios or uefi, where a file has to be for one of them and the
	// client does not say which it is; empty: uefi.
	BootMode string
	// SecureBoot gives UEFI a boot loader that it trusts by its signature.
	SecureBoot bool
	// Bootloader is a file name that goes before the configured ones. May be empty.
	Bootloader string
}

// Loader is a way from the firmware to the kernel: a boot loader and how it is fetched.
type Loader string

// The ways, by the names of Ironic's boot interfaces. The empty Loader is LoaderIPXE.
const (
	LoaderIPXE     Loader = "ipxe"      // iPXE by TFTP or HTTP, the rest by HTTP
	LoaderHTTPIPXE Loader = "http-ipxe" // the same, but UEFI fetches iPXE by HTTP only
	LoaderPXE      Loader = "pxe"       // pxelinux, or GRUB for UEFI; all by TFTP
	LoaderHTTP     Loader = "http"      // UEFI fetches GRUB by HTTP only, and so the rest
)

// Loaders are all of them.
func Loaders() []Loader { return []Loader{LoaderIPXE, LoaderPXE, LoaderHTTPIPXE, LoaderHTTP} }

// ipxe tells whether the machine is to run iPXE and its scripts.
func (m Machine) ipxe() bool { return m.Loader != LoaderPXE && m.Loader != LoaderHTTP }

// Directory knows the ports of all nodes. It is asked for every packet, from
// several goroutines at once.
type Directory interface {
	// Machine returns ErrUnknownMAC for an address that is no port of any node.
	Machine(ctx context.Context, mac net.HardwareAddr) (Machine, error)
}

// Kinds of events, in the order in which a booting machine causes them.
const (
	EventDHCP        = "dhcp"         // an address was acknowledged, or boot data given by the proxy
	EventTFTP        = "tftp"         // a file was sent whole
	EventScript      = "ipxe-script"  // the machine's own script was fetched
	EventKernel      = "kernel"       // the kernel is being fetched
	EventKernelSent  = "kernel-sent"  // its last byte was handed to the network
	EventRamdisk     = "ramdisk"      // the ramdisk is being fetched
	EventRamdiskSent = "ramdisk-sent" // its last byte was handed to the network

	EventMACConflict = "mac-conflict" // two machines use one MAC address; Detail names both
	EventDeclined    = "dhcp-decline" // the client found its address in use by another
	EventError       = "error"        // a request of a known machine could not be served
)

// Event is one step of a machine's boot, for diagnosis and timelines. NodeUUID
// and MAC are empty where they are not known.
type Event struct {
	Time     time.Time
	NodeUUID string
	MAC      string
	Kind     string
	Detail   string
}
