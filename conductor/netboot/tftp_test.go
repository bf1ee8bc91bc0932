package netboot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pack.ag/tftp"
)

// startTFTP serves the files of dir on loopback, and returns the port.
func startTFTP(t *testing.T, dir string) int {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return startTFTPOf(t, root, func(netip.Addr, tftpRequest, int64, error) {})
}

func startTFTPOf(t *testing.T, root *os.Root, ended func(netip.Addr, tftpRequest, int64, error)) int {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	f := &files{settings: &settings{}, tftpRoot: root}
	server := &tftpServer{
		open: func(_ context.Context, _ netip.Addr, name string) (tftpFile, error) {
			file, err := f.open(ProtocolTFTP, name)
			if err != nil {
				return tftpFile{}, err
			}
			info, err := file.Stat()
			return tftpFile{ReaderAt: file, Closer: file, size: info.Size()}, err
		},
		done: ended, log: testLog(t),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		root.Close()
	})
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// testFiles holds files of sizes around the bounds of blocks.
func testFiles(t *testing.T) (dir string, contents map[string][]byte) {
	t.Helper()
	dir, contents = t.TempDir(), map[string][]byte{}
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 511, 512, 513, 1468 * 3, 300_000} {
		data := make([]byte, size)
		random.Read(data)
		name := strconv.Itoa(size)
		contents[name] = data
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, contents
}

// TestTFTPClients fetches with independent clients.
func TestTFTPClients(t *testing.T) {
	dir, contents := testFiles(t)
	port := strconv.Itoa(startTFTP(t, dir))
	clients := map[string]func(t *testing.T, name, to string) error{
		"curl": func(t *testing.T, name, to string) error {
			return exec.Command("curl", "-sS", "--max-time", "60", "-o", to, "tftp://127.0.0.1:"+port+"/"+name).Run()
		},
		"curl without options": func(t *testing.T, name, to string) error {
			return exec.Command("curl", "-sS", "--max-time", "60", "--tftp-no-options", "-o", to, "tftp://127.0.0.1:"+port+"/"+name).Run()
		},
		"atftp with a window": func(t *testing.T, name, to string) error {
			return exec.Command("atftp", "--option", "windowsize 16", "--option", "blksize 1428", "-g", "-r", name, "-l", to, "127.0.0.1", port).Run()
		},
		"atftp with small blocks": func(t *testing.T, name, to string) error {
			return exec.Command("atftp", "--option", "blksize 8", "-g", "-r", name, "-l", to, "127.0.0.1", port).Run()
		},
		"tftp-hpa": func(t *testing.T, name, to string) error {
			return exec.Command("tftp", "-m", "binary", "127.0.0.1", port, "-c", "get", name, to).Run()
		},
		"tftp-hpa in netascii mode": func(t *testing.T, name, to string) error {
			return exec.Command("tftp", "-m", "netascii", "127.0.0.1", port, "-c", "get", name, to).Run()
		},
		"pack.ag/tftp": func(t *testing.T, name, to string) error {
			client, err := tftp.NewClient(tftp.ClientBlocksize(1400), tftp.ClientWindowsize(8), tftp.ClientMode(tftp.ModeOctet))
			if err != nil {
				return err
			}
			resp, err := client.Get("tftp://127.0.0.1:" + port + "/" + name)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(resp)
			if err != nil {
				return err
			}
			return os.WriteFile(to, data, 0o644)
		},
	}
	for client, get := range clients {
		t.Run(client, func(t *testing.T) {
			program, _, _ := strings.Cut(client, " ")
			if program = strings.Replace(program, "-hpa", "", 1); program != "pack.ag/tftp" {
				if _, err := exec.LookPath(program); err != nil {
					missing(t, "program "+program)
				}
			}
			for name, want := range contents {
				if client == "curl" && len(want) == 0 {
					continue // curl takes a size option of 0 for an error
				}
				if strings.HasSuffix(client, "netascii mode") && len(want) > maxText {
					continue
				}
				to := filepath.Join(t.TempDir(), "got")
				if err := get(t, name, to); err != nil {
					t.Errorf("%s bytes: %v", name, err)
					continue
				}
				got, err := os.ReadFile(to)
				if err != nil && !(errors.Is(err, fs.ErrNotExist) && len(want) == 0) {
					t.Error(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s bytes: got %d others", name, len(got))
				}
			}
		})
	}
}

// tftpTalk is a client that sends and reads single packets.
type tftpTalk struct {
	*testing.T
	conn   *net.UDPConn
	server *net.UDPAddr
}

func newTalk(t *testing.T, port int) *tftpTalk {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &tftpTalk{t, conn, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}
}

func (c *tftpTalk) send(packet string, to *net.UDPAddr) {
	c.Helper()
	if _, err := c.conn.WriteToUDP([]byte(packet), to); err != nil {
		c.Fatal(err)
	}
}

func (c *tftpTalk) receive() (string, *net.UDPAddr) {
	c.Helper()
	c.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 2048)
	n, from, err := c.conn.ReadFromUDP(buf)
	if err != nil {
		c.Fatal(err)
	}
	return string(buf[:n]), from
}

