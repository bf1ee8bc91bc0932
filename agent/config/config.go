// Package config holds the settings of the agent. One table declares them
// all: the parameter on the kernel command line, the flag (the parameter
// without "ipa-"), the field, its default and its help.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config are the settings of the agent under the names of the agent contract,
// section "Configuration".
type Config struct {
	APIURLs         []string
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

	EnableAutoTLS       bool
	Insecure            bool
	CAFile              string
	TLSMinVersion       string
	TLSCipherSuites     string
	TLSCertificateCurve string
	AllowedClockSkew    time.Duration

	HardwareInitializationDelay time.Duration
	DiskWaitAttempts            int
	DiskWaitDelay               time.Duration

	ImageConnectTimeout     time.Duration
	ImageConnectRetries     int
	ImageRetryInterval      time.Duration
	ImageMaxDuration        time.Duration
	IgnoreBootloaderFailure bool
	GuardSpecialFilesystems bool

	BootIF       string
	AllowDevices []string

	// Flags only: where things are, so that tests use fixtures.
	Sys, Proc, Dev, Etc, StateDir, Cmdline string
}

// setting is one row of the table. The default is text, parsed as the
// kernel parameter would be.
type setting struct {
	parameter string // on the kernel command line; "" if a flag only
	flag      string
	field     func(*Config) any
	def       string
	help      string
}

