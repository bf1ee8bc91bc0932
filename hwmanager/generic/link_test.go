package generic

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ferric/hwmanager"
)

// TestLiveInterface compares with what ip and ethtool's header say.
func TestLiveInterface(t *testing.T) {
	pair(t)
	link, err := netlink.LinkByName("nic0")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"192.0.2.7/24", "192.0.2.8/24", "2001:db8::7/64"} {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags |= unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatal(err)
		}
	}
	h := &hwmanager.Host{Sys: "/sys"}
	facts := askKernel(h, "nic0")
	if facts.v4 == nil || *facts.v4 != "192.0.2.7" {
		t.Errorf("IPv4 address %v; want the first one, 192.0.2.7", facts.v4)
	}
	output, err := exec.Command("ip", "-6", "-o", "addr", "show", "dev", "nic0").Output()
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`inet6 ([^/]+)/`).FindSubmatch(output)
	if first == nil || facts.v6 == nil || strings.TrimSuffix(*facts.v6, "%nic0") != string(first[1]) {
		t.Errorf("IPv6 address %v; ip says %s", facts.v6, output)
	}
	if strings.HasPrefix(*facts.v6, "fe80:") != strings.HasSuffix(*facts.v6, "%nic0") {
		t.Errorf("IPv6 address %s: link-local ones have a zone, others have none", *facts.v6)
	}
}

// TestModeSpeeds compares with the kernel's header.
func TestModeSpeeds(t *testing.T) {
	f, err := os.Open("/usr/include/linux/ethtool.h")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	defer f.Close()
	mode := regexp.MustCompile(`ETHTOOL_LINK_MODE_(\w+)_BIT\s*=\s*(\d+),`)
	speed := regexp.MustCompile(`^(\d+)base`)
	found := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		match := mode.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		want := 0
		// 10000baseR_FEC is a mode in spite of its name.
		if s := speed.FindStringSubmatch(match[1]); s != nil {
			want, _ = strconv.Atoi(s[1])
		}
		bit, _ := strconv.Atoi(match[2])
		if got := modeSpeed(bit); got != want {
			t.Errorf("%s (bit %d) = %d Mbit/s; want %d", match[1], bit, got, want)
		}
		found++
	}
	if found < 90 {
		t.Errorf("only %d link modes in the header", found)
	}
}

// TestStopFirmwareLLDP: only cards of that driver are told, all of them.
func TestStopFirmwareLLDP(t *testing.T) {
	h := lab(t)
	debug := filepath.Join(h.Sys, "kernel/debug/i40e")
	commands := []string{filepath.Join(debug, "0000:3d:00.0/command"), filepath.Join(debug, "0000:3d:00.1/command")}
	for _, path := range commands {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := func() (texts []string) {
		for _, path := range commands {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
		return texts
	}
	if err := stopFirmwareLLDP(h, []string{"eth0", "eth1"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"", ""}, told()); diff != "" {
		t.Errorf("without such a card (-want +got):\n%s", diff)
	}
	device := filepath.Join(h.Sys, "class/net/eth2/device")
	if err := os.MkdirAll(device, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../../bus/pci/drivers/i40e", filepath.Join(device, "driver")); err != nil {
		t.Fatal(err)
	}
	if err := stopFirmwareLLDP(h, []string{"eth0", "eth2"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lldp stop", "lldp stop"}, told()); diff != "" {
		t.Errorf("with such a card (-want +got):\n%s", diff)
	}
	if err := os.RemoveAll(debug); err != nil {
		t.Fatal(err)
	}
	if err := stopFirmwareLLDP(h, []string{"eth2"}); err == nil {
		t.Error("no error where the cards cannot be told")
	}
}
