package ipmi

import (
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
)

// Config holds the options of ironic.conf that concern IPMI. A zero duration means zero, not the default.
type Config struct {
	// Observe is told of each command, retries included; it may be nil.
	Observe func(command string, took time.Duration, err error) `ini:"-"`
	// Memory keeps cipher suites; it may be nil.
	Memory Memory `ini:"-"`
	// Passthru lets send_raw and bmc_reset be called by the API. A raw command can do anything to a BMC, also to its
	// users, so that it is off unless somebody wants it.
	Passthru bool `ini:"ferric.ipmi_passthru"`
	// MinCommandInterval is [ipmi]min_command_interval: the pause between two commands to one BMC.
	MinCommandInterval time.Duration `ini:"ipmi.min_command_interval"`
	// CommandRetryTimeout is [ipmi]command_retry_timeout: how long one command is tried before the BMC counts
	// as unreachable.
	CommandRetryTimeout time.Duration `ini:"ipmi.command_retry_timeout"`
	// CipherSuites is [ipmi]cipher_suite_versions: the RMCP+ suites to offer, best first.
	CipherSuites []int `ini:"ipmi.cipher_suite_versions"`
	// DisableBootTimeout is [ipmi]disable_boot_timeout: forbid the BMC to forget boot flags after 60 s.
	DisableBootTimeout bool `ini:"ipmi.disable_boot_timeout"`
	// PowerStateChangeTimeout is [conductor]power_state_change_timeout.
	PowerStateChangeTimeout time.Duration `ini:"conductor.power_state_change_timeout"`
	// DefaultBootMode is that of nodes that nothing else is said of: "uefi" or "bios".
	DefaultBootMode string `ini:"deploy.default_boot_mode"`
	// SoftPowerOffTimeout is [conductor]soft_power_off_timeout.
	SoftPowerOffTimeout time.Duration `ini:"conductor.soft_power_off_timeout"`
	// ResponseTimeout is how long the first sendings of a datagram wait for the answer, and later ones a
	// multiple of it. Not an option: tests shorten it.
	ResponseTimeout time.Duration `ini:"-"`
}

// DefaultConfig returns Ironic's defaults, with the cipher suites of the dependency study: 17 first, then 3.
func DefaultConfig() Config {
	return Config{
		MinCommandInterval:      5 * time.Second,
		CommandRetryTimeout:     60 * time.Second,
		CipherSuites:            []int{17, 3},
		DisableBootTimeout:      true,
		PowerStateChangeTimeout: 60 * time.Second,
		DefaultBootMode:         "uefi", SoftPowerOffTimeout: 600 * time.Second,
		ResponseTimeout: 500 * time.Millisecond,
	}
}

// Validate reports the first option that cannot work, by its name in ironic.conf.
func (c Config) Validate() error {
	if len(c.CipherSuites) == 0 {
		return fmt.Errorf("%w: [ipmi]cipher_suite_versions is empty", ErrInvalidParameter)
	}
	for _, id := range c.CipherSuites {
		if _, err := suiteOf(id); err != nil {
			return fmt.Errorf("[ipmi]cipher_suite_versions: %w", err)
		}
	}
	positive := []struct {
		name  string
		value time.Duration
	}{
		{"[ipmi]command_retry_timeout", c.CommandRetryTimeout},
		{"[conductor]power_state_change_timeout", c.PowerStateChangeTimeout},
		{"[conductor]soft_power_off_timeout", c.SoftPowerOffTimeout},
		{"IPMI response timeout", c.ResponseTimeout},
	}
	for _, o := range positive {
		if o.value <= 0 {
			return fmt.Errorf("%w: %s is %s, must be more than 0", ErrInvalidParameter, o.name, o.value)
		}
	}
	if c.MinCommandInterval < 0 {
		return fmt.Errorf("%w: [ipmi]min_command_interval is %s, must not be negative", ErrInvalidParameter, c.MinCommandInterval)
	}
	return nil
}

// suite is an RMCP+ cipher suite: how a session is authenticated, protected and encrypted.
type suite struct {
	id         int
	auth       types.AuthAlg
	integrity  types.IntegrityAlg
	encryption types.CryptAlg
}

// suiteOf returns the algorithms of a suite. Only those are taken that both protect and encrypt with AES:
// with the others anyone on the network could switch the machine.
func suiteOf(id int) (suite, error) {
	if id < 0 || id > 0xff {
		return suite{}, fmt.Errorf("%w: cipher suite %d does not exist", ErrInvalidParameter, id)
	}
	auth, integrity, encryption, ok := types.GetCipherSuiteAlgorithms(types.CipherSuiteID(id))
	if !ok {
		return suite{}, fmt.Errorf("%w: cipher suite %d does not exist", ErrInvalidParameter, id)
	}
	protected := integrity == types.IntegrityAlg_HMAC_SHA1_96 || integrity == types.IntegrityAlg_HMAC_SHA256_128
	if !protected || encryption != types.CryptAlg_AES_CBC_128 {
		return suite{}, fmt.Errorf("%w: cipher suite %d lacks SHA integrity or AES encryption, use 3 or 17", ErrInvalidParameter, id)
	}
	return suite{id: id, auth: auth, integrity: integrity, encryption: encryption}, nil
}
