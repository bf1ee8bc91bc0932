package volume_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferric/images/volume"
)

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func sparse(t testing.TB, size int64) (string, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "volume"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f.Name(), f
}

// TestIdentify compares with blkid on what mkfs made.
func TestIdentify(t *testing.T) {
	const size = 16 << 20
	for _, c := range []struct {
		kind string
		mkfs []string
	}{
		{volume.Ext4, []string{"mke2fs", "-q", "-F", "-t", "ext2"}},
		{volume.Ext4, []string{"mke2fs", "-q", "-F", "-t", "ext4"}},
		{volume.FAT, []string{"mkfs.vfat"}},
		{volume.Swap, []string{"mkswap"}},
	} {
		t.Run(strings.Join(c.mkfs, " "), func(t *testing.T) {
			path, f := sparse(t, size)
			run(t, c.mkfs[0], append(c.mkfs[1:], path)...)
			info, ok := volume.Identify(f, size)
			want := run(t, "blkid", "-p", "-o", "value", "-s", "UUID", path)
			if !ok || info.Kind != c.kind || info.UUID != want {
				t.Errorf("%+v, %v; want %s with %s", info, ok, c.kind, want)
			}
		})
	}
	if info, ok := volume.Identify(bytes.NewReader(make([]byte, 1<<20)), 1<<20); ok {
		t.Errorf("zeros are %+v", info)
	}
}

// TestIdentifyByHand has the superblocks of what is not installed everywhere.
func TestIdentifyByHand(t *testing.T) {
	const id = "\x6f\x0f\x4c\x3c\x4c\x0d\x4d\x0e\x9b\x57\x66\xe2\x0a\x6b\x2f\x04"
	for kind, at := range map[string]struct {
		mark   string
		markAt int
		idAt   int
	}{volume.XFS: {"XFSB", 0, 32}, volume.Btrfs: {"_BHRfS_M", 65600, 65568}} {
		b := make([]byte, 1<<20)
		copy(b[at.markAt:], at.mark)
		copy(b[at.idAt:], id)
		want := volume.Info{Kind: kind, UUID: "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"}
		if got, ok := volume.Identify(bytes.NewReader(b), int64(len(b))); !ok || got != want {
			t.Errorf("%+v, %v; want %+v", got, ok, want)
		}
	}
}

func TestMakeSwap(t *testing.T) {
	path, f := sparse(t, 8<<20)
	id, err := volume.MakeSwap(f, 8<<20, "swap1")
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, "blkid", "-p", "-o", "value", "-s", "UUID", path); got != id {
		t.Errorf("blkid: UUID %q, want %q", got, id)
	}
	if out := run(t, "swaplabel", path); !strings.Contains(out, "swap1") || !strings.Contains(out, id) {
		t.Errorf("swaplabel: %s", out)
	}
	if info, ok := volume.Identify(f, 8<<20); !ok || info != (volume.Info{Kind: volume.Swap, UUID: id}) {
		t.Errorf("%+v, %v", info, ok)
	}
	for _, size := range []int64{0, 4096, 1 << 50} {
		if _, err := volume.MakeSwap(f, size, "swap1"); err == nil {
			t.Errorf("swap space of %d bytes", size)
		}
	}
}

// FuzzIdentify looks at volumes that are good but for patches, each of four
// bytes: a place of three and what stands there. Inputs are short: the time goes
// into running them, not into making them smaller.
func FuzzIdentify(f *testing.F) {
	const head = 66 << 10 // to the superblock of Btrfs
	bases := [][]byte{make([]byte, head)}
	for _, mkfs := range [][]string{{"mke2fs", "-q", "-F"}, {"mkfs.vfat", "-n", "LABEL"}, {"mkfs.vfat", "-F", "32", "-s", "1"}, {"mkswap"}} {
		path, _ := sparse(f, 40<<20)
		run(f, mkfs[0], append(mkfs[1:], path)...)
		volume, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		bases = append(bases, volume[:head])
	}
	for i := range bases {
		f.Add(byte(i), uint32(40<<20), []byte{})
	}
	f.Add(byte(0), uint32(0), []byte("\x00\x00\x00X\x00\x00\x01F\x00\x00\x02S\x00\x00\x03B"))
	f.Add(byte(0), uint32(1<<20), []byte("\x01\x00\x40_\x01\x00\x41B\x01\x00\x42H\x01\x00\x43R\x01\x00\x44f\x01\x00\x45S\x01\x00\x46_\x01\x00\x47M"))
	f.Fuzz(func(t *testing.T, base byte, size uint32, patches []byte) {
		b := bytes.Clone(bases[int(base)%len(bases)])
		for ; len(patches) >= 4; patches = patches[4:] {
			b[(int(patches[0])<<16|int(patches[1])<<8|int(patches[2]))%head] = patches[3]
		}
		info, ok := volume.Identify(bytes.NewReader(b), int64(size))
		if ok == (info.Kind == "") || strings.Trim(info.UUID, "0123456789abcdefABCDEF-") != "" || len(info.UUID) > 36 {
			t.Fatalf("%+v, %v", info, ok)
		}
	})
}
