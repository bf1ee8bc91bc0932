package stories_test

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/lab"
	"ferric/integration/osimage"
	"ferric/integration/stories"
)

func TestMain(m *testing.M) { lab.Main(m) }

// built finds what `make test` builds before the tests: FERRIC_BIN, FERRIC_RAMDISK
// and FERRIC_IMAGES name the directories.
func built(t *testing.T) (ferric, ramdisk, images string) {
	t.Helper()
	bin := os.Getenv("FERRIC_BIN")
	ramdisk, images = os.Getenv("FERRIC_RAMDISK"), os.Getenv("FERRIC_IMAGES")
	if bin == "" || ramdisk == "" || images == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("FERRIC_BIN, FERRIC_RAMDISK and FERRIC_IMAGES are not set; run `make test`")
		}
		t.Skip("needs the programs and the ramdisk; run `make test`")
	}
	return filepath.Join(bin, "ferric"), ramdisk, images
}

// open starts a rack of one machine with a conductor.
func open(t *testing.T, node lab.NodeConfig, o osimage.Options, site stories.Options) (*stories.Site, *osimage.Image) {
	t.Helper()
	ferric, ramdisk, images := built(t)
	lab.Alone(t)
	o.CacheDir = images
	image, err := osimage.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// The sockets of a rack need a short path.
	dir, err := os.MkdirTemp("", "rack")
	if err != nil {
		t.Fatal(err)
	}
	rack, err := lab.Up(t.Context(), lab.Config{Dir: dir, Accel: "tcg", Nodes: []lab.NodeConfig{node}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rack.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			tail(t, filepath.Join(dir, "conductor.log"))
			tail(t, rack.Nodes[0].Console.Path())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	site.Ferric, site.RamdiskDir, site.Image = ferric, cmp.Or(site.RamdiskDir, ramdisk), image
	s, err := stories.Open(t.Context(), rack, site)
	if err != nil {
		t.Fatal(err)
	}
	return s, image
}

// tail logs the end of a file.
func tail(t *testing.T, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("%s ends with:\n%s", filepath.Base(path), text[max(0, len(text)-6000):])
}

// writer shows a story's progress in the test's log.
type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

// TestFirstBoot takes machines of each firmware, way of network boot and disk
// kind from off and unknown to deployed.
func TestFirstBoot(t *testing.T) {
	type story struct {
		name    string
		node    lab.NodeConfig
		zstd    bool
		ballast int64
	}
	all := []story{
		{"uefi by its own PXE, SCSI", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwarePXE, MemoryMiB: 512, Disks: []lab.Disk{{Kind: lab.SCSI}}}, false, 0},
	}
	if os.Getenv("FERRIC_FULL") != "" { // make test-full
		// An image of a gibibyte through a fraction of it in memory.
		const gibibyte = 980 << 20 // with the system itself
		all = append(all,
			story{"bios, 1 GiB image in 256 MiB", lab.NodeConfig{Firmware: lab.BIOS, MemoryMiB: 256, Disks: []lab.Disk{{Kind: lab.Virtio}}}, true, gibibyte},
			story{"uefi, 1 GiB image in 512 MiB", lab.NodeConfig{Firmware: lab.UEFI, MemoryMiB: 512, Disks: []lab.Disk{{Kind: lab.NVMe}}}, false, gibibyte},
			story{"uefi by HTTP boot, SATA", lab.NodeConfig{Firmware: lab.UEFI, NetBoot: lab.FirmwareHTTP, MemoryMiB: 512, Disks: []lab.Disk{{Kind: lab.SATA}}}, true, 0},
			story{"bios, SATA, e1000", lab.NodeConfig{Firmware: lab.BIOS, NIC: "e1000", Disks: []lab.Disk{{Kind: lab.SATA}}}, false, 0},
		)
	}
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			tt.node.Name = "machine"
			site, image := open(t, tt.node, osimage.Options{Ballast: tt.ballast}, stories.Options{})
			file, format := image.QCOW2, "qcow2"
			if tt.zstd {
				file, format = image.Zstd, "raw"
			}
			m, err := site.Machine("machine", file, format)
			if err != nil {
				t.Fatal(err)
			}
			if err := stories.FirstBoot(t.Context(), []*stories.Machine{m}, false, writer{t}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// small is a machine whose disk is erased in less time.
func small() lab.NodeConfig {
	return lab.NodeConfig{Name: "machine", Firmware: lab.BIOS, MemoryMiB: 384, Disks: []lab.Disk{{Kind: lab.Virtio, SizeMiB: 1024}}}
}

// enrolSmall enrols the machine and verifies it.
func enrolSmall(ctx context.Context, t *testing.T, site *stories.Site, image *osimage.Image) *stories.Machine {
	t.Helper()
	m, err := site.Machine("machine", image.Raw, "raw")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Enrol(ctx); err != nil {
		t.Fatal(err)
	}
	// Without a hint no disk of less than 4 GiB is taken.
	hint := map[string]any{"serial": m.Config.Disks[0].Serial}
	if _, err := site.API.UpdateNode(ctx, m.Name, ironic.Patch{
		{Op: "add", Path: "/properties/root_device", Value: hint},
		// Nor need the agent wait half a minute for a larger one before it joins.
		{Op: "add", Path: "/driver_info/kernel_append_params", Value: "%default% ipa-disk-wait-attempts=0"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable); err != nil {
		t.Fatal(err)
	}
	return m
}

// cleanStep and deployStep say that the agent is told a step, and waited for.
func cleanStep(step string) func(*ironic.Node) bool {
	return func(n *ironic.Node) bool {
		return n.CleanStep["step"] == step && n.ProvisionState == ironic.StateCleanWait
	}
}

func deployStep(step string) func(*ironic.Node) bool {
	return func(n *ironic.Node) bool {
		return n.DeployStep["step"] == step && n.ProvisionState == ironic.StateDeployWait
	}
}

// TestConductorKilled kills the conductor while the agent cleans and while it
// writes the image. The agent's work goes on, and so does the node.
func TestConductorKilled(t *testing.T) {
	site, image := open(t, small(), osimage.Options{Ballast: 200 << 20}, stories.Options{FullErase: true})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	m := enrolSmall(ctx, t, site, image)
	m.Killing(cleanStep("erase_devices"))
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable); err != nil {
		t.Fatal(err)
	}
	line := m.Console.Mark()
	m.Killing(deployStep("write_image"))
	if err := m.Deploy(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Booted(ctx, line); err != nil {
		t.Fatal(err)
	}
	if m.Killed() != 2 {
		t.Errorf("the conductor was killed %d times; want 2", m.Killed())
	}
}

// TestMachineLosesPower cuts the machine's power while its disk is erased, and
// gives it back; and while the image is written, and does not. Both steps are
// begun again, and the machine boots what was deployed.
func TestMachineLosesPower(t *testing.T) {
	if os.Getenv("FERRIC_FULL") == "" { // make test-full
		return
	}
	site, image := open(t, small(), osimage.Options{Ballast: 200 << 20}, stories.Options{FullErase: true,
		Config: "[conductor]\ncheck_provision_state_interval = 5\n[ferric]\nagent_silence_timeout = 20\nagent_rejoin_timeout = 30\n"})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	m := enrolSmall(ctx, t, site, image)
	m.Once(cleanStep("erase_devices"), func() {
		m.PowerOff()
		if err := m.PowerOn(); err != nil {
			t.Error(err)
		}
	})
	if err := m.Provision(ctx, ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable); err != nil {
		t.Fatal(err)
	}
	line := m.Console.Mark()
	m.Once(deployStep("write_image"), m.PowerOff)
	if err := m.Deploy(ctx, false); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Booted(ctx, line); err != nil {
		t.Fatal(err)
	}
	events, err := site.API.Events(ctx, m.Name)
	if err != nil {
		t.Fatal(err)
	}
	begun := map[string]int{}
	for _, e := range events {
		if e.Kind == "restart" {
			begun[e.Detail]++
			t.Log(e.Detail)
		}
	}
	if begun["clean step deploy.erase_devices begins again: its machine booted again"] != 1 || begun["deploy step deploy.write_image begins again: its machine is off"] != 1 {
		t.Errorf("steps were begun again: %v; want each once", begun)
	}
}
