package ramdisk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/ramdisk/modules"
)

const standIn = "ferric/ramdisk/testdata/agent"

// build builds with the stand-in agent. The first build of all takes most of a minute.
func build(t *testing.T, o Options) *Manifest {
	t.Helper()
	if o.Output == "" {
		o.Output = t.TempDir()
	}
	if o.Agent == "" {
		o.Agent = standIn
	}
	m, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// unpack unpacks an initramfs with the programs of the distribution.
func unpack(t *testing.T, dir string, m *Manifest) string {
	t.Helper()
	root := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "sh", "-c",
		`"$1" -dc < "$2" | cpio -idm --quiet --no-absolute-filenames --nonmatching dev/console dev/null`,
		"sh", string(m.Compression), filepath.Join(dir, InitramfsFile))
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack with cpio: %v: %s", err, out)
	}
	return root
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// TestManifestIsTrue unpacks both profiles and compares every digest, and that there is
// no file that the manifest does not know.
func TestManifestIsTrue(t *testing.T) {
	extra := filepath.Join(t.TempDir(), "note")
	if err := os.WriteFile(extra, []byte("hello"), 0o640); err != nil {
		t.Fatal(err)
	}
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate(t)})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, own, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{
		{Profile: Virtual, Compression: Gzip, Files: []File{{extra, "etc/note"}}, Tools: []Tool{{"/bin/true", "/bin/true"}},
			CACertificates: []string{ca}, Modules: []string{"xfs"}},
		{Profile: Server},
	} {
		o.Output = t.TempDir()
		m := build(t, o)
		t.Logf("%s: initramfs %d bytes, %d raw, %d modules, init %d, agent %d, commands %d; builtin %v, absent %v, firmware %d of %d",
			o.Profile, m.Initramfs.Size, m.RawSize, len(m.Modules), m.Init.Size, m.Agent.Size, m.Commands.Size,
			m.Builtin, m.Absent, len(m.Firmware), len(m.Firmware)+len(m.AbsentFirmware))
		if limit := int64(16 << 20); o.Profile == Virtual && m.Initramfs.Size > limit {
			t.Errorf("initramfs has %d bytes, more than %d", m.Initramfs.Size, limit)
		}
		read, err := ReadManifest(o.Output)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, read); diff != "" {
			t.Errorf("manifest as returned and as written (-returned +written):\n%s", diff)
		}
		for _, p := range []Part{m.Kernel, m.Initramfs} {
			if got := fileSum(t, filepath.Join(o.Output, p.Path)); got != p.SHA256 {
				t.Errorf("%s: digest %s, manifest says %s", p.Path, got, p.SHA256)
			}
		}
		known := map[string]string{}
		for _, p := range slices.Concat([]Part{m.Agent, m.Init, m.Commands}, m.Modules, m.Firmware, m.Files) {
			known[p.Path] = p.SHA256
		}
		root := unpack(t, o.Output, m)
		err = filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err != nil || !info.Mode().IsRegular() {
				return err
			}
			name := strings.TrimPrefix(path, root)
			switch want, ok := known[name]; {
			case !ok && !strings.HasPrefix(filepath.Base(name), "modules."):
				t.Errorf("%s is in the ramdisk and not in the manifest", name)
			case ok && want != fileSum(t, path):
				t.Errorf("%s has not the digest of the manifest", name)
			}
			delete(known, name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for name := range known {
			t.Errorf("%s is in the manifest and not in the ramdisk", name)
		}
		checkIndex(t, root, m)
		trusted, err := os.ReadFile(filepath.Join(root, caCertificates))
		if err != nil || bytes.HasSuffix(trusted, own) != (len(o.CACertificates) > 0) {
			t.Errorf("%s: %d bytes of certificates, %v", o.Profile, len(trusted), err)
		}
		for name, want := range map[string]bool{"usr/sbin/mke2fs": o.Profile == Server, "sbin/shell": true, "sbin/rescue-sshd": true} {
			if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
				t.Errorf("%s: %s: %v", o.Profile, name, err)
			}
		}
		if _, err := shippedModule(m, "xfs"); err != nil {
			t.Errorf("%s: %v", o.Profile, err)
		}
	}
}

func shippedModule(m *Manifest, name string) (Part, error) {
	for _, p := range m.Modules {
		if modules.Name(p.Path) == name {
			return p, nil
		}
	}
	return Part{}, fmt.Errorf("module %s is not in the ramdisk", name)
}

// certificate is one in DER form.
func certificate(t *testing.T) []byte {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.Certificate().Raw
}

