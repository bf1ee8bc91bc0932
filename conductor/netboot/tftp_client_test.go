package netboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTFTPText: lines end as netascii has them, and the size is that of what is sent.
func TestTFTPText(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("a\nb\rc\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	talk := newTalk(t, startTFTP(t, dir))
	talk.send("\x00\x01text\x00NetASCII\x00tsize\x000\x00", talk.server)
	from := talk.expect("\x00\x06tsize\x0011\x00")
	talk.send("\x00\x04\x00\x00", from)
	talk.expect("\x00\x03\x00\x01a\r\nb\r\x00c\r\x00\r\n")
	talk.send("\x00\x04\x00\x01", from)
}

// TestTFTPFileShrinks: the client of a file that has become shorter is not left
// with the belief that it has all of it; what has been added is not sent.
func TestTFTPFileShrinks(t *testing.T) {
	dir, contents := testFiles(t)
	data, port := string(contents["300000"][:512]), startTFTP(t, dir)
	for size, second := range map[int64]string{700: "\x00\x05\x00\x00the file cannot be read\x00", 1 << 20: "\x00\x03\x00\x02" + string(contents["300000"][512:1024])} {
		name := filepath.Join(dir, fmt.Sprint("to", size))
		if err := os.WriteFile(name, contents["300000"], 0o644); err != nil {
			t.Fatal(err)
		}
		talk := newTalk(t, port)
		talk.send("\x00\x01"+filepath.Base(name)+"\x00octet\x00", talk.server)
		from := talk.expect("\x00\x03\x00\x01" + data)
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		talk.send("\x00\x04\x00\x01", from)
		talk.expect(second)
		talk.send("\x00\x05\x00\x00\x00", from)
	}
}

// TestTFTPBeginsAnew: a client may ask for another file from the same port without
// an end of the first. A repeated
// request disturbs nothing.
func TestTFTPBeginsAnew(t *testing.T) {
	dir, contents := testFiles(t)
	talk := newTalk(t, startTFTP(t, dir))
	request, first := "\x00\x01300000\x00octet\x00", "\x00\x03\x00\x01"+string(contents["300000"][:512])
	second := "\x00\x03\x00\x02" + string(contents["300000"][512:1024])
	talk.send(request, talk.server)
	from := talk.expect(first)
	talk.send("\x00\x04\x00\x01", from)
	talk.expect(second)
	talk.send(request, talk.server) // a duplicate that was late
	talk.send("\x00\x04\x00\x02", from)
	if got, again := talk.receive(); again.Port != from.Port || got[:4] != "\x00\x03\x00\x03" {
		t.Fatalf("after a duplicate request: %.4q from port %d; want block 3 from port %d", got, again.Port, from.Port)
	}
	talk.send("\x00\x015"+"13\x00octet\x00tsize\x000\x00", talk.server)
	for got, _ := talk.receive(); got != "\x00\x06tsize\x00513\x00"; got, _ = talk.receive() {
		if got[1] != 3 {
			t.Fatalf("got %.20q; want the other file's size", got)
		}
	}
}

// TestTFTPLastAcknowledgementLost: a client that closes its port once it has
// everything, without an acknowledgement, was served.
func TestTFTPLastAcknowledgementLost(t *testing.T) {
	dir, _ := testFiles(t)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ended := make(chan error, 1)
	talk := newTalk(t, startTFTPOf(t, root, func(_ netip.Addr, _ tftpRequest, _ int64, err error) { ended <- err }))
	talk.send("\x00\x01511\x00octet\x00", talk.server)
	talk.receive()
	talk.conn.Close()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the transfer ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the transfer did not end")
	}
}

// TestTFTPCrowd: a hundred clients with windows, each of which loses its first
// packet, have their file.
func TestTFTPCrowd(t *testing.T) {
	dir, contents := testFiles(t)
	port := startTFTP(t, dir)
	var crowd sync.WaitGroup
	for i := range 100 {
		crowd.Go(func() {
			block, window := 700+i, 1+i%16
			got, err := fetchTFTP(port, fmt.Sprintf("\x00\x01300000\x00octet\x00blksize\x00%d\x00windowsize\x00%d\x00", block, window), block, window)
			if err != nil || !bytes.Equal(got, contents["300000"]) {
				t.Errorf("client %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	crowd.Wait()
}

// fetchTFTP is a client that loses the first answer.
func fetchTFTP(port int, request string, block, window int) ([]byte, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.WriteToUDP([]byte(request), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
		return nil, err
	}
	var got []byte
	last, lost := uint16(0), false
	buf := make([]byte, 2048)
	for {
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, from, err := conn.ReadFromUDP(buf)
		if err != nil {
			return got, err
		}
		if !lost {
			lost = true
			continue
		}
		number := binary.BigEndian.Uint16(buf[2:])
		switch buf[1] {
		case opOptionsAck:
			if !strings.Contains(string(buf[2:n]), "windowsize") {
				return nil, fmt.Errorf("options %q", buf[2:n])
			}
			number = 0
		case opData:
			if number != last+1 {
				continue
			}
			last = number
			got = append(got, buf[4:n]...)
		default:
			return got, fmt.Errorf("got %.40q", buf[:n])
		}
		end := n-4 < block && buf[1] == opData
		if end || int(number)%window == 0 {
			if _, err := conn.WriteToUDP(binary.BigEndian.AppendUint16([]byte{0, opAck}, number), from); err != nil {
				return got, err
			}
		}
		if end {
			return got, nil
		}
	}
}

// TestTFTPRepeatedRequest: the same request is a repetition, unless its client had
// something already and fell silent; then it was reset and begins anew.
func TestTFTPRepeatedRequest(t *testing.T) {
	var server tftpServer
	peer := netip.MustParseAddrPort("192.0.2.7:2070")
	stopped := false
	old := &transfer{request: "a", stop: func() { stopped = true }}
	if !server.begin(peer, old) || server.begin(peer, &transfer{request: "a"}) {
		t.Fatal("a request is taken up once")
	}
	old.acked.Store(time.Now().UnixNano())
	if server.begin(peer, &transfer{request: "a"}) {
		t.Error("a late duplicate is taken for a new request")
	}
	old.acked.Store(time.Now().Add(-2 * tftpIdle).UnixNano())
	next := &transfer{request: "a", stop: func() {}}
	if !server.begin(peer, next) || !stopped {
		t.Error("a client that was reset is not served")
	}
	server.end(peer, old)
	if server.active[peer] != next {
		t.Error("the end of the first transfer ended the second")
	}
	for i := range uint16(maxPerClient) {
		server.begin(netip.AddrPortFrom(peer.Addr(), 10_000+i), next)
	}
	if len(server.active) != maxPerClient {
		t.Errorf("%d transfers to one address; want %d", len(server.active), maxPerClient)
	}
	if !server.begin(netip.MustParseAddrPort("192.0.2.8:2070"), next) {
		t.Error("another client has no place")
	}
}

// TestTFTPStops: a transfer whose file is still being fetched does not keep the server from stopping.
func TestTFTPStops(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	opening := make(chan struct{})
	server := &tftpServer{
		open: func(ctx context.Context, _ netip.Addr, _ string) (tftpFile, error) {
			close(opening)
			<-ctx.Done()
			return tftpFile{}, ctx.Err()
		},
		done: func(netip.Addr, tftpRequest, int64, error) {}, log: testLog(t),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- server.serve(ctx, conn) }()
	talk := newTalk(t, conn.LocalAddr().(*net.UDPAddr).Port)
	talk.send("\x00\x01a\x00octet\x00", talk.server)
	<-opening
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the server did not stop")
	}
}
