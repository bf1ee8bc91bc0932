#!/bin/sh
# Installs the distribution's packages for the named purposes (demo, debian,
# test, keystone, ironic, ipa, clients), after saying which and why. What is installed already is left alone.
set -eu

# The full kernel: Debian's cloud kernel and Ubuntu's virtual one lack IPMI, AHCI and more.
kernel=linux-image-amd64
if [ -r /etc/os-release ] && grep -q '^ID=ubuntu' /etc/os-release; then
	kernel=linux-image-generic
fi

demo="
gcc:C compiler for the SQLite library
libc6-dev:C library headers for it
qemu-system-x86:the virtual machines
qemu-utils:disk images for them
ovmf:UEFI firmware of the machines
openipmi:ipmi_sim, the machines' BMCs
ipmitool:second opinion on what the BMCs say
ipxe:network boot loaders
pxelinux:the same, for a BIOS
syslinux-common:what it loads itself
shim-signed:the same, for Secure Boot
grub-efi-amd64-signed:what that starts
$kernel:kernel and modules of the ramdisk and of the deployed system
grub-common:boot loader of the deployed system
grub-pc-bin:its BIOS part
grub-efi-amd64-bin:its UEFI part
mtools:EFI system partition of the deployed system
dosfstools:the same
gdisk:partition table of the deployed system
e2fsprogs:root file system of the deployed system
ca-certificates:certificate authorities for the ramdisk
"
debian="
mmdebstrap:builds the full Debian that is deployed
uidmap:user namespaces for it
"
test="
cpio:reads the ramdisk back
u-boot-tools:capsules with firmware, made by mkeficapsule
python3:hardware managers written in it
fdisk:second opinion on partition tables
util-linux:loop devices
iproute2:network namespaces of tests
dnsmasq-base:another DHCP server beside ours
atftp:TFTP client
tftp-hpa:another one
curl:downloads by another program
zstd:compressed images
xz-utils:the same
python3-ironicclient:the baremetal command line client
xorriso:live images
genisoimage:config drives that this client builds, virtual media
python3-zeroconf:announces a service by multicast DNS as Ironic does
openssh-client:logs in to a rescued machine
openssl:hashes passwords for it
kmod:second opinion on module dependencies
mdadm:arrays that former users left, and second opinion on ours
lvm2:volume groups that former users left
efibootmgr:second opinion on boot entries
strace:kills programs in the middle of a write
xfsprogs:former contents of disks, and root file systems
btrfs-progs:the same
bcache-tools:former contents of disks
cryptsetup-bin:the same
erofs-utils:the same
exfatprogs:the same
f2fs-tools:the same
gfs2-utils:the same
jfsutils:the same
nilfs-tools:the same
ntfs-3g:the same
ocfs2-tools:the same
reiserfsprogs:the same
squashfs-tools:the same
udftools:the same
grub2-common:GRUB's installer in a deployed system
busybox-static:its shell
udev:what it asks for the places of partitions
hdparm:second opinion on what ATA disks say of themselves
"
ironic="
python3-ironic:another conductor that drives our agent
python3-venv:a newer one from PyPI
"
keystone="
python3-keystone:the identity service that users and the conductor ask
python3-ironicclient:the baremetal command line client
"
ipa="
parted:partition tables, by the reference agent
psmisc:who uses a disk, by the same
python3-venv:that agent itself, from PyPI
"
clients="
python3-ironicclient:the baremetal command line client
python3-venv:newer ones from PyPI
"

wanted=""
for purpose in "$@"; do
	eval "list=\${$purpose}"
	wanted="$wanted$list"
done

missing=$(printf '%s' "$wanted" | while IFS=: read -r package why; do
	[ -n "$package" ] || continue
	case "$package" in
	linux-image-*)
		# Any full kernel that is there serves.
		for dir in /lib/modules/*; do
			[ -d "$dir/kernel/drivers/char/ipmi" ] && continue 2
		done
		;;
	esac
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package:$why"
done)
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
	echo "These packages (by Debian's names) are needed, and apt-get is not here to install them:" >&2
	echo "$missing" | sed 's/:/: /; s/^/  /' >&2
	exit 1
fi
echo "Installing these packages of the distribution:"
echo "$missing" | sed 's/:/: /; s/^/  /'
root=""
[ "$(id -u)" = 0 ] || root="sudo"
# shellcheck disable=SC2046,SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null
# shellcheck disable=SC2046,SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(echo "$missing" | cut -d: -f1) >/dev/null
