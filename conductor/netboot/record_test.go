package netboot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// recordTo names the variable with the directory in which the firmware tests write
// down what the machines' firmware sends, for testdata/recorded.
const recordTo = "NETBOOT_RECORD"

// record writes the DHCP packets of clients that cross the bridge to a file named
// after the test, a line each: protocol, source, payload. Repetitions are left out.
func record(t *testing.T) {
	t.Helper()
	dir := os.Getenv(recordTo)
	if dir == "" {
		return
	}
	ifi, err := net.InterfaceByName(bridge)
	if err != nil {
		t.Fatal(err)
	}
	all := uint16(unix.ETH_P_ALL)
	proto := all<<8 | all>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(proto))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: ifi.Index}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, strings.TrimPrefix(t.Name(), "Test")+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(file, "# What the firmware of %s sent, recorded on the test's own bridge.\n", t.Name())
	t.Cleanup(func() { unix.Close(fd) })
	go func() {
		defer file.Close()
		seen := make(map[string]bool)
		buf := make([]byte, 2048)
		for {
			n, _, err := unix.Recvfrom(fd, buf, 0)
			if err != nil {
				return
			}
			if line := clientPacket(buf[:n]); line != "" && !seen[line] {
				seen[line] = true
				fmt.Fprintln(file, line)
			}
		}
	}()
}

// clientPacket is the line of a frame, empty unless a DHCP client sent it to a server.
func clientPacket(frame []byte) string {
	if len(frame) < 14+20+8 {
		return ""
	}
	udp, from := []byte(nil), net.IP(nil)
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		if head := 14 + int(frame[14]&15)*4; frame[23] == unix.IPPROTO_UDP && len(frame) > head+8 {
			udp, from = frame[head:], net.IP(frame[26:30])
		}
	case unix.ETH_P_IPV6:
		if frame[20] == unix.IPPROTO_UDP && len(frame) > 14+40+8 {
			udp, from = frame[14+40:], net.IP(frame[22:38])
		}
	}
	if udp == nil {
		return ""
	}
	port, length := binary.BigEndian.Uint16(udp[2:]), int(binary.BigEndian.Uint16(udp[4:]))
	if port != portDHCP && port != portProxy && port != portServer6 || length < 8 || length > len(udp) {
		return ""
	}
	payload := udp[8:length]
	if port != portServer6 { // the padding of BOOTP says nothing
		payload = bytes.TrimRight(payload, "\x00")
	}
	return fmt.Sprintf("%d %s %s", port, from, hex.EncodeToString(payload))
}
