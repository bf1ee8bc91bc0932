package hwmanager

import (
	"context"
	"encoding/json"
	"io"

	"ferric/api/ipa"
)

// Support is how well a manager knows the hardware it runs on. Higher goes
// first; None takes the manager out.
type Support int

// Levels of the agent contract; any larger number is allowed.
const (
	None            Support = 0
	Generic         Support = 1
	Mainline        Support = 2
	ServiceProvider Support = 3
)

// Manager is what every hardware manager has to be. All further abilities are
// optional interfaces of this package, found by type assertion.
type Manager interface {
	// Name keys the manager's version on the wire (hardware_manager_version).
	Name() string
	// ClassName keys the manager's steps on the wire.
	ClassName() string
	// Version changes whenever the steps change: a conductor that sees another
	// version than before restarts automated cleaning.
	Version() string
	// Evaluate tells how well the manager fits. It must not modify anything.
	Evaluate(ctx context.Context, h *Host) (Support, error)
}

// Node is what the conductor sent of the node: a copy of its API
// representation, secrets masked. It is never nil inside a step.
type Node map[string]any

// StepCall is one request to run a step.
type StepCall struct {
	Node  Node
	Ports []map[string]any
	Args  map[string]any // step.args over further parameters of the command
	// Resume is the state that the step left when it asked for the reboot that
	// is over now; nil in its first run. See Reboot.
	Resume json.RawMessage
	// Progress takes reports on a transfer in flight. It is never nil and
	// returns at once.
	Progress func(ipa.Progress)
}

// Step is the declaration that goes over the wire and the function behind it.
// NewStep makes one with typed arguments. One that names no interface is of the
// interface deploy.
type Step struct {
	Declaration ipa.Step
	// Run does the work. What it returns must encode as JSON. It returns
	// ErrNotHandled to pass the step on to the next manager.
	Run func(ctx context.Context, h *Host, call StepCall) (any, error)

	problem error // of what NewStep was given
}

// CleanStepper, DeployStepper and ServiceStepper offer steps for one phase.
type (
	CleanStepper interface {
		CleanSteps(ctx context.Context, h *Host, node Node) ([]Step, error)
	}
	DeployStepper interface {
		DeploySteps(ctx context.Context, h *Host, node Node) ([]Step, error)
	}
	ServiceStepper interface {
		ServiceSteps(ctx context.Context, h *Host, node Node) ([]Step, error)
	}
)

// Requirer is a manager without which nothing may be done to the machine, if
// Required is true: one that hides disks that must not be erased, say. Where
// another would be set aside, its failure ends what was asked (see Set).
type Requirer interface {
	Required() bool
}

// Initializer prepares the hardware once, after Evaluate, before any question.
type Initializer interface {
	Initialize(ctx context.Context, h *Host) error
}

// Inventorist assembles the inventory of the whole machine.
type Inventorist interface {
	Inventory(ctx context.Context, h *Host) (*ipa.Inventory, error)
}

// InterfaceLister lists the network interfaces of the machine; it is quicker
// than the whole inventory.
type InterfaceLister interface {
	Interfaces(ctx context.Context, h *Host) ([]ipa.Interface, error)
}

// InterfaceReader tells what there is to know of one network interface
// (get_interface_info). The generic manager asks for each one that it lists;
// one that nobody handles is left out.
type InterfaceReader interface {
	InterfaceInfo(ctx context.Context, h *Host, name string) (ipa.Interface, error)
}

// LLDPCollector waits for an LLDP packet on each of the named interfaces, all
// of them if names is nil (collect_lldp_data). An interface without a packet
// has an empty list.
type LLDPCollector interface {
	LLDP(ctx context.Context, h *Host, names []string) (map[string][]ipa.TLV, error)
}

// CPUReader describes the processors (get_cpus).
type CPUReader interface {
	CPUs(ctx context.Context, h *Host) (ipa.CPU, error)
}

// BootReader tells how the ramdisk was booted (get_boot_info).
type BootReader interface {
	BootInfo(ctx context.Context, h *Host) (ipa.Boot, error)
}

// USBLister lists the USB devices (get_usb_devices).
type USBLister interface {
	USBDevices(ctx context.Context, h *Host) ([]ipa.USBDevice, error)
}

