package generic

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/jaypipes/ghw"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/dmi"
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

// staticFacts are those that stay as they are until the machine is switched
// off; they are read once.
type staticFacts struct {
	cpu     ipa.CPU
	cpuErr  error
	vendor  ipa.SystemVendor
	modules int64              // memory that is plugged in, in bytes
	bmc     bool               // the firmware announces one
	onboard map[string]*string // names of network interfaces on the mainboard, by PCI address
}

// staticFacts reads them at the first call. A manager has one machine.
func (m *Manager) staticFacts(h *hwmanager.Host) *staticFacts {
	m.static.once.Do(func() {
		m.static.facts.cpu, m.static.facts.cpuErr = readCPU(h)
		var err error
		if m.static.facts.vendor, err = readVendor(h); err != nil {
			h.Log.WithError(err).Warn("inventory without names of the machine")
		}
		table, err := dmi.Read(h.Sys)
		if err != nil {
			h.Log.WithError(err).Warn("inventory without the firmware's table")
		}
		m.static.facts.modules = table.MemoryBytes()
		m.static.facts.bmc = table.HasBMC()
		m.static.facts.onboard = onboardNames(h, table)
	})
	return &m.static.facts
}

// onboardNames are "em1" and so on, as biosdevname has them; like that, virtual
// machines have none.
func onboardNames(h *hwmanager.Host, table dmi.Table) map[string]*string {
	names := map[string]*string{}
	if slices.Contains(strings.Fields(procField(h, "cpuinfo", "flags")), "hypervisor") {
		return names
	}
	for _, nic := range table.OnboardNICs() {
		names[nic.PCIAddress] = optional("em" + strconv.Itoa(nic.Instance))
	}
	return names
}

// CPUs implements hwmanager.CPUReader.
func (m *Manager) CPUs(_ context.Context, h *hwmanager.Host) (ipa.CPU, error) {
	facts := m.staticFacts(h)
	return facts.cpu, facts.cpuErr
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

// readMemory is what the kernel manages and what is plugged in.
func readMemory(h *hwmanager.Host, modules int64) (ipa.Memory, error) {
	var memory ipa.Memory
	kb, err := strconv.ParseInt(strings.TrimSuffix(procField(h, "meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return memory, fmt.Errorf("memory: MemTotal of meminfo: %w", err)
	}
	memory.Total = kb << 10
	if mib := int(modules >> 20); mib > 0 {
		memory.PhysicalMB = &mib
	}
	return memory, nil
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

// BootInfo implements hwmanager.BootReader.
func (m *Manager) BootInfo(_ context.Context, h *hwmanager.Host) (ipa.Boot, error) {
	boot := ipa.Boot{CurrentBootMode: "bios", PXEInterface: optional(h.Settings.BootIF)}
	if bootedUEFI(h) {
		boot.CurrentBootMode = "uefi"
	}
	return boot, nil
}

func bootedUEFI(h *hwmanager.Host) bool {
	_, err := os.Stat(filepath.Join(h.Sys, "firmware/efi"))
	return err == nil
}

// hostname is a usual one where the ramdisk has set none: then the kernel says
// "(none)".
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "(none)" {
		return "localhost.localdomain"
	}
	return name
}
