package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferric/images/disk/disktest"
)

// former are former contents of a disk, by the name that blkid has for them: a
// command that makes it of the file $1 (with a directory $2 for what it needs
// besides), or bytes for formats without a tool.
var former = []struct {
	name    string // what blkid calls it
	command string
	bytes   func(put func(at int64, content any))
}{
	// Partition tables.
	{name: "gpt", command: "sgdisk -n 1:2048:+8M $1"},
	{name: "dos", command: "echo start=2048 | sfdisk -X dos $1"},
	{name: "sun", command: "echo start=2048 | sfdisk -X sun $1"},
	{name: "sgi", command: "echo start=2048,size=8192 | sfdisk -X sgi $1"},
	// File systems.
	{name: "ext2", command: "mke2fs -q -F -t ext2 $1"},
	{name: "ext3", command: "mke2fs -q -F -t ext3 $1"},
	{name: "ext4", command: "mke2fs -q -F -t ext4 $1"},
	{name: "jbd", command: "mke2fs -q -F -O journal_dev $1"},
	{name: "xfs", command: "mkfs.xfs -q -f $1"},
	{name: "btrfs", command: "mkfs.btrfs -q -f $1"},
	{name: "vfat", command: "mkfs.vfat -F 12 $1 16384"},
	{name: "vfat", command: "mkfs.vfat -F 16 $1"},
	{name: "vfat", command: "mkfs.vfat -F 32 $1"},
	{name: "exfat", command: "mkfs.exfat $1"},
	{name: "ntfs", command: "mkntfs -q -F -Q $1"},
	{name: "f2fs", command: "mkfs.f2fs -q -f $1"},
	{name: "jfs", command: "mkfs.jfs -q $1"},
	{name: "nilfs2", command: "mkfs.nilfs2 -q -f $1"},
	{name: "reiserfs", command: "mkfs.reiserfs -q -ff $1"},
	{name: "udf", command: "mkudffs $1"},
	{name: "udf", command: "mkudffs -b 4096 $1"},
	{name: "gfs2", command: "mkfs.gfs2 -q -O -p lock_nolock $1"},
	{name: "ocfs2", command: "yes | mkfs.ocfs2 -q -F -M local --fs-feature-level=max-compat $1"},
	{name: "minix", command: "mkfs.minix $1"},
	{name: "bfs", command: "mkfs.bfs $1 512"},
	{name: "cramfs", command: "echo x >$2/x && mkfs.cramfs $2 $2/../c && dd if=$2/../c of=$1 conv=notrunc"},
	{name: "squashfs", command: "mksquashfs $2 $2/../s -quiet && dd if=$2/../s of=$1 conv=notrunc"},
	{name: "erofs", command: "mkfs.erofs --quiet $2/../e $2 && dd if=$2/../e of=$1 conv=notrunc"},
	{name: "iso9660", command: "genisoimage -quiet -J -r -V label -o $2/../i $2 && dd if=$2/../i of=$1 conv=notrunc"},
	{name: "swap", command: "mkswap $1"},
	{name: "swap", command: "mkswap -p 65536 $1"},
	{name: "apfs", bytes: func(put func(int64, any)) {
		// Apple File System Reference, nx_superblock: object type, mark, block size.
		put(24, uint32(0x80000001))
		put(32, "NXSB")
		put(36, uint32(4096))
	}},
	{name: "VMFS_volume_member", bytes: func(put func(int64, any)) { put(1<<20, "\x0d\xd0\x01\xc0") }},
	{name: "VMFS", bytes: func(put func(int64, any)) { put(2<<20, "\x5e\xf1\xab\x2f") }},
	{name: "zfs_member", bytes: func(put func(int64, any)) {
		// On-disk format: four labels of 256 KiB, two at each end, with
		// uberblocks from 128 KiB on.
		for _, label := range []int64{0, 256 << 10, formerSize - 512<<10, formerSize - 256<<10} {
			for n := range int64(8) {
				put(label+128<<10+n<<10, uint64(0x00bab10c))
			}
		}
	}},
	{name: "zfs_member", bytes: func(put func(int64, any)) { // of which the beginning was overwritten
		for n := range int64(128) {
			put(formerSize-512<<10+128<<10+n<<10, uint64(0x00bab10c))
		}
	}},
	// Volume managers and encryption.
	{name: "LVM2_member", bytes: func(put func(int64, any)) {
		// lib/format_text/layout.h of LVM2: label_header, pv_header.
		label := make([]byte, 512)
		copy(label, "LABELONE")
		label[8] = 1
		label[20] = 32
		copy(label[24:], "LVM2 001abcdefghijklmnopqrstuvwxyz012345")
		// Its checksum is a CRC-32 that begins with this and is not inverted.
		sum := uint32(0xf597a6cf)
		for _, c := range label[20:] {
			sum ^= uint32(c)
			for range 8 {
				sum = sum>>1 ^ 0xedb88320&-(sum&1)
			}
		}
		binary.LittleEndian.PutUint32(label[16:], sum)
		put(512, string(label))
	}},
	{name: "crypto_LUKS", command: "echo -n secret | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 $1 -"},
	{name: "crypto_LUKS", command: "echo -n secret | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $1 -"},
	{name: "crypto_LUKS", command: "echo -n secret | cryptsetup luksFormat -q --type luks2 --luks2-metadata-size 4m --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $1 - && dd if=/dev/zero of=$1 bs=4096 count=1 conv=notrunc"},
	{name: "bcache", command: "make-bcache -B $1"},
	{name: "drbd", bytes: func(put func(int64, any)) {
		// drbd 8.4, drbd_int.h: struct meta_data_on_disk, in the last 4 KiB.
		put(formerSize-4096+60, "\x83\x74\x02\x6b")
		put(formerSize-4096+68, "\x00\x01\x00\x00")
	}},
	{name: "stratis", bytes: func(put func(int64, any)) { putStratis(put) }},
	// Software RAID: the kernel's superblocks of versions 0.90 and 1.
	{name: "linux_raid_member", bytes: func(put func(int64, any)) {
		at := int64(formerSize&^(64<<10-1) - 64<<10)
		for i, word := range []uint32{0xa92b4efc, 0, 90} {
			put(at+4*int64(i), word)
		}
	}},
	{name: "linux_raid_member", bytes: func(put func(int64, any)) { putArray(put, 0) }},
	{name: "linux_raid_member", bytes: func(put func(int64, any)) { putArray(put, 4096) }},
	{name: "linux_raid_member", bytes: func(put func(int64, any)) { putArray(put, formerSize-8192) }},
	// RAID of firmware.
	{name: "isw_raid_member", bytes: func(put func(int64, any)) { put(formerSize-1024, "Intel Raid ISM Cfg Sig. 1.3.00") }},
	{name: "ddf_raid_member", bytes: func(put func(int64, any)) {
		// SNIA DDF 2.0, 5.5: an anchor at the end that points to the primary header.
		header := make([]byte, 512)
		copy(header, "\xde\x11\xde\x11")
		copy(header[8:], "an identifier of 24 byte")
		copy(header[32:], "02.00.00")
		binary.BigEndian.PutUint64(header[96:], formerSize/512-1000)
		put(formerSize-512, string(header))
		put(formerSize-1000*512, string(header))
	}},
	{name: "lsi_mega_raid_member", bytes: func(put func(int64, any)) { put(formerSize-512, "$XIDE$") }},
	{name: "nvidia_raid_member", bytes: func(put func(int64, any)) {
		put(formerSize-1024, "NVIDIA  ")
		put(formerSize-1024+8, uint32(30)) // words that the sum is over
		put(formerSize-1024+12, uint32(0)) // corrected below
		put(formerSize-1024+16, uint16(100))
		sum := uint32(0)
		for _, w := range []uint32{binary.LittleEndian.Uint32([]byte("NVID")), binary.LittleEndian.Uint32([]byte("IA  ")), 30, 100} {
			sum -= w
		}
		put(formerSize-1024+12, sum)
	}},
	{name: "promise_fasttrack_raid_member", bytes: func(put func(int64, any)) { put(formerSize-3087*512, "Promise Technology, Inc.") }},
	{name: "promise_fasttrack_raid_member", bytes: func(put func(int64, any)) { put(formerSize-63*512, "Promise Technology, Inc.") }},
	{name: "hpt37x_raid_member", bytes: func(put func(int64, any)) { put(9*512+32, uint32(0x5a7816f0)) }},
	{name: "hpt45x_raid_member", bytes: func(put func(int64, any)) { put(formerSize-11*512, uint32(0x5a7816f3)) }},
}

