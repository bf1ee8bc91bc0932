package netboot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// offServer is a server without DHCP, on loopback, with its HTTP service and events.
func offServer(t *testing.T, dir Directory, change func(*Config)) (*httptest.Server, *eventLog) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.HTTPURL = testBase
	if change != nil {
		change(&cfg)
	}
	events := &eventLog{}
	s, err := New(cfg, dir, events.add, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.HTTPHandler())
	t.Cleanup(web.Close)
	return web, events
}

func fetch(t *testing.T, method, url string, header ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func writeFile(t *testing.T, data string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

const otherUUID = "0d1f3c52-30d8-4d3c-9b0e-1f7a5f0c0a03"

func TestHTTP(t *testing.T) {
	kernel, root := strings.Repeat("kernel", 1<<20), t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "disk.img"), []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	secret := writeFile(t, "secret")
	if err := os.Symlink(secret, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	mac := testMAC.String()
	dir := mapDirectory{
		mac:                 {NodeUUID: bootUUID, Action: Ramdisk, Kernel: writeFile(t, kernel), Ramdisk: "file://" + writeFile(t, "ramdisk"), Params: "quiet"},
		"52:54:00:77:00:02": {NodeUUID: bootUUID, Action: Ignore},
		"52:54:00:77:00:03": {NodeUUID: otherUUID, Action: Ramdisk, Kernel: "/absent/kernel", Ramdisk: "relative"},
	}
	web, events := offServer(t, dir, func(c *Config) { c.HTTPRoot = root })
	node := "/" + bootUUID
	for _, tc := range []struct {
		name, path string
		header     []string
		code       int
		body       string // a part of it
	}{
		{"first stage", "/boot.ipxe", nil, 200, "chain --replace --autofree pxelinux.cfg/${mac:hexhyp}"},
		{"script", "/pxelinux.cfg/52-54-00-77-00-01", nil, 200, testBase + node + "/deploy_kernel?mac=52-54-00-77-00-01 quiet BOOTIF=${mac} initrd=deploy_ramdisk"},
		{"script, pxelinux's name", "/pxelinux.cfg/01-52-54-00-77-00-01", nil, 200, "#!ipxe"},
		{"script of an unknown port", "/pxelinux.cfg/52-54-00-77-00-99", nil, 404, "no port has this MAC address"},
		{"script of an ignored port", "/pxelinux.cfg/52-54-00-77-00-02", nil, 404, "does not boot from the network"},
		{"script of no address", "/pxelinux.cfg/default", nil, 404, "not a known client"},
		{"kernel", node + "/deploy_kernel?mac=52-54-00-77-00-01", nil, 200, kernel},
		{"ramdisk", node + "/deploy_ramdisk?mac=52:54:00:77:00:01", nil, 200, "ramdisk"},
		{"kernel without address", node + "/deploy_kernel", nil, 404, "give ?mac="},
		{"kernel of another node", "/" + otherUUID + "/deploy_kernel?mac=52-54-00-77-00-01", nil, 404, "is no port of node " + otherUUID},
		{"absent kernel", "/" + otherUUID + "/deploy_kernel?mac=52-54-00-77-00-03", nil, 404, "/absent/kernel"},
		{"relative ramdisk", "/" + otherUUID + "/deploy_ramdisk?mac=52-54-00-77-00-03", nil, 500, "neither an absolute path nor"},
		{"image", "/disk.img", nil, 200, "0123456789"},
		{"part of an image", "/disk.img", []string{"Range", "bytes=2-4"}, 206, "234"},
		{"part behind the end", "/disk.img", []string{"Range", "bytes=20-"}, 416, ""},
		{"part of a changed image", "/disk.img", []string{"Range", "bytes=2-4", "If-Range", `"old"`}, 200, "0123456789"},
		{"link out of the root", "/link", nil, 403, "escapes"},
		{"file in a file", "/disk.img/x", nil, 404, "not a directory"},
		{"NUL in a name", "/disk.img%00.txt", nil, 404, "invalid"},
		{"a name that is too long", "/" + strings.Repeat("x", 300), nil, 404, "too long"},
		{"dots in hexadecimal", "/%2e%2e/%2E%2e/etc/hostname", nil, 404, "no such file"},
		{"dots in hexadecimal twice", "/%252e%252e/etc/hostname", nil, 404, "no such file"},
		{"backslashes", "/..%5c..%5Cetc%5chostname", nil, 404, "no such file"},
		{"machine of an address without punctuation", node + "/deploy_ramdisk?mac=525400770001", nil, 200, "ramdisk"},
		{"machine of an address with dots", node + "/deploy_ramdisk?mac=5254.0077.0001", nil, 200, "ramdisk"},
		{"pipe", "/pipe", nil, 404, "not a file"},
		{"directory", "/", nil, 404, "not exist"},
		{"path out of the root", "/..%2f..%2fetc/hostname", nil, 404, "no such file"},
	} {
		code, body, _ := fetch(t, "GET", web.URL+tc.path, tc.header...)
		if code != tc.code || !strings.Contains(body, tc.body) {
			t.Errorf("%s: %d %.200q; want %d and %.100q", tc.name, code, body, tc.code, tc.body)
		}
	}
	want := []string{EventScript, EventScript, EventKernel, EventKernelSent, EventRamdisk, EventRamdiskSent, EventError, EventError,
		EventRamdisk, EventRamdiskSent, EventRamdisk, EventRamdiskSent}
	if got := events.kinds(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("events %v; want %v", got, want)
	}
	if code, _, header := fetch(t, "HEAD", web.URL+"/disk.img"); code != 200 || header.Get("Content-Length") != "10" || header.Get("ETag") == "" || header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("HEAD: %d %v", code, header)
	}
	if code, _, _ := fetch(t, "POST", web.URL+"/disk.img"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d; want 405", code)
	}
}

// Only the part that ends the file counts as sent; a broken connection does not.
func TestSentEvents(t *testing.T) {
	data := strings.Repeat("x", 64<<20)
	dir := mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ramdisk, Kernel: writeFile(t, "0123456789"), Ramdisk: writeFile(t, data)}}
	web, events := offServer(t, dir, nil)
	file := web.URL + "/" + bootUUID + "/deploy_kernel?mac=52-54-00-77-00-01"
	fetch(t, "HEAD", file)
	fetch(t, "GET", file, "Range", "bytes=0-4")
	if events.has(EventKernelSent) {
		t.Error("half a kernel is reported as sent")
	}
	fetch(t, "GET", file, "Range", "bytes=5-")
	if !events.has(EventKernelSent) {
		t.Error("the second half of the kernel is not reported")
	}
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", web.URL+"/"+bootUUID+"/deploy_ramdisk?mac=52-54-00-77-00-01", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	cancel()
	resp.Body.Close()
	web.Close() // waits for the handler
	if events.has(EventRamdiskSent) {
		t.Error("a ramdisk whose connection broke is reported as sent")
	}
}

