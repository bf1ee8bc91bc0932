# Customizes the full Debian in directory $1 and makes its root file system.
# $2 is the grub.cfg, $3 the PARTUUID of the root partition, then mke2fs and its
# arguments, which lack the directory.
root=$1 grub=$2 partuuid=$3
shift 3

mkdir -p "$root/boot/grub"
cat "$grub" >"$root/boot/grub/grub.cfg"
echo "PARTUUID=$partuuid / ext4 defaults 0 1" >"$root/etc/fstab"
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

# Only config drives: nothing else is asked for over the network.
cat >"$root/etc/cloud/cloud.cfg.d/90_ferric.cfg" <<END
datasource_list: [ConfigDrive, None]
manage_etc_hosts: true
locale: false
ssh_genkeytypes: [ed25519]
END
# A network without DHCP server holds the start up for this long, not a minute.
echo 'timeout 15;' >>"$root/etc/dhcp/dhclient.conf"

# Every machine gets its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/*

test -e "$root/vmlinuz" && test -e "$root/initrd.img"

# Without the file systems that are mounted below it while packages configure.
tree=$(mktemp -d)
unshare --mount sh -ec 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@" -d .' mke2fs "$root" "$tree" "$@"
rmdir "$tree"
