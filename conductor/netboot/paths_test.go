package netboot

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPathForms: Ironic's map file for a TFTP server brings names with the root
// in front and without, with a slash and without, doubled, with backslashes. All
// lead to the same.
func TestPathForms(t *testing.T) {
	forms := []string{"%", "/%", "//%", "tftpboot/%", "/tftpboot/%", "/tftpboot//%", "//tftpboot/%", "/tftpboot/tftpboot/%", `\%`, `\tftpboot\%`, `tftpboot\\%`, "./%",
		"/httpboot/%", "/var/lib/tftpboot/%", "/srv/boot/%", "/srv/boot/tftpboot/%", "../%", "/tftpboot/../tftpboot/%"}
	mac, _ := net.ParseMAC(bootMAC)
	ip := netip.MustParseAddr("192.168.77.150")
	for _, tt := range []struct {
		name string
		want target
	}{
		{"pxelinux.0", target{kind: kindFile, path: "pxelinux.0"}},
		{"sub/file.img", target{kind: kindFile, path: "sub/file.img"}},
		{"boot.ipxe", target{kind: kindStage, path: "boot.ipxe"}},
		{"pxelinux.cfg/01-52-54-00-77-00-01", target{kind: kindPXELinux, path: "pxelinux.cfg/01-52-54-00-77-00-01", mac: mac}},
		{"pxelinux.cfg/52-54-00-77-00-01", target{kind: kindPXELinux, path: "pxelinux.cfg/52-54-00-77-00-01", mac: mac, bare: true}},
		{"pxelinux.cfg/" + otherUUID, target{kind: kindPXELinux, path: "pxelinux.cfg/" + otherUUID, key: otherUUID, asks: true}},
		{"pxelinux.cfg/C0A84D96", target{kind: kindPXELinux, path: "pxelinux.cfg/C0A84D96", ip: ip}},
		{"pxelinux.cfg/C0A84D9", target{kind: kindFile, path: "pxelinux.cfg/C0A84D9"}},
		{"pxelinux.cfg/C", target{kind: kindFile, path: "pxelinux.cfg/C"}},
		{"pxelinux.cfg/default", target{kind: kindPXELinux, path: "pxelinux.cfg/default", asks: true}},
		{"grub/grub.cfg", target{kind: kindGRUB, path: "grub/grub.cfg"}},
		{"grub/x86_64-efi/grub.cfg", target{kind: kindGRUB, path: "grub/x86_64-efi/grub.cfg"}},
		{"EFI/debian/grub.cfg", target{kind: kindGRUB, path: "EFI/debian/grub.cfg"}},
		{"grub.cfg-01-52-54-00-77-00-01", target{kind: kindMachine, path: "grub.cfg-01-52-54-00-77-00-01", mac: mac}},
		{"grub.cfg-01-52:54:00:77:00:01", target{kind: kindMachine, path: "grub.cfg-01-52:54:00:77:00:01", mac: mac}},
		{"grub/grub.cfg-01-52-54-00-77-00-01", target{kind: kindMachine, path: "grub/grub.cfg-01-52-54-00-77-00-01", mac: mac}},
		{"grub/grub.cfg-C0A84D96", target{kind: kindMachine, path: "grub/grub.cfg-C0A84D96", ip: ip}},
		{"52:54:00:77:00:01.conf", target{kind: kindMachine, path: "52:54:00:77:00:01.conf", mac: mac}},
		{"192.168.77.150.conf", target{kind: kindMachine, path: "192.168.77.150.conf", ip: ip}},
		{"dnsmasq.conf", target{kind: kindFile, path: "dnsmasq.conf"}},
		{bootUUID + "/config", target{kind: kindConfig, path: bootUUID + "/config", key: bootUUID}},
		{bootUUID + "/deploy_kernel", target{kind: kindKernel, path: bootUUID + "/deploy_kernel", key: bootUUID}},
		{bootUUID + "/rescue_ramdisk", target{kind: kindRamdisk, path: bootUUID + "/rescue_ramdisk", key: bootUUID}},
		{bootUUID + "/kernel", target{kind: kindKernel, path: bootUUID + "/kernel", key: bootUUID}},
		{bootUUID + "/boot_iso", target{kind: kindISO, path: bootUUID + "/boot_iso", key: bootUUID}},
		{"52-54-00-77-00-01/deploy_kernel", target{kind: kindKernel, path: "52-54-00-77-00-01/deploy_kernel", key: "52-54-00-77-00-01", mac: mac}},
		{"images/deploy_kernel", target{kind: kindFile, path: "images/deploy_kernel"}},
		{"deploy_kernel", target{kind: kindFile, path: "deploy_kernel"}},
	} {
		for _, form := range forms {
			name := strings.ReplaceAll(form, "%", tt.name)
			if strings.Contains(form, `\`) {
				name = strings.ReplaceAll(name, "/", `\`)
			}
			got := parsePath(name, append([]string{"srv/boot"}, defaultRoots...))
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(target{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%q (-want +got):\n%s", name, diff)
			}
		}
	}
}

// FuzzParsePath: whatever the name, nothing outside of the roots is reached, and
// every notation of it leads to the same.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"/tftpboot/pxelinux.cfg/01-52-54-00-77-00-01", `\tftpboot\\x`, "../../etc/passwd", "grub.cfg-C0A84D96", bootUUID + "/config", "a/../b", "%00"} {
		f.Add(seed)
	}
	root, err := os.OpenRoot(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	server := &files{settings: &settings{}, tftpRoot: root}
	f.Fuzz(func(t *testing.T, name string) {
		got := parsePath(name, defaultRoots)
		if strings.HasPrefix(got.path, "/") || strings.HasPrefix(got.path, "../") || strings.Contains(got.path, `\`) {
			t.Fatalf("%q leads to %q", name, got.path)
		}
		again := parsePath("/tftpboot//"+name, defaultRoots)
		if clean := cleanPath(name); !strings.HasPrefix(clean, "..") && again.kind != got.kind && cleanPath("/tftpboot//"+name) == "tftpboot/"+clean {
			t.Fatalf("%q is a %v, and with the root in front a %v", name, got.kind, again.kind)
		}
		if opened, err := server.open(ProtocolTFTP, name); err == nil && !server.served(filepath.Base(got.path)) {
			t.Fatalf("opened %q of an empty directory", name)
		} else if err == nil {
			opened.Close()
		}
	})
}

// askTFTP is what a TFTP client with a known address reads.
func askTFTP(t *testing.T, s *Server, name string) (string, error) {
	t.Helper()
	a, err := s.answer(context.Background(), question{protocol: ProtocolTFTP, path: name, peer: netip.MustParseAddr("192.0.2.7")})
	if err != nil {
		return "", err
	}
	defer a.file.Close()
	text, err := io.ReadAll(a.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

// TestWhoseConfiguration: the name decides on the language, the machine on the content.
func TestWhoseConfiguration(t *testing.T) {
	kernel := writeFile(t, "kernel")
	root := t.TempDir()
	for name, text := range map[string]string{"pxelinux.cfg/default": "operator's default", "pxelinux.cfg/01-52-54-00-77-00-01": "stale link", "tftpboot/inside": "inside"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := DefaultConfig()
	cfg.HTTPURL, cfg.TFTPRoot = "http://192.0.2.1:8080/base", root
	m := Machine{NodeUUID: bootUUID, Action: Ramdisk, Kernel: kernel, Ramdisk: "/r", Params: `quiet dyndbg="file x +p" it's`, Loader: LoaderPXE, BootMode: "bios"}
	uefi, disk, iso := m, m, m
	uefi.BootMode, uefi.NodeUUID = "uefi", otherUUID
	disk.Action, iso.Action = LocalDisk, BootISO
	ports := mapDirectory{bootMAC: m, "52:54:00:77:00:02": uefi, "52:54:00:77:00:03": disk, "52:54:00:77:00:04": iso,
		"52:54:00:77:00:05": {Action: Ramdisk, Kernel: kernel, Ramdisk: "/r", Loader: LoaderPXE},
		"52:54:00:77:00:06": {NodeUUID: bootUUID, Action: Ignore}}
	s, err := New(cfg, ports, nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, want string }{
		{"pxelinux.cfg/01-52-54-00-77-00-01", "append initrd=" + bootUUID + `/deploy_ramdisk quiet dyndbg="file x +p" it's` + "\n\tipappend 2"},
		{"pxelinux.cfg/52-54-00-77-00-01", "kernel " + bootUUID + "/deploy_kernel"},
		{"52:54:00:77:00:01.conf", "linux /" + bootUUID + `/deploy_kernel 'quiet' 'dyndbg=file x +p' 'it'\''s' BOOTIF=52:54:00:77:00:01; then`},
		{"grub.cfg-01-52-54-00-77-00-02", "initrd /" + otherUUID + "/deploy_ramdisk"},
		{"pxelinux.cfg/01-52-54-00-77-00-03", "localboot 0"},
		{"52-54-00-77-00-03.conf", "chainloader"},
		{"pxelinux.cfg/01-52-54-00-77-00-04", "initrd " + bootUUID + "/boot_iso"},
		{"pxelinux.cfg/01-52-54-00-77-00-05", "kernel 52-54-00-77-00-05/deploy_kernel"},
		{"52-54-00-77-00-05/deploy_kernel", "kernel"},
		{"pxelinux.cfg/default", "operator's default"},
		{"inside", "error: open"},
		{"tftpboot/inside", "inside"},
		{"grub/grub.cfg", `configfile "/grub.cfg-01-$net_default_mac"`},
		{"grub.cfg-01-52-54-00-77-00-04", "error: not fit for a boot script: GRUB boots no ISO image"},
		{"pxelinux.cfg/01-52-54-00-77-00-06", "error: the port 52:54:00:77:00:06 does not boot from the network"},
		{"pxelinux.cfg/01-52-54-00-77-00-99", "error: look up the port 52:54:00:77:00:99: no port has this MAC address"},
		{bootUUID + "/deploy_kernel", "error: " + bootUUID + "/deploy_kernel: 192.0.2.7 is not a known client"},
		{"absent.c32", "error: boot loader not found: \"absent.c32\" is in none of"},
	} {
		got, err := askTFTP(t, s, tt.name)
		if err != nil {
			got = "error: " + err.Error()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s; want %q", tt.name, got, tt.want)
		}
	}
	web, _ := offServer(t, ports, func(c *Config) { c.HTTPURL = cfg.HTTPURL })
	for path, want := range map[string]string{
		"/grub/grub.cfg":                     `configfile "/base/grub.cfg-01-$net_default_mac"`,
		"/grub.cfg-01-52-54-00-77-00-02":     "linux /base/" + otherUUID + "/deploy_kernel",
		"/pxelinux.cfg/01-52-54-00-77-00-01": "kernel " + bootUUID,
		"/pxelinux.cfg/52-54-00-77-00-01":    "#!ipxe",
	} {
		if _, body, _ := fetch(t, "GET", web.URL+path); !strings.Contains(body, want) {
			t.Errorf("%s: %s; want %q", path, body, want)
		}
	}
}
