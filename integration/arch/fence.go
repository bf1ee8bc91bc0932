package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// fenced are the rooms whose code runs on the machine that is deployed.
func fenced() []string { return []string{"agent", "hwmanager", "images"} }

// writers are the files there that open something for writing, or mount it,
// with what that is. A disk is opened by the first alone.
func writers() map[string]string {
	return map[string]string{
		"images/disk/device.go":            "disks, for disk.Target",
		"images/tree/tree.go":              "files of the deployed system, below what is mounted already",
		"images/tree/write.go":             "the same",
		"images/efi/store.go":              "the firmware's variables",
		"agent/command/history.go":         "the history of commands, in the ramdisk",
		"agent/identity.go":                "token and node, in the ramdisk",
		"agent/power.go":                   "sysrq-trigger",
		"agent/rescue.go":                  "the password for the rescue login, in the ramdisk",
		"agent/server/certificate.go":      "the certificate, in the ramdisk",
		"hwmanager/execplugin/cgroup.go":   "control groups",
		"hwmanager/execplugin/run.go":      "a plugin's oom_score_adj",
		"hwmanager/execplugin/scratch.go":  "nothing: it mounts a file system in memory",
		"hwmanager/capsule/load.go":        "the kernel's capsule-loader",
		"hwmanager/firmware/esp.go":        "capsules on the EFI system partition, which it mounts after a Target has checked it",
		"hwmanager/generic/bootc.go":       "settings and secrets of podman, in the ramdisk",
		"hwmanager/generic/esp.go":         "etc/fstab of the deployed system; it mounts what a Target has checked",
		"hwmanager/generic/flush.go":       "drop_caches",
		"hwmanager/generic/grub.go":        "nothing: it mounts the kernel's file systems and what a Target has checked",
		"hwmanager/generic/injectmount.go": "nothing: it mounts what a Target has checked",
		"hwmanager/generic/i40e.go":        "the driver's debugfs; it mounts that",
		"hwmanager/generic/raidboot.go":    "etc/default/grub of the deployed system",
		"hwmanager/generic/raidscan.go":    "start_ro of the md driver",
		"hwmanager/download.go":            "a file in memory, for what was downloaded",
		"hwmanager/nvme/controller.go":     "reset_controller of the nvme driver",
	}
}

// commanders are the files there that tell the kernel or a device something that
// has no function of its own, with what that is: a descriptor for reading is
// enough for much of it.
func commanders() map[string]string {
	return map[string]string{
		"agent/clock/clock.go":        "sets the clock",
		"hwmanager/generic/flush.go":  "has the buffers of a disk written",
		"hwmanager/generic/link.go":   "asks network interfaces",
		"hwmanager/nvme/transport.go": "NVMe commands; those that change a disk ask disk.Device.Writable, those that change firmware Host.Guard",
		"hwmanager/sgio/sgio.go":      "SCSI and ATA commands; the same",
		"images/disk/device.go":       "asks for the size of sectors",
		"images/disk/zero.go":         "zeros and discards, which the kernel refuses a descriptor for reading",
		"images/efi/store.go":         "makes variables of the firmware mutable",
		"images/partition/reread.go":  "the kernel's list of partitions, by the table on the same disk",
	}
}

// runners are the files there that run programs, with what becomes of the disks
// whose paths these get.
func runners() map[string]string {
	return map[string]string{
		"agent/logs.go":                   "they only read",
		"hwmanager/burnin/smart.go":       "a drive's test of itself, which only reads",
		"hwmanager/firmware/uefi.go":      "modprobe, which gets none",
		"hwmanager/generic/bootc.go":      "checked before",
		"hwmanager/generic/grub.go":       "checked before",
		"hwmanager/generic/partitions.go": "checked before",
		"hwmanager/generic/raid.go":       "an array is stopped",
		"hwmanager/generic/raidcreate.go": "it only asks whether mdadm is there",
		"hwmanager/generic/raiddelete.go": "members are checked before",
		"hwmanager/generic/raidmake.go":   "members are checked before",
		"hwmanager/raidctl/backend.go":    "volumes of RAID controllers go: none that is mounted or to be kept, and only in the ramdisk",
		"hwmanager/generic/raidscan.go":   "arrays are assembled, which write nothing before they are written to (start_ro)",
	}
}

