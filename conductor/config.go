package conductor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/driver/agent"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/direct"
	"ferric/conductor/driver/ipmi"
	"ferric/conductor/driver/pxe"
	"ferric/conductor/flow"
	"ferric/conductor/netboot"
	"ferric/conductor/plugins"
	"ferric/conductor/restapi"
)

// Config is everything that can be set in the INI file; the tag of each field
// names section and option. Options that Ironic has bear Ironic's names. The
// parts belong to the packages that use them.
type Config struct {
	// Host is this conductor's identity. Default: the host name.
	Host string `ini:"DEFAULT.host"`
	// MyIP is the address that machines and clients reach this host by, for
	// URLs that are not set. Default: that of the netboot interface.
	MyIP string `ini:"DEFAULT.my_ip"`
	// Debug logs more.
	Debug bool `ini:"DEFAULT.debug"`
	// LogFile is where the log goes. Default: standard error.
	LogFile string `ini:"DEFAULT.log_file"`
	// UseJSON writes the log as an object of JSON a line.
	UseJSON bool `ini:"DEFAULT.use_json"`
	// EnabledDrivers are classic drivers, whose hardware types are enabled as well.
	EnabledDrivers []string `ini:"DEFAULT.enabled_drivers"`
	// DatabaseConnection is sqlite:///<absolute path>.
	DatabaseConnection string `ini:"database.connection"`
	// APIHostIP and APIPort are where the API listens.
	APIHostIP string `ini:"api.host_ip"`
	APIPort   int    `ini:"api.port"`
	// ConductorGroup is the group of nodes that this conductor serves.
	ConductorGroup string `ini:"conductor.conductor_group"`
	// WorkersPoolSize bounds the nodes that are worked on at once.
	WorkersPoolSize int `ini:"conductor.workers_pool_size"`
	// ReservedWorkersPercentage of them, 0 to 50, are kept from heartbeats and
	// timeouts, so that requests find one.
	ReservedWorkersPercentage int `ini:"conductor.reserved_workers_pool_percentage"`
	// NodeLockedRetryAttempts and NodeLockedRetryInterval are the patience
	// with a locked node.
	NodeLockedRetryAttempts int           `ini:"conductor.node_locked_retry_attempts"`
	NodeLockedRetryInterval time.Duration `ini:"conductor.node_locked_retry_interval"`
	// NodeHistory keeps how what was done with nodes ended.
	NodeHistory bool `ini:"conductor.node_history"`
	// NodeHistoryMaxEntries are kept of each node, and what is younger than
	// NodeHistoryMinimumDays; 0 keeps all.
	NodeHistoryMaxEntries  int `ini:"conductor.node_history_max_entries"`
	NodeHistoryMinimumDays int `ini:"conductor.node_history_minimum_days"`
	// NodeHistoryCleanupInterval is the pause between two passes that forget
	// old entries, NodeHistoryCleanupBatchCount at a time; 0 is never.
	NodeHistoryCleanupInterval   time.Duration `ini:"conductor.node_history_cleanup_interval"`
	NodeHistoryCleanupBatchCount int           `ini:"conductor.node_history_cleanup_batch_count"`
	// HeartbeatInterval is the pause between two signs of life of this conductor.
	HeartbeatInterval time.Duration `ini:"conductor.heartbeat_interval"`
	// SyncPowerStateInterval is the pause between two passes of the power sync; 0 is never.
	SyncPowerStateInterval time.Duration `ini:"conductor.sync_power_state_interval"`
	// PowerFailureRecoveryInterval is the pause between two tries of BMCs that failed; 0 is never.
	PowerFailureRecoveryInterval time.Duration `ini:"conductor.power_failure_recovery_interval"`
	// CheckProvisionStateInterval is the pause between two checks for timeouts.
	CheckProvisionStateInterval time.Duration `ini:"conductor.check_provision_state_interval"`
	// GracefulShutdownTimeout is how long work in flight may go on after a stop.
	GracefulShutdownTimeout time.Duration `ini:"DEFAULT.graceful_shutdown_timeout"`

	// AroundCommit is called around each commit to the database; see Store.AroundCommit.
	AroundCommit func(done bool) `ini:"-"`

	Flow     flow.Config
	API      restapi.Config
	Listen   ListenConfig
	Drivers  builtin.Config
	Direct   direct.Config
	Agent    agent.Config
	Boot     pxe.Config
	IPMI     ipmi.Config
	Consoles ipmi.ConsoleConfig
	Netboot  netboot.Config
	Plugins  plugins.Config
}

