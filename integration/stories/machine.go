package stories

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"time"

	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/integration/osimage"
)

// Machine is a machine of the rack as the API knows it.
type Machine struct {
	*lab.Node
	Name string
	// InstanceInfo is added to what Deploy sets of the image.
	InstanceInfo map[string]any
	// Enrolment is added to what Enrol sets of the node, its boot interface for example.
	Enrolment map[string]any
	// RootSerial is the serial number of the disk that it is to boot from, by
	// default that of its first disk; an array has none.
	RootSerial string

	site   *Site
	format string // of the image: "qcow2" or "raw"
	file   osimage.File
	nonce  string
	watch  func(*ironic.Node) // told of every change of state, power or step
	killed int
	agreed int   // how often they were found to agree
	differ error // the first time that they did not
}

// Machine prepares the machine of that name; it is to get the image as file,
// whose content is of the given disk format.
func (s *Site) Machine(name string, file osimage.File, format string) (*Machine, error) {
	node := s.Node(name)
	if node == nil {
		return nil, fmt.Errorf("the rack has no machine %s", name)
	}
	random := make([]byte, 8)
	rand.Read(random)
	return &Machine{Node: node, Name: name, RootSerial: node.Config.Disks[0].Serial, site: s, format: format, file: file, nonce: hex.EncodeToString(random), watch: func(*ironic.Node) {}}, nil
}

// Enrol makes node and port.
func (m *Machine) Enrol(ctx context.Context) error {
	bmc := m.Config.BMC
	mode := string(m.Config.Firmware)
	capabilities := "boot_mode:" + mode
	if m.Config.SecureBoot {
		capabilities += ",secure_boot:true"
	}
	node := map[string]any{
		"name": m.Name, "driver": "ipmi",
		"driver_info": map[string]any{"ipmi_address": bmc.Address, "ipmi_username": bmc.User, "ipmi_password": bmc.Password},
		"properties":  map[string]any{"capabilities": capabilities, "cpu_arch": "x86_64"},
	}
	maps.Copy(node, m.Enrolment)
	if _, err := m.site.API.CreateNode(ctx, node); err != nil {
		return fmt.Errorf("enrol %s: %w", m.Name, err)
	}
	n, err := m.site.API.Node(ctx, m.Name)
	if err != nil {
		return err
	}
	_, err = m.site.API.CreatePort(ctx, map[string]any{"node_uuid": n.UUID, "address": m.Config.MAC})
	if err != nil {
		return fmt.Errorf("enrol %s: %w", m.Name, err)
	}
	return nil
}

// Provision performs a verb and waits until the node rests in state; BMC,
// ipmitool and conductor are to agree then.
func (m *Machine) Provision(ctx context.Context, request ironic.ProvisionRequest, state string) error {
	if err := m.site.API.SetProvisionState(ctx, m.Name, request); err != nil {
		return fmt.Errorf("%s %s: %w", request.Target, m.Name, err)
	}
	if _, err := m.site.API.WaitProvision(ctx, m.Name, []string{state}, m.watch); err != nil {
		return fmt.Errorf("%s: %w", request.Target, err)
	}
	return m.Agree(ctx)
}

// Deploy sets the image and deploys it with a config drive.
func (m *Machine) Deploy(ctx context.Context, debian bool) error {
	return m.deploy(ctx, ironic.VerbActive, debian)
}

// Rebuild deploys it again.
func (m *Machine) Rebuild(ctx context.Context) error { return m.deploy(ctx, ironic.VerbRebuild, false) }