func (c *tftpTalk) expect(want string) *net.UDPAddr {
	c.Helper()
	got, from := c.receive()
	if got != want {
		c.Fatalf("got packet %.60q; want %.60q", got, want)
	}
	return from
}

func TestTFTPAnswers(t *testing.T) {
	dir, _ := testFiles(t)
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	port := startTFTP(t, dir)
	for _, tc := range []struct{ name, packet, want string }{
		{"no such file", "\x00\x01absent\x00octet\x00", "\x00\x05\x00\x01file not found\x00"},
		{"out of the root", "\x00\x01../../../etc/hostname\x00octet\x00", "\x00\x05\x00\x01file not found\x00"},
		{"a link out of the root", "\x00\x01link\x00octet\x00", "\x00\x05\x00\x00the file cannot be read\x00"},
		{"a directory", "\x00\x01.\x00octet\x00", "\x00\x05\x00\x01file not found\x00"},
		{"a write", "\x00\x02new\x00octet\x00", "\x00\x05\x00\x02this server takes no files\x00"},
		{"mail mode", "\x00\x011\x00mail\x00", "\x00\x05\x00\x04only the modes octet and netascii are served\x00"},
		{"much in text mode", "\x00\x01300000\x00netascii\x00", "\x00\x05\x00\x04a file of this size is served in octet mode only\x00"},
		{"no NUL", "\x00\x01A", "\x00\x05\x00\x04malformed TFTP request\x00"},
		{"size of a file", "\x00\x01513\x00octet\x00tsize\x000\x00", "\x00\x06tsize\x00513\x00"},
		{"a file name ended by 0xff", "\x00\x01513\xff\x00octet\x00tsize\x000\x00", "\x00\x06tsize\x00513\x00"},
		{"absolute and backslash", "\x00\x01\\513\x00OCTET\x00tsize\x000\x00", "\x00\x06tsize\x00513\x00"},
		{"options out of bounds", "\x00\x01513\x00octet\x00blksize\x0065464\x00windowsize\x0065535\x00timeout\x000\x00fancy\x001\x00",
			"\x00\x06blksize\x001468\x00windowsize\x0064\x00"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			talk := newTalk(t, port)
			talk.send(tc.packet, talk.server)
			talk.expect(tc.want)
		})
	}
}

// A packet that gets lost is sent again, an old acknowledgement changes nothing,
// and a stranger cannot take part.
func TestTFTPLosses(t *testing.T) {
	dir, contents := testFiles(t)
	data := string(contents["513"])
	talk := newTalk(t, startTFTP(t, dir))
	talk.send("\x00\x01513\x00octet\x00", talk.server)
	first := "\x00\x03\x00\x01" + data[:512]
	from := talk.expect(first)
	talk.expect(first) // repeated after the time limit
	newTalk(t, from.Port).send("\x00\x04\x00\x01", from)
	talk.send("\x00\x04\x00\x00", from)
	talk.send("\x00\x04", from)
	talk.send("\x00\x04\x00\x01", from)
	talk.expect("\x00\x03\x00\x02" + data[512:])
	talk.send("\x00\x04\x00\x01", from) // duplicate: block 2 only comes again by the time limit
	talk.expect("\x00\x03\x00\x02" + data[512:])
	talk.send("\x00\x04\x00\x02", from)
}

func FuzzTFTPRequest(f *testing.F) {
	for _, seed := range []string{"", "\x00\x01A", "\x00\x01a\x00octet\x00", "\x00\x01a\x00octet\x00blksize\x001428\x00tsize\x000\x00",
		"\x00\x01a\x00octet\x00windowsize\x0065535\x00blksize\x0065464\x00timeout\x00255\x00", "\x00\x02a\x00octet\x00", "\x00\x04\x00\x01"} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	files := &files{settings: &settings{}, tftpRoot: root}
	f.Fuzz(func(t *testing.T, packet []byte) {
		req, err := parseTFTP(packet)
		if err != nil {
			if len(tftpError(err)) > 128 {
				t.Fatalf("long error for %q", packet)
			}
			return
		}
		if req.blockSize < minBlock || req.blockSize > maxBlock || req.window < 1 || req.window > maxWindow ||
			req.timeout < time.Second || req.timeout > 30*time.Second {
			t.Fatalf("out of bounds: %+v", req)
		}
		if ack := req.accepted(1); len(ack) > 128 {
			t.Fatalf("acknowledgement of %d bytes", len(ack))
		}
		if _, err := files.open(ProtocolTFTP, req.name); err == nil {
			t.Fatalf("opened %q of an empty directory", req.name)
		}
	})
}
