package iso9660

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// image is a volume made by genisoimage of the files, by their paths.
func image(t testing.TB, files map[string]string, args ...string) []byte {
	t.Helper()
	program, err := exec.LookPath("genisoimage")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "iso")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if text, err := exec.Command(program, append(args, "-quiet", "-o", out, dir)...).CombinedOutput(); err != nil {
		t.Fatalf("genisoimage: %v: %s", err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sample has names that each naming scheme shows in another way.
func sample() map[string]string {
	return map[string]string{
		"etc/ironic-python-agent/ironic.crt":                    "PEM",
		"etc/ironic-python-agent.d/Some.Config.File.conf":       strings.Repeat("x", 5000),
		"etc/ironic-python-agent.d/" + strings.Repeat("n", 200): "long",
		"etc/link":       "-> /etc/shadow",
		"empty":          "",
		"parameters.txt": "a=b",
	}
}

func TestNames(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want map[string]string // path: content, "/" for directories
	}{
		{"Rock Ridge", []string{"-R", "-V", "config-2"}, map[string]string{
			"etc": "/", "etc/ironic-python-agent": "/", "etc/ironic-python-agent.d": "/",
			"etc/ironic-python-agent/ironic.crt":                    "PEM",
			"etc/ironic-python-agent.d/Some.Config.File.conf":       strings.Repeat("x", 5000),
			"etc/ironic-python-agent.d/" + strings.Repeat("n", 200): "long",
			"etc/link": "?", "empty": "", "parameters.txt": "a=b",
		}},
		{"Joliet", []string{"-J", "-joliet-long", "-V", "config-2"}, map[string]string{
			"etc": "/", "etc/ironic-python-agent": "/", "etc/ironic-python-agent.d": "/",
			"etc/ironic-python-agent/ironic.crt":                    "PEM",
			"etc/ironic-python-agent.d/Some.Config.File.conf":       strings.Repeat("x", 5000),
			"etc/ironic-python-agent.d/" + strings.Repeat("n", 103): "long",
			"empty": "", "parameters.txt": "a=b",
		}},
		{"plain", []string{"-V", "config-2"}, map[string]string{
			"etc": "/", "etc/ironic_p": "/", "etc/ironic_p.d": "/",
			"etc/ironic_p/ironic.crt": "PEM", "etc/ironic_p.d/some_con.con": strings.Repeat("x", 5000), "etc/ironic_p.d/nnnnnnnn": "long",
			"empty": "", "paramete.txt": "a=b",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := image(t, sample(), test.args...)
			fs, err := Open(bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			if err := fs.Walk(func(path string, e Entry) error {
				switch {
				case e.Dir:
					got[path] = "/"
				case !e.Regular:
					got[path] = "?"
				default:
					content, err := fs.ReadFile(strings.ToUpper(path), 1<<20)
					got[path] = string(content)
					return err
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || fs.Label != "config-2" {
				t.Errorf("label %q; files (-want +got):\n%s", fs.Label, diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	data := image(t, sample(), "-R")
	fs, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"absent": ErrNotFound, "etc": ErrNotFound, "etc/link": ErrNotFound, "empty/x": ErrNotFound, "../empty": ErrNotFound,
		"etc/ironic-python-agent.d/Some.Config.File.conf": ErrTooLarge, "1/2/3/4/5/6/7/8/9": ErrTooLarge,
	} {
		if _, err := fs.ReadFile(name, 4999); !errors.Is(err, want) {
			t.Errorf("reading %s: %v; want %v", name, err, want)
		}
	}
	if _, err := Open(bytes.NewReader(data[:30000]), 30000); !errors.Is(err, ErrNotISO) {
		t.Errorf("a volume without descriptors: %v", err)
	}
	if fs, err := Open(bytes.NewReader(data), 40000); err == nil {
		if _, err := fs.ReadDir("/"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a volume that ends early: %v", err)
		}
	}
}

// FuzzOpen walks volumes that are good but for patches, each of three bytes: a
// place of two and what stands there. The first 20 kB behind the system area are
// descriptors and directories.
func FuzzOpen(f *testing.F) {
	files := map[string]string{"etc/a": "1", strings.Repeat("n", 200): "2", "l": "-> x"}
	bases := [][]byte{image(f, files, "-R"), image(f, files, "-J"), image(f, files, "-R", "-J")}
	f.Add(byte(0), []byte{})
	f.Add(byte(1), []byte{0, 156, 255})
	f.Add(byte(2), []byte{0, 128, 0, 8, 2, 200})
	f.Fuzz(func(t *testing.T, base byte, patches []byte) {
		data := bytes.Clone(bases[int(base)%len(bases)])
		for ; len(patches) >= 3; patches = patches[3:] {
			data[32768+(int(patches[0])<<8|int(patches[1]))%20480] = patches[2]
		}
		fs, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		_ = fs.Walk(func(path string, e Entry) error {
			if content, err := fs.ReadFile(path, 1<<16); err == nil && len(content) > 1<<16 {
				t.Errorf("%q has %d bytes", path, len(content))
			}
			return nil
		})
	})
}
