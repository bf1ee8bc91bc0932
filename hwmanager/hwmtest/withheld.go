package hwmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// withheld are programs that change the computer they run on.
func withheld() []string {
	return []string{
		"reboot", "poweroff", "halt", "shutdown", "kexec", "init", "telinit", "systemctl",
		"mkfs", "mke2fs", "mkfs.ext4", "mkfs.xfs", "mkfs.vfat", "wipefs", "sgdisk", "sfdisk", "parted", "blkdiscard", "shred",
		"hdparm", "nvme", "sg_format", "sg_sanitize", "sg_raw", "mdadm", "dmsetup", "lvm", "pvcreate", "vgremove", "efibootmgr", "efivar",
		"flashrom", "fwupdmgr", "fwupdtool", "ipmitool", "ipmi-raw", "mstflint", "flint", "mstconfig", "mlxconfig", "mstfwreset",
		"storcli", "storcli64", "perccli", "perccli64", "ssacli", "hpssacli", "arcconf", "mvcli", "megacli", "MegaCli64",
		"modprobe", "insmod", "rmmod", "mount", "umount", "swapoff", "ip", "ethtool",
	}
}

// withhold makes a directory of programs that refuse to be run, in the place of
// those of this computer that would change it. It comes before it on the PATH of
// executables under test, behind the programs of the fake host.
func withhold(dir string) error {
	for _, name := range withheld() {
		if _, err := exec.LookPath(name); err != nil {
			continue // is not there anyhow
		}
		script := "#!/bin/sh\necho " + quote("the fake host has no "+name+", and this computer's is not run in a test") + " >&2\nexit 127\n"
		if err := writeProgram(filepath.Join(dir, name), script); err != nil {
			return fmt.Errorf("withhold %s: %w", name, err)
		}
	}
	return nil
}

// withholding puts such a directory on the PATH of this process until it is undone.
func withholding() (undo func(), err error) {
	dir, err := os.MkdirTemp("", "ferric-withheld-")
	if err != nil {
		return nil, err
	}
	if err := withhold(dir); err != nil {
		return nil, err
	}
	before := os.Getenv("PATH")
	if err := os.Setenv("PATH", strings.Trim(dir+":"+before, ":")); err != nil {
		return nil, err
	}
	return func() {
		_ = os.Setenv("PATH", before) // it was one
		_ = os.RemoveAll(dir)         // in the temporary directory
	}, nil
}
