package stories_test

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

const bootStoryLimit = 15 * time.Minute

// TestBootInterfaces deploys machines by each boot interface but iPXE's, which
// the other stories use.
func TestBootInterfaces(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" { // make test-full
		return
	}
	for _, tt := range []struct {
		name, boot string
		node       lab.NodeConfig
	}{
		{"pxelinux", "pxe", lab.NodeConfig{Firmware: lab.BIOS}},
		{"GRUB by TFTP", "pxe", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwarePXE}},
		{"GRUB by HTTP", "http", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwareHTTP}},
		{"iPXE by HTTP", "http-ipxe", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwareHTTP}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.node.Name = "machine"
			site, image := open(t, tt.node, osimage.Options{}, stories.Options{})
			m, err := site.Machine("machine", image.QCOW2, "qcow2")
			if err != nil {
				t.Fatal(err)
			}
			m.Enrolment = map[string]any{"boot_interface": tt.boot}
			if err := stories.FirstBoot(t.Context(), []*stories.Machine{m}, false, writer{t}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// seen waits for a line on the machine's console.
func seen(t *testing.T, ctx context.Context, m *stories.Machine, since int, text string) {
	t.Helper()
	if _, err := m.Console.WaitFor(ctx, since, regexp.MustCompile(regexp.QuoteMeta(text))); err != nil {
		t.Fatalf("%q on the console: %v", text, err)
	}
}

// TestSecureBoot has a machine that starts only what is signed boot the agent,
// which cleans it.
func TestSecureBoot(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" {
		return
	}
	site, image := open(t, lab.NodeConfig{Name: "machine", Firmware: lab.UEFI, SecureBoot: true, NetBoot: lab.FirmwarePXE, MemoryMiB: 1024}, osimage.Options{}, stories.Options{})
	m, err := site.Machine("machine", image.QCOW2, "qcow2")
	if err != nil {
		t.Fatal(err)
	}
	m.Enrolment = map[string]any{"boot_interface": "pxe"}
	ctx, cancel := context.WithTimeout(t.Context(), bootStoryLimit)
	defer cancel()
	if err := m.Enrol(ctx); err != nil {
		t.Fatal(err)
	}
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable); err != nil {
		t.Fatal(err)
	}
	seen(t, ctx, m, 0, "secureboot: Secure boot enabled")
}

// TestRamdiskInstances: an instance that is booted over the network, a kernel
// with its ramdisk and an ISO image, is booted once more after a reboot.
func TestRamdiskInstances(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" {
		return
	}
	_, ramdisk, _ := built(t)
	files := map[string]any{"kernel": filepath.Join(ramdisk, "vmlinuz"), "ramdisk": filepath.Join(ramdisk, "initramfs.img"), "ramdisk_kernel_arguments": "ferric-story=instance ipa-standalone=1"}
	live := liveISO(t)
	image := map[string]any{"boot_iso": live}
	for _, tt := range []struct {
		name, boot, text string
		node             lab.NodeConfig
		info             map[string]any
	}{
		{"kernel by iPXE", "ipxe", "ferric-story=instance", lab.NodeConfig{Firmware: lab.BIOS}, files},
		{"kernel by pxelinux", "pxe", "ferric-story=instance", lab.NodeConfig{Firmware: lab.BIOS}, files},
		{"kernel by GRUB", "pxe", "ferric-story=instance", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwarePXE}, files},
		{"ISO image by iPXE", "ipxe", "booted from the ISO image", lab.NodeConfig{Firmware: lab.BIOS}, image},
		{"ISO image by iPXE under UEFI", "ipxe", "booted from the ISO image", lab.NodeConfig{Firmware: lab.UEFI}, image},
		{"ISO image by pxelinux", "pxe", "booted from the ISO image", lab.NodeConfig{Firmware: lab.BIOS}, image},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.node.Name = "machine"
			site, os := open(t, tt.node, osimage.Options{}, stories.Options{
				Config: "[conductor]\nautomated_clean = false\nfile_url_allowed_paths = " + ramdisk + "," + filepath.Dir(live) + "\n"})
			m, err := site.Machine("machine", os.QCOW2, "qcow2")
			if err != nil {
				t.Fatal(err)
			}
			m.Enrolment = map[string]any{"boot_interface": tt.boot, "deploy_interface": "ramdisk"}
			ctx, cancel := context.WithTimeout(t.Context(), bootStoryLimit)
			defer cancel()
			if err := m.Enrol(ctx); err != nil {
				t.Fatal(err)
			}
			var patch ironic.Patch
			for key, value := range tt.info {
				patch = append(patch, ironic.PatchOperation{Op: "add", Path: "/instance_info/" + key, Value: value})
			}
			if _, err := site.API.UpdateNode(ctx, m.Name, patch); err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct{ verb, state string }{
				{ironic.VerbManage, ironic.StateManageable}, {ironic.VerbProvide, ironic.StateAvailable}, {ironic.VerbActive, ironic.StateActive},
			} {
				if err := m.Provision(ctx, ironic.ProvisionRequest{Target: step.verb}, step.state); err != nil {
					t.Fatal(err)
				}
			}
			seen(t, ctx, m, 0, tt.text)
			since := m.Console.Mark()
			if err := site.API.SetPower(ctx, m.Name, ironic.PowerReboot, 0); err != nil {
				t.Fatal(err)
			}
			seen(t, ctx, m, since, tt.text)
		})
	}
}

