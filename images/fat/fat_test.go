package fat_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/fat"
)

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// makeVolume makes a volume with mkfs.vfat and mtools.
func makeVolume(t testing.TB, bits, size int, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "fat.img")
	run(t, "mkfs.vfat", "-C", "-F", fmt.Sprint(bits), "-n", "ESP", "-i", "ABCD1234", path, fmt.Sprint(size>>10))
	made := map[string]bool{}
	for name, content := range files {
		src := filepath.Join(dir, "content")
		if err := os.WriteFile(src, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(name, "/")
		for i := 1; i < len(parts); i++ {
			d := strings.Join(parts[:i], "/")
			if !made[d] {
				run(t, "mmd", "-i", path, "::"+d)
				made[d] = true
			}
		}
		run(t, "mcopy", "-i", path, src, "::"+name)
	}
	return path
}

func read(t testing.TB, path string) (*fat.FS, map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fs, err := fat.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := fs.Walk(func(path string, e fat.Entry) error {
		if e.Dir {
			return nil
		}
		b, err := fs.ReadFile(path, 8<<20)
		got[strings.TrimPrefix(path, "/")] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return fs, got
}

var someFiles = map[string]string{
	"EFI/BOOT/BOOTX64.EFI":            strings.Repeat("loader ", 30000),
	"EFI/debian/a rather long näme.x": "content",
	"startup.nsh":                     "",
	"openstack/latest/meta_data.json": `{"uuid": "1"}`,
}

func TestReadWhatMkfsMade(t *testing.T) {
	for _, c := range []struct{ bits, size int }{{12, 4 << 20}, {16, 20 << 20}, {32, 64 << 20}} {
		t.Run(fmt.Sprint(c.bits), func(t *testing.T) {
			fs, got := read(t, makeVolume(t, c.bits, c.size, someFiles))
			if fs.Label != "ESP" || fs.ID != "ABCD-1234" {
				t.Errorf("label %q, id %q", fs.Label, fs.ID)
			}
			if diff := cmp.Diff(someFiles, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBuildIsReadByOthers(t *testing.T) {
	many := map[string]string{}
	for i := range 300 {
		many[fmt.Sprintf("openstack/content/%04d some file.dat", i)] = strings.Repeat("x", i*7)
	}
	for name, content := range someFiles {
		many[name] = content
	}
	for _, c := range []struct {
		sector int
		size   int64
		kind   string
	}{{512, 64 << 20, "FAT16"}, {4096, 64 << 20, "FAT16"}, {512, 550 << 20, "FAT32"}, {4096, 550 << 20, "FAT32"}, {512, 512<<20 - 512, "FAT16"}} {
		sector, size := c.sector, c.size
		t.Run(fmt.Sprintf("%s %d %d", c.kind, sector, size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fat.img")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{}
			for name, content := range many {
				files[name] = []byte(content)
			}
			if err := fat.Build(f, size, sector, "CONFIG-2", 0x1234abcd, files); err != nil {
				t.Fatal(err)
			}
			if out := run(t, "fsck.vfat", "-n", "-v", path); strings.Contains(strings.ToLower(out), "error") {
				t.Errorf("fsck: %s", out)
			}
			if out := run(t, "blkid", "-p", "-o", "value", "-s", "VERSION", path); strings.TrimSpace(out) != c.kind {
				t.Errorf("blkid: version %q, want %s", out, c.kind)
			}
			if sector == 512 { // mtools does not take larger sectors in a file
				if got := run(t, "mtype", "-i", path, "::openstack/latest/meta_data.json"); got != someFiles["openstack/latest/meta_data.json"] {
					t.Errorf("mtype: %q", got)
				}
			}
			if got := run(t, "blkid", "-p", "-o", "value", "-s", "LABEL", path); strings.TrimSpace(got) != "CONFIG-2" {
				t.Errorf("blkid: label %q", got)
			}
			fs, got := read(t, path)
			if fs.Label != "CONFIG-2" {
				t.Errorf("label %q", fs.Label)
			}
			if diff := cmp.Diff(many, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBuildSizes makes EFI system partitions of all kinds of sizes, also where FAT16
// and FAT32 end and begin.
func TestBuildSizes(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		sector int
		sizes  []int64 // bytes
	}{
		{512, []int64{3 * mib, 4 * mib, 16 * mib, 31 * mib, 32 * mib, 33 * mib, 64 * mib, 127 * mib, 129 * mib, 256 * mib, 511 * mib, 512*mib - 512, 512 * mib, 513 * mib, 550 * mib, 1024 * mib, 4096 * mib, 16 << 30}},
		{4096, []int64{16 * mib, 17 * mib, 18 * mib, 64 * mib, 255 * mib, 256 * mib, 257 * mib, 511 * mib, 512*mib - 4096, 512 * mib, 513 * mib, 550 * mib, 1024 * mib, 4096 * mib, 16 << 30}},
	} {
		for _, size := range c.sizes {
			t.Run(fmt.Sprintf("%d %d", c.sector, size), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "fat.img")
				run(t, "truncate", "-s", fmt.Sprint(size), path)
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := fat.Build(f, size, c.sector, "efi-part", 0x1234abcd, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": make([]byte, 2*mib)}); err != nil {
					t.Fatal(err)
				}
				if out := run(t, "fsck.vfat", "-n", "-v", path); strings.Contains(strings.ToLower(out), "error") || !strings.Contains(out, fmt.Sprintf("%10d bytes per logical sector", c.sector)) {
					t.Errorf("fsck: %s", out)
				}
				if out := strings.TrimSpace(run(t, "blkid", "-p", "-o", "value", "-s", "LABEL", path)); out != "efi-part" {
					t.Errorf("blkid: label %q", out)
				}
			})
		}
	}
	for sector, size := range map[int]int64{512: 2 * mib, 4096: 15 * mib} {
		if err := fat.Check(size, sector); err == nil {
			t.Errorf("%d bytes in sectors of %d are possible", size, sector)
		}
	}
}

// TestBuildOnOldContent wants a file system to be sound whatever was there
// before.
func TestBuildOnOldContent(t *testing.T) {
	for _, size := range []int{32 << 20, 550 << 20} {
		path := filepath.Join(t.TempDir(), "fat.img")
		run(t, "sh", "-c", fmt.Sprintf("yes | head -c 8388608 >%s; truncate -s %d %s", path, size, path))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		want := map[string]string{"EFI/BOOT/BOOTX64.EFI": "loader"}
		if err := fat.Build(f, int64(size), 512, "efi-part", 1, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": []byte("loader")}); err != nil {
			t.Fatal(err)
		}
		if out := run(t, "fsck.vfat", "-n", "-v", path); strings.Contains(strings.ToLower(out), "error") {
			t.Errorf("fsck: %s", out)
		}
		if fs, files := read(t, path); fs.Label != "efi-part" || fs.ID != "0000-0001" || !cmp.Equal(files, want) {
			t.Errorf("label %q, id %q, files %v", fs.Label, fs.ID, files)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range []struct{ bits, size int }{{12, 256 << 10}} {
		b, err := os.ReadFile(makeVolume(f, c.bits, c.size, map[string]string{"EFI/a long name.txt": "x"}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:64<<10])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// A short volume stands for a long one that is zeros.
		size := int64(len(b))
		if size < 512 || size > 1<<20 {
			return
		}
		vol := make([]byte, 4<<20)
		copy(vol, b)
		fs, err := fat.Open(bytes.NewReader(vol), int64(len(vol)))
		if err != nil {
			return
		}
		n := 0
		_ = fs.Walk(func(path string, e fat.Entry) error {
			n++
			content, err := fs.ReadFile(path, 1<<20)
			if err == nil && int64(len(content)) != e.Size && !e.Dir {
				t.Fatalf("%d bytes of a file of %d", len(content), e.Size)
			}
			if n > 100 {
				return fat.ErrTooLarge
			}
			return nil
		})
	})
}
