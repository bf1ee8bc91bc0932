package generic

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/fat"
)

// hostileRoot deploys a root file system with the files and changes it with
// debugfs commands.
func hostileRoot(t *testing.T, files map[string]string, changes ...string) *installed {
	t.Helper()
	h, device := loopMachine(t, 128<<20)
	bios := hwmanager.Node{"instance_info": map[string]any{"deploy_boot_mode": "bios"}}
	result, err := New().WriteImage(t.Context(), h, device, rootImage(t, files), "", bios, none)
	if err != nil {
		t.Fatal(err)
	}
	target, err := h.Fence(device)
	if err != nil {
		t.Fatal(err)
	}
	on, err := findRoot(target, hwmanager.BootloaderRequest{RootUUID: result.RootUUID})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		tool(t, "debugfs", "-w", "-R", change, disk.Node(on.path, on.root.Number))
	}
	return on
}

func TestReadLoadersOfHostileImages(t *testing.T) {
	deep := "boot/efi/EFI/" + strings.Repeat("d/", maxLoaderDepth+1) + "x"
	for _, c := range []struct {
		name    string
		files   map[string]string
		changes []string
		wrong   string
	}{
		{"a pipe that its directory calls a file", map[string]string{"boot/efi/EFI/BOOT/pipe": "", "boot/efi/EFI/BOOT/BOOTX64.EFI": "x"}, []string{"sif /boot/efi/EFI/BOOT/pipe mode 010644"}, ""},
		{"directories in directories", map[string]string{deep: ""}, nil, "is nested deeper than 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			on := hostileRoot(t, c.files, c.changes...)
			done := make(chan error, 1)
			go func() {
				files, err := on.readLoaders(t.Context())
				if err == nil && (len(files) != 1 || string(files["EFI/BOOT/BOOTX64.EFI"]) != "x") {
					err = fmt.Errorf("%d files", len(files))
				}
				done <- err
			}()
			select {
			case err := <-done:
				if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error = %v; want %q", err, c.wrong)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("still reading")
			}
		})
	}
}

func TestTooManyLoaders(t *testing.T) {
	dir := t.TempDir()
	for i := range maxLoaderNames + 1 {
		path := filepath.Join(dir, espLoaders, fmt.Sprint(i%8), fmt.Sprint(i))
		if err := os.MkdirAll(path, 0o755); err != nil { // directories count, too
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree := loaderTree{root: root, files: map[string][]byte{}, room: maxLoaderBytes}
	if err := tree.walk(t.Context(), espLoaders, 0); err == nil || !strings.Contains(err.Error(), "holds more than 4096 names") {
		t.Errorf("error = %v", err)
	}
}

// TestDeepestLoader: what is read can be written.
func TestDeepestLoader(t *testing.T) {
	dir := t.TempDir()
	deepest := filepath.Join(espLoaders, strings.Repeat("d/", maxLoaderDepth))
	if err := os.MkdirAll(filepath.Join(dir, deepest), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, deepest, "x.efi"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree := loaderTree{root: root, files: map[string][]byte{}, room: maxLoaderBytes}
	if err := tree.walk(t.Context(), espLoaders, 0); err != nil || len(tree.files) != 1 {
		t.Fatalf("%d files, %v", len(tree.files), err)
	}
	volume, err := os.Create(filepath.Join(dir, "esp"))
	if err != nil {
		t.Fatal(err)
	}
	defer volume.Close()
	if err := fat.Build(volume, 16*mib, 512, "ESP", 1, tree.files); err != nil {
		t.Error(err)
	}
}

// TestMountOfAnImage: the image cannot have the kernel panic, and what uses the
// file system to the last does not keep it mounted.
func TestMountOfAnImage(t *testing.T) {
	on := hostileRoot(t, map[string]string{"etc/fstab": "x"})
	tool(t, "tune2fs", "-e", "panic", disk.Node(on.path, on.root.Number))
	var where string
	var held *os.File
	err := on.mounted(t.Context(), quiet, func(dir string, root *os.Root) (err error) {
		where = dir
		held, err = root.Open("etc/fstab")
		if options := mountOptions(t, dir); !strings.Contains(options, "errors=remount-ro") || !strings.Contains(options, "nosuid,nodev,noexec") {
			t.Errorf("mounted with %s", options)
		}
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "unmount") {
		t.Errorf("error = %v; want one that says that the file system is in use", err)
	}
	if options := mountOptions(t, where); options != "" {
		t.Errorf("%s is still mounted", where)
	}
	if _, err := os.Stat(where); !os.IsNotExist(err) {
		t.Errorf("the mount point is still there: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Error(err)
	}
}

// mountOptions of what is mounted at dir, "" if nothing is.
func mountOptions(t *testing.T, dir string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[1] == filepath.Clean(dir) {
			return fields[3]
		}
	}
	return ""
}
