package netboot

import (
	"encoding/hex"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// kind is what a path asks for.
type kind int

const (
	kindFile     kind = iota // a boot loader or a file of a root
	kindStage                // the first script of iPXE, the same for all
	kindGRUB                 // the first configuration of GRUB, the same for all
	kindPXELinux             // of one machine, in pxelinux.cfg/
	kindMachine              // GRUB's of one machine
	kindConfig               // <key>/config, in the language of the machine's boot loader
	kindKernel
	kindRamdisk
	kindISO
)

// target is what a path asks for, and whose it is as far as the path says.
type target struct {
	kind kind
	path string // without notation and roots, relative; of kindFile
	key  string // the directory: a node's UUID or a MAC address
	mac  net.HardwareAddr
	ip   netip.Addr // of the machine, in place of its MAC address
	asks bool       // whoever asks is meant: the path says nothing that is known here
	bare bool       // pxelinux.cfg/aa-bb-…, without the 01- that pxelinux puts in front
}

// machineFiles are the names in a machine's directory. It boots one thing at a
// time, so those of agent, rescue and instance mean the same.
var machineFiles = map[string]kind{
	"config":        kindConfig,
	"deploy_kernel": kindKernel, "rescue_kernel": kindKernel, "kernel": kindKernel,
	"deploy_ramdisk": kindRamdisk, "rescue_ramdisk": kindRamdisk, "ramdisk": kindRamdisk,
	"boot_iso": kindISO,
}

// defaultRoots are the directories that boot loaders are told to be in where a
// TFTP server with a map file takes them away again (Ironic's map-file).
var defaultRoots = []string{"tftpboot", "httpboot", "var/lib/tftpboot", "srv/tftp"}

// cleanPath brings a path into one notation: slashes, none at the beginning and
// none twice, and nothing that leads up.
func cleanPath(name string) string {
	return path.Clean("/" + strings.ReplaceAll(name, `\`, "/"))[1:]
}

// cutRoots takes the roots away from the beginning of a clean path, however often they are there.
func cutRoots(name string, roots []string) string {
	for {
		i := slices.IndexFunc(roots, func(root string) bool { return root != "" && strings.HasPrefix(name, root+"/") })
		if i < 0 {
			return name
		}
		name = name[len(roots[i])+1:]
	}
}

// parsePath reads the paths of deploy-flow 6.1, and those that pxelinux and
// GRUB ask for beside them, in any directory.
func parsePath(name string, roots []string) target {
	name = cutRoots(cleanPath(name), roots)
	dir, base := path.Split(name)
	dir = path.Base(dir)
	file := target{kind: kindFile, path: name}
	switch lower := strings.ToLower(base); {
	case base == "boot.ipxe":
		return target{kind: kindStage, path: name}
	case base == "grub.cfg":
		return target{kind: kindGRUB, path: name}
	case dir == "pxelinux.cfg":
		return pxelinuxTarget(lower, file)
	case strings.HasPrefix(lower, "grub.cfg-"):
		return owner(target{kind: kindMachine}, lower[len("grub.cfg-"):], file)
	case strings.HasSuffix(lower, ".conf"):
		return owner(target{kind: kindMachine}, strings.TrimSuffix(lower, ".conf"), file)
	}
	if what, ok := machineFiles[base]; ok {
		t := target{kind: what, path: name, key: dir}
		if mac, err := parseMAC(dir); err == nil {
			t.mac = mac
			return t
		}
		if isUUID(dir) {
			return t
		}
	}
	return file
}

// pxelinuxTarget reads the names that pxelinux tries one after the other: the
// machine's UUID, its MAC address, its IP address in hex and ever shorter,
// "default". Shortened ones are of whole networks, so nobody's here.
func pxelinuxTarget(name string, file target) target {
	t := target{kind: kindPXELinux, path: file.path}
	if name == "default" {
		t.asks = true
		return t
	}
	t = owner(t, name, file)
	t.bare = t.mac != nil && !strings.HasPrefix(name, "01-")
	return t
}

// owner completes t by whose name it is, or returns otherwise if it is nobody's.
func owner(t target, name string, otherwise target) target {
	t.path = otherwise.path
	if mac, err := parseMAC(name); err == nil {
		t.mac = mac
		return t
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		t.ip = addr.Unmap()
		return t
	}
	if raw, err := hex.DecodeString(name); err == nil && len(raw) == 4 {
		t.ip = netip.AddrFrom4([4]byte(raw))
		return t
	}
	if isUUID(name) { // that of the firmware, which need not be the node's
		t.asks, t.key = true, name
		return t
	}
	return otherwise
}

// isUUID tells whether text is a UUID with hyphens.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F'):
			return false
		}
	}
	return true
}
