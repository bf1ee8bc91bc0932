package netboot

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// full skips what takes long, but under `make test-full`.
func full(t *testing.T) bool {
	t.Helper()
	return os.Getenv("FERRIC_FULL") != ""
}

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
	return slices.Concat([]string{"Linux version", "ipa-api-url=http://192.168.77.1:6385"}, more, []string{"BOOTIF=" + bootIF, "Freeing initrd memory"})
}

func TestPXELinux(t *testing.T) {
	pxelinuxIF := "01-" + strings.ReplaceAll(bootMAC, ":", "-")
	bootLoader(t, LoaderPXE, false, tftpChain, otherLines(pxelinuxIF), "-m", "512", "-device", cardWithROM)
}

func TestGRUBByTFTP(t *testing.T) {
	bootLoader(t, LoaderPXE, false, tftpChain, otherLines(bootMAC), append(ovmf(t), "-device", cardBare)...)
}

func TestGRUBByHTTP(t *testing.T) {
	bootLoader(t, LoaderHTTP, false, urlChain, otherLines(bootMAC), slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
}

func TestIPXEByHTTP(t *testing.T) {
	bootLoader(t, LoaderHTTPIPXE, false, httpChain, kernelLines, slices.Concat(ovmf(t), httpOnly, []string{"-device", cardBare})...)
}

// The firmware trusts shim, shim trusts GRUB and the kernel.
func TestSecureBoot(t *testing.T) {
	bootLoader(t, LoaderPXE, true, tftpChain, otherLines(bootMAC, "secureboot: Secure boot enabled"), append(secureOVMF(t), "-device", cardBare)...)
}

func TestSecureBootByHTTP(t *testing.T) {
	bootLoader(t, LoaderHTTP, true, urlChain, otherLines(bootMAC, "secureboot: Secure boot enabled"), slices.Concat(secureOVMF(t), httpOnly, []string{"-device", cardBare})...)
}
