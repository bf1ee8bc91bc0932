package tree_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/tree"
)

// grown makes a tree of what the lines say ("dir/", "file", "link -> target",
// "pipe |", "name = other name") and returns it and the directory around it,
// which holds the file outside.
func grown(t testing.TB, lines ...string) (*tree.Tree, string) {
	t.Helper()
	around, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(around, "root")
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(os.Mkdir(root, 0o755))
	must(os.WriteFile(filepath.Join(around, "outside"), []byte("safe"), 0o644))
	for _, line := range lines {
		name, what, _ := strings.Cut(line, " ")
		at := filepath.Join(root, name)
		must(os.MkdirAll(filepath.Dir(at), 0o755))
		switch kind, value, _ := strings.Cut(what, " "); {
		case strings.HasSuffix(name, "/"):
			must(os.MkdirAll(at, 0o755))
		case kind == "->":
			must(os.Symlink(strings.ReplaceAll(value, "AROUND", around), at))
		case kind == "=":
			must(os.Link(filepath.Join(root, value), at))
		case kind == "|":
			must(syscall.Mkfifo(at, 0o644))
		default:
			must(os.WriteFile(at, []byte("old"), 0o640))
		}
	}
	opened, err := tree.Open(root)
	must(err)
	t.Cleanup(func() { _ = opened.Close() })
	return opened, around
}

func TestWrite(t *testing.T) {
	for _, c := range []struct {
		name    string
		tree    []string
		path    string
		at      string // where the content must be afterwards
		refused string
	}{
		{"new", []string{"etc/"}, "/etc/motd", "etc/motd", ""},
		{"with its directories", nil, "/a/b/c", "a/b/c", ""},
		{"replaced", []string{"etc/motd"}, "/etc/motd", "etc/motd", ""},
		{"through an absolute link", []string{"usr/lib/", "lib -> /usr/lib"}, "/lib/x", "usr/lib/x", ""},
		{"through a relative link", []string{"usr/lib/", "lib -> usr/lib"}, "/lib/x", "usr/lib/x", ""},
		{"through a link that goes up too far", []string{"tmp/", "a -> ../../../../tmp"}, "/a/x", "tmp/x", ""},
		{"through a link to the directory around", []string{"a -> AROUND"}, "/a/outside", "", "/a is a link that leads nowhere"},
		{"through a link to what is also outside", []string{"a -> /proc"}, "/a/self/x", "", "/a is a link that leads nowhere"},
		{"through a link to the root", []string{"boot/", "boot/boot -> ."}, "/boot/boot/x", "boot/x", ""},
		{"last name an absolute link", []string{"run/f", "etc/resolv.conf -> /run/f"}, "/etc/resolv.conf", "run/f", ""},
		{"last name a relative link", []string{"run/f", "etc/resolv.conf -> ../run/f"}, "/etc/resolv.conf", "run/f", ""},
		{"last name a link to a file that does not exist", []string{"run/", "etc/x -> ../run/f"}, "/etc/x", "run/f", ""},
		{"last name a link into a directory that does not exist", []string{"run/", "etc/x -> ../run/systemd/f"}, "/etc/x", "", "/run/systemd does not exist"},
		{"last name a link to the file outside", []string{"x -> AROUND/outside"}, "/x", "", "does not exist"},
		{"last name a link up to the file outside", []string{"x -> ../outside"}, "/x", "outside", ""},
		{"link over link", []string{"d/", "a -> b", "b -> /c", "c -> d/e"}, "/a", "d/e", ""},
		{"link after a link whose parent is elsewhere", []string{"usr/share/d/", "usr/share/f", "l -> usr/share/d", "x -> l/../f"}, "/x", "usr/share/f", ""},
		{"circle", []string{"a -> b", "b -> a"}, "/a", "", "more than 40 links"},
		{"circle of directories", []string{"a -> b", "b -> a"}, "/a/x", "", "too many levels"},
		{"link to a directory", []string{"d/", "a -> d/"}, "/a", "", "leads to a directory"},
		{"link to the directory above", []string{"d/", "a -> .."}, "/a", "", "leads to a directory"},
		{"magic link", []string{"a -> /proc/self/root/outside"}, "/a", "", "does not exist"},
		{"below a file", []string{"a"}, "/a/b", "", "/a is not a directory"},
		{"a directory", []string{"a/"}, "/a", "", "is a directory"},
		{"a pipe", []string{"a |"}, "/a", "", "is a pipe"},
		{"a link to a pipe", []string{"p |", "a -> p"}, "/a", "", "/p is a pipe"},
		{"a file with two names", []string{"a", "b = a"}, "/b", "", "2 names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			grove, around := grown(t, c.tree...)
			err := grove.Write(c.path, strings.NewReader("new"), tree.Attributes{})
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("error = %v; want %q", err, c.refused)
				}
			} else {
				got, rerr := os.ReadFile(filepath.Join(around, "root", c.at))
				if err != nil || rerr != nil || string(got) != "new" {
					t.Errorf("%v; %q, %v", err, got, rerr)
				}
			}
			unharmed(t, around)
		})
	}
}

