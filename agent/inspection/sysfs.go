package inspection

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/dmi"
)

// pciDevice is an entry of pci_devices. Numbers are in hex without "0x".
type pciDevice struct {
	VendorID   string  `json:"vendor_id"`
	ProductID  string  `json:"product_id"`
	Class      string  `json:"class"`
	Revision   *string `json:"revision"`
	Bus        string  `json:"bus"` // "0000:3d:00.0"
	NUMANodeID *string `json:"numa_node_id"`
}

func collectPCI(_ context.Context, o *Options, doc document) error {
	root := filepath.Join(o.Host.Sys, "bus/pci/devices")
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("list PCI devices: %w", err)
	}
	devices := []pciDevice{}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		vendor, hasVendor := hexAttribute(dir, "vendor")
		product, hasProduct := hexAttribute(dir, "device")
		class, hasClass := hexAttribute(dir, "class")
		if !hasVendor || !hasProduct || !hasClass {
			o.Log.Warnf("PCI device %s is left out: its sysfs has no vendor, device or class", e.Name())
			continue
		}
		device := pciDevice{VendorID: vendor, ProductID: product, Class: class, Bus: e.Name()}
		if revision, ok := hexAttribute(dir, "revision"); ok {
			device.Revision = &revision
		}
		if node := attribute(dir, "numa_node"); node != "" {
			device.NUMANodeID = &node
		}
		devices = append(devices, device)
	}
	doc["pci_devices"] = devices
	return nil
}

// hexAttribute is a number such as 0x8086, without its prefix.
func hexAttribute(dir, name string) (string, bool) {
	return strings.CutPrefix(attribute(dir, name), "0x")
}

// maxAttribute bounds an attribute of sysfs in bytes: the kernel gives a page.
const maxAttribute = 4096

// attribute is a text of sysfs; "" if there is none.
func attribute(parts ...string) string {
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data[:min(len(data), maxAttribute)]), "?"))
}

// numaTopology is what belongs to which NUMA node.
type numaTopology struct {
	RAM  []numaRAM `json:"ram"`
	CPUs []numaCPU `json:"cpus"`
	NICs []numaNIC `json:"nics"`
}

type numaRAM struct {
	Node   int   `json:"numa_node"`
	SizeKB int64 `json:"size_kb"`
}

// numaCPU is a core.
type numaCPU struct {
	CPU            int   `json:"cpu"` // core_id
	Node           int   `json:"numa_node"`
	ThreadSiblings []int `json:"thread_siblings"`
}

type numaNIC struct {
	Name string `json:"name"`
	Node int    `json:"numa_node"` // -1 if the firmware does not tell
}

// Names in /sys/devices/system/node.
var (
	nodeName = regexp.MustCompile(`^node(\d+)$`)
	cpuName  = regexp.MustCompile(`^cpu(\d+)$`)
)

// collectNUMA adds nothing where the kernel knows no NUMA nodes.
func collectNUMA(_ context.Context, o *Options, doc document) error {
	root := filepath.Join(o.Host.Sys, "devices/system/node")
	nodes, err := numbered(root, nodeName)
	if os.IsNotExist(err) {
		o.Log.Warn("the kernel knows no NUMA nodes")
		return nil
	}
	if err != nil {
		return fmt.Errorf("list NUMA nodes: %w", err)
	}
	topology := numaTopology{RAM: []numaRAM{}, CPUs: []numaCPU{}, NICs: []numaNIC{}}
	for _, node := range nodes {
		dir := filepath.Join(root, "node"+strconv.Itoa(node))
		kb, err := memTotal(attribute(dir, "meminfo"))
		if err != nil {
			return fmt.Errorf("memory of NUMA node %d: %w", node, err)
		}
		topology.RAM = append(topology.RAM, numaRAM{Node: node, SizeKB: kb})
		cores, err := coresOf(dir, node)
		if err != nil {
			return fmt.Errorf("processors of NUMA node %d: %w", node, err)
		}
		topology.CPUs = append(topology.CPUs, cores...)
	}
	if topology.NICs, err = nicsOf(o.Host.Sys); err != nil {
		return err
	}
	doc["numa_topology"] = topology
	return nil
}

// numbered are the numbers of the entries of dir with such a name, in order.
func numbered(dir string, name *regexp.Regexp) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if match := name.FindStringSubmatch(e.Name()); match != nil {
			if n, err := strconv.Atoi(match[1]); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// memTotal finds "Node 0 MemTotal: 1560000 kB".
func memTotal(meminfo string) (kb int64, err error) {
	for line := range strings.SplitSeq(meminfo, "\n") {
		name, value, found := strings.Cut(line, ":")
		if !found || !strings.HasSuffix(strings.TrimSpace(name), "MemTotal") {
			continue
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
		kb, err := strconv.ParseInt(number, 10, 64)
		if err != nil || kb < 0 || unit != "kB" {
			return 0, fmt.Errorf("MemTotal of %q is no number of kB", strings.TrimSpace(value))
		}
		return kb, nil
	}
	return 0, fmt.Errorf("meminfo has no MemTotal")
}

// coresOf are the cores of a node. Two packages of one node may have cores of
// the same number: those are two.
func coresOf(dir string, node int) ([]numaCPU, error) {
	threads, err := numbered(dir, cpuName)
	if err != nil {
		return nil, err
	}
	type place struct{ pack, core int }
	index := map[place]int{}
	var cores []numaCPU
	for _, thread := range threads {
		cpu := filepath.Join(dir, "cpu"+strconv.Itoa(thread), "topology")
		core, err := strconv.Atoi(attribute(cpu, "core_id"))
		if err != nil {
			continue // not online
		}
		pack, _ := strconv.Atoi(attribute(cpu, "physical_package_id"))
		i, known := index[place{pack, core}]
		if !known {
			i = len(cores)
			index[place{pack, core}] = i
			cores = append(cores, numaCPU{CPU: core, Node: node})
		}
		cores[i].ThreadSiblings = append(cores[i].ThreadSiblings, thread)
	}
	return cores, nil
}

// nicsOf are the network interfaces with a device and the node it is at; a
// virtio device lies below the PCI function that knows.
func nicsOf(sys string) ([]numaNIC, error) {
	root := filepath.Join(sys, "class/net")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	nics := []numaNIC{}
	for _, e := range entries {
		device, err := filepath.EvalSymlinks(filepath.Join(root, e.Name(), "device"))
		if err != nil {
			continue
		}
		nic := numaNIC{Name: e.Name(), Node: -1}
		for _, dir := range []string{device, filepath.Dir(device)} {
			if node, err := strconv.Atoi(attribute(dir, "numa_node")); err == nil {
				nic.Node = node
				break
			}
		}
		nics = append(nics, nic)
	}
	return nics, nil
}

func collectDMI(_ context.Context, o *Options, doc document) error {
	table, err := dmi.Read(o.Host.Sys)
	if err != nil {
		return err
	}
	doc["dmi"] = table.Blocks()
	return nil
}

func collectUSB(ctx context.Context, o *Options, doc document) error {
	devices, err := hwmanager.First(o.Set, "get_usb_devices", func(l hwmanager.USBLister) ([]ipa.USBDevice, error) {
		return l.USBDevices(ctx, o.Host)
	})
	if err != nil {
		return err
	}
	doc["usb_devices"] = devices
	return nil
}
