package netboot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// underFull tells whether the long tests run too, as under `make test-full`. Those
// that always run show each firmware, protocol and boot loader once.
func underFull() bool { return os.Getenv("FERRIC_FULL") != "" }

// secureOVMF returns the QEMU arguments of a UEFI machine with Secure Boot on,
// which trusts Microsoft's keys and nobody else's.
func secureOVMF(t *testing.T) []string {
	t.Helper()
	const dir = "/usr/share/OVMF/"
	vars, err := os.ReadFile(dir + "OVMF_VARS_4M.ms.fd")
	if err != nil {
		missing(t, "package ovmf: "+err.Error())
	}
	name := filepath.Join(t.TempDir(), "vars.fd")
	if err := os.WriteFile(name, vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-M", "q35,smm=on", "-m", "768", "-global", "driver=cfi.pflash01,property=secure,value=on",
		"-drive", "if=pflash,format=raw,readonly=on,file=" + dir + "OVMF_CODE_4M.ms.fd",
		"-drive", "if=pflash,format=raw,file=" + name}
}

// noIPv6PXE switches off what OVMF would try for a minute between IPv4 and the next device.
var noIPv6PXE = []string{"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"}

// Chains of boot loaders that are not iPXE.
var (
	configAndFiles = []string{EventScript, EventKernel, EventKernelSent, EventRamdisk, EventRamdiskSent}
	tftpChain      = append([]string{EventDHCP, EventTFTP}, configAndFiles...)
	urlChain       = append([]string{EventDHCP}, configAndFiles...)
)

// bootLoader boots a machine by a boot loader, and looks for lines on its console.
func bootLoader(t *testing.T, loader Loader, secure bool, events, lines []string, args ...string) {
	t.Helper()
	if !inOwnNamespace(t, "qemu-system-x86_64", "cpio") {
		return
	}
	setUpNetwork(t)
	dir := ramdiskMachine(t)
	m := dir[bootMAC]
	m.Loader, m.SecureBoot = loader, secure
	dir[bootMAC] = m
	log := startServer(t, fullConfig(), dir)
	console := bootMachine(t, vmLimit, lines, args...)
	t.Logf("events:\n%s", log)
	if !log.has(events...) {
		t.Errorf("events %v; want %v in this order", log.kinds(), events)
	}
	if t.Failed() {
		t.Logf("console:\n%s", console)
	}
}

// otherLines prove that kernel, parameters and ramdisk arrived, with the address
// of the interface in the boot loader's notation.
func otherLines(bootIF string, more ...string) []string {
	return slices.Concat([]string{"Linux version", "ipa-api-url=http://192.168.77.1:6385"}, more, []string{"BOOTIF=" + bootIF, "RAMDISK: [mem"})
}

func TestPXELinux(t *testing.T) {
	pxelinuxIF := "01-" + strings.ReplaceAll(bootMAC, ":", "-")
	bootLoader(t, LoaderPXE, false, tftpChain, otherLines(pxelinuxIF), "-m", "512", "-device", cardWithROM)
}

// The firmware trusts shim, shim trusts GRUB, and both the kernel.
func TestSecureBoot(t *testing.T) {
	bootLoader(t, LoaderPXE, true, tftpChain, otherLines(bootMAC, "secureboot: Secure boot enabled"), slices.Concat(secureOVMF(t), noIPv6PXE, []string{"-device", cardBare})...)
}