// unharmed checks what is outside, and that nothing temporary is left.
func unharmed(t testing.TB, around string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(around, "outside")); err != nil || string(got) != "safe" {
		t.Errorf("the file outside: %q, %v", got, err)
	}
	names, err := os.ReadDir(around)
	if err != nil || len(names) != 2 {
		t.Errorf("%d names around the tree, %v", len(names), err)
	}
	_ = filepath.WalkDir(around, func(path string, _ fs.DirEntry, _ error) error {
		if strings.HasPrefix(filepath.Base(path), ".ferric") {
			t.Errorf("%s is left", path)
		}
		return nil
	})
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
}

func state(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		return err.Error()
	}
	st, _ := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%o %d:%d", st.Mode&0o7777, st.Uid, st.Gid)
}

func TestAttributes(t *testing.T) {
	needsRoot(t)
	mode := func(m uint32) *uint32 { return &m }
	id := func(n int) *int { return &n }
	grove, around := grown(t, "kept", "changed", "shared/")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	root := filepath.Join(around, "root")
	for _, name := range []string{"kept", "changed"} {
		if err := os.Chown(filepath.Join(root, name), 7, 8); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(filepath.Join(root, "shared"), 0, 9), os.Chmod(filepath.Join(root, "shared"), 0o2775|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setxattr(filepath.Join(root, "kept"), "user.label", []byte("precious"), 0); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range []struct {
		path string
		want tree.Attributes
	}{
		{"/kept", tree.Attributes{}},
		{"/changed", tree.Attributes{Mode: mode(0o4755), Owner: id(1), Group: id(2)}},
		{"/new", tree.Attributes{}},
		{"/made/on/the/way", tree.Attributes{DirMode: mode(0o700), Mode: mode(0o600)}},
		{"/made/on/top", tree.Attributes{DirMode: mode(0o711)}},
		{"/shared/below/file", tree.Attributes{}},
	} {
		if err := grove.Write(f.path, strings.NewReader("new"), f.want); err != nil {
			t.Fatal(err)
		}
		got[f.path] = state(t, filepath.Join(root, f.path))
	}
	for _, dir := range []string{"/made", "/made/on", "/made/on/the", "/shared/below"} {
		got[dir] = state(t, filepath.Join(root, dir))
	}
	want := map[string]string{
		"/kept": "640 7:8", "/changed": "4755 1:2", "/new": "644 0:0", "/made/on/the/way": "600 0:0", "/made/on/top": "644 0:0",
		"/made": "755 0:0", "/made/on": "755 0:0", "/made/on/the": "700 0:0", "/shared/below": "2755 0:9", "/shared/below/file": "644 0:9",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	value := make([]byte, 64)
	if n, err := syscall.Getxattr(filepath.Join(root, "kept"), "user.label", value); err != nil || string(value[:n]) != "precious" {
		t.Errorf("attribute: %q, %v", value[:max(n, 0)], err)
	}
}

// TestBrokenContent: what was there stays when the content ends in an error.
func TestBrokenContent(t *testing.T) {
	grove, around := grown(t, "etc/motd")
	broken := errors.New("connection lost")
	err := grove.Write("/etc/motd", io.MultiReader(strings.NewReader("half"), failing{broken}), tree.Attributes{})
	if !errors.Is(err, broken) {
		t.Errorf("error = %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(around, "root/etc/motd")); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	unharmed(t, around)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestRemove(t *testing.T) {
	for _, c := range []struct {
		name    string
		tree    []string
		path    string
		was     bool
		refused string
	}{
		{"file", []string{"etc/motd"}, "/etc/motd", true, ""},
		{"nothing", []string{"etc/"}, "/etc/motd", false, ""},
		{"nothing, in no directory", nil, "/etc/a/motd", false, ""},
		{"link, not what it leads to", []string{"x -> ../outside"}, "/x", true, ""},
		{"through a link", []string{"usr/f", "u -> /usr"}, "/u/f", true, ""},
		{"through a link to the outside", []string{"a -> ../../.."}, "/a/outside", false, ""},
		{"pipe", []string{"p |"}, "/p", true, ""},
		{"one of two names", []string{"a", "b = a"}, "/b", true, ""},
		{"directory", []string{"a/"}, "/a", false, "is a directory"},
		{"below a file", []string{"a"}, "/a/b", false, "/a is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			grove, around := grown(t, c.tree...)
			was, err := grove.Remove(c.path)
			if was != c.was || (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%v, %v; want %v, %q", was, err, c.was, c.refused)
			}
			unharmed(t, around)
			if _, err := os.Lstat(filepath.Join(around, "root", c.path)); c.was && err == nil {
				t.Error("it is still there")
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	grove, _ := grown(t, "etc/fstab", "pipe |", "out -> ../outside", "dir/")
	if got, err := grove.ReadFile("/etc/fstab", 3); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"/pipe", "/out", "/dir", "/nothing"} {
		if got, err := grove.ReadFile(name, 100); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := grove.ReadFile("/etc/fstab", 2); !errors.Is(err, tree.ErrRefused) {
		t.Errorf("a file that is too large: %v", err)
	}
}

// TestWriteDuringRenames: while anything at all is renamed, the kernel does not
// warrant where ".." leads to, and wants to be asked again.
func TestWriteDuringRenames(t *testing.T) {
	grove, around := grown(t, "usr/share/d/", "link -> usr/share/d/../../share/d/../d")
	other := t.TempDir()
	done, gone := make(chan struct{}), make(chan error)
	go func() {
		names := [2]string{filepath.Join(other, "a"), filepath.Join(other, "b")}
		err := os.WriteFile(names[0], nil, 0o644)
		for i := 0; err == nil; i++ {
			select {
			case <-done:
				gone <- nil
				return
			default:
				err = os.Rename(names[i%2], names[1-i%2])
			}
		}
		gone <- err
	}()
	for range 5000 {
		if !grove.IsDir("/link") {
			t.Error("/link is no directory")
			break
		}
	}
	if err := grove.Write("/link/x", strings.NewReader("new"), tree.Attributes{}); err != nil {
		t.Error(err)
	}
	close(done)
	if err := <-gone; err != nil {
		t.Error(err)
	}
	unharmed(t, around)
}

// FuzzWrite: wherever paths and links lead to, it is not out of the tree.
func FuzzWrite(f *testing.F) {
	for _, seed := range [][3]string{
		{"/a/b", "/c", "../../../outside"}, {"/l", "../outside", "x"}, {"/l/../outside", "..", "/"}, {"/m", "l", "/../outside"},
		{"l/outside", "m/..", "/.."}, {"/l/m", ".", ".//..//outside"}, {"/proc/self/root/x", "/proc/self/cwd", "/dev/null"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, path, first, second string) {
		if strings.ContainsRune(path+first+second, 0) || first == "" || second == "" || len(first)+len(second) > 4000 {
			return
		}
		grove, around := grown(t, "d/e/")
		if os.Symlink(first, filepath.Join(around, "root/l")) != nil || os.Symlink(second, filepath.Join(around, "root/d/m")) != nil {
			return
		}
		_ = grove.Write(path, strings.NewReader("new"), tree.Attributes{})
		_, _ = grove.Remove(path)
		_, _ = grove.ReadFile(path, 10)
		unharmed(t, around)
	})
}