// DefaultConfig has Ironic's defaults, but for a database that needs no server.
func DefaultConfig() Config {
	return Config{
		APIHostIP: "0.0.0.0", APIPort: 6385,
		DatabaseConnection:           "sqlite:////var/lib/ferric/ferric.sqlite",
		WorkersPoolSize:              300,
		ReservedWorkersPercentage:    5,
		NodeLockedRetryAttempts:      3,
		NodeLockedRetryInterval:      time.Second,
		NodeHistory:                  true,
		NodeHistoryMaxEntries:        300,
		NodeHistoryCleanupInterval:   24 * time.Hour,
		NodeHistoryCleanupBatchCount: 1000,
		HeartbeatInterval:            10 * time.Second,
		SyncPowerStateInterval:       120 * time.Second,
		PowerFailureRecoveryInterval: 300 * time.Second,
		CheckProvisionStateInterval:  60 * time.Second,
		GracefulShutdownTimeout:      60 * time.Second,
		Flow:                         flow.DefaultConfig(),
		API:                          restapi.DefaultConfig(),
		Listen:                       defaultListen(),
		Drivers:                      builtin.DefaultConfig(),
		Direct:                       direct.DefaultConfig(),
		Boot:                         pxe.DefaultConfig(),
		Agent:                        agent.DefaultConfig(),
		IPMI:                         ipmi.DefaultConfig(),
		Consoles:                     ipmi.DefaultConsoleConfig(),
		Netboot:                      netboot.DefaultConfig(),
		Plugins:                      plugins.DefaultConfig(),
	}
}

// LoadConfig reads the files over the defaults, later ones over earlier ones.
// Warnings name options that are not known or have no effect, with file and line.
func LoadConfig(paths ...string) (cfg Config, warnings []string, err error) {
	cfg = DefaultConfig()
	var options []option
	for _, path := range paths {
		more, err := readINI(path)
		if err != nil {
			return cfg, nil, err
		}
		options = append(options, more...)
	}
	// What values may refer to without it being set.
	if cfg.Host, err = os.Hostname(); err != nil {
		return cfg, nil, fmt.Errorf("[DEFAULT]host is not set: %w", err)
	}
	cfg.MyIP = interfaceAddress(lastValue(options, "netboot.interface"))
	if warnings, err = apply(&cfg, options); err != nil {
		return cfg, nil, err
	}
	return cfg, append(warnings, cfg.modernise()...), cfg.complete()
}

// modernise replaces classic drivers by hardware types.
func (c *Config) modernise() (warnings []string) {
	types, classics := driver.HardwareTypes(slices.Concat(c.Drivers.EnabledHardwareTypes, c.EnabledDrivers))
	for _, name := range classics {
		hardware, _ := driver.HardwareType(name)
		warnings = append(warnings, fmt.Sprintf("the classic driver %s is the hardware type %s now, name that in [DEFAULT]enabled_hardware_types", name, hardware))
	}
	c.Drivers.EnabledHardwareTypes = types
	return warnings
}

