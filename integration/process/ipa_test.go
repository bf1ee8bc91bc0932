package process_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ferric/api/ironic"
)

// tools that the reference agent may use; of others it finds programs that do
// nothing, such as modprobe, mdadm and poweroff.
var (
	ipaTools = []string{
		"sh", "cat", "dd", "echo", "sync", "blkid", "blockdev", "lsblk", "partprobe", "sgdisk", "parted", "sfdisk", "wipefs", "qemu-img", "udevadm",
		"mount", "umount", "mkfs", "mkfs.ext4", "mkfs.vfat", "e2fsck", "resize2fs", "shred", "findmnt", "tar", "gzip", "hexdump", "dmesg", "journalctl", "stat", "fuser", "head", "cut", "grep", "rm", "cp", "mkdir", "ls", "mktemp", "chmod", "hdparm", "partx", "losetup", "sleep", "test", "touch", "find", "findfs", "lsof", "truncate",
	}
	ipaStubs = []string{"modprobe", "mdadm", "iscsistart", "ipmitool", "lshw", "poweroff", "reboot", "systemctl", "hwclock", "efibootmgr", "biosdevname", "lspci", "lsusb", "ip", "dmidecode", "lldpctl"}
)

// newIPAMachine makes a machine that runs ironic-python-agent, the program that
// FERRIC_IPA names, on a loop device. notes is a file that one of its steps writes.
func newIPAMachine(t *testing.T, c *conductor, s spec) (m *machine, notes string) {
	t.Helper()
	dir := t.TempDir()
	notes = filepath.Join(dir, "notes")
	bin, modules := filepath.Join(dir, "bin"), filepath.Join(dir, "modules")
	info := filepath.Join(modules, "ferric_loop-1.dist-info")
	for _, d := range []string{bin, info} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range ipaTools {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Logf("the agent has no %s", name)
			continue
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range ipaStubs {
		write(filepath.Join(bin, name), "#!/bin/sh\nexit 0\n", 0o755)
	}
	code, err := os.ReadFile("testdata/ipa/ferric_loop.py")
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(modules, "ferric_loop.py"), string(code), 0o644)
	write(filepath.Join(info, "METADATA"), "Metadata-Version: 2.1\nName: ferric-loop\nVersion: 1\n", 0o644)
	write(filepath.Join(info, "entry_points.txt"), "[ironic_python_agent.hardware_managers]\nloop = ferric_loop:LoopHardwareManager\n", 0o644)
	host, err := filepath.Abs("testdata/ipa/host.sh")
	if err != nil {
		t.Fatal(err)
	}

	loop := ""
	s.agent = func(t *testing.T, m *machine) *exec.Cmd {
		if loop == "" {
			loop = strings.TrimSpace(run(t, "losetup", "--find", "--show", "--partscan", m.disk))
			t.Cleanup(func() { run(t, "losetup", "--detach", loop) })
		}
		cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
			"/bin/sh", host, filepath.Join(m.host.Proc, "cmdline"), os.Getenv("FERRIC_IPA"),
			"--api_url", c.url, "--listen_host", "127.0.0.1", "--listen_port", strconv.Itoa(m.port), "--advertise_host", "127.0.0.1", "--advertise_port", strconv.Itoa(m.port),
			"--disk_wait_attempts", "1", "--lookup_interval", "1", "--debug",
			"--image_download_connection_retries", "1", "--image_download_connection_retry_interval", "1")
		cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "AGENT_PATH=" + bin, "PYTHONPATH=" + modules, "LANG=C.UTF-8", "TMPDIR=" + dir,
			"FERRIC_DISK=" + loop, "FERRIC_MAC=" + m.mac, "FERRIC_SERIAL=" + serial, "FERRIC_NOTES=" + notes}
		return cmd
	}
	return newMachine(t, c, s), notes
}

