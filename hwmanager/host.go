package hwmanager

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Host is the machine as managers see it: the roots of the kernel's file
// systems, so that tests use fixtures, the one way to run programs, and what
// the conductor wants of this machine.
type Host struct {
	Sys  string // "/sys"
	Proc string // "/proc"
	Dev  string // "/dev"
	Etc  string // "/etc", for what programs are to be told
	Run  Runner
	// Programs, if set, is a directory whose programs stand in for the
	// machine's: that of a made-up host. Plugins get it first on their PATH.
	Programs string
	Log      *logrus.Entry
	Guard    DeviceGuard
	// Settings are complete when the first step runs: the agent fills them
	// from the kernel command line and from the answer to its lookup.
	Settings Settings
	Image    ImageRecord // written in this boot
	Erased   EraseRecord // in this boot
	// Set are all managers of this machine, for questions that one manager
	// has and another may answer better. Load fills it. Nobody asks it the
	// question that he is asked himself: that has no end.
	Set *Set
}

// Runner runs a program with a time limit taken from ctx and returns its
// standard output. The error of a failed run carries the end of standard error.
type Runner interface {
	Run(ctx context.Context, name string, args ...string) (stdout []byte, err error)
}

// Settings are the options of the agent that managers act on, under the
// names of the agent contract, section "Configuration".
type Settings struct {
	MD5Enabled                  bool
	DisableDeepImageInspection  bool
	PermittedImageFormats       []string
	ConfigDriveRebuild          bool // make every config drive anew, as FAT
	InjectFilesPriority         int  // of the step inject_files, 0 to 99
	DisableBootcDeploy          bool
	EnableBIOSBootloaderInstall bool
	StrictRootDevice            bool // fail where the choice of the root device is not clear
	IgnoreBootloaderFailure     bool // unless the command says otherwise
	GuardSpecialFilesystems     bool
	SkipBMCDetect               bool
	BootIF                      string // BOOTIF of the kernel command line, verbatim

	ImageServer          ImageServer
	ConnectTimeout       time.Duration // per connection to an image server
	ConnectRetries       int           // further attempts
	ConnectRetryInterval time.Duration
	MaxDownload          time.Duration // whole download; 0 = no limit
	GlobalRequestID      string
	Insecure             bool   // do not verify certificates of image servers
	CAFile               string // PEM; "" for the authorities of the system
	CertFile, KeyFile    string // PEM, a client certificate if both are set

	DiskWaitAttempts int
	DiskWaitDelay    time.Duration

	CollectLLDP          bool // put LLDP packets into the inventory
	LLDPTimeout          time.Duration
	EnableVLANInterfaces []string // "interface.vlan", "interface" or "all"
	InspectionBenchmarks []string // of the collector extra-hardware: cpu, disk, mem

	// Partitioning, sections [disk_utils] and [disk_partitioner].
	EFISystemPartitionSize int           // MiB
	BIOSBootPartitionSize  int           // MiB
	CheckDeviceInterval    time.Duration // between looks whether a disk is in use
	CheckDeviceMaxRetries  int

	Container Container
}

// Container are the options of section [container], for steps that are
// containers. The answer to the lookup may have changed them.
type Container struct {
	AllowArbitrary bool     // let steps run any image
	Allowed        []string // images that steps may run
	StepsFile      string   // YAML
	Runner         string   // "podman" or "docker"
	PullOptions    []string
	RunOptions     []string
}

// ImageServer holds the credentials for image servers that the agent was
// configured with; those of the image itself come first.
type ImageServer struct {
	AuthStrategy string // "noauth" or "http_basic"
	User         string
	Password     string
}

// DevicePath is where the device with the given name on the wire ("/dev/sda")
// is found on this host.
func (h *Host) DevicePath(name string) string {
	if rest, ok := strings.CutPrefix(name, "/dev/"); ok {
		return filepath.Join(h.Dev, rest)
	}
	return name
}

// DeviceGuard decides which devices may be written to. In the ramdisk these
// are all; anywhere else only those that were allowed by name, so that an
// agent started on a workstation cannot wipe it. The zero value allows none.
type DeviceGuard struct {
	InRamdisk bool
	Allowed   []string // patterns of filepath.Match over the resolved path
}

// Check is nil if the device at path may be written to. The error names the
// device.
func (g DeviceGuard) Check(path string) error {
	if g.InRamdisk {
		return nil
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ipa.BlockDeviceFailed.New("device %s: %v", path, err)
	}
	for _, pattern := range g.Allowed {
		if matched, err := filepath.Match(pattern, resolved); err == nil && matched {
			return nil
		}
	}
	return ipa.ProtectedDevice.New("not running in a ramdisk: writing to %s is not allowed", path)
}
