package netboot

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// stock makes a directory of files that hold their own names.
func stock(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWhichLoader: operators' files go before the distribution's, signed ones before others.
func TestWhichLoader(t *testing.T) {
	signed := stock(t, "shimx64.efi", "shimx64.efi.signed", "grubnetx64.efi.signed", "pxelinux.0", "ldlinux.c32", "vmlinuz")
	mine := stock(t, "bootx64.efi")
	for _, tt := range []struct {
		name   string
		change func(*Config)
		asked  string
		want   string
	}{
		{"shim", nil, "bootx64.efi", "shimx64.efi.signed"},
		{"shim by its name", nil, "shimx64.efi", "shimx64.efi.signed"},
		{"what shim asks for", nil, "EFI/BOOT/grubx64.efi", "grubnetx64.efi.signed"},
		{"pxelinux", nil, "/tftpboot/pxelinux.0", "pxelinux.0"},
		{"module of pxelinux", nil, "ldlinux.c32", "ldlinux.c32"},
		{"tftp_root", func(c *Config) { c.TFTPRoot = mine }, "bootx64.efi", "bootx64.efi"},
		{"loader_file_paths", func(c *Config) {
			c.TFTPRoot, c.LoaderFilePaths = mine, map[string]string{"bootx64.efi": filepath.Join(signed, "pxelinux.0")}
		}, "bootx64.efi", "pxelinux.0"},
		{"no shim", func(c *Config) { c.LoaderDirs = []string{stock(t, "grubnetx64.efi.signed")} }, "bootx64.efi", "grubnetx64.efi.signed"},
		{"another file of the directory", nil, "vmlinuz", "error: open"},
		{"none", func(c *Config) { c.LoaderDirs = []string{mine} }, "pxelinux.0", "error: boot loader not found: \"pxelinux.0\" is in none of " + mine + ": install the package pxelinux and syslinux-common"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.HTTPURL, cfg.LoaderDirs = testBase, []string{signed}
			if tt.change != nil {
				tt.change(&cfg)
			}
			s, err := New(cfg, mapDirectory{}, nil, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			got, err := askTFTP(t, s, tt.asked)
			if err != nil {
				got = "error: " + err.Error()
			}
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s: %s; want %s", tt.asked, got, tt.want)
			}
		})
	}
}

// TestFirstFile: the boot interface, the firmware and the node decide on what is loaded first.
func TestFirstFile(t *testing.T) {
	cfg := DefaultConfig()
	cfg.PXEBootfileNameByArch = map[string]string{"aarch64": "bootaa64.efi"}
	s := &settings{Config: cfg}
	bios, uefi, arm := arch{"x86_64", "bios"}, arch{"x86_64", "uefi"}, arch{"aarch64", "uefi"}
	for _, tt := range []struct {
		client client
		m      Machine
		want   string
	}{
		{client{pxe: true, arch: bios}, Machine{}, "undionly.kpxe"},
		{client{pxe: true, arch: uefi}, Machine{}, "snponly.efi"},
		{client{pxe: true, http: true, arch: uefi}, Machine{}, "http snponly.efi"},
		{client{pxe: true, ipxe: true, arch: bios}, Machine{}, "http boot.ipxe"},
		{client{pxe: true, arch: bios}, Machine{Loader: LoaderPXE}, "pxelinux.0"},
		{client{pxe: true, ipxe: true, arch: bios}, Machine{Loader: LoaderPXE}, "pxelinux.0"},
		{client{pxe: true, arch: uefi}, Machine{Loader: LoaderPXE}, "bootx64.efi"},
		{client{pxe: true, arch: uefi}, Machine{Loader: LoaderPXE, SecureBoot: true}, "shimx64.efi"},
		{client{pxe: true, arch: uefi}, Machine{Loader: LoaderPXE, Bootloader: "mine.efi"}, "mine.efi"},
		{client{pxe: true, arch: arm}, Machine{Loader: LoaderPXE}, "bootaa64.efi"},
		{client{pxe: true, arch: arm}, Machine{}, "no boot loader is configured for aarch64-uefi clients: set [pxe]ipxe_bootfile_name_by_arch"},
		{client{http: true, arch: uefi}, Machine{Loader: LoaderHTTP}, "http bootx64.efi"},
		{client{http: true, arch: uefi}, Machine{Loader: LoaderHTTPIPXE}, "http snponly.efi"},
		{client{pxe: true, ipxe: true, arch: uefi}, Machine{Loader: LoaderHTTPIPXE}, "http boot.ipxe"},
		{client{pxe: true, ipxe: true, arch: uefi}, Machine{Loader: LoaderHTTP}, "http bootx64.efi"},
		{client{pxe: true, arch: uefi}, Machine{Loader: LoaderHTTP}, "not offered: the boot interface of the node is http"},
	} {
		name, byHTTP, err := s.firstFile(tt.client, tt.m)
		got := name
		if byHTTP {
			got = "http " + name
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%v, %s: %s; want %s", tt.client, tt.m.Loader, got, tt.want)
		}
	}
}