// TestDiscovery: a machine that nobody enrolled boots the agent, which has it
// enrolled as what it was found to be.
func TestDiscovery(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" {
		return
	}
	for _, tt := range []struct {
		name, boot string
		node       lab.NodeConfig
	}{
		{"iPXE, bios", "ipxe", lab.NodeConfig{Firmware: lab.BIOS}},
		{"iPXE, uefi", "ipxe", lab.NodeConfig{Firmware: lab.UEFI}},
		{"pxelinux", "pxe", lab.NodeConfig{Firmware: lab.BIOS}},
		{"GRUB", "pxe", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwarePXE}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.node.Name = "machine"
			site, _ := open(t, tt.node, osimage.Options{}, stories.Options{
				Config: "[auto_discovery]\nenabled = true\ndriver = ipmi\n[DEFAULT]\ndefault_boot_interface = " + tt.boot + "\n"})
			ctx, cancel := context.WithTimeout(t.Context(), bootStoryLimit)
			defer cancel()
			machine := site.Node("machine")
			if err := machine.PowerOn(); err != nil {
				t.Fatal(err)
			}
			n := discovered(ctx, t, site)
			n, err := site.API.WaitProvision(ctx, n.UUID, []string{ironic.StateManageable}, func(*ironic.Node) {})
			if err != nil {
				t.Fatal(err)
			}
			if n.Driver != "ipmi" || n.Properties["cpu_arch"] != "x86_64" {
				t.Errorf("discovered: driver %s, properties %v", n.Driver, n.Properties)
			}
			ports, err := site.API.Ports(ctx, url.Values{"node": {n.UUID}})
			if err != nil || len(ports) != 1 || ports[0].Address != machine.Config.MAC {
				t.Errorf("ports %+v, %v; want one with %s", ports, err, machine.Config.MAC)
			}
		})
	}
}

// discovered waits for a node that nobody enrolled.
func discovered(ctx context.Context, t *testing.T, site *stories.Site) *ironic.Node {
	t.Helper()
	for {
		nodes, err := site.API.Nodes(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes) == 1 {
			return &nodes[0]
		}
		select {
		case <-ctx.Done():
			t.Fatal("no machine was discovered")
		case <-time.After(time.Second):
		}
	}
}

// liveISO is an ISO image for BIOS and UEFI whose GRUB says that it was booted.
func liveISO(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "boot/grub"), 0o755); err != nil {
		t.Fatal(err)
	}
	const config = "serial --unit=0 --speed=115200\nterminal_output serial console\necho 'booted from the ISO image'\nsleep 600\n"
	if err := os.WriteFile(filepath.Join(tree, "boot/grub/grub.cfg"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "live.iso")
	if out, err := exec.Command("grub-mkrescue", "-o", name, tree).CombinedOutput(); err != nil {
		t.Fatalf("grub-mkrescue: %v\n%s", err, out)
	}
	return name
}
