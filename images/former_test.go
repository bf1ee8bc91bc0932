package images_test

import (
	"os"
	"testing"

	"ferric/images"
	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// TestFormerPartitions: what identifies the content of an old partition, here a
// member of an array whose superblock is at its end, must not come back in
// a new one that ends there.
func TestFormerPartitions(t *testing.T) {
	const start, size, magic = 40 * mib, 16 * mib, "\xfc\x4e\x2b\xa9"
	whole, root := makeImage(t, partition.GPT, 512), makeRoot(t)
	deploy := map[string]func(t *testing.T, device string) error{
		"whole disk": func(t *testing.T, device string) error {
			_, err := images.Deploy(t.Context(), disktest.Target(t, device), request(serve(t, whole), "raw", sha256File(t, whole)), "", nil)
			return err
		},
		"partitions": func(t *testing.T, device string) error {
			_, err := images.DeployPartitions(t.Context(), disktest.Target(t, device), request(serve(t, root), "raw", sha256File(t, root)), images.Layout{Label: partition.GPT, Root: 20}, "", nil)
			return err
		},
	}
	for name, deploy := range deploy {
		for _, label := range []string{"gpt", "dos"} {
			t.Run(name+" on "+label, func(t *testing.T) {
				device := makeDisk(t, 96*mib)
				tool(t, "sh", "-c", `printf 'label: %s\nstart=2048, size=2048\nstart=40MiB, size=16MiB\n' $1 | sfdisk -q $0`, device, label)
				f, err := os.OpenFile(device, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for _, at := range []int64{start + 4096, start + size - 8192, 80 * mib} { // md 1.2, md 1.0, in no partition
					if _, err := f.WriteAt([]byte(magic), at); err != nil {
						t.Fatal(err)
					}
				}
				if err := deploy(t, device); err != nil {
					t.Fatal(err)
				}
				for at, stays := range map[int64]bool{start + 4096: false, start + size - 8192: false, 80 * mib: true} {
					b := make([]byte, len(magic))
					if _, err := f.ReadAt(b, at); err != nil || (string(b) == magic) != stays {
						t.Errorf("at %d is %q (%v)", at, b, err)
					}
				}
			})
		}
	}
}
