package compat_test

import (
	"crypto/rand"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/osimage"
)

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
	if !p.machine.Powered() {
		p.scribble(t)
	}
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

// deploy deploys and waits for the system to tell what it is and was given.
func (p *patient) deploy(t *testing.T, info map[string]any) {
	t.Helper()
	p.setImage(t, info)
	drive := p.configDrive()
	line := p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: drive}, ironic.StateActive)
	if booted := p.said(line, "uinit: starting agent"); booted == p.fastTrack {
		t.Errorf("the ramdisk has been booted for the deployment: %v", booted)
	}
	p.booted(t, line)
	p.logged(t)
}

// rebuild deploys the same once more, with another config drive.
func rebuild(t *testing.T, p *patient) {
	drive := p.configDrive()
	line := p.machine.Console.Mark()
	p.verb(t, ironic.ProvisionRequest{Target: ironic.VerbRebuild, ConfigDrive: drive}, ironic.StateActive)
	p.booted(t, line)
	p.logged(t)
}

// configDrive is another config drive than all before.
func (p *patient) configDrive() ironic.ConfigDrive {
	p.hostname, p.nonce = "deployed-"+strings.ToLower(rand.Text()[:6]), rand.Text()
	return ironic.ConfigDrive{MetaData: map[string]any{"hostname": p.hostname}, UserData: osimage.UserData(p.nonce, false)}
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

// clean checks what cleaning leaves: a machine that is off, except on fast
// track, without partition table, and the ramdisk's logs.
func (p *patient) clean(t *testing.T) {
	t.Helper()
	if on := p.machine.Powered(); on != p.fastTrack {
		t.Errorf("the machine is on after cleaning: %v", on)
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
