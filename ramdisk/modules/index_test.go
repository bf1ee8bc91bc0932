package modules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func fixture(t *testing.T) *Index {
	t.Helper()
	x, err := Read(fstest.MapFS{
		"modules.dep": {Data: []byte(`kernel/fs/ext4/ext4.ko: kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko
kernel/fs/mbcache.ko:
kernel/fs/jbd2/jbd2.ko:
kernel/crypto/crc32c_generic.ko:
kernel/arch/x86/crypto/crc32c-intel.ko.zst:
kernel/net/virtio_net.ko: kernel/net/net_failover.ko kernel/virtio/virtio.ko kernel/virtio/virtio_ring.ko
kernel/net/net_failover.ko:
kernel/virtio/virtio.ko: kernel/virtio/virtio_ring.ko
kernel/virtio/virtio_ring.ko:
kernel/ipmi/ipmi_msghandler.ko:
kernel/ipmi/ipmi_si.ko: kernel/ipmi/ipmi_msghandler.ko
kernel/ipmi/ipmi_devintf.ko: kernel/ipmi/ipmi_msghandler.ko
kernel/a.ko: kernel/gone.ko
kernel/b.ko:
`)},
		"modules.builtin": {Data: []byte("kernel/fs/fat-er.ko\n")},
		"modules.alias": {Data: []byte(`# Aliases
alias crypto-crc32c crc32c_generic
alias crypto-crc32c crc32c_intel
alias virtio:d00000001v* virtio_net
alias acpi*:IPI0001:* ipmi_si
`)},
		"modules.softdep": {Data: []byte(`# Soft
softdep jbd2 pre: crypto-crc32c
softdep ipmi_msghandler post: ipmi_devintf
softdep b ignored pre: a absent
`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestPlan(t *testing.T) {
	x := fixture(t)
	tests := []struct {
		names []string
		want  []string
	}{
		{[]string{"virtio_net"}, []string{"virtio_ring", "virtio", "net_failover", "virtio_net"}},
		{[]string{"virtio-net", "virtio"}, []string{"virtio_ring", "virtio", "net_failover", "virtio_net"}},
		{[]string{"ext4"}, []string{"crc32c_generic?", "crc32c_intel?", "jbd2", "mbcache", "ext4"}},
		{[]string{"ipmi_si"}, []string{"ipmi_msghandler", "ipmi_devintf?", "ipmi_si"}},
		{[]string{"fat_er"}, nil},
		{[]string{"b"}, []string{"b"}}, // its soft dependency lacks a part
	}
	for _, test := range tests {
		steps, err := x.Plan(test.names...)
		if err != nil {
			t.Errorf("Plan(%v): %v", test.names, err)
			continue
		}
		var got []string
		for _, s := range steps {
			name := s.Module.Name
			if s.Optional {
				name += "?"
			}
			got = append(got, name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("Plan(%v) (-want +got):\n%s", test.names, diff)
		}
	}
	for _, name := range []string{"nothing", "a"} {
		if _, err := x.Plan(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("Plan(%s): error %v, want ErrUnknown", name, err)
		}
	}
}

func TestReadNamesTheBadLine(t *testing.T) {
	_, err := Read(fstest.MapFS{"modules.dep": {Data: []byte("a.ko:\nnonsense\n")}})
	if err == nil || !strings.Contains(err.Error(), "modules.dep: line 2") {
		t.Errorf("error %v, want one that names modules.dep, line 2", err)
	}
	if _, err := Read(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
}

// TestSubset reads a rendered selection back: it must answer like the whole.
func TestSubset(t *testing.T) {
	x := fixture(t)
	steps, err := x.Plan("ext4", "virtio_net", "ipmi_si")
	if err != nil {
		t.Fatal(err)
	}
	dir := fstest.MapFS{}
	for name, text := range x.Subset(steps) {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	small, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := small.Plan("ext4", "virtio_net", "ipmi_si")
	if err != nil {
		t.Fatal(err)
	}
	for i := range steps {
		steps[i].Module.Path = Shipped(steps[i].Module.Path)
	}
	if diff := cmp.Diff(steps, again); diff != "" {
		t.Errorf("plan of the selection (-whole +selection):\n%s", diff)
	}
	if !small.Builtin("fat-er") {
		t.Error("builtin modules are lost")
	}
	if got := small.Resolve("acpi:IPI0001:"); !slices.Equal(got, []string{"ipmi_si"}) {
		t.Errorf("Resolve(acpi:IPI0001:) = %v", got)
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"*", "", true},
		{"a", "", false},
		{"pci:v00008086d*sv*", "pci:v00008086d0000100Esv00001AF4", true},
		{"pci:v00008086d*sv*", "pci:v00001AF4d00001000sv00001AF4", false},
		{"a*/b?", "ax/y/bz", true},
		{"usb:d0[0-4]*", "usb:d03x", true},
		{"usb:d0[0-4]*", "usb:d05x", false},
		{"[!a-c]x", "dx", true},
		{"[!a-c]x", "bx", false},
		{"[ab-]", "-", true},
		{"[", "[", true},
		{"a*b*c", "a__b__", false},
		{"a**", "ab", true},
	}
	for _, test := range tests {
		if got := match(test.pattern, test.text); got != test.want {
			t.Errorf("match(%q, %q) = %v", test.pattern, test.text, got)
		}
	}
}

// FuzzMatch compares with a regular expression made from the same pattern.
func FuzzMatch(f *testing.F) {
	f.Add("a*b?c*", "axxbyc5")
	f.Add("**?a", "bbba")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 40 || len(text) > 200 || strings.ContainsAny(pattern, "[]") {
			return // the expression below knows no sets
		}
		var re strings.Builder
		re.WriteString(`^(?s:`)
		for _, c := range []byte(pattern) {
			switch c {
			case '*':
				re.WriteString(".*")
			case '?':
				re.WriteString(".")
			default:
				if c >= 0x80 {
					t.Skip() // a regular expression works on characters, match on bytes
				}
				re.WriteString(regexp.QuoteMeta(string(c)))
			}
		}
		re.WriteString(`)$`)
		for _, c := range []byte(text) {
			if c >= 0x80 {
				t.Skip()
			}
		}
		want := regexp.MustCompile(re.String()).MatchString(text)
		if got := match(pattern, text); got != want {
			t.Errorf("match(%q, %q) = %v, want %v", pattern, text, got, want)
		}
	})
}

// realKernel is the newest installed kernel's release and index.
func realKernel(t *testing.T) (string, *Index) {
	t.Helper()
	found, _ := filepath.Glob("/lib/modules/*/modules.dep")
	if len(found) == 0 {
		t.Fatal("no kernel modules are installed: install linux-image-amd64")
	}
	dir := filepath.Dir(found[len(found)-1])
	x, err := Read(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(dir), x
}

func modprobe(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "modprobe", args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	path, err := exec.LookPath("modprobe")
	if err != nil {
		path = "/usr/sbin/modprobe"
	}
	cmd.Path, cmd.Err = path, nil
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("modprobe, the oracle of this test: %v", err)
	}
	return string(out)
}

// TestResolveAgreesWithModprobe asks modprobe the same questions about the real kernel.
func TestResolveAgreesWithModprobe(t *testing.T) {
	release, x := realKernel(t)
	for _, alias := range []string{
		"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00",
		"virtio:d00000001v00001AF4", "virtio:d00000002v00001AF4",
		"pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00",
		"pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
		"pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
		"pci:v000015B3d00001017sv000015B3sd00000020bc02sc00i00",
		"pci:v00001000d00000097sv00001000sd00003090bc01sc07i00",
		"acpi:IPI0001:", "acpi:LNXPWRBN:", "scsi:t-0x00", "scsi:t-0x05", "dmi:x",
		"usb:v0951p1666d0110dc00dsc00dp00ic08isc06ip50in00",
		"crypto-crc32c", "crypto_crc32c", "fs-vfat", "nls_iso8859-1", "md-level-1", "no-such-alias",
		"virtio_net", "usb-storage",
	} {
		want := strings.Fields(modprobe(t, "-S", release, "-R", alias))
		for i := range want {
			want[i] = Name(want[i])
		}
		got := x.Resolve(alias)
		if x.Builtin(alias) {
			got = append(got, Name(alias))
		}
		slices.Sort(want)
		want = slices.Compact(want) // once for each pattern that matches
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("Resolve(%s) = %v, modprobe says %v", alias, got, want)
		}
	}
}

// TestPlanAgreesWithModprobe compares what would be loaded, and that nothing comes
// before what it needs.
func TestPlanAgreesWithModprobe(t *testing.T) {
	release, x := realKernel(t)
	for _, name := range []string{
		"virtio_net", "virtio_blk", "ext4", "xfs", "vfat", "isofs", "nvme", "ahci", "mlx5_core",
		"ixgbe", "bnx2x", "mpt3sas", "megaraid_sas", "hpsa", "usb_storage", "uas", "raid456",
		"ipmi_si", "r8169", "nvme_tcp", "qla2xxx",
	} {
		var want []string
		for line := range strings.Lines(modprobe(t, "-S", release, "--show-depends", name)) {
			if f := strings.Fields(line); len(f) >= 2 && f[0] == "insmod" {
				want = append(want, Name(f[1]))
			}
		}
		steps, err := x.Plan(name)
		if err != nil {
			t.Errorf("Plan(%s): %v", name, err)
			continue
		}
		var got []string
		for _, s := range steps {
			for _, dep := range s.Module.Deps {
				if !slices.Contains(got, dep) {
					t.Errorf("Plan(%s): %s comes before %s, which it needs", name, s.Module.Name, dep)
				}
			}
			got = append(got, s.Module.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
			t.Errorf("Plan(%s) (-modprobe +ours):\n%s", name, diff)
		}
	}
}

func ExampleName() {
	fmt.Println(Name("kernel/drivers/usb/storage/usb-storage.ko.zst"))
	// Output: usb_storage
}