// formerSize is a whole number of what every format rounds to.
const formerSize = 1 << 30

// putArray puts a superblock of version 1 (linux, include/uapi/linux/raid/md_p.h).
func putArray(put func(int64, any), at int64) {
	s := make([]byte, 256)
	le := binary.LittleEndian
	le.PutUint32(s, 0xa92b4efc)
	le.PutUint32(s[4:], 1)
	copy(s[16:], "sixteen bytes id")
	copy(s[32:], "host:root")
	le.PutUint64(s[144:], uint64(at/512))
	sum := uint64(0)
	for i := 0; i < len(s); i += 4 {
		sum += uint64(le.Uint32(s[i:]))
	}
	le.PutUint32(s[216:], uint32(sum)+uint32(sum>>32))
	put(at, string(s))
}

// putStratis puts both copies of a static header (stratisd, engine/strat_engine/
// metadata/static_header.rs).
func putStratis(put func(int64, any)) {
	s := make([]byte, 512)
	copy(s[4:], "!Stra0tis\x86\xff\x02^\x41rh")
	binary.LittleEndian.PutUint64(s[20:], formerSize/512)
	s[28] = 1
	copy(s[32:], "0123456789abcdef0123456789abcdeffedcba9876543210fedcba9876543210")
	binary.LittleEndian.PutUint32(s, crc32.Checksum(s[4:], crc32.MakeTable(crc32.Castagnoli)))
	put(512, string(s))
	put(9*512, string(s))
}