// settings is the table; where a default stands in the agent contract it is
// that one.
var settings = []setting{
	{"ipa-api-url", "api-url", func(c *Config) any { return &c.APIURLs }, "", "comma-separated URLs of the bare-metal API"},
	{"ipa-debug", "debug", func(c *Config) any { return &c.Debug }, "false", "log more"},
	{"ipa-global-request-id", "global-request-id", func(c *Config) any { return &c.GlobalRequestID }, "", "X-OpenStack-Request-ID of all requests"},
	{"ipa-agent-token", "agent-token", func(c *Config) any { return &c.AgentToken }, "", "token given in advance"},
	{"ipa-listen-host", "listen-host", func(c *Config) any { return &c.ListenHost }, "::", "address to listen on"},
	{"ipa-listen-port", "listen-port", func(c *Config) any { return &c.ListenPort }, "9999", "port to listen on (0: any free one)"},
	{"ipa-advertise-host", "advertise-host", func(c *Config) any { return &c.AdvertiseHost }, "", "address to advertise, found by routing if empty"},
	{"ipa-advertise-port", "advertise-port", func(c *Config) any { return &c.AdvertisePort }, "0", "port to advertise (0: the one listened on)"},
	{"ipa-advertise-protocol", "advertise-protocol", func(c *Config) any { return &c.AdvertiseProtocol }, "http", "scheme to advertise without TLS of our own"},
	{"ipa-network-interface", "network-interface", func(c *Config) any { return &c.NetworkInterface }, "", "interface whose IPv4 address is advertised"},
	{"ipa-ip-lookup-attempts", "ip-lookup-attempts", func(c *Config) any { return &c.IPLookupAttempts }, "6", "tries to find the address to advertise"},
	{"ipa-ip-lookup-timeout", "ip-lookup-sleep", func(c *Config) any { return &c.IPLookupSleep }, "10", "seconds between these tries"},
	{"ipa-lookup-timeout", "lookup-timeout", func(c *Config) any { return &c.LookupTimeout }, "600", "seconds to look the node up for"},
	{"ipa-lookup-interval", "lookup-interval", func(c *Config) any { return &c.LookupInterval }, "1", "least seconds between lookups"},
	{"ipa-http-request-timeout", "http-request-timeout", func(c *Config) any { return &c.HTTPRequestTimeout }, "30", "seconds for one request to the API"},
	{"ipa-ironic-api-version", "ironic-api-version", func(c *Config) any { return &c.IronicAPIVersion }, "", "API version, instead of asking the server"},
	{"ferric-forced-heartbeat-gap", "forced-heartbeat-gap", func(c *Config) any { return &c.ForcedHeartbeatGap }, "5", "least seconds between a heartbeat and the forced one at the end of a command"},
	{"", "enable-auto-tls", func(c *Config) any { return &c.EnableAutoTLS }, "true", "serve TLS with a certificate of our own"},
	{"ipa-insecure", "insecure", func(c *Config) any { return &c.Insecure }, "false", "do not verify certificates of servers"},
	{"", "cafile", func(c *Config) any { return &c.CAFile }, "", "PEM file of authorities to trust"},
	{"ipa-tls-min-version", "tls-min-version", func(c *Config) any { return &c.TLSMinVersion }, "1.2", "lowest TLS version served: 1.2 or 1.3"},
	{"ipa-tls-cipher-suites", "tls-cipher-suites", func(c *Config) any { return &c.TLSCipherSuites }, "", "cipher suites of TLS 1.2 (OpenSSL names, colon-separated)"},
	{"ipa-tls-certificate-curve", "tls-certificate-curve", func(c *Config) any { return &c.TLSCertificateCurve }, "p384", "curve of the certificate: p256, p384 or p521"},
	{"", "auto-tls-allowed-clock-skew", func(c *Config) any { return &c.AllowedClockSkew }, "3600", "seconds that the certificate is dated back"},
	{"ipa-hardware-initialization-delay", "hardware-initialization-delay", func(c *Config) any { return &c.HardwareInitializationDelay }, "0", "seconds to wait for slow hardware"},
	{"ipa-disk-wait-attempts", "disk-wait-attempts", func(c *Config) any { return &c.DiskWaitAttempts }, "10", "how often to look for a disk"},
	{"ipa-disk-wait-delay", "disk-wait-delay", func(c *Config) any { return &c.DiskWaitDelay }, "3", "seconds between looks"},
	{"ipa-image-download-connection-timeout", "image-download-connection-timeout", func(c *Config) any { return &c.ImageConnectTimeout }, "60", "seconds without a byte of an image"},
	{"ipa-image-download-connection-retries", "image-download-connection-retries", func(c *Config) any { return &c.ImageConnectRetries }, "9", "further connections to an image server"},
	{"ipa-image-download-connection-retry-interval", "image-download-connection-retry-interval", func(c *Config) any { return &c.ImageRetryInterval }, "10", "seconds between connections"},
	{"ipa-image-download-max-duration", "image-download-max-duration", func(c *Config) any { return &c.ImageMaxDuration }, "0", "seconds for a whole image (0: no limit)"},
	{"ipa-ignore-bootloader-failure", "ignore-bootloader-failure", func(c *Config) any { return &c.IgnoreBootloaderFailure }, "false", "a failed install_bootloader succeeds"},
	{"ipa-guard-special-filesystems", "guard-special-filesystems", func(c *Config) any { return &c.GuardSpecialFilesystems }, "true", "never erase disks of shared file systems"},
	{"BOOTIF", "bootif", func(c *Config) any { return &c.BootIF }, "", "MAC address of the interface booted from"},
	{"ferric-allow-devices", "allow-devices", func(c *Config) any { return &c.AllowDevices }, "", "comma-separated patterns of devices that may be written to outside a ramdisk"},
	{"", "sys", func(c *Config) any { return &c.Sys }, "/sys", "root of sysfs"},
	{"", "proc", func(c *Config) any { return &c.Proc }, "/proc", "root of procfs"},
	{"", "dev", func(c *Config) any { return &c.Dev }, "/dev", "root of the device files"},
	{"", "etc", func(c *Config) any { return &c.Etc }, "/etc", "where the files of a rescue are written"},
	{"", "state-dir", func(c *Config) any { return &c.StateDir }, "/run/ironic-python-agent", "where key, certificate, token and commands survive a restart of the agent"},
	{"", "cmdline", func(c *Config) any { return &c.Cmdline }, "/proc/cmdline", "file with the kernel command line"},
}

// maxCmdline bounds a kernel command line in bytes (x86 allows 2048).
const maxCmdline = 64 << 10

