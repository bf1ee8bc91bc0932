package conversation_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferric/integration/conversation"
	"ferric/integration/lab"
)

// serveTime answers NTP (RFC 4330) in the site until the test ends.
func serveTime(t *testing.T, port int) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		const size, unixEpoch = 48, 2208988800
		for {
			packet := make([]byte, size)
			n, from, err := conn.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			if n < size {
				continue
			}
			now := time.Now()
			stamp := uint64(now.Unix()+unixEpoch)<<32 | uint64(now.Nanosecond())<<32/1e9
			copy(packet[24:32], packet[40:48])
			packet[0], packet[1] = 4<<3|4, 1 // version 4, server, stratum 1
			binary.BigEndian.PutUint64(packet[32:], stamp)
			binary.BigEndian.PutUint64(packet[40:], stamp)
			conn.WriteToUDPAddrPort(packet, from)
		}
	}()
}

// volume makes a file system of the files with a program.
func volume(t *testing.T, files map[string]string, program string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
}

// virtualMedia boots a machine whose clock is years behind and that is told
// nothing but to look at its virtual media: a CD has the authority of the API,
// a USB stick where the API and the time are.
func virtualMedia(t *testing.T) {
	const timePort = 1123
	ramdiskDir(t) // before anything is made
	ca, err := conversation.NewAuthority()
	must(t, err)
	dir := t.TempDir()
	cd, stick := filepath.Join(dir, "cd.iso"), filepath.Join(dir, "stick.img")
	volume(t, map[string]string{
		"etc/ironic-python-agent/ironic.crt":    string(ca.PEM),
		"etc/ironic-python-agent.d/ironic.conf": "[DEFAULT]\ncafile = /etc/ironic-python-agent/ironic.crt\nfail_if_clock_not_set = true\n",
	}, "genisoimage", "-quiet", "-R", "-V", "VMEDIA_BOOT_ISO", "-o", cd, ".")
	volume(t, nil, "/sbin/mkfs.vfat", "-C", "-n", "IR-VFD-DEV", stick, "1440")
	volume(t, map[string]string{
		"parameters.txt": fmt.Sprintf("ipa-api-url=https://%s:6385\nipa-ntp-server=%s:%d\n", lab.Address, lab.Address, timePort),
	}, "mcopy", "-i", stick, "parameters.txt", "::/")
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic29(), CA: ca,
		Params: "ipa-debug=1 ipa-api-url= boot_method=vmedia", // of a repeated one the last counts
		Node: lab.NodeConfig{
			Clock: "2020-02-29T12:00:00",
			Arguments: []string{
				"-drive", "if=none,id=cd,media=cdrom,readonly=on,format=raw,file=" + cd, "-device", "ide-cd,drive=cd",
				"-device", "qemu-xhci,id=vmedia", "-drive", "if=none,id=stick,readonly=on,format=raw,file=" + stick, "-device", "usb-storage,bus=vmedia.0,drive=stick",
			},
		},
	})
	serveTime(t, timePort)
	boot(t, ctx, s)
	for _, pattern := range []string{`configured from virtual media.*sda.*sr0`, `clock set from .*offset=`} {
		if _, err := s.Machine.Console.WaitFor(ctx, 0, regexp.MustCompile(pattern)); err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
	}
	shown, err := conversation.Shell(ctx, s.Machine, "cat /sys/class/rtc/rtc0/date /sys/class/rtc/rtc0/time")
	must(t, err)
	hardware, err := time.Parse("2006-01-02 15:04:05", strings.Join(strings.Fields(shown), " "))
	must(t, err)
	if wrong := time.Since(hardware).Abs(); wrong > time.Minute {
		t.Errorf("the hardware clock shows %s, wrong by %s", hardware, wrong)
	}
}
