package generic

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/jaypipes/ghw"
	"github.com/u-root/u-root/pkg/smbios"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// ghwOptions point ghw at the host's file systems and keep it from running
// programs.
func ghwOptions(h *hwmanager.Host) context.Context {
	ctx := context.Background()
	for _, modify := range []ghw.Modifier{
		ghw.WithDisableTools(),
		ghw.WithDisableWarnings(),
		ghw.WithPathOverrides(ghw.PathOverrides{"/sys": h.Sys, "/proc": h.Proc}),
	} {
		ctx = modify(ctx)
	}
	return ctx
}

func readCPU(h *hwmanager.Host) (ipa.CPU, error) {
	cpu := ipa.CPU{Architecture: architecture(), Flags: []string{}, Frequency: frequency(h)}
	info, err := ghw.CPU(ghwOptions(h))
	if err != nil {
		return cpu, fmt.Errorf("processors: %w", err)
	}
	cpu.Count = int(info.TotalHardwareThreads)
	cpu.SocketCount = len(info.Processors)
	if len(info.Processors) > 0 {
		first := info.Processors[0]
		cpu.ModelName = first.Model
		if first.Capabilities != nil {
			cpu.Flags = first.Capabilities
		}
	}
	return cpu, nil
}

// architecture is what "uname -m" prints.
func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}

// frequency is the highest one in MHz, with four decimals as lscpu prints it:
// that of the governor, else the current one.
func frequency(h *hwmanager.Host) string {
	if khz := readInt(h.Sys, "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"); khz > 0 {
		return fmt.Sprintf("%.4f", float64(khz)/1000)
	}
	mhz, err := strconv.ParseFloat(procField(h, "cpuinfo", "cpu MHz"), 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%.4f", mhz)
}

// procField is the first "name : value" in a file of procfs.
func procField(h *hwmanager.Host, file, name string) string {
	f, err := os.Open(filepath.Join(h.Proc, file))
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, found := strings.Cut(lines.Text(), ":")
		if found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func readMemory(h *hwmanager.Host) (ipa.Memory, error) {
	var memory ipa.Memory
	kb, err := strconv.ParseInt(strings.TrimSuffix(procField(h, "meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return memory, fmt.Errorf("memory: MemTotal of meminfo: %w", err)
	}
	memory.Total = kb << 10
	memory.PhysicalMB = modules(h)
	return memory, nil
}

// modules is the sum of the memory modules of the DMI table in MiB, nil if
// there is none.
func modules(h *hwmanager.Host) *int {
	dir := filepath.Join(h.Sys, "firmware/dmi/tables")
	entry, err := os.ReadFile(filepath.Join(dir, "smbios_entry_point"))
	if err != nil {
		return nil
	}
	table, err := os.ReadFile(filepath.Join(dir, "DMI"))
	if err != nil {
		return nil
	}
	info, err := smbios.ParseInfo(entry, table)
	if err != nil {
		return nil
	}
	devices, err := info.GetMemoryDevices()
	if err != nil {
		return nil
	}
	total := 0
	for _, d := range devices {
		const unknown = 0xffff // SMBIOS 7.18: size not known
		if d.Size != unknown {
			total += int(d.GetSizeBytes() >> 20)
		}
	}
	if total == 0 {
		return nil
	}
	return &total
}

func readVendor(h *hwmanager.Host) (ipa.SystemVendor, error) {
	var vendor ipa.SystemVendor
	// Machines without DMI (many ARM boards) have none of this.
	if _, err := os.Stat(filepath.Join(h.Sys, "class/dmi/id")); err != nil {
		return vendor, nil
	}
	product, err := ghw.Product(ghwOptions(h))
	if err != nil {
		return vendor, fmt.Errorf("product: %w", err)
	}
	vendor.ProductName = known(product.Name)
	vendor.SerialNumber = known(product.SerialNumber)
	vendor.Manufacturer = known(product.Vendor)
	bios, err := ghw.BIOS(ghwOptions(h))
	if err != nil {
		return vendor, fmt.Errorf("firmware: %w", err)
	}
	vendor.Firmware = ipa.Firmware{Vendor: known(bios.Vendor), Version: known(bios.Version), BuildDate: known(bios.Date)}
	return vendor, nil
}

// known drops the word with which ghw says that a fact is missing.
func known(s string) string {
	if s == "unknown" {
		return ""
	}
	return clean(s)
}

func readBoot(h *hwmanager.Host) ipa.Boot {
	boot := ipa.Boot{CurrentBootMode: "bios", PXEInterface: optional(h.Settings.BootIF)}
	if bootedUEFI(h) {
		boot.CurrentBootMode = "uefi"
	}
	return boot
}

func bootedUEFI(h *hwmanager.Host) bool {
	_, err := os.Stat(filepath.Join(h.Sys, "firmware/efi"))
	return err == nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
