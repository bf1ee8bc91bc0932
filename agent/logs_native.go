package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The functions of this file tell what programs of a distribution would, for
// the archive of logs.

// fileBound is how much is read of one of the kernel's files, in bytes.
const fileBound = 64 << 10

// readBounded is the beginning of a file, without white space around it; ""
// if it cannot be read.
func readBounded(elements ...string) string {
	f, err := os.Open(filepath.Join(elements...))
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, fileBound))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// interfaceList tells of network interfaces and their addresses.
func (a *Agent) interfaceList() ([]byte, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var text bytes.Buffer
	for _, link := range links {
		attrs := link.Attrs()
		fmt.Fprintf(&text, "%d: %s: <%s> mtu %d state %s\n    link/%s %s\n", attrs.Index, attrs.Name, attrs.Flags, attrs.MTU, attrs.OperState, attrs.EncapType, attrs.HardwareAddr)
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			fmt.Fprintf(&text, "    %v\n", err)
		}
		for _, address := range addresses {
			fmt.Fprintf(&text, "    inet %s\n", address)
		}
	}
	return text.Bytes(), nil
}

// processList tells of running programs: number, parent, state, memory in KiB,
// command line.
func (a *Agent) processList() ([]byte, error) {
	entries, err := os.ReadDir(a.host.Proc)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, "PID\tPPID\tSTATE\tRSS\tCOMMAND")
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		status := map[string]string{}
		for line := range strings.Lines(readBounded(a.host.Proc, entry.Name(), "status")) {
			key, value, _ := strings.Cut(line, ":")
			status[key] = strings.TrimSpace(value)
		}
		command := strings.ReplaceAll(readBounded(a.host.Proc, entry.Name(), "cmdline"), "\x00", " ")
		if command == "" {
			command = "[" + status["Name"] + "]"
		}
		fmt.Fprintf(&text, "%s\t%s\t%.1s\t%s\t%s\n", entry.Name(), status["PPid"], status["State"], strings.TrimSuffix(status["VmRSS"], " kB"), command)
	}
	return text.Bytes(), nil
}

// sectorSize is the unit of sizes in /sys/block, whatever the disk's own is.
const sectorSize = 512

// blockDeviceList tells of block devices and their partitions, sizes in bytes.
func (a *Agent) blockDeviceList() ([]byte, error) {
	block := filepath.Join(a.host.Sys, "block")
	entries, err := os.ReadDir(block)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	fmt.Fprintln(&text, "NAME\tMAJ:MIN\tSIZE\tRO")
	line := func(indent, dir string) {
		sectors, err := strconv.ParseInt(readBounded(dir, "size"), 10, 64)
		if err != nil {
			return
		}
		fmt.Fprintf(&text, "%s%s\t%s\t%d\t%s\n", indent, filepath.Base(dir), readBounded(dir, "dev"), sectors*sectorSize, readBounded(dir, "ro"))
	}
	for _, entry := range entries {
		dir := filepath.Join(block, entry.Name())
		line("", dir)
		parts, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			line("  ", filepath.Dir(part))
		}
	}
	return text.Bytes(), nil
}

// fileSystemList tells how full the mounted file systems are, in KiB.
func (a *Agent) fileSystemList() ([]byte, error) {
	var text bytes.Buffer
	fmt.Fprintln(&text, "Filesystem\t1K-blocks\tUsed\tAvailable\tMounted on")
	for line := range strings.Lines(readBounded(a.host.Proc, "mounts")) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[2], "nfs") {
			continue // a server that is gone would hold us up
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(fields[1], &fs); err != nil || fs.Blocks == 0 {
			continue
		}
		kib := func(blocks uint64) uint64 { return blocks * uint64(fs.Bsize) / 1024 }
		fmt.Fprintf(&text, "%s\t%d\t%d\t%d\t%s\n", fields[0], kib(fs.Blocks), kib(fs.Blocks-fs.Bfree), kib(fs.Bavail), fields[1])
	}
	return text.Bytes(), nil
}

// bootVariables tells the order and the entries of an UEFI boot manager, as
// far as they are text: the description of EFI_LOAD_OPTION (UEFI
// specification, section 3.1.3) follows 6 bytes of its own and the 4 bytes
// that efivarfs puts in front of every variable.
func (a *Agent) bootVariables() ([]byte, error) {
	const global = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	dir := filepath.Join(a.host.Sys, "firmware/efi/efivars")
	names, err := filepath.Glob(filepath.Join(dir, "Boot*"+global))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return []byte("EFI variables are not supported on this system.\n"), nil
	}
	var text bytes.Buffer
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), global)
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		value, err := io.ReadAll(io.LimitReader(f, fileBound))
		f.Close()
		switch {
		case err != nil || len(value) < 4:
		case name == "BootOrder" || name == "BootCurrent" || name == "BootNext":
			fmt.Fprintf(&text, "%s:", name)
			for rest := value[4:]; len(rest) >= 2; rest = rest[2:] {
				fmt.Fprintf(&text, " %02X%02X", rest[1], rest[0])
			}
			fmt.Fprintln(&text)
		case len(value) > 10 && len(name) == len("Boot0000"):
			fmt.Fprintf(&text, "%s: %q\n", name, wideText(value[10:]))
		}
	}
	return text.Bytes(), nil
}

// wideText is UTF-16LE up to its terminator.
func wideText(data []byte) string {
	var text []rune
	for ; len(data) >= 2 && (data[0] != 0 || data[1] != 0); data = data[2:] {
		text = append(text, rune(data[0])|rune(data[1])<<8)
	}
	return string(text)
}

// udevRecords are what udev knows of block devices, by kernel name, as JSON.
// Without udev there is none.
func (a *Agent) udevRecords() map[string][]byte {
	records := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(a.host.Sys, "class/block"))
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		number := readBounded(a.host.Sys, "class/block", entry.Name(), "dev")
		record := readBounded(udevData, "b"+number)
		if number == "" || record == "" {
			continue
		}
		properties := map[string]string{}
		for line := range strings.Lines(record) {
			if property, ok := strings.CutPrefix(strings.TrimSpace(line), "E:"); ok {
				key, value, _ := strings.Cut(property, "=")
				properties[key] = value
			}
		}
		if encoded, err := json.MarshalIndent(properties, "", " "); err == nil {
			records[entry.Name()] = encoded
		}
	}
	return records
}

// udevData is the database of udev.
const udevData = "/run/udev/data"
