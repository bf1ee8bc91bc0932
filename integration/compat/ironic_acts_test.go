package compat_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/integration/compat/ironicd"
	"ferric/integration/lab"
	"ferric/integration/osimage"
)

// actLimit is for one change of state: two boots, each of less than a minute
// on a quiet host (lab notes, section 3).
const actLimit = 8 * time.Minute

// patient is a node of a real Ironic with its machine.
type patient struct {
	*ironicd.Ironic
	machine          *lab.Node
	whole, partition *osimage.Image
	images           string
	name             string
	hostname, nonce  string // of the last deployment
	logs             int    // of ramdisks, seen by now
	took             []string
}

// enrol makes node and port, and manages the node: its BMC answers.
func enrol(t *testing.T, p *patient) {
	p.name = p.machine.Config.Name
	bmc := p.machine.Config.BMC
	attributes := map[string]any{
		"name": p.name, "driver": "ipmi",
		"driver_info": map[string]any{
			"ipmi_address": bmc.Address, "ipmi_username": bmc.User, "ipmi_password": bmc.Password,
			"ipmi_cipher_suite": "3", // ipmi_sim refuses 17
			"deploy_kernel":     p.KernelURL(), "deploy_ramdisk": p.RamdiskURL(),
			"rescue_kernel": p.KernelURL(), "rescue_ramdisk": p.RamdiskURL(),
		},
		"properties":        map[string]any{"capabilities": "boot_mode:" + string(p.machine.Config.Firmware), "cpu_arch": "x86_64"},
		"deploy_interface":  "direct",
		"boot_interface":    "ipxe",
		"rescue_interface":  "agent",
		"raid_interface":    "agent",
		"network_interface": "noop",
	}
	if p.Version >= sinceInspect {
		attributes["inspect_interface"] = "agent"
	}
	n, err := p.API.CreateNode(t.Context(), attributes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.API.CreatePort(t.Context(), map[string]any{"node_uuid": n.UUID, "address": p.machine.Config.MAC}); err != nil {
		t.Fatal(err)
	}
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable)
}

// provide makes a managed node available, by way of automated cleaning.
func provide(t *testing.T, p *patient) {
	p.scribble(t)
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable)
	p.clean(t)
}

// undeploy takes the deployed system away, again with cleaning.
func undeploy(t *testing.T, p *patient) {
	if !p.partitioned(t) {
		t.Error("before undeploy the disk has no partition table")
	}
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbDeleted}, ironic.StateAvailable)
	p.clean(t)
}

// cleanByHand has a managed node cleaned with steps of our choice.
func cleanByHand(t *testing.T, p *patient) {
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable)
	p.scribble(t)
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{
		{Interface: "deploy", Step: "erase_pstore"},
		{Interface: "deploy", Step: "erase_devices_metadata"},
	}}, ironic.StateManageable)
	p.clean(t)
}

// cleanUnknownStep asks for a step that no hardware manager has.
func cleanUnknownStep(t *testing.T, p *patient) {
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "polish_devices"}}},
		ironic.StateCleanFailed, "polish_devices")
	p.manageAgain(t)
}

// cleanUnknownArgument asks for an argument that the step has not got.
func cleanUnknownArgument(t *testing.T, p *patient) {
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{
		{Interface: "deploy", Step: "erase_devices_metadata", Args: map[string]any{"gently": true}},
	}}, ironic.StateCleanFailed, "gently")
	p.manageAgain(t)
}

// manageAgain leads a node out of a failure of cleaning.
func (p *patient) manageAgain(t *testing.T) {
	t.Helper()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable)
	if err := p.API.UnsetMaintenance(t.Context(), p.name); err != nil {
		t.Fatal(err)
	}
}

// fails asks for a change of state that is to end in a failure, told in the
// words given.
func (p *patient) fails(t *testing.T, request ironic.ProvisionRequest, state string, words ...string) {
	t.Helper()
	_, err := p.try(t, request, "no state")
	var failure *client.StateError
	if !errors.As(err, &failure) || failure.State != state {
		t.Fatalf("%s ended with %v; want state %q", request.Target, err, state)
	}
	t.Logf("last_error: %s", failure.LastError)
	for _, word := range words {
		if !strings.Contains(failure.LastError, word) {
			t.Errorf("last_error lacks %q", word)
		}
	}
}

// deployWhole deploys the image of a whole disk, compressed, with a config drive.
func deployWhole(t *testing.T, p *patient) {
	p.deploy(t, map[string]any{
		"image_source":       p.ImageURL(p.whole.QCOW2.Path),
		"image_os_hash_algo": "sha256", "image_os_hash_value": p.whole.QCOW2.SHA256,
		"image_disk_format": "qcow2",
	})
}