func TestConfigErrors(t *testing.T) {
	full := func(change func(*Config)) Config {
		cfg := DefaultConfig()
		cfg.Interface, cfg.DHCP, cfg.RangeBegin, cfg.RangeEnd = "lo", DHCPFull, "127.0.0.10", "127.0.0.20"
		change(&cfg)
		return cfg
	}
	for _, tc := range []struct {
		cfg  Config
		want string
		kind error
	}{
		{full(func(c *Config) { c.DHCP = "on" }), "[netboot]dhcp is \"on\"", ErrConfig},
		{full(func(c *Config) { c.Interface = "" }), "needs [netboot]interface", ErrConfig},
		{full(func(c *Config) { c.Interface = "none0" }), "\"none0\"", ErrConfig},
		{full(func(c *Config) { c.RangeEnd = "127.0.0.1" }), "is before range_begin", ErrConfig},
		{full(func(c *Config) { c.RangeEnd = "128.0.0.1" }), "not inside the network 127.0.0.0/8", ErrConfig},
		{full(func(c *Config) { c.RangeEnd = "127.200.0.1" }), "more than 65536", ErrConfig},
		{full(func(c *Config) { c.RangeBegin = "" }), "[netboot]range_begin", ErrConfig},
		{full(func(c *Config) { c.Netmask = "255.0.255.0" }), "[netboot]netmask", ErrConfig},
		{full(func(c *Config) { c.Router = "gw" }), "[netboot]router", ErrConfig},
		{full(func(c *Config) { c.DNSServers = []string{"dns.example.org"} }), "[netboot]dns_servers", ErrConfig},
		{full(func(c *Config) { c.LeaseTime = time.Second }), "[netboot]lease_time", ErrConfig},
		{full(func(c *Config) { c.TFTPPort = 70000 }), "[netboot]tftp_port", ErrConfig},
		{full(func(c *Config) { c.LeaseTime = 200 * 365 * 24 * time.Hour }), "[netboot]lease_time", ErrConfig},
		{full(func(c *Config) { c.HTTPListen = "8080" }), "[netboot]http_listen", ErrConfig},
		{full(func(c *Config) { c.HTTPListen = ":99999" }), "[netboot]http_listen", ErrConfig},
		{full(func(c *Config) { c.DHCP, c.AnswerUnknown = DHCPProxy, true }), "[netboot]answer_unknown", ErrConfig},
		{full(func(c *Config) { c.LoaderFilePaths = map[string]string{"bootx64.efi": "/absent"} }), "[pxe]loader_file_paths", ErrConfig},
		{full(func(c *Config) { c.HTTPURL = "http://x/?a=b" }), "[deploy]http_url", ErrConfig},
		{full(func(c *Config) { c.HTTPURL = "http://fd00::1:8080" }), "[deploy]http_url", ErrConfig},
		{full(func(c *Config) { c.HTTPURL = "ftp://x" }), "[deploy]http_url", ErrConfig},
		{full(func(c *Config) { c.HTTPRoot = "/absent" }), "[deploy]http_root", ErrConfig},
		{full(func(c *Config) { c.LoaderDirs = []string{"/absent"} }), "is in none of /absent: install the package ipxe", ErrLoaderMissing},
		{full(func(c *Config) { c.IPXEBootfileName = "../x" }), "plain file name", ErrConfig},
		{full(func(c *Config) { c.IPXEFallbackScript = "a\nb" }), "[pxe]ipxe_fallback_script", ErrConfig},
		{DefaultConfig(), "give [deploy]http_url", ErrConfig},
	} {
		_, err := New(tc.cfg, mapDirectory{}, nil, testLog(t))
		if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got error %v; want %v with %q", err, tc.kind, tc.want)
		}
	}
}

