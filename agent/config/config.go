// Package config holds the settings of the agent. One table (table.go)
// declares them all: the parameter on the kernel command line, the section and
// option of a configuration file, the flag, the field, default and help.
package config

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"ferric/api/ipa"
)

// Config are the settings of the agent under the names of the agent contract,
// section "Configuration".
type Config struct {
	APIURLs         []string // without trailing slashes, or just MDNS
	Debug           bool
	GlobalRequestID string
	AgentToken      string

	ListenHost        string
	ListenPort        int
	AdvertiseHost     string
	AdvertisePort     int
	AdvertiseProtocol string
	NetworkInterface  string
	IPLookupAttempts  int
	IPLookupSleep     time.Duration

	LookupTimeout      time.Duration
	LookupInterval     time.Duration
	HTTPRequestTimeout time.Duration
	IronicAPIVersion   string
	ForcedHeartbeatGap time.Duration

	Insecure            bool
	CAFile              string
	CertFile, KeyFile   string // of a client certificate
	ListenTLS           bool
	TLSCertFile         string
	TLSKeyFile          string
	EnableAutoTLS       bool
	TLSMinVersion       string
	TLSCipherSuites     string
	TLSCertificateCurve string
	AllowedClockSkew    time.Duration

	UseMDNS              bool
	MDNSAllowedOverrides []string
	MDNSLookupAttempts   int
	MDNSInterfaces       []string

	InspectionCallbackURLs          []string // or just MDNS
	InspectionCollectors            []string // nil: not configured
	InspectionDHCPWaitTimeout       time.Duration
	InspectionDHCPAllInterfaces     bool
	InspectionBenchmarks            []string
	CollectLLDP                     bool
	LLDPTimeout                     time.Duration
	EnableVLANInterfaces            []string
	IntrospectionDaemon             bool // of the program that only inspects
	IntrospectionDaemonPostInterval time.Duration

	HardwareInitializationDelay time.Duration
	DiskWaitAttempts            int
	DiskWaitDelay               time.Duration
	NTPServer                   string
	FailIfClockNotSet           bool

	ImageConnectTimeout         time.Duration
	ImageConnectRetries         int
	ImageRetryInterval          time.Duration
	ImageMaxDuration            time.Duration
	ImageServerAuthStrategy     string
	ImageServerUser             string
	ImageServerPassword         string
	MD5Enabled                  bool
	DisableDeepImageInspection  bool
	PermittedImageFormats       []string
	ConfigDriveRebuild          bool
	InjectFilesPriority         int
	DisableBootcDeploy          bool
	IgnoreBootloaderFailure     *bool // nil: unset
	EnableBIOSBootloaderInstall bool
	GuardSpecialFilesystems     bool

	EFISystemPartitionSize int // MiB
	BIOSBootPartitionSize  int // MiB
	CheckDeviceInterval    time.Duration
	CheckDeviceMaxRetries  int

	AllowArbitraryContainers bool
	AllowedContainers        []string
	ContainerStepsFile       string
	ContainerRunner          string
	ContainerPullOptions     []string
	ContainerRunOptions      []string

	BootIF       string
	BootMethod   string
	AllowDevices []string
	// StrictRootDevice fails where several disks could be the root device.
	StrictRootDevice bool
	// PluginDir has the executable hardware managers of the ramdisk.
	PluginDir string

	// Flags only: where things are, so that tests use fixtures.
	ConfigFiles                                       []string
	ConfigDir, Etc, Sys, Proc, Dev, StateDir, Cmdline string

	// Flags only, too: neither a kernel command line nor virtual media decide
	// whose plugins are trusted.
	PluginKeys, PluginMinimums string
	FetchedPluginDir           string
}

// Sources are where settings come from beside configuration files and flags.
type Sources struct {
	// Cmdline is the text of the file with the kernel command line; one that is
	// absent is an empty command line.
	Cmdline func(path string) (string, error)
	// Media is asked once if the kernel command line has boot_method=vmedia: it
	// copies the configuration files of virtual media below c.Etc and returns
	// the parameters found there, a text like a kernel command line.
	Media func(c *Config) (parameters string, err error)
}

