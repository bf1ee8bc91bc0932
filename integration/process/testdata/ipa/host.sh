#!/bin/sh
# Runs ironic-python-agent as if it were alone in a machine: with the kernel
# command line $1, in namespaces in which nothing of the host can be written to
# but the disk $FERRIC_DISK, and without the programs and the powers that act on the host itself.
set -eu
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
cmdline=$1
shift
mount --make-rprivate /
mount --bind "$cmdline" /proc/cmdline
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger
for dev in /sys/class/block/*; do
	dev=/dev/$(basename "$dev")
	case "$dev" in
	"$FERRIC_DISK" | "$FERRIC_DISK"p*) ;;
	*)
		[ ! -b "$dev" ] || mount --bind /dev/null "$dev"
		[ ! -b "$dev" ] || exit 1
		;;
	esac
done
mount -t tmpfs none /sys/firmware
exec env PATH="$AGENT_PATH" /usr/bin/setpriv --bounding-set -sys_boot,-sys_module "$@"