func (m *Machine) deploy(ctx context.Context, verb string, debian bool) error {
	patch := ironic.Patch{
		{Op: "add", Path: "/instance_info/image_source", Value: m.site.ImageURL(m.file)},
		{Op: "add", Path: "/instance_info/image_os_hash_algo", Value: "sha256"},
		{Op: "add", Path: "/instance_info/image_os_hash_value", Value: m.file.SHA256},
		{Op: "add", Path: "/instance_info/image_disk_format", Value: m.format},
	}
	for key, value := range m.InstanceInfo {
		patch = append(patch, ironic.PatchOperation{Op: "add", Path: "/instance_info/" + key, Value: value})
	}
	if _, err := m.site.API.UpdateNode(ctx, m.Name, patch); err != nil {
		return fmt.Errorf("set the image of %s: %w", m.Name, err)
	}
	drive := ironic.ConfigDrive{
		MetaData: map[string]any{"hostname": m.Hostname()},
		UserData: osimage.UserData(m.nonce, debian),
	}
	return m.Provision(ctx, ironic.ProvisionRequest{Target: verb, ConfigDrive: drive}, ironic.StateActive)
}

// Once calls do the next time that the node, while it is waited for, is as the
// condition says.
func (m *Machine) Once(when func(*ironic.Node) bool, do func()) {
	done := false
	m.watch = func(n *ironic.Node) {
		if !done && when(n) {
			done = true
			do()
		}
	}
}

// Killing kills the conductor (SIGKILL) and starts it again the next time that
// the node, while it is waited for, is as the condition says.
func (m *Machine) Killing(when func(*ironic.Node) bool) {
	m.Once(when, func() {
		m.site.KillConductor()
		// A conductor that does not come back shows as an API that does not
		// answer, with the reason in its log.
		if m.site.StartConductor(context.Background()) == nil {
			m.killed++
		}
	})
}

// Killed counts the conductors that Killing killed and started again.
func (m *Machine) Killed() int { return m.killed }

// Hostname is what the deployed system is to be called.
func (m *Machine) Hostname() string { return "deployed-" + m.Name }

// Booted waits until the deployed system has told on the console what it is
// to tell, in lines numbered since or higher, and returns the last of them.
func (m *Machine) Booted(ctx context.Context, since int) (lab.Line, error) {
	var last lab.Line
	for _, want := range []string{
		"hostname=" + m.Hostname(),
		"nonce=" + m.nonce,
		"disk-serial=" + m.RootSerial,
		"firmware=" + string(m.Config.Firmware),
	} {
		line, err := m.Console.WaitFor(ctx, since, regexp.MustCompile(`ferric-os: `+regexp.QuoteMeta(want)+`\s*$`))
		if err != nil {
			return last, fmt.Errorf("%s did not boot what was deployed: %w", m.Name, err)
		}
		if line.Number > last.Number {
			last = line
		}
	}
	return last, nil
}

// agreePatience covers a power change between the questions.
const agreePatience = 10 * time.Second

// Agree checks that the conductor's row, the machine itself and its BMC as
// ipmitool reads it say the same of power and boot selector.
func (m *Machine) Agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agreePatience)
	defer cancel()
	var last error
	for {
		if last = m.agree(ctx); last == nil {
			m.agreed++
			return nil
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (m *Machine) agree(ctx context.Context) error {
	is, err := m.Node.Agree(ctx)
	if err != nil {
		return err
	}
	n, err := m.site.API.Node(ctx, m.Name)
	if err != nil {
		return err
	}
	if recorded := n.PowerState != nil && *n.PowerState == ironic.PowerOn; n.PowerState != nil && recorded != is.Powered {
		return fmt.Errorf("%s: the conductor has %q, ipmitool sees power on: %v", m.Name, *n.PowerState, is.Powered)
	}
	// ipmi_sim reads a boot device back as invalid, so the conductor knows what
	// it has set, ipmitool what waits for the next boot, and the rack both.
	events, err := m.site.API.Events(ctx, m.Name)
	if err != nil {
		return err
	}
	set := ""
	for _, e := range events {
		if e.Kind == "boot-device" {
			set = e.Detail
		}
	}
	if set != string(m.Chosen()) {
		return fmt.Errorf("%s: the conductor has set boot device %q, the BMC was told %q", m.Name, set, m.Chosen())
	}
	if is.Selector != lab.SelectNone && string(is.Selector) != set {
		return fmt.Errorf("%s: the conductor has set boot device %q, ipmitool sees %q", m.Name, set, is.Selector)
	}
	return nil
}