func readINI(path string) ([]option, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	options, err := parseINI(file, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return options, nil
}

// lastValue is what an option is set to, "" if it is not.
func lastValue(options []option, name string) (value string) {
	for _, o := range options {
		if o.full() == name {
			value = o.value
		}
	}
	return value
}

// complete fills in what follows from other options and checks the rest.
func (c *Config) complete() error {
	if c.Host == "" {
		return errors.New("[DEFAULT]host is empty")
	}
	c.Flow.Host = c.Host
	if c.MyIP == "" {
		return errors.New("[DEFAULT]my_ip is empty")
	}
	if c.Netboot.Interface == "" && c.Netboot.TFTPServer == "" && c.Netboot.HTTPURL == "" {
		c.Netboot.TFTPServer = c.MyIP
	}
	if c.Consoles.SocatAddress == "" {
		c.Consoles.SocatAddress = c.MyIP
	}
	if err := c.Consoles.Validate(); err != nil {
		return err
	}
	if c.Boot.APIURL == "" {
		c.Boot.APIURL = c.API.PublicEndpoint
	}
	if c.Boot.APIURL == "" {
		c.Boot.APIURL = c.agentURL()
	}
	if c.Agent.APIURL == "" {
		c.Agent.APIURL = c.Boot.APIURL
	}
	if err := errors.Join(c.Flow.Validate(), c.Direct.Validate()); err != nil {
		return err
	}
	path, err := c.databasePath()
	if err != nil {
		return err
	}
	if c.Plugins.Directory == "" {
		c.Plugins.Directory = filepath.Join(filepath.Dir(path), "plugins")
	}
	if err := c.Plugins.Validate(); err != nil {
		return err
	}
	for name, n := range map[string]int{
		"[conductor]workers_pool_size": c.WorkersPoolSize, "[api]port": c.APIPort,
	} {
		if n <= 0 {
			return fmt.Errorf("%s is %d, it must be positive", name, n)
		}
	}
	if p := c.ReservedWorkersPercentage; p < 0 || p > 50 {
		return fmt.Errorf("[conductor]reserved_workers_pool_percentage is %d, it can be 0 to 50", p)
	}
	for name, d := range map[string]time.Duration{
		"[conductor]heartbeat_interval": c.HeartbeatInterval, "[conductor]check_provision_state_interval": c.CheckProvisionStateInterval,
		"[conductor]node_locked_retry_interval": c.NodeLockedRetryInterval,
	} {
		if d <= 0 {
			return fmt.Errorf("%s must be positive", name)
		}
	}
	return c.IPMI.Validate()
}

// agentURL is where agents reach the API if nothing else is said.
func (c *Config) agentURL() string {
	scheme, host, port := "http", c.MyIP, fmt.Sprint(c.APIPort)
	if c.Listen.TLS {
		scheme = "https"
	}
	if own := c.API.Edge.AgentListen; own != "" {
		if h, p, err := net.SplitHostPort(own); err == nil {
			port = p
			if ip := net.ParseIP(h); h != "" && (ip == nil || !ip.IsUnspecified()) {
				host = h
			}
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// databasePath is the file that [database]connection names.
func (c *Config) databasePath() (string, error) {
	path, ok := strings.CutPrefix(c.DatabaseConnection, "sqlite:///")
	if !ok || path == "" {
		return "", errors.New("[database]connection must be of the form sqlite:////absolute/path: the state is kept in SQLite, other databases are not supported")
	}
	if strings.ContainsAny(path, "?#%") {
		return "", fmt.Errorf("[database]connection: the path %q has one of the characters ?, # and %%", path)
	}
	return path, nil
}

// interfaceAddress is the first IPv4 address of an interface; without one that
// of the default route, or loopback.
func interfaceAddress(name string) string {
	if ifi, err := net.InterfaceByName(name); err == nil {
		addresses, _ := ifi.Addrs() // none is handled below
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				return n.IP.String()
			}
		}
	}
	// A UDP socket is bound to the route's address without a packet being
	// sent. 192.0.2.1 is nobody's (RFC 5737).
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).IP.String()
	}
	return "127.0.0.1"
}
