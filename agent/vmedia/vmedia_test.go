package vmedia

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tool runs one of the programs that make file systems.
func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, text)
	}
}

// makeTree makes files by their paths.
func makeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func isoFile(t testing.TB, path, label string, files map[string]string) {
	t.Helper()
	tool(t, "genisoimage", "-quiet", "-R", "-V", label, "-o", path, makeTree(t, files))
}

func fatFile(t testing.TB, path, label string, files map[string]string) {
	t.Helper()
	tool(t, "mkfs.vfat", "-C", "-n", label, path, "4096")
	dir := makeTree(t, files)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		tool(t, "mcopy", "-s", "-i", path, filepath.Join(dir, e.Name()), "::/")
	}
}

// rig is a machine of files.
type rig struct {
	t *testing.T
	Machine
}

func newRig(t *testing.T) *rig {
	root := t.TempDir()
	m := Machine{Sys: filepath.Join(root, "sys"), Dev: filepath.Join(root, "dev"), Etc: filepath.Join(root, "etc")}
	for _, dir := range []string{m.Sys + "/block", m.Dev, m.Etc} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &rig{t, m}
}

// plug adds a block device of size bytes below bus, "usb1" or "ata1", and
// returns where its file has to be. A size of 0 is that of the file.
func (r *rig) plug(name, bus, model string, size int64) {
	r.t.Helper()
	path := filepath.Join(r.Dev, name)
	if size == 0 {
		info, err := os.Stat(path)
		if err != nil {
			r.t.Fatal(err)
		}
		size = info.Size()
	}
	dir := filepath.Join(r.Sys, "devices", bus, name)
	if err := os.MkdirAll(filepath.Join(dir, "device"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	for file, text := range map[string]string{"size": fmt.Sprint(size / 512), "device/model": model} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(r.Sys, "block", name)); err != nil {
		r.t.Fatal(err)
	}
}

// etc is what stands below Etc now.
func (r *rig) etc() map[string]string {
	r.t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(r.Etc, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, r.Etc+"/")] = string(text)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func configuration() map[string]string {
	return map[string]string{
		"etc/ironic-python-agent/ironic.crt":       "PEM",
		"etc/ironic-python-agent/sub/ignored":      "x",
		"etc/ironic-python-agent.d/ironic.conf":    "[DEFAULT]\ncafile=/etc/ironic-python-agent/ironic.crt\n",
		"etc/passwd":                               "not for us",
		"openstack/latest/meta_data.json":          "{}",
		"etc/ironic-python-agent.d/with.more.dots": "y",
	}
}

func TestConfigurationAndParameters(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func(r *rig)
	}{
		{"CD and USB floppy", func(r *rig) {
			isoFile(r.t, r.Dev+"/sr0", "VMEDIA_BOOT_ISO", configuration())
			r.plug("sr0", "ata1", "DVD", 0)
			fatFile(r.t, r.Dev+"/sda", "IR-VFD-DEV", map[string]string{"parameters.txt": "ipa-api-url=http://a\nipa-debug=1"})
			r.plug("sda", "usb1", "Floppy", 0)
		}},
		{"USB disk with FAT, parameters by model", func(r *rig) {
			fatFile(r.t, r.Dev+"/sdb", "config-2", configuration())
			r.plug("sdb", "usb2", "Stick", 0)
			isoFile(r.t, r.Dev+"/sr0", "other", map[string]string{"parameters.txt": "ipa-api-url=http://a\nipa-debug=1"})
			r.plug("sr0", "ata1", "BMC Virtual Media", 0)
		}},
		{"the better label, and what must not count", func(r *rig) {
			isoFile(r.t, r.Dev+"/sr1", "Config-2", configuration())
			r.plug("sr1", "ata1", "DVD", 0)
			isoFile(r.t, r.Dev+"/sr0", "vmedia_boot_iso", map[string]string{"etc/ironic-python-agent/other": "x"})
			r.plug("sr0", "ata1", "DVD", 0)
			evil := map[string]string{"parameters.txt": "ipa-api-url=http://evil", "etc/ironic-python-agent/evil": "x"}
			fatFile(r.t, r.Dev+"/sda", "ir-vfd-dev", evil)
			r.plug("sda", "ata2", "Disk of the machine", 0)
			isoFile(r.t, r.Dev+"/sdb", "config-2", evil)
			r.plug("sdb", "usb1", "Large stick", 4<<30)
			fatFile(r.t, r.Dev+"/sdc", "ir-vfd-dev", map[string]string{"parameters.txt": "ipa-api-url=http://a\nipa-debug=1"})
			r.plug("sdc", "usb1", "Floppy", 0)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			if err := os.Mkdir(r.Etc+"/ironic-python-agent", 0o755); err != nil {
				t.Fatal(err)
			}
			victim := filepath.Join(t.TempDir(), "victim")
			if err := errors.Join(os.WriteFile(victim, []byte("old"), 0o600), os.Symlink(victim, r.Etc+"/ironic-python-agent/ironic.crt")); err != nil {
				t.Fatal(err)
			}
			test.build(r)
			r.Patience = time.Minute // nothing has to be waited for
			found, err := r.Load(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if found.Parameters != "ipa-api-url=http://a\nipa-debug=1" || len(found.Devices) != 2 || len(found.Files) != 3 {
				t.Errorf("found %+v", found)
			}
			want := map[string]string{}
			for name, text := range configuration() {
				if strings.HasPrefix(name, "etc/ironic-python-agent") && !strings.Contains(name, "/sub/") {
					want[strings.TrimPrefix(name, "etc/")] = text
				}
			}
			if diff := cmp.Diff(want, r.etc()); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "old" {
				t.Errorf("a link was followed: %q, %v", text, err)
			}
		})
	}
}

func TestNoMedium(t *testing.T) {
	r := newRig(t)
	if err := os.WriteFile(r.Dev+"/sr0", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r.plug("sr0", "ata1", "DVD", 0)
	if found, err := r.Load(t.Context(), true); !errors.Is(err, errNothing) {
		t.Errorf("found %+v, %v", found, err)
	}
}

func TestMediumThatComesLate(t *testing.T) {
	r := newRig(t)
	r.Patience = time.Minute
	isoFile(t, r.Dev+"/sr0", "config-2", configuration())
	time.AfterFunc(2*poll, func() { r.plug("sr0", "ata1", "DVD", 0) })
	started := time.Now()
	found, err := r.Load(t.Context(), true)
	if err != nil || len(found.Files) != 3 || time.Since(started) < poll {
		t.Errorf("found %+v, %v after %s", found, err, time.Since(started))
	}
}

func TestWhatIsTooMuch(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"a large file": {"etc/ironic-python-agent/x": strings.Repeat("x", maxFile+1)},
		"many files": func() map[string]string {
			many := map[string]string{}
			for i := range maxFiles + 1 {
				many[fmt.Sprintf("etc/ironic-python-agent.d/%d", i)] = "x"
			}
			return many
		}(),
	} {
		r := newRig(t)
		isoFile(t, r.Dev+"/sr0", "config-2", files)
		r.plug("sr0", "ata1", "DVD", 0)
		if found, err := r.Load(t.Context(), true); err == nil || !strings.Contains(err.Error(), "sr0") {
			t.Errorf("%s: found %+v, %v", name, found, err)
		}
	}
}

// FuzzVolume reads configuration from media that are good but for patches, each
// of three bytes: a place of two and what stands there.
func FuzzVolume(f *testing.F) {
	dir := f.TempDir()
	files := map[string]string{"parameters.txt": "a=b", "etc/ironic-python-agent/x": "y"}
	iso, fat := filepath.Join(dir, "iso"), filepath.Join(dir, "fat")
	isoFile(f, iso, "config-2", files)
	smallFAT(f, fat, files)
	var bases [2][]byte
	for i, path := range []string{iso, fat} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		bases[i] = data
	}
	f.Add(false, []byte{})
	f.Add(true, []byte{0, 13, 0, 0, 17, 255})
	f.Fuzz(func(t *testing.T, isFAT bool, patches []byte) {
		data, from := append([]byte(nil), bases[0]...), 32768
		if isFAT {
			data, from = append([]byte(nil), bases[1]...), 0
		}
		for ; len(patches) >= 3; patches = patches[3:] {
			if at := from + int(patches[0])<<8 + int(patches[1]); at < len(data) {
				data[at] = patches[2]
			}
		}
		tree, err := openTree(strings.NewReader(string(data)), int64(len(data)))
		if err != nil {
			return
		}
		if text, err := tree.ReadFile(parametersFile, maxParameters); err == nil && len(text) > maxParameters {
			t.Errorf("parameters of %d bytes", len(text))
		}
		names, err := filesIn(tree, "etc/ironic-python-agent")
		if err != nil {
			return
		}
		for _, name := range names {
			if isFileName(name) && filepath.Dir(filepath.Join("/etc", name)) != "/etc" {
				t.Errorf("%q leads out of its directory", name)
			}
		}
	})
}

// smallFAT makes a small volume for the fuzzer.
func smallFAT(t testing.TB, path string, files map[string]string) {
	t.Helper()
	tool(t, "mkfs.vfat", "-C", "-n", "config-2", path, "64")
	dir := makeTree(t, files)
	tool(t, "mcopy", "-s", "-i", path, dir+"/etc", dir+"/parameters.txt", "::/")
}
