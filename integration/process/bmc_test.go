package process_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ironic"
)

// bmc is an ipmi_sim whose chassis is a script with its state in files: a
// machine that never boots anything. With a file "stuck" its power does not
// change, with a file "lie" it is said to be what that says.
type bmc struct {
	dir    string
	port   int
	secret string
	sim    *process
}

const bmcPassword = "right-password"

func newBMC(t *testing.T) *bmc {
	t.Helper()
	if _, err := exec.LookPath("ipmi_sim"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("ipmi_sim is missing")
	}
	b := &bmc{dir: t.TempDir(), port: newPort(), secret: bmcPassword}
	b.write(t, "power", "0\n")
	b.write(t, "boot", "none\n")
	b.write(t, "chassis", `#!/bin/sh
# chassis NAME get PARAM... | set PARAM VALUE
cd `+b.dir+` || exit 1
shift
verb=$1; shift
case $verb in
get) for p; do [ $p = power ] && [ -f lie ] && p=power:$(cat lie) || p=$p:$(cat $p); echo $p; done;;
set) while [ $# -gt 1 ]; do
	case $1 in
	power) [ -f stuck ] || echo $2 >power;;
	*) echo $2 >$1;;
	esac; shift 2; done;;
esac
`)
	b.password(t, bmcPassword)
	b.write(t, "sim.emu", "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n")
	b.start(t)
	return b
}

// password is what ipmi_sim takes from its next start on.
func (b *bmc) password(t *testing.T, secret string) {
	t.Helper()
	const auths = "none md2 md5 straight"
	b.secret = secret
	b.write(t, "sim.conf", fmt.Sprintf(`name "sim"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 %d
    priv_limit admin
    allowed_auths_callback %[3]s
    allowed_auths_user %[3]s
    allowed_auths_operator %[3]s
    allowed_auths_admin %[3]s
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%[2]s/chassis sim"
  user 2 true "admin" "%[4]s" admin 10 %[3]s
`, b.port, b.dir, auths, secret))
}

func (b *bmc) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// lie has the BMC say that the power is so.
func (b *bmc) lie(t *testing.T, power string) { b.write(t, "lie", power+"\n") }

func (b *bmc) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// stick makes the power stay what it is; loosen ends that.
func (b *bmc) stick(t *testing.T) { b.write(t, "stuck", "") }
func (b *bmc) loosen(t *testing.T) {
	if err := os.Remove(filepath.Join(b.dir, "stuck")); err != nil {
		t.Fatal(err)
	}
}

// power is that of the chassis, "1" for on.
func (b *bmc) power(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "power"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// access is the driver_info of a node with this BMC.
func (b *bmc) access() map[string]any {
	return map[string]any{"ipmi_address": "127.0.0.1", "ipmi_port": b.port, "ipmi_username": "admin", "ipmi_password": bmcPassword}
}

// newNode enrols a node that boots nothing and stays in enroll.
func newNode(t *testing.T, c *conductor, attributes map[string]any) *machine {
	t.Helper()
	m := &machine{c: c, name: fmt.Sprintf("node-%d", newPort())}
	attributes["name"] = m.name
	attributes["automated_clean"] = false
	if _, err := c.api.CreateNode(t.Context(), attributes); err != nil {
		t.Fatal(err)
	}
	return m
}

// silence is a UDP port where somebody listens and says nothing.
func silence(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// TestBMCRefusals verifies nodes whose BMC cannot be used, and again after
// driver_info was corrected.
func TestBMCRefusals(t *testing.T) {
	t.Parallel()
	c, b := newConductor(t), newBMC(t)
	tests := []struct {
		name    string
		key     string
		value   any
		reasons []string
	}{
		{"wrong password", "ipmi_password", "wrong-password", []string{"password", fmt.Sprintf("127.0.0.1:%d", b.port)}},
		{"unknown user", "ipmi_username", "nobody", []string{"ipmi_username", fmt.Sprintf("127.0.0.1:%d", b.port)}},
		{"nobody listens", "ipmi_port", newPort(), []string{"ipmi_address", "127.0.0.1"}},
		{"no answer", "ipmi_port", silence(t), []string{"ipmi_address", "127.0.0.1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			info := b.access()
			right := info[tt.key]
			info[tt.key] = tt.value
			m := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": info})
			m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage})
			n := m.fails(t, ironic.StateEnroll, tt.reasons...)
			for _, secret := range []string{bmcPassword, "wrong-password"} {
				if strings.Contains(*n.LastError, secret) {
					t.Errorf("last_error shows the password: %q", *n.LastError)
				}
			}
			if n.PowerState != nil {
				t.Errorf("power state %q; want none, it is not known", *n.PowerState)
			}
			patch := ironic.Patch{{Op: "replace", Path: "/driver_info/" + tt.key, Value: right}}
			if _, err := c.api.UpdateNode(t.Context(), m.name, patch); err != nil {
				t.Fatal(err)
			}
			n = m.provision(t, ironic.VerbManage, ironic.StateManageable)
			if n.LastError != nil || n.PowerState == nil || *n.PowerState != ironic.PowerOff {
				t.Errorf("manageable with last_error %v, power %v; want none and off", n.LastError, n.PowerState)
			}
		})
	}
	m := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": map[string]any{"ipmi_username": "admin"}})
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage})
	m.fails(t, ironic.StateEnroll, "ipmi_address")
}