func TestNeighbour(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
192.168.77.155   0x1         0x2         52:54:00:77:00:01     *        br0
192.168.77.156   0x1         0x0         00:00:00:00:00:00     *        br0
`
	for addr, want := range map[string]string{"192.168.77.155": "52:54:00:77:00:01", "192.168.77.156": "", "192.168.77.15": ""} {
		if got := neighbour(table, netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %q; want %q", addr, got, want)
		}
	}
}

// A port that is taken is named together with the option to change.
func TestListenErrors(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	_, udpPort, _ := net.SplitHostPort(udp.LocalAddr().String())
	for _, tc := range []struct {
		change func(*Config)
		want   []string
	}{
		{func(c *Config) { c.HTTPListen, c.TFTPPort = tcp.Addr().String(), 0 }, []string{tcp.Addr().String(), "change [netboot]http_listen"}},
		{func(c *Config) { c.TFTPServer, c.TFTPPort = "127.0.0.1", mustAtoi(udpPort) }, []string{udp.LocalAddr().String(), "change [netboot]tftp_port"}},
		{func(c *Config) { c.TFTPServer = "192.0.2.1" }, []string{"192.0.2.1:69", "correct [pxe]tftp_server"}},
	} {
		cfg := DefaultConfig()
		cfg.HTTPURL = testBase
		tc.change(&cfg)
		s, err := New(cfg, mapDirectory{}, nil, testLog(t))
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(context.Background())
		if !errors.Is(err, ErrListen) {
			t.Errorf("got error %v; want ErrListen", err)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
	}
}

func mustAtoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// A second full DHCP service on one host is refused with the cure.
func TestDHCPPortTaken(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	setUpNetwork(t)
	startServer(t, fullConfig(), mapDirectory{})
	waitFor(t, "the first server", func() bool {
		data, err := os.ReadFile("/proc/net/udp")
		return err == nil && bytes.Contains(data, []byte("00000000:0043"))
	})
	cfg := fullConfig()
	second, err := New(cfg, mapDirectory{}, nil, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(context.Background()); !errors.Is(err, ErrListen) || !strings.Contains(err.Error(), "[netboot]dhcp = proxy") {
		t.Errorf("got error %v; want ErrListen with the cure", err)
	}
}

func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