// Parse makes the configuration. Later sources win: defaults, kernel command
// line, parameters on virtual media, configuration files, args; but ipa-debug
// of the command line wins over all. Bad values are returned as warnings and
// the former value stands, but for flags: an agent that does not start cannot
// be repaired over the network. Virtual media that cannot be read are an error
// only where nothing else tells of an API.
func Parse(args []string, from Sources, usage io.Writer) (c *Config, warnings []error, err error) {
	c = &Config{}
	for _, s := range settings {
		if err := s.set(c, s.def); err != nil {
			return nil, nil, fmt.Errorf("default of %s: %w", s.flag(), err)
		}
	}
	given, err := parseFlags(args, usage)
	if err != nil {
		return nil, nil, err
	}
	// Flags say where the other sources are, and win over them.
	if err := c.applyFlags(given); err != nil {
		return nil, nil, err
	}
	cmdline, err := from.Cmdline(c.Cmdline)
	if err != nil {
		return nil, nil, fmt.Errorf("read kernel command line: %w", err)
	}
	warnings = c.applyParameters("kernel command line", cmdline)
	var mediaErr error
	if c.BootMethod == "vmedia" && from.Media != nil {
		var parameters string
		parameters, mediaErr = from.Media(c)
		warnings = append(warnings, c.applyParameters("parameters on virtual media", parameters)...)
		cmdline += "\n" + parameters
	}
	warnings = append(warnings, c.applyFiles()...)
	if err := c.applyFlags(given); err != nil {
		return nil, nil, err
	}
	c.debugFirst(cmdline)
	for i, u := range c.APIURLs {
		c.APIURLs[i] = strings.TrimRight(u, "/")
	}
	if mediaErr != nil && len(c.APIURLs) == 0 && !c.UseMDNS {
		return nil, warnings, ipa.VirtualMediaBoot.New("%v", mediaErr)
	}
	if mediaErr != nil {
		warnings = append(warnings, mediaErr)
	}
	return c, warnings, nil
}

// parseFlags checks the flags and returns their values by name. A flag given
// more than once has its last value; config-file gathers all.
func parseFlags(args []string, usage io.Writer) (map[string]string, error) {
	flags := flag.NewFlagSet("ferric-agent", flag.ContinueOnError)
	flags.SetOutput(usage)
	given := map[string]string{}
	for _, s := range settings {
		name := s.flag()
		note := s.help
		if s.parameter != "" {
			note += " (kernel parameter " + s.parameter + ")"
		}
		if s.def != "" {
			note += " (default " + s.def + ")"
		}
		record := func(value string) error {
			if former, ok := given[name]; ok && s.option == "config_file" {
				value = former + "," + value
			}
			given[name] = value
			return s.set(&Config{}, value)
		}
		if s.isBool() {
			flags.BoolFunc(name, note, record)
		} else {
			flags.Func(name, note, record)
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return given, nil
}

func (c *Config) applyFlags(given map[string]string) error {
	for _, s := range settings {
		if value, ok := given[s.flag()]; ok {
			if err := s.set(c, value); err != nil {
				return fmt.Errorf("--%s: %w", s.flag(), err)
			}
		}
	}
	return nil
}

// maxParameters bounds a kernel command line (x86 allows 2048 bytes) and the
// parameters on virtual media.
const maxParameters = 64 << 10

// eachParameter calls fn for the words of the form key=value, no quoting.
func eachParameter(text string, fn func(key, value string)) {
	for word := range strings.FieldsSeq(text) {
		if key, value, ok := strings.Cut(word, "="); ok {
			fn(key, value)
		}
	}
}

// applyParameters takes over the parameters in text; the last of several with
// one key counts.
func (c *Config) applyParameters(source, text string) []error {
	if len(text) > maxParameters {
		return []error{fmt.Errorf("%s: longer than %d bytes, ignored", source, maxParameters)}
	}
	var warnings []error
	eachParameter(text, func(key, value string) {
		for _, s := range settings {
			if s.parameter == "" || s.parameter != key {
				continue
			}
			if err := s.set(c, value); err != nil {
				warnings = append(warnings, fmt.Errorf("%s: %s: %w", source, key, err))
			}
		}
	})
	return warnings
}

// debugFirst lets ipa-debug win over files and flags (agent contract, section
// "Configuration").
func (c *Config) debugFirst(parameters string) {
	if len(parameters) > 2*maxParameters {
		return
	}
	eachParameter(parameters, func(key, value string) {
		if truth, err := parseBool(value); key == "ipa-debug" && err == nil {
			c.Debug = truth
		}
	})
}
