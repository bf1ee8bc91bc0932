package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFence: a disk of the machine is opened for writing in one place, and
// only for what has passed the fence.
func TestFence(t *testing.T) {
	top, seen := root(t), map[string]bool{}
	for _, room := range fenced() {
		err := filepath.WalkDir(filepath.Join(top, room), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(top, path)
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || isTestKit(name)):
				return fs.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			seen[name] = true
			report(t, FenceFaults(name, source))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, list := range []map[string]string{writers(), commanders(), runners()} {
		for name := range list {
			if !seen[name] {
				t.Errorf("%s does not exist: its list is out of date", name)
			}
		}
	}
	// What only tests use is in no program.
	for _, program := range []string{"./cmd/ferric-agent", "./cmd/ferric"} {
		for _, p := range list(t, nil, program) {
			// What opens disks by their paths.
			if strings.HasSuffix(program, "agent") && matches(p.ImportPath, []string{"github.com/diskfs/go-diskfs", "github.com/diskfs/go-diskfs/backend/file"}) {
				t.Errorf("%s contains %s", program, p.ImportPath)
			}
			// Vendors test their managers by the command line: ferric plugin test.
			vendors := program == "./cmd/ferric" && p.ImportPath == module+"/hwmanager/hwmtest"
			if dir, ours := strings.CutPrefix(p.ImportPath, module+"/"); ours && isTestKit(dir) && !vendors {
				t.Errorf("%s contains %s", program, p.ImportPath)
			}
		}
	}
}

// isTestKit tells packages for tests.
func isTestKit(dir string) bool {
	return dir == "images/disk/disktest" || dir == "hwmanager/hwmtest" || strings.HasSuffix(dir, "model")
}

func TestFenceRules(t *testing.T) {
	tests := []struct{ path, body, fault string }{
		{"hwmanager/x.go", `os.Open("x")`, ""},
		{"hwmanager/x.go", `os.OpenFile(x, os.O_RDONLY|unix.O_DIRECT, 0)`, ""},
		{"hwmanager/x.go", `os.OpenFile(x, os.O_RDWR, 0)`, "opens for writing"},
		{"hwmanager/x.go", `os.OpenFile(x, flags, 0)`, "opens for writing"},
		{"hwmanager/x.go", `os.OpenFile(x, os.O_RDONLY|2, 0)`, "opens for writing"},
		{"hwmanager/x.go", `root.OpenFile(x, os.O_WRONLY|os.O_CREATE, 0)`, "opens for writing"},
		{"hwmanager/x.go", `os.WriteFile(x, nil, 0)`, "writes without the fence"},
		{"hwmanager/x.go", `open := unix.Open; open(x, 2, 0)`, "writes without the fence"},
		{"hwmanager/x.go", `unix.Mount(x, y, z, 0, "")`, "writes without the fence"},
		{"hwmanager/x.go", `disk.Fence(x, nil)`, "makes a target"},
		{"hwmanager/x.go", `exec.Command("dd")`, "runs a program"},
		{"hwmanager/x.go", `unix.IoctlSetInt(x, unix.BLKRRPART, 0)`, "tells a device"},
		{"hwmanager/x.go", `unix.Syscall6(unix.SYS_IOCTL, fd, 0x2285, arg, 0, 0, 0)`, "tells a device"},
		{"hwmanager/x.go", `h.Run.Run(ctx, "dd", "of="+path)`, "runs a program"},
		{"hwmanager/x.go", `t.Run(x)`, ""},
		{"hwmanager/sgio/sgio.go", `f()`, "commanders is out of date"},
		{"hwmanager/burnin/smart.go", `f()`, "runners is out of date"},
		{"hwmanager/fence.go", `disk.Fence(x, nil)`, ""},
		{"hwmanager/x.go", `target.OpenShared()`, "has not claimed"},
		{"hwmanager/x.go", `h.Fence(x)`, ""},
		{"images/x.go", `f("/dev/sda")`, "names the device"},
		{"hwmanager/x.go", `f("/dev/sda")`, ""},
		{"images/efi/store.go", `f()`, "out of date"},
	}
	for _, tt := range tests {
		got := strings.Join(FenceFaults(tt.path, []byte("package p\n\nfunc g() {\n"+tt.body+"\n}\n")), "; ")
		if (tt.fault == "") != (got == "") || !strings.Contains(got, tt.fault) {
			t.Errorf("%s in %s: %q; want %q", tt.body, tt.path, got, tt.fault)
		}
	}
	renamed := FenceFaults("hwmanager/x.go", []byte("package p\n\nimport u \"golang.org/x/sys/unix\"\n"))
	if len(renamed) != 1 || !strings.Contains(renamed[0], "under another name") {
		t.Errorf("an import under another name: %q", renamed)
	}
}
