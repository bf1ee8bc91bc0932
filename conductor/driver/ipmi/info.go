package ipmi

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"

	"github.com/bougou/go-ipmi/pkg/types"
)

// Limits of the protocol: user names and IPMI 1.5 passwords have 16 bytes, IPMI 2.0 passwords 20 (IPMI 2.0
// section 22.28 and 22.30); the key Kg has 20.
const (
	maxUsername   = 16
	maxPassword15 = 16
	maxPassword20 = 20
	kgSize        = 20
)

// Info is a node's driver_info, validated: how to reach its BMC and as whom.
type Info struct {
	Address  string // host name or IP address
	Port     int
	Username string
	Password Secret
	// PrivilegeLevel of the session.
	PrivilegeLevel types.PrivilegeLevel
	// Version15 selects IPMI 1.5, which neither encrypts nor proves who the BMC is.
	Version15 bool
	// KgKey is the BMC key, 20 bytes, or empty if the BMC has none.
	KgKey Secret
	// Bridge is the way to the node's controller, if that is behind another.
	Bridge Bridge
	// CipherSuite pins the suite; 0 means those of Config.
	CipherSuite int
	// ForceBootDevice asks to send the boot device again before each power on.
	ForceBootDevice bool
	// DisableBootTimeout overrides Config.DisableBootTimeout if not nil.
	DisableBootTimeout *bool
	// TerminalPort is the TCP port of the serial console, 0 if none.
	TerminalPort int
	// Vendor is the node's properties/vendor if known. "supermicro" changes the selector of the UEFI disk.
	Vendor string
}

// endpoint is the address and port, under which commands are queued.
func (i Info) endpoint() string {
	return net.JoinHostPort(strings.ToLower(i.Address), strconv.Itoa(i.Port))
}

// property describes one driver_info key of deploy-flow section 12.1.
type property struct {
	key, description string
	parse            func(*Info, any) error
}

// properties is the table of all keys, in the order in which they are validated.
func properties() []property {
	return []property{
		{"ipmi_address", "IP address or host name of the node. Required.", parseAddress},
		{"ipmi_port", "remote IPMI RMCP port, 1-65535. Optional, default 623.", func(i *Info, v any) error { return parsePort(&i.Port, v) }},
		{"ipmi_username", "username; default is NULL user. Optional.", parseUsername},
		{"ipmi_password", "password. Optional.", parsePassword},
		{"ipmi_priv_level", "privilege level; default is ADMINISTRATOR. One of ADMINISTRATOR, CALLBACK, OPERATOR, USER. Optional.", parsePrivilege},
		{"ipmi_protocol_version", "the version of the IPMI protocol; default is \"2.0\". One of \"1.5\", \"2.0\". Optional.", parseVersion},
		{"ipmi_cipher_suite", "the RMCP+ cipher suite, 3 or 17. Optional, default: those of [ipmi]cipher_suite_versions in turn.", parseSuite},
		{"ipmi_hex_kg_key", "Kg key for IPMIv2 authentication, 40 hexadecimal characters. Optional.", parseKg},
		{"ipmi_bridging", "bridging type; default is \"no\". One of \"single\", \"dual\", \"no\". Optional.", parseBridging},
		{"ipmi_local_address", "local IPMB address for bridged requests; default 0x20. Used only with bridging. Optional.", ignore},
		{"ipmi_target_channel", "destination channel for bridged requests. Required only with bridging.", ignore},
		{"ipmi_target_address", "destination address for bridged requests. Required only with bridging.", ignore},
		{"ipmi_transit_channel", "transit channel for bridged requests. Required only with dual bridging.", ignore},
		{"ipmi_transit_address", "transit address for bridged requests. Required only with dual bridging.", ignore},
		{"ipmi_force_boot_device", "Whether Ironic should specify the boot device to the BMC each time the server is turned on. Optional, default False.",
			func(i *Info, v any) error { return parseBool(&i.ForceBootDevice, v) }},
		{"ipmi_disable_boot_timeout", "Whether to disable the 60 second boot flag timeout of the BMC. Optional, default: [ipmi]disable_boot_timeout.",
			func(i *Info, v any) error {
				i.DisableBootTimeout = new(bool)
				return parseBool(i.DisableBootTimeout, v)
			}},
		{"ipmi_terminal_port", "node's TCP port to connect to. Required only for console access.", func(i *Info, v any) error { return parsePort(&i.TerminalPort, v) }},
	}
}

// Properties returns the driver_info keys and their descriptions, as GET /v1/drivers/ipmi/properties shows them.
func Properties() map[string]string {
	out := map[string]string{}
	for _, p := range properties() {
		out[p.key] = p.description
	}
	return out
}

// ParseInfo validates driver_info. The error names the key and, unless it is a secret, the value; it wraps
// ErrMissingParameter or ErrInvalidParameter. Keys of other interfaces are ignored, null counts as absent.
func ParseInfo(driverInfo map[string]any) (Info, error) {
	info := Info{Port: 623, PrivilegeLevel: types.PrivilegeLevelAdministrator}
	if driverInfo["ipmi_address"] == nil {
		return Info{}, fmt.Errorf("%w: ipmi_address", ErrMissingParameter)
	}
	for _, p := range properties() {
		value, ok := driverInfo[p.key]
		if !ok || value == nil {
			continue
		}
		if err := p.parse(&info, value); err != nil {
			shown := fmt.Sprintf("%.60q", fmt.Sprint(value))
			if p.key == "ipmi_password" || p.key == "ipmi_hex_kg_key" {
				shown = masked
			}
			return Info{}, fmt.Errorf("%w: driver_info %s = %s: %w", ErrInvalidParameter, p.key, shown, err)
		}
	}
	if err := parseBridge(&info, driverInfo); err != nil {
		return Info{}, err
	}
	if info.Version15 {
		switch {
		case len(info.Password) > maxPassword15:
			return Info{}, fmt.Errorf("%w: driver_info ipmi_password = %s: longer than the %d bytes of IPMI 1.5", ErrInvalidParameter, masked, maxPassword15)
		case info.Bridge.Kind != "":
			return Info{}, fmt.Errorf("%w: driver_info ipmi_bridging = %s: needs ipmi_protocol_version 2.0", ErrInvalidParameter, info.Bridge.Kind)
		case info.CipherSuite != 0:
			return Info{}, fmt.Errorf("%w: driver_info ipmi_cipher_suite = %d: IPMI 1.5 has no cipher suites", ErrInvalidParameter, info.CipherSuite)
		case info.KgKey != "":
			return Info{}, fmt.Errorf("%w: driver_info ipmi_hex_kg_key = %s: IPMI 1.5 has no Kg key", ErrInvalidParameter, masked)
		}
	}
	return info, nil
}