// TestReferenceAgent has ironic-python-agent itself inspect, clean, deploy and
// serve a machine under ferric: `make test-ipa`.
func TestReferenceAgent(t *testing.T) {
	if os.Getenv("FERRIC_IPA") == "" {
		return // not a part of `make test`
	}
	t.Parallel()
	c, images := newConductor(t, "[deploy]", "erase_devices_metadata_priority = 99"), newShop(t)
	m, notes := newIPAMachine(t, c, spec{automated: true, node: map[string]any{"inspect_interface": "agent"}})

	m.kernelParams(t, fmt.Sprintf("ipa-api-url=%s ipa-inspection-callback-url=%s/v1/continue_inspection ipa-inspection-collectors=default,logs ipa-inspection-dhcp-wait-timeout=0 BOOTIF=01-%s",
		c.url, c.url, strings.ReplaceAll(m.mac, ":", "-")))
	n := m.provision(t, ironic.VerbInspect, ironic.StateManageable)
	if n.LastError != nil || n.InspectionFinishedAt == nil {
		t.Errorf("inspected: error %v, at %v", n.LastError, n.InspectionFinishedAt)
	}
	_, inventory, plugin := m.inventory(t)
	disks, _ := inventory["disks"].([]any)
	if len(disks) != 1 || disks[0].(map[string]any)["serial"] != serial || plugin["valid_interfaces"] == nil {
		t.Errorf("inventory: disks %v, plugin data %v", inventory["disks"], plugin)
	}
	m.kernelParams(t, "ipa-api-url="+c.url)
	m.offerPlugin(t)

	m.format(t)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	if head, tail := m.tables(t); head || tail {
		t.Errorf("tables at the ends after cleaning: %v, %v; want none", head, tail)
	}
	note := func(text string) ironic.Step {
		return ironic.Step{Interface: "deploy", Step: "note", Args: map[string]any{"text": text}}
	}
	for _, name := range []string{"qcow2", "raw"} {
		m.setImage(t, images.URL+"/good."+name, name, digestOf(t, imageFile(t, "good."+name)))
		drive := "for the reference agent, " + name
		m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: ironic.ConfigDrive{MetaData: map[string]any{"hostname": "deployed"}, UserData: drive}})
		if n := m.wait(t, ironic.StateActive); n.LastError != nil || *n.PowerState != ironic.PowerOn {
			t.Errorf("deployed %s: error %v, %s", name, n.LastError, *n.PowerState)
		}
		m.holds(t)
		m.hasConfigDrive(t, drive)
		m.provision(t, ironic.VerbDeleted, ironic.StateAvailable)
	}

	// Steps of a vendor's manager, and one that does not exist. Had they been sent
	// what only our agent knows (resume), they would have failed for it.
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{note("cleaning"), {Interface: "deploy", Step: "erase_devices_metadata"}}})
	m.wait(t, ironic.StateManageable)
	if text, err := os.ReadFile(notes); err != nil || string(text) != "cleaning\n" {
		t.Errorf("the steps have noted %q, %v", text, err)
	}
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "fly"}}})
	m.fails(t, ironic.StateCleanFailed, "deploy.fly", "deploy.note")
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.ignoresPlugin(t)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)

	// An image that is not what it is said to be, in the agent's own words.
	m.setImage(t, images.URL+"/good.qcow2", "qcow2", strings.Repeat("0", 64))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	m.fails(t, ironic.StateDeployFailed, "checksum")
	m.provision(t, ironic.VerbDeleted, ironic.StateAvailable)

	// A machine that runs already is taken over, and served.
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.provision(t, ironic.VerbAdopt, ironic.StateActive)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: []ironic.Step{note("serving")}})
	if n := m.wait(t, ironic.StateActive); n.LastError != nil || *n.PowerState != ironic.PowerOn {
		t.Errorf("served: error %v, %s", n.LastError, *n.PowerState)
	}
	if text, err := os.ReadFile(notes); err != nil || string(text) != "cleaning\nserving\n" {
		t.Errorf("the steps have noted %q, %v", text, err)
	}
}

// offerPlugin has the conductor offer a plugin to all nodes, in a key of the
// lookup that only our agent knows.
func (m *machine) offerPlugin(t *testing.T) {
	t.Helper()
	bundle := signedBundle(t, "acme", "1.0.0", t.TempDir(), 0, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)))
	if _, err := m.c.api.AddPlugin(t.Context(), bytes.NewReader(bundle), int64(len(bundle)), nil); err != nil {
		t.Fatal(err)
	}
}

// ignoresPlugin checks that it was offered, and that the agent made nothing of it:
// its steps are those of the agent alone, and nothing was reported or missed.
func (m *machine) ignoresPlugin(t *testing.T) {
	t.Helper()
	n, err := m.c.api.NodePlugins(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	if len(n.Plugins) != 1 || n.Plugins[0].Name != "acme" || n.Plugins[0].Offered != "1.0.0" || n.Plugins[0].State != "offered" || n.Plugins[0].Loaded != "" {
		t.Errorf("of plugins the node has %+v; want acme 1.0.0, offered and no more", n.Plugins)
	}
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "acme_polish"}}})
	m.fails(t, ironic.StateCleanFailed, "deploy.acme_polish", "deploy.note")
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
}
