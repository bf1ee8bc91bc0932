package osimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"
)

// bootLimit is four times what a boot takes on a quiet machine.
const bootLimit = 120 * time.Second

// buses are the devices of one disk d0.
var buses = map[string][]string{
	"virtio": {"-device", "virtio-blk-pci,drive=d0,serial=SERIAL-virtio"},
	"nvme":   {"-device", "nvme,drive=d0,serial=SERIAL-nvme"},
	"sata":   {"-device", "ahci,id=ahci0", "-device", "ide-hd,bus=ahci0.0,drive=d0,serial=SERIAL-sata"},
}

// TestBoot boots the small system under both kinds of firmware, with a config
// drive as the agent leaves one; with FERRIC_FULL (make test-full) on every
// kind of disk.
func TestBoot(t *testing.T) {
	needQEMU(t)
	image, err := Build(t.Context(), Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	type machine struct{ firmware, bus, memory, format string }
	machines := []machine{{"bios", "nvme", "256", "vfat"}, {"uefi", "sata", "512", "iso9660"}}
	if os.Getenv("FERRIC_FULL") != "" {
		machines = append(machines,
			machine{"bios", "virtio", "256", "iso9660"}, machine{"bios", "sata", "256", "iso9660"},
			machine{"uefi", "virtio", "512", "iso9660"}, machine{"uefi", "nvme", "512", "vfat"})
	}
	for _, tc := range machines {
		t.Run(tc.firmware+" "+tc.bus, func(t *testing.T) {
			nonce := "n0nce-" + tc.bus + "-" + tc.firmware
			disk := deploy(t, image.Raw.Path, configDrive(t, tc.format, map[string]string{
				"openstack/latest/meta_data.json":    `{"uuid":"u","hostname":"host-` + tc.bus + `","name":"other"}`,
				"openstack/latest/user_data":         UserData(nonce, false),
				"openstack/latest/network_data.json": `{"links":[{"id":"a"}],"networks":[]}`,
			}))
			console, powerDown := boot(t, tc.firmware, tc.memory, buses[tc.bus], disk)
			start := time.Now()
			text := waitFor(t, console, "ferric-os: up\n", bootLimit)
			t.Logf("up after %.1f s", time.Since(start).Seconds())
			for _, want := range []string{
				"hostname=host-" + tc.bus, "nonce=" + nonce, "disk-serial=SERIAL-" + tc.bus,
				"firmware=" + tc.firmware, "network-links=1",
			} {
				if !strings.Contains(text, "ferric-os: "+want+"\n") {
					t.Errorf("console has no line %q:\n%s", want, text)
				}
			}
			powerDown()
		})
	}
	if os.Getenv("FERRIC_FULL") != "" { // a cell of the matrix deploys one in `make test`
		t.Run("uefi partition image", bootPartition)
	}
}

// bootPartition boots the partition image from where a deployment puts it, on
// the second partition behind an EFI system partition.
func bootPartition(t *testing.T) {
	image, err := BuildPartition(t.Context(), Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	disk, esp := filepath.Join(t.TempDir(), "disk.raw"), filepath.Join(t.TempDir(), "esp")
	if err := errors.Join(sparseFile(disk, 128*mib), sparseFile(esp, espSize)); err != nil {
		t.Fatal(err)
	}
	loader := filepath.Join(t.TempDir(), "BOOTX64.EFI")
	command(t, "debugfs", "-R", "dump /"+espDir+"/BOOTX64.EFI "+loader, image.Raw.Path)
	command(t, "mkfs.vfat", esp)
	command(t, "mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
	command(t, "mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI")
	command(t, "sgdisk", "-n", "1:2048:+16M", "-t", "1:ef00", "-n", "2:34816:+64M", disk)
	command(t, "dd", "if="+esp, "of="+disk, "bs=1M", "seek=1", "conv=notrunc")
	command(t, "dd", "if="+image.Raw.Path, "of="+disk, "bs=1M", "seek=17", "conv=notrunc")
	console, powerDown := boot(t, "uefi", "512", buses["sata"], disk)
	text := waitFor(t, console, "ferric-os: up\n", bootLimit)
	if !strings.Contains(text, "ferric-os: disk-serial=SERIAL-sata\n") {
		t.Errorf("console:\n%s", text)
	}
	powerDown()
}

// needQEMU skips where no machine can run.
func needQEMU(t *testing.T) {
	t.Helper()
	if testing.Short() {
		if os.Getenv("CI") == "true" {
			t.Fatal("virtual machines must run in CI")
		}
		t.Skip("boots virtual machines")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// configDrive makes the image of a config drive.
func configDrive(t *testing.T, format string, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.img")
	if format == "vfat" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(8 << 20); err != nil {
			t.Fatal(err)
		}
		f.Close()
		command(t, "mkfs.vfat", "-n", "CONFIG-2", path)
		command(t, "mmd", "-i", path, "::/openstack", "::/openstack/latest")
		for name, content := range files {
			local := filepath.Join(t.TempDir(), filepath.Base(name))
			if err := os.WriteFile(local, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			command(t, "mcopy", "-i", path, local, "::/"+name)
		}
		return path
	}
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Cleanup()
	for name, content := range files {
		if err := w.AddFile(strings.NewReader(content), name); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := w.WriteTo(f, "config-2"); err != nil {
		t.Fatal(err)
	}
	return path
}

// deploy does what an agent does: the image at the start of a larger disk, the
// backup table at its end, the config drive in the last 64 MiB.
func deploy(t *testing.T, image, configDrive string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.raw")
	command(t, "cp", "--sparse=always", image, disk)
	if err := os.Truncate(disk, 4<<30); err != nil {
		t.Fatal(err)
	}
	command(t, "sgdisk", "-e", disk)
	command(t, "sgdisk", "-n", "4:-64M:0", disk)
	first := wordAfter(t, command(t, "sgdisk", "-i", "4", disk), "First sector: ")
	command(t, "dd", "if="+configDrive, "of="+disk, "bs=512", "conv=notrunc", "seek="+first)
	return disk
}

func wordAfter(t *testing.T, text, before string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, before)
	if !ok {
		t.Fatalf("no %q in %s", before, text)
	}
	return strings.Fields(rest)[0]
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t.Context(), nil, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// boot starts a machine and returns the path of its console. The function
// presses its power button and wants it to go off.
func boot(t *testing.T, firmware, memory string, bus []string, disk string) (console string, powerDown func()) {
	t.Helper()
	dir := t.TempDir()
	console = filepath.Join(dir, "console")
	args := []string{"-M", "q35", "-accel", "tcg", "-cpu", "max,la57=off", "-smp", "1", "-m", memory,
		"-display", "none", "-nic", "none", "-serial", "file:" + console, "-monitor", "stdio",
		"-drive", "id=d0,if=none,format=raw,cache=unsafe,file=" + disk}
	args = append(args, bus...)
	if firmware == "uefi" {
		vars := filepath.Join(dir, "vars.fd")
		command(t, "cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", vars)
		args = append(args, "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,format=raw,file="+vars)
	}
	ctx, cancel := context.WithCancel(context.Background())
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	var output bytes.Buffer
	qemu.Stdout, qemu.Stderr = &output, &output
	monitor, err := qemu.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- qemu.Wait() }()
	t.Cleanup(cancel)
	return console, func() {
		t.Helper()
		io.WriteString(monitor, "system_powerdown\n")
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("qemu: %v\n%s", err, output.String())
			}
		case <-time.After(bootLimit):
			t.Error("machine is still on after its power button was pressed")
		}
	}
}

// waitFor waits until the file has the text and returns all of it.
func waitFor(t *testing.T, path, text string, limit time.Duration) string {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		data, _ := os.ReadFile(path)
		content := strings.ReplaceAll(string(data), "\r\n", "\n")
		if strings.Contains(content, text) {
			return content
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q within %v; console:\n%s", text, limit, content)
		}
	}
}
