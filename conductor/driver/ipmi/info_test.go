package ipmi

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/google/go-cmp/cmp"
)

func TestParseInfo(t *testing.T) {
	no := false
	tests := []struct {
		name  string
		extra map[string]any
		want  func(*Info)
	}{
		{"defaults", nil, func(*Info) {}},
		{"port as float", map[string]any{"ipmi_port": 6230.0}, func(i *Info) { i.Port = 6230 }},
		{"port as text", map[string]any{"ipmi_port": "6230"}, func(i *Info) { i.Port = 6230 }},
		{"port as JSON number", map[string]any{"ipmi_port": json.Number("6230")}, func(i *Info) { i.Port = 6230 }},
		{"null is absent", map[string]any{"ipmi_port": nil}, func(*Info) {}},
		{"user", map[string]any{"ipmi_username": "admin", "ipmi_password": "pw"}, func(i *Info) { i.Username, i.Password = "admin", "pw" }},
		{"password is digits", map[string]any{"ipmi_password": 1234.0}, func(i *Info) { i.Password = "1234" }},
		{"privilege", map[string]any{"ipmi_priv_level": "operator"}, func(i *Info) { i.PrivilegeLevel = types.PrivilegeLevelOperator }},
		{"version 1.5", map[string]any{"ipmi_protocol_version": 1.5}, func(i *Info) { i.Version15 = true }},
		{"version 2.0", map[string]any{"ipmi_protocol_version": 2.0}, func(*Info) {}},
		{"suite", map[string]any{"ipmi_cipher_suite": "17"}, func(i *Info) { i.CipherSuite = 17 }},
		{"kg", map[string]any{"ipmi_hex_kg_key": strings.Repeat("4A", 20)}, func(i *Info) { i.KgKey = Secret(strings.Repeat("J", 20)) }},
		{"no bridging", map[string]any{"ipmi_bridging": "no", "ipmi_target_channel": "0"}, func(*Info) {}},
		{"flags", map[string]any{"ipmi_force_boot_device": "True", "ipmi_disable_boot_timeout": "false"}, func(i *Info) { i.ForceBootDevice, i.DisableBootTimeout = true, &no }},
		{"console", map[string]any{"ipmi_terminal_port": 8023}, func(i *Info) { i.TerminalPort = 8023 }},
		{"IPv6", map[string]any{"ipmi_address": "fd00::1"}, func(i *Info) { i.Address = "fd00::1" }},
		{"other interfaces' keys", map[string]any{"deploy_kernel": 5, "ipmi_unknown": 1}, func(*Info) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			driverInfo := map[string]any{"ipmi_address": "bmc.example"}
			for k, v := range tt.extra {
				driverInfo[k] = v
			}
			want := Info{Address: "bmc.example", Port: 623, PrivilegeLevel: types.PrivilegeLevelAdministrator}
			tt.want(&want)
			got, err := ParseInfo(driverInfo)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseInfoRefuses(t *testing.T) {
	const secret = "this-password-is-far-too-long"
	tests := []struct {
		key   string
		value any
		shown string
	}{
		{"ipmi_address", 5, `"5"`},
		{"ipmi_address", "", `""`},
		{"ipmi_address", "10.0.0.1:623", "10.0.0.1:623"},
		{"ipmi_address", "a b", "a b"},
		{"ipmi_port", 0, `"0"`},
		{"ipmi_port", 65536.0, "65536"},
		{"ipmi_port", 623.5, "623.5"},
		{"ipmi_port", "http", "http"},
		{"ipmi_port", true, "true"},
		{"ipmi_username", "seventeen-letters", "seventeen-letters"},
		{"ipmi_username", []any{}, "[]"},
		{"ipmi_password", secret, "******"},
		{"ipmi_password", map[string]any{"p": secret}, "******"},
		{"ipmi_priv_level", "ROOT", "ROOT"},
		{"ipmi_protocol_version", "3.0", "3.0"},
		{"ipmi_cipher_suite", 0, `"0"`},
		{"ipmi_hex_kg_key", secret, "******"},
		{"ipmi_bridging", "triple", "triple"},
		{"ipmi_force_boot_device", "perhaps", "perhaps"},
		{"ipmi_disable_boot_timeout", 2, `"2"`},
		{"ipmi_terminal_port", -1, "-1"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s=%v", tt.key, tt.value), func(t *testing.T) {
			driverInfo := map[string]any{"ipmi_address": "bmc.example", tt.key: tt.value}
			_, err := ParseInfo(driverInfo)
			if !errors.Is(err, ErrInvalidParameter) || !strings.Contains(err.Error(), tt.key) || !strings.Contains(err.Error(), tt.shown) {
				t.Errorf("error %v; want ErrInvalidParameter with %s and %s", err, tt.key, tt.shown)
			}
			if strings.Contains(fmt.Sprint(err), secret) {
				t.Errorf("error %q holds the secret", err)
			}
		})
	}
	if _, err := ParseInfo(nil); !errors.Is(err, ErrMissingParameter) || !strings.Contains(err.Error(), "ipmi_address") {
		t.Errorf("no address: %v", err)
	}
	for key, value := range map[string]any{"ipmi_cipher_suite": 3, "ipmi_hex_kg_key": strings.Repeat("00", 20), "ipmi_password": "seventeen-letters"} {
		_, err := ParseInfo(map[string]any{"ipmi_address": "a", "ipmi_protocol_version": "1.5", key: value})
		if !errors.Is(err, ErrInvalidParameter) || !strings.Contains(err.Error(), key) {
			t.Errorf("IPMI 1.5 with %s: %v", key, err)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	info := Info{Address: "a", Password: "hunter2", KgKey: "hunter2"}
	marshalled, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, info); strings.Contains(got, "hunter2") || !strings.Contains(got, "******") {
			t.Errorf("%s prints %s", format, got)
		}
	}
	for _, format := range []string{"%v", "%s", "%q", "%x", "%d", "%#v"} {
		if got := fmt.Sprintf(format, info.Password); got != "******" {
			t.Errorf("%s prints %s", format, got)
		}
	}
	if strings.Contains(string(marshalled), "hunter2") {
		t.Errorf("JSON: %s", marshalled)
	}
}

func TestPropertiesNameEveryKey(t *testing.T) {
	keys := []string{"ipmi_address", "ipmi_username", "ipmi_password", "ipmi_port", "ipmi_priv_level", "ipmi_protocol_version", "ipmi_bridging",
		"ipmi_target_channel", "ipmi_target_address", "ipmi_transit_channel", "ipmi_transit_address", "ipmi_local_address", "ipmi_hex_kg_key",
		"ipmi_cipher_suite", "ipmi_force_boot_device", "ipmi_disable_boot_timeout", "ipmi_terminal_port"}
	got := Properties()
	for _, key := range keys {
		if got[key] == "" {
			t.Errorf("%s has no description", key)
		}
	}
	if len(got) != len(keys) {
		t.Errorf("%d properties; want %d", len(got), len(keys))
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"cipher_suite_versions":      func(c *Config) { c.CipherSuites = nil },
		"cipher suite 0":             func(c *Config) { c.CipherSuites = []int{17, 0} },
		"cipher suite 300":           func(c *Config) { c.CipherSuites = []int{300} },
		"command_retry_timeout":      func(c *Config) { c.CommandRetryTimeout = 0 },
		"min_command_interval":       func(c *Config) { c.MinCommandInterval = -1 },
		"soft_power_off_timeout":     func(c *Config) { c.SoftPowerOffTimeout = 0 },
		"power_state_change_timeout": func(c *Config) { c.PowerStateChangeTimeout = -1 },
	} {
		cfg := DefaultConfig()
		edit(&cfg)
		if err := cfg.Validate(); !errors.Is(err, ErrInvalidParameter) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