// checkIndex checks that the shipped index names shipped files only, all of them, and
// that depmod, given the same files, finds the same dependencies.
func checkIndex(t *testing.T, root string, m *Manifest) {
	t.Helper()
	release := m.Versions["kernel"]
	dir := filepath.Join(root, "lib/modules", release)
	shipped, err := modules.Read(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Modules {
		if _, err := shipped.Plan(modules.Name(p.Path)); err != nil {
			t.Errorf("%s cannot be loaded in the ramdisk: %v", p.Path, err)
		}
	}
	depmod, err := exec.LookPath("depmod")
	if err != nil {
		depmod = "/usr/sbin/depmod"
	}
	if out, err := exec.CommandContext(t.Context(), depmod, "-b", root, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod, the oracle of this test: %v: %s", err, out)
	}
	oracle, err := modules.Read(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Modules {
		want, _ := oracle.Lookup(p.Path)
		got, _ := shipped.Lookup(p.Path)
		slices.Sort(want.Deps)
		slices.Sort(got.Deps)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-depmod +ours):\n%s", p.Path, diff)
		}
	}
}

func TestBuildIsReproducible(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	build(t, Options{Output: a})
	build(t, Options{Output: b})
	for _, name := range []string{KernelFile, InitramfsFile, ManifestFile} {
		if x, y := fileSum(t, filepath.Join(a, name)), fileSum(t, filepath.Join(b, name)); x != y {
			t.Errorf("%s: digests %s and %s of two builds", name, x, y)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name string
		o    Options
		is   error
		says string
	}{
		{"no output", Options{}, nil, "no output directory"},
		{"profile", Options{Output: dir, Profile: "huge"}, nil, `profile "huge" is unknown`},
		{"kernel", Options{Output: dir, KernelRelease: "1.2.3"}, ErrNoKernel, "install the package linux-image"},
		{"compression", Options{Output: dir, Compression: "rar"}, nil, `"rar" is unknown`},
		{"file", Options{Output: dir, Files: []File{{"/nonexistent", "x"}}}, os.ErrNotExist, "/nonexistent"},
		{"file twice", Options{Output: dir, Files: []File{{"/etc/os-release", "init"}}}, errTwice, "init"},
		{"manager", Options{Output: dir, Managers: []string{`x"; import "y`}}, nil, "malformed import path"},
	}
	for _, test := range tests {
		if test.o.Managers == nil {
			test.o.Agent = standIn
		}
		_, err := Build(t.Context(), test.o)
		if err == nil || !strings.Contains(err.Error(), test.says) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: error %v, want one of %v that says %q", test.name, err, test.is, test.says)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("a refused build left %v", entries)
	}
}

func TestFindKernel(t *testing.T) {
	root := t.TempDir()
	if _, err := findKernel(root, ""); !errors.Is(err, ErrNoKernel) {
		t.Errorf("no kernel: error %v, want ErrNoKernel", err)
	}
	install := func(release string, image bool) {
		dir := filepath.Join(root, "lib/modules", release)
		boot := filepath.Join(root, "boot")
		for _, d := range []string{dir, boot} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		files := []string{filepath.Join(dir, "modules.dep")}
		if image {
			files = append(files, filepath.Join(boot, "vmlinuz-"+release))
		}
		for _, f := range files {
			if err := os.WriteFile(f, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	install("6.1.0-9-amd64", true)
	install("6.1.0-56-amd64", true)
	install("6.1.0-57-cloud-amd64", true)
	install("6.8.0-31-generic", false) // headers only
	for release, want := range map[string]string{
		"": "6.1.0-56-amd64", "6.1.0-9-amd64": "6.1.0-9-amd64", "6.1.0-57-cloud-amd64": "6.1.0-57-cloud-amd64",
	} {
		k, err := findKernel(root, release)
		if err != nil || k.release != want {
			t.Errorf("findKernel(%q) = %q, %v, want %q", release, k.release, err, want)
		}
	}
	if _, err := findKernel(root, "6.8.0-31-generic"); !errors.Is(err, ErrNoKernel) || !strings.Contains(err.Error(), "vmlinuz-6.8.0-31-generic") {
		t.Errorf("modules without image: error %v, want one that names it", err)
	}
}

func TestCompareReleases(t *testing.T) {
	order := []string{"5.15.0-100-generic", "6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-56-rt-amd64", "6.8.0-31-generic", "6.11.0-8-generic", "6.18.44"}
	for i := range order {
		for j := range order {
			got := compareReleases(order[i], order[j])
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("compareReleases(%s, %s) = %d", order[i], order[j], got)
			}
		}
	}
}

// TestReadPlain reads back what the distribution's programs compressed.
func TestReadPlain(t *testing.T) {
	dir := t.TempDir()
	content := bytes.Repeat([]byte("module "), 10000)
	plain := filepath.Join(dir, "x.ko")
	if err := os.WriteFile(plain, content, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"zstd", "xz", "gzip"} {
		if out, err := exec.CommandContext(t.Context(), program, "-qk", plain).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
	for _, suffix := range []string{"", ".zst", ".xz", ".gz"} {
		got, err := readPlain(plain + suffix)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("readPlain(x.ko%s): %d bytes, %v", suffix, len(got), err)
		}
	}
}