func ignore(*Info, any) error { return nil }

func parseAddress(i *Info, v any) error {
	s, ok := v.(string)
	if !ok || s == "" {
		return fmt.Errorf("must be a host name or IP address")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || strings.ContainsRune("/@[]", r) }) || len(s) > 253 {
		return fmt.Errorf("is no host name or IP address")
	}
	if strings.Contains(s, ":") && net.ParseIP(strings.SplitN(s, "%", 2)[0]) == nil {
		return fmt.Errorf("is no IPv6 address; a port goes into ipmi_port")
	}
	i.Address = s
	return nil
}

func parsePort(port *int, v any) error {
	n, err := integer(v)
	if err != nil {
		return err
	}
	if n < 1 || n > 65535 {
		return fmt.Errorf("must be between 1 and 65535")
	}
	*port = n
	return nil
}

func parseUsername(i *Info, v any) error {
	s, err := text(v)
	if err != nil {
		return err
	}
	if len(s) > maxUsername {
		return fmt.Errorf("longer than the %d bytes of IPMI", maxUsername)
	}
	i.Username = s
	return nil
}

func parsePassword(i *Info, v any) error {
	s, err := text(v)
	if err != nil {
		return err
	}
	if len(s) > maxPassword20 {
		return fmt.Errorf("longer than the %d bytes of IPMI 2.0", maxPassword20)
	}
	i.Password = Secret(s)
	return nil
}

func parsePrivilege(i *Info, v any) error {
	s, _ := v.(string)
	switch strings.ToUpper(s) {
	case "CALLBACK":
		i.PrivilegeLevel = types.PrivilegeLevelCallback
	case "USER":
		i.PrivilegeLevel = types.PrivilegeLevelUser
	case "OPERATOR":
		i.PrivilegeLevel = types.PrivilegeLevelOperator
	case "ADMINISTRATOR":
		i.PrivilegeLevel = types.PrivilegeLevelAdministrator
	default:
		return fmt.Errorf("must be CALLBACK, USER, OPERATOR or ADMINISTRATOR")
	}
	return nil
}

func parseVersion(i *Info, v any) error {
	s, err := text(v)
	if err != nil {
		return err
	}
	switch s {
	case "2.0", "2": // JSON's 2.0 arrives as the number 2
		i.Version15 = false
	case "1.5":
		i.Version15 = true
	default:
		return fmt.Errorf("must be 1.5 or 2.0")
	}
	return nil
}

func parseSuite(i *Info, v any) error {
	n, err := integer(v)
	if err != nil {
		return err
	}
	if n != 3 && n != 17 {
		return fmt.Errorf("must be 3 or 17")
	}
	i.CipherSuite = n
	return nil
}

func parseKg(i *Info, v any) error {
	s, _ := v.(string)
	key, err := hex.DecodeString(s)
	if err != nil || len(key) != kgSize {
		return fmt.Errorf("must be %d hexadecimal characters", 2*kgSize)
	}
	i.KgKey = Secret(key)
	return nil
}

func parseBridging(i *Info, v any) error {
	switch v {
	case "no":
		i.Bridge.Kind = ""
	case "single", "dual":
		i.Bridge.Kind = v.(string)
	default:
		return fmt.Errorf("must be no, single or dual")
	}
	return nil
}

func parseBool(b *bool, v any) error {
	switch value := v.(type) {
	case bool:
		*b = value
		return nil
	case string:
		// The spellings that Ironic takes (oslo.utils strutils).
		switch strings.ToLower(strings.TrimSpace(value)) {
		case "true", "t", "1", "on", "yes", "y":
			*b = true
			return nil
		case "false", "f", "0", "off", "no", "n":
			*b = false
			return nil
		}
	}
	return fmt.Errorf("must be true or false")
}

// integer takes a whole number in any of the shapes in which JSON and clients deliver it.
func integer(v any) (int, error) {
	switch n := v.(type) {
	case int:
		return n, nil
	case int64:
		return int(n), nil
	case float64:
		if n == math.Trunc(n) && math.Abs(n) < 1<<31 {
			return int(n), nil
		}
	case json.Number:
		return integer(string(n))
	case string:
		if i, err := strconv.Atoi(strings.TrimSpace(n)); err == nil {
			return i, nil
		}
	}
	return 0, fmt.Errorf("must be a whole number")
}

// text takes a string, or a number that a client did not quote.
func text(v any) (string, error) {
	switch s := v.(type) {
	case string:
		return s, nil
	case json.Number:
		return string(s), nil
	case int, int64:
		return fmt.Sprint(s), nil
	case float64:
		return strconv.FormatFloat(s, 'f', -1, 64), nil
	}
	return "", fmt.Errorf("must be a string")
}