// Parse makes the configuration: defaults, then the kernel command line, then
// the arguments. cmdline is asked for its content once the arguments say which
// file it is; a file that is absent is an empty command line. Bad values of
// kernel parameters are returned as warnings, the default stands: an agent
// that does not start cannot be repaired over the network.
func Parse(args []string, cmdline func(path string) (string, error), usage io.Writer) (c *Config, warnings []error, err error) {
	c = &Config{}
	flags := flag.NewFlagSet("ferric-agent", flag.ContinueOnError)
	flags.SetOutput(usage)
	given := map[string]string{}
	for _, s := range settings {
		if err := s.set(c, s.def); err != nil {
			return nil, nil, fmt.Errorf("default of %s: %w", s.flag, err)
		}
		note := s.help
		if s.parameter != "" {
			note += " (kernel parameter " + s.parameter + ")"
		}
		if s.def != "" {
			note += " (default " + s.def + ")"
		}
		record := func(value string) error {
			given[s.flag] = value
			return s.set(&Config{}, value)
		}
		if _, isBool := s.field(c).(*bool); isBool {
			flags.BoolFunc(s.flag, note, record)
		} else {
			flags.Func(s.flag, note, record)
		}
	}
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	if flags.NArg() > 0 {
		return nil, nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	path := c.Cmdline
	if p, ok := given["cmdline"]; ok {
		path = p
	}
	text, err := cmdline(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read kernel command line: %w", err)
	}
	warnings = c.applyCmdline(text)
	for _, s := range settings {
		if value, ok := given[s.flag]; ok {
			if err := s.set(c, value); err != nil {
				return nil, nil, fmt.Errorf("--%s: %w", s.flag, err)
			}
		}
	}
	return c, warnings, c.check()
}

// applyCmdline takes over the parameters of a kernel command line: words of
// the form key=value, no quoting; the last of several with one key counts.
func (c *Config) applyCmdline(text string) []error {
	if len(text) > maxCmdline {
		return []error{fmt.Errorf("kernel command line is longer than %d bytes: ignored", maxCmdline)}
	}
	var warnings []error
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		for _, s := range settings {
			if s.parameter == "" || s.parameter != key {
				continue
			}
			scratch := &Config{}
			if err := s.set(scratch, value); err != nil {
				warnings = append(warnings, fmt.Errorf("kernel parameter %s: %w", key, err))
				continue
			}
			if err := s.set(c, value); err != nil {
				warnings = append(warnings, fmt.Errorf("kernel parameter %s: %w", key, err))
			}
		}
	}
	return warnings
}

func (c *Config) check() error {
	var problems []error
	for i, u := range c.APIURLs {
		parsed, err := url.Parse(u)
		if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
			problems = append(problems, fmt.Errorf("API URL %q is not an http or https URL", u))
			continue
		}
		c.APIURLs[i] = strings.TrimRight(u, "/")
	}
	if c.ListenPort < 0 || c.ListenPort > 65535 {
		problems = append(problems, fmt.Errorf("port %d to listen on is not a port", c.ListenPort))
	}
	if c.AdvertisePort < 0 || c.AdvertisePort > 65535 {
		problems = append(problems, fmt.Errorf("port %d to advertise is not a port", c.AdvertisePort))
	}
	if c.TLSMinVersion != "1.2" && c.TLSMinVersion != "1.3" {
		problems = append(problems, fmt.Errorf("lowest TLS version %q is neither 1.2 nor 1.3", c.TLSMinVersion))
	}
	return errors.Join(problems...)
}

// maxSeconds bounds durations to what a time.Duration holds.
const maxSeconds = float64(1 << 32)

func (s setting) set(c *Config, value string) error {
	switch field := s.field(c).(type) {
	case *string:
		*field = value
	case *bool:
		truth, err := parseBool(value)
		if err != nil {
			return err
		}
		*field = truth
	case *int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not an integer", value)
		}
		*field = n
	case *time.Duration:
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || !(seconds >= 0 && seconds < maxSeconds) {
			return fmt.Errorf("%q is not a number of seconds", value)
		}
		*field = time.Duration(seconds * float64(time.Second))
	case *[]string:
		*field = nil
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*field = append(*field, item)
			}
		}
	default:
		return fmt.Errorf("settings of type %T are not supported", field)
	}
	return nil
}

func parseBool(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "1", "true", "on", "yes":
		return true, nil
	case "0", "false", "off", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is not a boolean", value)
}