// DeviceFilter changes or hides what the generic manager lists
// (filter_device). device is an ipa.BlockDevice, ipa.Interface or
// ipa.USBDevice; the answer is one of the same type, or nil to hide it
// everywhere.
type DeviceFilter interface {
	FilterDevice(ctx context.Context, h *Host, device any) (any, error)
}

// DiskLister lists the block devices of the machine, partitions if wanted.
type DiskLister interface {
	BlockDevices(ctx context.Context, h *Host, partitions bool) ([]ipa.BlockDevice, error)
}

// RootPicker chooses the disk that the image goes to (root-device hints).
// Node is nil as long as none is known: then there are no hints.
// An empty answer is an error (ipa.DeviceNotFound), never "the first disk".
type RootPicker interface {
	InstallDevice(ctx context.Context, h *Host, node Node) (ipa.BlockDevice, error)
}

// ImageWriter puts the image that info describes onto the device and answers
// with the text of the prepare_image command's result.
type ImageWriter interface {
	WriteImage(ctx context.Context, h *Host, device ipa.BlockDevice, info ipa.ImageInfo, configDrive string, node Node, progress func(ipa.Progress)) (*ImageResult, error)
}

// ImageResult is what is known of the disk after an image was written.
type ImageResult struct {
	Text     string // "image (ID) written to device DEV root_uuid=U"
	Device   string
	RootUUID string // of a whole-disk image the MBR signature, "0x%08x"
	// Of a partition image: the UUIDs of the EFI system and PReP boot
	// partitions, "" for none, and the partitions' devices by their names in
	// get_partition_uuids. Partitions is nil for a whole-disk image.
	ESPUUID, PRePUUID string
	Partitions        map[string]string
}

// PartitionUUIDs is the answer to get_partition_uuids (agent contract, section
// of that name). Its keys contain blanks.
func (r *ImageResult) PartitionUUIDs() map[string]any {
	uuids := map[string]any{"root uuid": r.RootUUID}
	if r.Partitions == nil {
		return uuids
	}
	uuids["partitions"] = r.Partitions
	uuids["efi system partition uuid"] = nil
	if r.ESPUUID != "" {
		uuids["efi system partition uuid"] = r.ESPUUID
	}
	if r.PRePUUID != "" {
		uuids["PReP Boot partition uuid"] = r.PRePUUID
	}
	return uuids
}

// BootloaderInstaller makes the written system bootable (image.install_bootloader).
type BootloaderInstaller interface {
	InstallBootloader(ctx context.Context, h *Host, device ipa.BlockDevice, req BootloaderRequest) error
}

// BootloaderRequest are the parameters of image.install_bootloader.
type BootloaderRequest struct {
	RootUUID       string
	ESPUUID        string
	PRePUUID       string
	TargetBootMode string
	IgnoreFailure  *bool
}

// BootcInstaller installs a bootable container (standby.execute_bootc_install).
type BootcInstaller interface {
	InstallBootc(ctx context.Context, h *Host, device ipa.BlockDevice, req BootcRequest, node Node, progress func(ipa.Progress)) (*ImageResult, error)
}

// BootcRequest are the parameters of standby.execute_bootc_install.
type BootcRequest struct {
	Source       string         // "oci://registry/path:tag"
	InstanceInfo map[string]any // of the node
	PullSecret   string         // base64 of "user:password" in base64; "" for none
	ConfigDrive  string         // base64(gzip(volume)) or URL; "" for none
}

// Syncer flushes everything that is still on its way to the disks.
type Syncer interface {
	FullSync(ctx context.Context, h *Host) error
}

// Collector adds to what an inspection tells: what it returns stands in the
// inspection data (in a conductor's plugin data) under the manager's name, as long
// as no other member has that name. It must encode as JSON of at most a MiB.
type Collector interface {
	Collect(ctx context.Context, h *Host) (map[string]any, error)
}

// LogSource adds members to the archive of log.collect_system_logs. The agent
// masks its token in them.
type LogSource interface {
	Logs(ctx context.Context, h *Host, add func(name string, r io.Reader) error) error
}
