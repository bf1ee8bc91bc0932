package inspection

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/dmi"
)

// fact is an item of the collector extra-hardware, in the order and with the
// words of the program hardware-detect: category, item, key, value.
type fact [4]any

// facts are a list of them. What is not known is left out.
type facts []fact

func (f *facts) add(category, item, key string, value any) {
	if value == "" || value == nil {
		return
	}
	*f = append(*f, fact{category, item, key, value})
}

// collectExtra lists what the inventory has no place for, and measures what
// was asked for.
func collectExtra(ctx context.Context, o *Options, doc document) error {
	inventory, known := doc["inventory"].(*ipa.Inventory)
	if !known {
		var err error
		inventory, err = hwmanager.First(o.Set, "list_hardware_info", func(i hwmanager.Inventorist) (*ipa.Inventory, error) {
			return i.Inventory(ctx, o.Host)
		})
		if err != nil {
			return fmt.Errorf("inventory: %w", err)
		}
	}
	table, err := dmi.Read(o.Host.Sys)
	if err != nil {
		return err
	}
	list := facts{}
	list.addDisks(o.Host.Sys, inventory.Disks)
	list.addSystem(o.Host.Sys, inventory)
	list.addMemory(inventory.Memory, table)
	list.addNetwork(inventory.Interfaces)
	list.addCPU(inventory.CPU)
	list.addKernel()
	doc["data"] = &list
	return list.addBenchmarks(ctx, o, inventory, benchmarkTime)
}

// Units: of transfers per second and speeds, and of the sizes of disks.
const (
	mega     = 1000 * 1000
	gigabyte = 1000 * mega
)

// scheduler is the one in use of those in a queue's list.
var scheduler = regexp.MustCompile(`\[([^\]]*)\]`)

func (f *facts) addDisks(sys string, disks []ipa.BlockDevice) {
	f.add("disk", "logical", "count", strconv.Itoa(len(disks)))
	for _, disk := range disks {
		name := strings.TrimPrefix(disk.Name, "/dev/")
		dir := filepath.Join(sys, "block", strings.ReplaceAll(name, "/", "!"))
		f.add("disk", name, "size", strconv.FormatInt(disk.Size/gigabyte, 10))
		f.add("disk", name, "vendor", text(disk.Vendor))
		f.add("disk", name, "model", text(disk.Model))
		f.add("disk", name, "rev", attribute(dir, "device/rev"))
		f.add("disk", name, "revision", attribute(dir, "device/firmware_rev"))
		for _, key := range []string{"optimal_io_size", "physical_block_size", "rotational", "nr_requests"} {
			f.add("disk", name, key, attribute(dir, "queue", key))
		}
		if match := scheduler.FindStringSubmatch(attribute(dir, "queue/scheduler")); match != nil {
			f.add("disk", name, "scheduler", match[1])
		}
		f.add("disk", name, "wwn-id", text(disk.WWN))
		f.add("disk", name, "SMART/serial_number", text(disk.Serial))
	}
}

func (f *facts) addSystem(sys string, inventory *ipa.Inventory) {
	id := func(name string) string { return attribute(sys, "class/dmi/id", name) }
	f.add("system", "product", "serial", inventory.SystemVendor.SerialNumber)
	f.add("system", "product", "name", inventory.SystemVendor.ProductName)
	f.add("system", "product", "vendor", inventory.SystemVendor.Manufacturer)
	f.add("system", "product", "version", id("product_version"))
	f.add("system", "product", "uuid", strings.ToLower(id("product_uuid")))
	f.add("system", "motherboard", "name", id("board_name"))
	f.add("system", "motherboard", "vendor", id("board_vendor"))
	f.add("system", "motherboard", "version", id("board_version"))
	f.add("system", "motherboard", "serial", id("board_serial"))
	firmware := inventory.SystemVendor.Firmware
	f.add("firmware", "bios", "version", firmware.Version)
	f.add("firmware", "bios", "date", firmware.BuildDate)
	f.add("firmware", "bios", "vendor", firmware.Vendor)
}

func (f *facts) addMemory(memory ipa.Memory, table dmi.Table) {
	total := memory.Total
	if modules := table.MemoryBytes(); modules > 0 {
		total = modules
	}
	f.add("memory", "total", "size", strconv.FormatInt(total, 10))
	modules := table.Modules()
	for i, module := range modules {
		if module.Bytes == 0 {
			continue
		}
		bank := "bank:" + strconv.Itoa(i)
		f.add("memory", bank, "size", strconv.FormatInt(module.Bytes, 10))
		if module.Speed > 0 {
			f.add("memory", bank, "clock", strconv.FormatInt(int64(module.Speed)*mega, 10))
		}
		f.add("memory", bank, "description", module.Kind)
		f.add("memory", bank, "vendor", module.Manufacturer)
		f.add("memory", bank, "product", module.PartNumber)
		f.add("memory", bank, "serial", module.Serial)
		f.add("memory", bank, "slot", module.Slot)
	}
	if len(modules) > 0 {
		f.add("memory", "banks", "count", strconv.Itoa(len(modules)))
	}
}

func (f *facts) addNetwork(interfaces []ipa.Interface) {
	for _, nic := range interfaces {
		if nic.PCIAddress != nil {
			f.add("network", nic.Name, "businfo", "pci@"+*nic.PCIAddress)
		}
		f.add("network", nic.Name, "vendor", text(nic.Vendor))
		f.add("network", nic.Name, "product", text(nic.Product))
		if nic.SpeedMbps != nil {
			f.add("network", nic.Name, "size", strconv.FormatInt(int64(*nic.SpeedMbps)*mega, 10))
			f.add("network", nic.Name, "speed", strconv.Itoa(*nic.SpeedMbps)+"Mbit/s")
		}
		f.add("network", nic.Name, "ipv4", text(nic.IPv4Address))
		link := "no"
		if nic.HasCarrier {
			link = "yes"
		}
		f.add("network", nic.Name, "link", link)
		f.add("network", nic.Name, "driver", text(nic.Driver))
		f.add("network", nic.Name, "serial", nic.MACAddress)
	}
}

func (f *facts) addCPU(cpu ipa.CPU) {
	f.add("cpu", "physical", "number", cpu.SocketCount)
	for i := range cpu.SocketCount {
		socket := "physical_" + strconv.Itoa(i)
		f.add("cpu", socket, "version", cpu.ModelName)
		f.add("cpu", socket, "threads", cpu.Count/cpu.SocketCount)
		f.add("cpu", socket, "frequency", cpu.Frequency)
		f.add("cpu", socket, "architecture", cpu.Architecture)
		f.add("cpu", socket, "flags", strings.Join(cpu.Flags, " "))
	}
	f.add("cpu", "logical", "number", cpu.Count)
}

// addKernel leaves the kernel's command line out: it may hold a token.
func (f *facts) addKernel() {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return
	}
	f.add("system", "kernel", "version", unix.ByteSliceToString(name.Release[:]))
	f.add("system", "kernel", "arch", unix.ByteSliceToString(name.Machine[:]))
}

// text is "" for a fact that is not known.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
