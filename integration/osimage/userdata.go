package osimage

import "fmt"

// UserData is the user data of a config drive with which a deployed system
// tells its nonce on the console: the small system reads the line, Debian's
// cloud-init runs the script.
func UserData(nonce string, debian bool) string {
	if !debian {
		return fmt.Sprintf("# read by the small system\nnonce=%s\n", nonce)
	}
	return fmt.Sprintf(debianScript, nonce)
}

// debianScript tells what the small system's init tells.
const debianScript = `#!/bin/sh
nonce=%s
root=$(findmnt -no SOURCE /)
disk=$(lsblk -no PKNAME "$root" | head -n 1)
serial=$(lsblk -dno SERIAL "/dev/$disk" | tr -d ' ')
if [ -d /sys/firmware/efi ]; then firmware=uefi; else firmware=bios; fi
{
	echo "ferric-os: disk=/dev/$disk"
	echo "ferric-os: disk-serial=$serial"
	echo "ferric-os: firmware=$firmware"
	echo "ferric-os: hostname=$(hostname)"
	echo "ferric-os: nonce=$nonce"
	echo "ferric-os: up"
} >/dev/ttyS0
`