func TestCheckLoader(t *testing.T) {
	all := stock(t, "undionly.kpxe", "snponly.efi", "pxelinux.0", "ldlinux.c32", "shimx64.efi.signed", "grubnetx64.efi.signed")
	for _, tt := range []struct {
		dir  string
		m    Machine
		want string
	}{
		{all, Machine{}, ""},
		{all, Machine{Loader: LoaderPXE, BootMode: "bios"}, ""},
		{all, Machine{Loader: LoaderPXE, BootMode: "uefi", SecureBoot: true}, ""},
		{stock(t, "pxelinux.0"), Machine{Loader: LoaderPXE, BootMode: "bios"}, `"ldlinux.c32" is in none of`},
		{stock(t, "shimx64.efi.signed"), Machine{Loader: LoaderPXE}, "install the package grub-efi-amd64-signed"},
		{stock(t), Machine{Loader: LoaderPXE}, "install the package shim-signed and grub-efi-amd64-signed"},
		{all, Machine{Loader: LoaderHTTP, SecureBoot: true}, "has no HTTP"},
	} {
		cfg := DefaultConfig()
		cfg.DHCP, cfg.LoaderDirs = DHCPFull, []string{tt.dir}
		s := &Server{settings: &settings{Config: cfg}}
		err := s.CheckLoader(tt.m, "x86_64")
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrLoaderMissing) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v; want %q", tt.m, err, tt.want)
		}
		s.DHCP = DHCPOff // then it is another's
		if err := s.CheckLoader(tt.m, "x86_64"); err != nil {
			t.Errorf("without DHCP of ours: %v", err)
		}
	}
}

// TestGRUBForHTTP: where the signed GRUB has no HTTP, one that has is made.
func TestGRUBForHTTP(t *testing.T) {
	if _, err := grubMaker("x86_64-efi"); err != nil {
		missing(t, err.Error())
	}
	web, _ := offServer(t, mapDirectory{}, func(c *Config) { c.LoaderDirs = []string{stock(t, "shimx64.efi.signed", "grubnetx64.efi.signed")} })
	code, body, _ := fetch(t, "GET", web.URL+"/bootx64.efi")
	if code != 200 || !strings.HasPrefix(body, "MZ") || !strings.Contains(body, " HTTP/1.1\r\n") || !strings.Contains(body, grubStart) {
		t.Errorf("%d, %d bytes", code, len(body))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "grubnetx64.efi.signed"), []byte("signed, GET / HTTP/1.1\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	web, _ = offServer(t, mapDirectory{}, func(c *Config) { c.LoaderDirs = []string{dir} })
	if _, body, _ := fetch(t, "GET", web.URL+"/grubx64.efi"); !strings.HasPrefix(body, "signed") {
		t.Errorf("%d bytes in place of a signed GRUB that has HTTP", len(body))
	}
}

// TestDownloads: what is fetched for boot loaders without HTTP is kept, is
// fetched anew when it has changed, and served from here when its server is down.
func TestDownloads(t *testing.T) {
	var fetched atomic.Int32
	var version, status atomic.Value
	version.Store("one")
	status.Store(http.StatusOK)
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := status.Load().(int); code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
		w.Header().Set("ETag", `"`+version.Load().(string)+`"`)
		if r.Method == http.MethodGet {
			fetched.Add(1)
		}
		fmt.Fprint(w, version.Load())
	}))
	defer source.Close()
	m := Machine{NodeUUID: bootUUID, Action: Ramdisk, Kernel: source.URL + "/kernel", Ramdisk: "/r", Loader: LoaderPXE}
	cfg := DefaultConfig()
	cfg.HTTPURL = testBase
	s, err := New(cfg, mapDirectory{bootMAC: m}, nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.downloads.close()
	ask := func() (string, error) {
		f, err := s.machineFile(t.Context(), m, m.Kernel)
		if err != nil {
			return "", err
		}
		defer f.Close()
		text, err := io.ReadAll(f)
		return string(text), err
	}
	for _, tt := range []struct {
		version string
		status  int
		want    string
		fetched int32
	}{
		{"one", 404, "error", 0},
		{"one", 200, "one", 1},
		{"one", 200, "one", 1},
		{"two", 200, "two", 2},
		{"two", 503, "two", 2},
		{"two", 404, "error", 2},
		{"two", 200, "two", 3},
	} {
		version.Store(tt.version)
		status.Store(tt.status)
		got, err := ask()
		if err != nil {
			got = "error"
		}
		if got != tt.want || fetched.Load() != tt.fetched {
			t.Errorf("%+v: %q (%v), fetched %d times", tt, got, err, fetched.Load())
		}
	}
	for i := range 2 * downloadsKept {
		f, err := s.downloads.open(t.Context(), fmt.Sprintf("%s/%d", source.URL, i))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		kept, err := os.ReadDir(s.downloads.dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) <= downloadsKept {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files are kept; want at most %d", len(kept), downloadsKept)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestHTTPSightings: what was asked for by HTTP is recorded, answered or not.
func TestHTTPSightings(t *testing.T) {
	cfg := DefaultConfig()
	cfg.HTTPURL = testBase
	s, err := New(cfg, mapDirectory{bootMAC: {NodeUUID: bootUUID, Action: Ramdisk, Kernel: "/absent", Ramdisk: "/r"}}, nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.HTTPHandler())
	defer web.Close()
	fetch(t, "GET", web.URL+"/pxelinux.cfg/52-54-00-77-00-01")
	fetch(t, "GET", web.URL+"/"+bootUUID+"/deploy_kernel?mac=52-54-00-77-00-01")
	seen := s.sightings.Of(bootMAC)
	if len(seen) != 2 || seen[0].Answer == "" || !strings.Contains(seen[1].Reason, "/absent") || seen[1].NodeUUID != bootUUID || seen[1].IP != "127.0.0.1" || seen[1].Protocol != ProtocolHTTP {
		t.Errorf("seen: %+v", seen)
	}
}