// deployPartition deploys the image of a root file system.
func deployPartition(t *testing.T, p *patient) {
	p.deploy(t, map[string]any{
		"image_source":       p.ImageURL(p.partition.Raw.Path),
		"image_os_hash_algo": "sha256", "image_os_hash_value": p.partition.Raw.SHA256,
		"image_disk_format": "raw", "image_type": "partition", "root_gb": 1,
	})
}

// deployWrongChecksum deploys an image of which another checksum is told.
func deployWrongChecksum(t *testing.T, p *patient) {
	p.setImage(t, map[string]any{
		"image_source":       p.ImageURL(p.whole.Raw.Path),
		"image_os_hash_algo": "sha256", "image_os_hash_value": p.whole.QCOW2.SHA256,
		"image_disk_format": "raw",
	})
	p.fails(t, ironic.ProvisionRequest{Target: ironic.VerbActive}, ironic.StateDeployFailed, "checksum", p.whole.QCOW2.SHA256, p.whole.Raw.SHA256)
}

// setImage replaces the instance's information.
func (p *patient) setImage(t *testing.T, info map[string]any) {
	t.Helper()
	if _, err := p.API.UpdateNode(t.Context(), p.name, ironic.Patch{{Op: "add", Path: "/instance_info", Value: info}}); err != nil {
		t.Fatal(err)
	}
}

// deploy deploys and waits for the system to tell what it is and was given.
func (p *patient) deploy(t *testing.T, info map[string]any) {
	t.Helper()
	p.setImage(t, info)
	p.hostname, p.nonce = "deployed-"+strings.ToLower(rand.Text()[:6]), rand.Text()
	line := p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: ironic.ConfigDrive{
		MetaData: map[string]any{"hostname": p.hostname},
		UserData: osimage.UserData(p.nonce, false),
	}}, ironic.StateActive)
	p.booted(t, line)
	p.logged(t)
}

// booted waits for the deployed system's words in console lines from since on.
func (p *patient) booted(t *testing.T, since int) {
	t.Helper()
	begin := time.Now()
	for _, want := range []string{
		"disk-serial=" + p.machine.Config.Disks[0].Serial, "firmware=" + string(p.machine.Config.Firmware),
		"hostname=" + p.hostname, "nonce=" + p.nonce, "up",
	} {
		p.waitConsole(t, since, `ferric-os: `+regexp.QuoteMeta(want)+`\s*$`)
	}
	t.Logf("the deployed system is up %.1f s after the node's last change", time.Since(begin).Seconds())
}

// waitConsole waits for a line of the machine's console.
func (p *patient) waitConsole(t *testing.T, since int, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootedLimit)
	defer cancel()
	if _, err := p.machine.Console.WaitFor(ctx, since, regexp.MustCompile(pattern)); err != nil {
		t.Fatal(err)
	}
}

const rescuePassword = "correct-horse-battery"

// rescue boots the ramdisk beside the deployed system, with a password for whoever mends it.
func rescue(t *testing.T, p *patient) {
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbRescue, RescuePassword: rescuePassword}, ironic.StateRescue)
}

// unrescue goes back to the deployed system.
func unrescue(t *testing.T, p *patient) {
	line := p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbUnrescue}, ironic.StateActive)
	p.booted(t, line)
}

// efiPart is the signature of a GPT header, in the second sector.
const (
	efiPart   = "EFI PART"
	gptHeader = 512
)

// scribble puts something onto the disk that cleaning has to find.
func (p *patient) scribble(t *testing.T) {
	t.Helper()
	if p.machine.Powered() {
		t.Fatal("the machine is on: its disk is not to be written from outside")
	}
	file, err := os.OpenFile(p.machine.Config.Disks[0].File, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte(efiPart), gptHeader)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// partitioned looks for a partition table on the machine's first disk.
func (p *patient) partitioned(t *testing.T) bool {
	t.Helper()
	file, err := os.Open(p.machine.Config.Disks[0].File)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	found := make([]byte, len(efiPart))
	if _, err := file.ReadAt(found, gptHeader); err != nil {
		t.Fatal(err)
	}
	return string(found) == efiPart
}

// clean checks what cleaning leaves: a machine that is off, without partition
// table, and the ramdisk's logs.
func (p *patient) clean(t *testing.T) {
	t.Helper()
	if p.machine.Powered() {
		t.Error("the machine is on after cleaning")
	}
	if p.partitioned(t) {
		t.Error("the disk has a partition table after cleaning")
	}
	p.logged(t)
}

// logged checks that Ironic has got new logs of the ramdisk.
func (p *patient) logged(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(p.LogDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) <= p.logs {
		t.Errorf("Ironic has %d logs of the ramdisk, as before; want another one", len(entries))
	}
	p.logs = len(entries)
}