func TestGRUBByHTTP(t *testing.T) {
	bootLoader(t, LoaderHTTP, false, urlChain, otherLines(bootMAC), slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
}

func TestGRUBByTFTP(t *testing.T) {
	if underFull() {
		bootLoader(t, LoaderPXE, false, tftpChain, otherLines(bootMAC), append(ovmf(t), "-device", cardBare)...)
	}
}

func TestIPXEByHTTP(t *testing.T) {
	if underFull() {
		bootLoader(t, LoaderHTTPIPXE, false, httpChain, kernelLines, slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
	}
}

// bootElsewhere boots a machine that is sent on to its disk or to an ISO image.
func bootElsewhere(t *testing.T, m Machine, events, lines []string, args ...string) {
	t.Helper()
	setUpNetwork(t)
	m.NodeUUID = bootUUID
	log := startServer(t, fullConfig(), mapDirectory{bootMAC: m})
	console := bootMachine(t, vmLimit, lines, args...)
	if !log.has(events...) || t.Failed() {
		t.Errorf("events:\n%s\nconsole:\n%s", log, console)
	}
}

func TestLocalDiskByPXELinux(t *testing.T) {
	if underFull() && inOwnNamespace(t, "qemu-system-x86_64") {
		bootElsewhere(t, Machine{Loader: LoaderPXE, BootMode: "bios", Action: LocalDisk}, []string{EventDHCP, EventTFTP, EventScript},
			[]string{"booted from the local disk"}, "-m", "256", "-device", cardWithROM,
			"-drive", "if=none,id=d0,format=raw,file="+localDisk(t), "-device", "virtio-blk-pci,drive=d0,bootindex=2")
	}
}

// efiDisk is a disk whose boot loader for UEFI says that it was started.
func efiDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	disk, loader, config := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "loader.efi"), filepath.Join(dir, "grub.cfg")
	if err := os.WriteFile(config, []byte("echo 'booted from the local disk'\nsleep 60\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "grub-mkimage", "-O", "x86_64-efi", "-o", loader, "-p", "/", "-c", config, "normal", "echo", "sleep")
	run(t, "mformat", "-C", "-i", disk, "-T", "65536", "-h", "16", "-s", "63", "::")
	run(t, "mmd", "-i", disk, "::EFI", "::EFI/BOOT")
	run(t, "mcopy", "-i", disk, loader, "::EFI/BOOT/BOOTX64.EFI")
	return disk
}

func TestLocalDiskByGRUB(t *testing.T) {
	if underFull() && inOwnNamespace(t, "qemu-system-x86_64", "grub-mkimage", "mformat") {
		bootElsewhere(t, Machine{Loader: LoaderPXE, Action: LocalDisk}, []string{EventDHCP, EventTFTP, EventScript},
			[]string{"booting from the local disk", "booted from the local disk"}, slices.Concat(ovmf(t), noIPv6PXE, []string{"-device", cardBare,
				"-drive", "if=none,id=d0,format=raw,file=" + efiDisk(t), "-device", "virtio-blk-pci,drive=d0,bootindex=2"})...)
	}
}

// liveISO is an ISO image for BIOS and UEFI whose GRUB says that it was booted.
func liveISO(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, "boot/grub"), 0o755); err != nil {
		t.Fatal(err)
	}
	const config = "serial --unit=0 --speed=115200\nterminal_output serial console\necho 'booted from the ISO image'\nsleep 60\n"
	if err := os.WriteFile(filepath.Join(tree, "boot/grub/grub.cfg"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "live.iso")
	run(t, "grub-mkrescue", "-o", name, tree)
	return name
}

func TestISOByIPXE(t *testing.T) {
	if underFull() && inOwnNamespace(t, "qemu-system-x86_64", "grub-mkrescue", "xorriso") {
		bootElsewhere(t, Machine{Action: BootISO, ISO: liveISO(t)}, []string{EventDHCP, EventScript, EventRamdisk},
			[]string{"booted from the ISO image"}, "-m", "256", "-device", cardWithROM)
	}
}

func TestISOByIPXEUnderUEFI(t *testing.T) {
	if underFull() && inOwnNamespace(t, "qemu-system-x86_64", "grub-mkrescue", "xorriso") {
		bootElsewhere(t, Machine{Action: BootISO, ISO: liveISO(t)}, []string{EventDHCP, EventScript, EventRamdisk},
			[]string{"booted from the ISO image"}, append(ovmf(t), "-device", cardBare)...)
	}
}

func TestISOByPXELinux(t *testing.T) {
	if underFull() && inOwnNamespace(t, "qemu-system-x86_64", "grub-mkrescue", "xorriso") {
		bootElsewhere(t, Machine{Loader: LoaderPXE, BootMode: "bios", Action: BootISO, ISO: liveISO(t)}, []string{EventDHCP, EventScript, EventRamdisk, EventRamdiskSent},
			[]string{"booted from the ISO image"}, "-m", "256", "-device", cardWithROM)
	}
}