// TestWipeRemovesWhatBlkidFinds makes all kinds of contents that blkid knows and
// lets it look again when the disk was wiped.
func TestWipeRemovesWhatBlkidFinds(t *testing.T) {
	for i, c := range former {
		t.Run(fmt.Sprintf("%s %d", c.name, i), func(t *testing.T) {
			t.Parallel()
			path, tree := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "tree")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(formerSize); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(tree, 0o755); err != nil {
				t.Fatal(err)
			}
			if c.command != "" {
				if out, err := exec.Command("sh", "-c", c.command, "sh", path, tree).CombinedOutput(); err != nil {
					for _, word := range []string{"$1", "$2"} {
						c.command = strings.ReplaceAll(c.command, word, "…")
					}
					t.Fatalf("%s: %v: %s", c.command, err, out)
				}
			} else {
				c.bytes(func(at int64, content any) {
					b := &bytes.Buffer{}
					if s, ok := content.(string); ok {
						b.WriteString(s)
					} else if err := binary.Write(b, binary.LittleEndian, content); err != nil {
						t.Fatal(err)
					}
					if _, err := f.WriteAt(b.Bytes(), at); err != nil {
						t.Fatal(err)
					}
				})
			}
			if info, err := f.Stat(); err != nil || info.Size() < formerSize {
				t.Fatalf("the disk shrank: %v", err)
			}
			if found := signatures(t, path); !strings.Contains(found, `"`+c.name+`"`) {
				t.Fatalf("blkid finds %q before, want %s", found, c.name)
			}
			if err := disktest.Target(t, path).Wipe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found := signatures(t, path); found != "" {
				t.Errorf("blkid still finds %s", found)
			}
			if out, err := exec.Command("wipefs", "-n", path).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
				t.Errorf("wipefs still finds %s (%v)", out, err)
			}
		})
	}
}

// signatures is what blkid finds in the file, as if it never looked there before.
func signatures(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("blkid", "-p", path).CombinedOutput()
	exit := new(exec.ExitError)
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) { // 2: nothing found
		t.Fatalf("blkid: %v: %s", err, out)
	}
	return string(bytes.TrimSpace(out))
}