// FenceFaults lists what a source file of the fenced rooms does around the disk
// fence: it opens something for writing or mounts it without being one of the
// writers, makes a target by itself, runs programs by itself, or (in images)
// names a device.
func FenceFaults(path string, source []byte) (faults []string) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	_, listed := writers()[path]
	_, commander := commanders()[path]
	_, runner := runners()[path]
	writes, commands, runs := false, false, false
	fault := func(n ast.Node, text string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: ", path, fset.Position(n.Pos()).Line)+fmt.Sprintf(text, args...))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			if value, err := strconv.Unquote(n.Path.Value); err == nil && n.Name != nil && watched(value) {
				fault(n, "imports %s under another name", value)
			}
		case *ast.BasicLit:
			if value, err := strconv.Unquote(n.Value); err == nil && within(path, "images") && strings.HasPrefix(value, "/dev") {
				fault(n, "names the device %s", value)
			}
		case *ast.SelectorExpr: // whether it is called or handed on
			name := selected(n)
			switch {
			case name == "disk.Fence" && path != "hwmanager/fence.go":
				fault(n, "makes a target by itself: Host.Fence does that")
			case n.Sel.Name == "OpenShared" && path != "images/partition/edit.go":
				fault(n, "writes to a disk that it has not claimed: only the partition table beside partitions in use is changed so")
			case name == "exec.Command" || name == "exec.CommandContext" || name == "os.StartProcess":
				if !slices.Contains([]string{"hwmanager/exec.go", "hwmanager/execplugin/run.go", "agent/power.go"}, path) {
					fault(n, "runs a program by itself: Host.Run does that")
				}
			case opensAlways(name):
				writes = true
				if !listed {
					fault(n, "writes without the fence: %s", name)
				}
			case tells(name):
				commands = true
				if !commander {
					fault(n, "tells a device something: %s", name)
				}
			case n.Sel.Name == "Run" && runnerOf(n.X):
				runs = true
				if !runner {
					fault(n, "runs a program: what becomes of disks belongs in the list of runners")
				}
			}
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || f.Sel.Name != "OpenFile" || len(n.Args) != 3 || onlyReads(n.Args[1]) {
				break
			}
			writes = true
			if !listed {
				fault(n, "opens for writing without the fence: %s", selected(f))
			}
		}
		return true
	})
	for _, list := range []struct {
		name         string
		listed, does bool
	}{{"writers", listed, writes}, {"commanders", commander, commands}, {"runners", runner, runs}} {
		if list.listed && !list.does {
			faults = append(faults, path+": the list of "+list.name+" is out of date")
		}
	}
	return faults
}

// watched are the packages of which names are looked for.
func watched(path string) bool {
	return slices.Contains([]string{"os", "os/exec", "syscall", "io/ioutil", "golang.org/x/sys/unix", "ferric/images/disk"}, path)
}

// runnerOf tells the Run of a host: h.Run.Run.
func runnerOf(x ast.Expr) bool {
	s, ok := x.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Run"
}

// tells tells functions by which a descriptor can do more than read and write.
func tells(name string) bool {
	pkg, function, _ := strings.Cut(name, ".")
	if pkg != "unix" && pkg != "syscall" {
		return false
	}
	return strings.HasPrefix(function, "Ioctl") || strings.HasPrefix(function, "Syscall") || strings.HasPrefix(function, "RawSyscall")
}

// selected is "package.Name", or "….Name" for what is not in a package.
func selected(s *ast.SelectorExpr) string {
	if x, ok := s.X.(*ast.Ident); ok {
		return x.Name + "." + s.Sel.Name
	}
	return "…." + s.Sel.Name
}

// opensAlways tells functions that open for writing, or mount, whatever their
// arguments are.
func opensAlways(name string) bool {
	return slices.Contains([]string{
		"os.Create", "os.WriteFile", "os.Truncate",
		"unix.Open", "unix.Openat", "unix.Openat2", "unix.Creat", "unix.Mount", "unix.Fsopen", "unix.Fsmount", "unix.OpenTree",
		"syscall.Open", "syscall.Openat", "syscall.Creat", "syscall.Mount",
		"ioutil.WriteFile",
	}, name)
}

// onlyReads tells flags of which none lets write: all are named, and O_RDONLY
// is among them.
func onlyReads(flags ast.Expr) bool {
	reads, other := false, false
	ast.Inspect(flags, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			switch n.Sel.Name {
			case "O_RDONLY":
				reads = true
			case "O_NONBLOCK", "O_DIRECTORY", "O_DIRECT", "O_NOCTTY", "O_CLOEXEC", "O_NOFOLLOW":
			default:
				other = true
			}
			return false
		case *ast.Ident, *ast.BasicLit, *ast.CallExpr:
			other = true
		}
		return true
	})
	return reads && !other
}
