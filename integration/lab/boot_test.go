package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/u-root/u-root/pkg/cpio"

	"ferric/conductor/netboot"
	"ferric/integration/lab"
)

// one boots every machine into the same kernel and ramdisk.
type one struct{ kernel, ramdisk string }

func (o one) Machine(context.Context, net.HardwareAddr) (netboot.Machine, error) {
	return netboot.Machine{NodeUUID: "5ab6e0ee-0000-4000-8000-000000000001", Name: "n1", Action: netboot.Ramdisk,
		Kernel: o.kernel, Ramdisk: o.ramdisk, Params: "console=ttyS0 no_timer_check panic=5"}, nil
}

// guest builds a ramdisk of testdata/guest and the kernel's IPMI modules.
func guest(t *testing.T, dir, release string) string {
	t.Helper()
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := cpio.Newc.Writer(&archive)
	records := []cpio.Record{
		cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.StaticFile("init", string(content), 0o755),
		cpio.Directory("modules", 0o755),
	}
	for _, name := range []string{"ipmi_msghandler.ko", "ipmi_devintf.ko", "ipmi_si.ko"} {
		module, err := os.ReadFile(filepath.Join("/lib/modules", release, "kernel/drivers/char/ipmi", name))
		if err != nil {
			missing(t, err.Error()+" (linux-image-amd64)")
		}
		records = append(records, cpio.StaticFile("modules/"+name, string(module), 0o644))
	}
	for _, r := range records {
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "guest.cpio")
	if err := os.WriteFile(path, archive.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNetworkBoot switches machines on with the selector at PXE, waits for kernel and init, which must reach the same BMC
// through KCS, and for the power-off that init asks for.
func TestNetworkBoot(t *testing.T) {
	kernels, err := filepath.Glob("/boot/vmlinuz-*")
	if err != nil || len(kernels) == 0 {
		missing(t, "a kernel in /boot (linux-image-amd64)")
	}
	kernel := kernels[len(kernels)-1]
	ctx, rack := up(t,
		lab.NodeConfig{Name: "rom", Disks: []lab.Disk{{Kind: lab.Virtio}, {Kind: lab.NVMe}, {Kind: lab.SATA, WWN: 0x5000c50015ea71ac, Model: "FERRIC DISK", SSD: true}, {Kind: lab.SCSI}}},
		lab.NodeConfig{Name: "pxe", Firmware: lab.UEFI, NetBoot: lab.FirmwarePXE, Disks: []lab.Disk{{Kind: lab.NVMe}}},
		lab.NodeConfig{Name: "http", Firmware: lab.UEFI, NetBoot: lab.FirmwareHTTP, Disks: []lab.Disk{{Kind: lab.SATA}}},
	)
	config := netboot.DefaultConfig()
	config.Interface, config.DHCP = lab.Bridge, netboot.DHCPFull
	config.RangeBegin, config.RangeEnd = "192.168.77.100", "192.168.77.150"
	log := logrus.New()
	log.SetOutput(io.Discard)
	events := make(chan netboot.Event, 1000)
	server, err := netboot.New(config, one{kernel, guest(t, rack.Dir, strings.TrimPrefix(kernel, "/boot/vmlinuz-"))}, func(e netboot.Event) { events <- e }, logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}()

	for _, n := range rack.Nodes {
		t.Run(n.Config.Name, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					for len(events) > 0 {
						t.Logf("netboot: %+v", <-events)
					}
				}
			}()
			tool(t, ctx, n, "chassis", "bootdev", "pxe")
			began := time.Now()
			tool(t, ctx, n, "chassis", "power", "on")
			agrees(t, ctx, n, lab.State{Powered: true, Selector: lab.SelectNone})
			want := fmt.Sprintf("guest: firmware=%s serial=SN-%s bmc=%s error=<nil>;", n.Config.Firmware, n.Config.Name, n.Config.BMC.Address)
			line, err := n.Console.WaitFor(ctx, 0, regexp.MustCompile("guest: .*error=.*;"))
			if err != nil {
				t.Fatal(err)
			}
			if line.Text != want {
				t.Errorf("the guest found %q, want %q", line.Text, want)
			}
			if configured, err := n.Console.WaitFor(ctx, 0, regexp.MustCompile(`Configuring \(net0`)); err == nil {
				t.Logf("iPXE after %.1f s, init after %.1f s", configured.Time.Sub(began).Seconds(), line.Time.Sub(began).Seconds())
			} else {
				t.Error(err)
			}
			agrees(t, ctx, n, lab.State{Powered: false, Selector: lab.SelectNone}) // it switched itself off
		})
	}
}

// missing fails where nothing may be skipped, and skips elsewhere.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}
