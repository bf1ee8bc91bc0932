package netboot

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// sample is a packet of testdata/firmware.txt with what it is to be answered.
type sample struct {
	client, source string
	port           int
	packet         *dhcpv4.DHCPv4
	want           map[string]string // by mode
}

// readSamples reads the corpus; its format is described at its head.
func readSamples(t *testing.T) (samples []*sample) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "firmware.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if key == "" || key[0] == '#' {
			continue
		}
		if key == "client" {
			samples = append(samples, &sample{client: value, want: map[string]string{}})
			continue
		}
		s := samples[len(samples)-1]
		code, err := strconv.Atoi(key)
		switch {
		case err == nil:
			raw := []byte(strings.Trim(value, `"`))
			if value[0] != '"' {
				if raw, err = hex.DecodeString(strings.ReplaceAll(value, " ", "")); err != nil {
					t.Fatalf("line %d: %v", n, err)
				}
			}
			s.packet.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), raw))
		case key == "source":
			s.source = value
		case key == "send":
			if err := s.begin(strings.Fields(value)); err != nil {
				t.Fatalf("line %d: %v", n, err)
			}
		default:
			s.want[key] = value
		}
	}
	return samples
}

func (s *sample) begin(words []string) (err error) {
	kinds := map[string]dhcpv4.MessageType{"DISCOVER": dhcpv4.MessageTypeDiscover, "REQUEST": dhcpv4.MessageTypeRequest, "INFORM": dhcpv4.MessageTypeInform}
	if s.packet, err = dhcpv4.New(dhcpv4.WithMessageType(kinds[words[0]])); err != nil {
		return err
	}
	if s.port, err = strconv.Atoi(words[1]); err != nil {
		return err
	}
	for _, word := range words[2:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "mac":
			s.packet.ClientHWAddr, err = net.ParseMAC(value)
		case "secs":
			_, err = fmt.Sscan(value, &s.packet.NumSeconds)
		case "broadcast":
			s.packet.SetBroadcast()
		case "ciaddr":
			s.packet.ClientIPAddr = net.ParseIP(value)
		case "want":
			s.packet.UpdateOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(value)))
		case "server":
			s.packet.UpdateOption(dhcpv4.OptServerIdentifier(net.ParseIP(value)))
		default:
			err = fmt.Errorf("unknown field %q", key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// verdict puts an answer into the words of the corpus.
func verdict(resp *dhcpv4.DHCPv4) string {
	file := resp.BootFileNameOption()
	if file == "" {
		return "address"
	}
	text := "file=" + file
	if class := resp.ClassIdentifier(); class != "" {
		text += fmt.Sprintf(" 60=%q", class)
	}
	if vendor := resp.GetOneOption(dhcpv4.OptionVendorSpecificInformation); vendor != nil {
		text += " 43=" + hex.EncodeToString(vendor)
	}
	return text
}

// Every packet of the corpus is replayed, and the whole decision compared.
func TestFirmwareCorpus(t *testing.T) {
	for _, s := range readSamples(t) {
		for _, mode := range []string{DHCPFull, DHCPProxy} {
			t.Run(s.client+"/"+mode, func(t *testing.T) {
				b := newBench(t, mode, mapDirectory{s.packet.ClientHWAddr.String(): {NodeUUID: bootUUID, Action: Ramdisk}})
				b.IPXEBootfileNameByArch = map[string]string{"aarch64-uefi": "snp-arm64.efi"}
				req, err := dhcpv4.FromBytes(s.packet.ToBytes())
				if err != nil {
					t.Fatal(err)
				}
				resp, err := b.answer(context.Background(), req, b.at(s.port))
				want := s.want[mode]
				if why, none := strings.CutPrefix(want, "none "); none {
					if resp != nil || err == nil || !strings.Contains(b.reason(), why) {
						t.Errorf("answered with %v, %v; want no answer because of %q", resp, err, why)
					}
					return
				}
				if err != nil || resp == nil {
					t.Fatalf("not answered: %v; want %s", err, want)
				}
				checkReply(t, b, req, resp, mode)
				if got := verdict(resp); got != want {
					t.Errorf("answered with %s; want %s", got, want)
				}
				// The same machine without a node is left alone.
				stranger := newBench(t, mode, mapDirectory{})
				if resp, _ := stranger.answer(context.Background(), req, stranger.at(s.port)); resp != nil {
					t.Errorf("a stranger was answered with %v", resp.Summary())
				}
			})
		}
	}
}

// checkReply checks what holds of all answers.
func checkReply(t *testing.T, b *bench, req, resp *dhcpv4.DHCPv4, mode string) {
	t.Helper()
	parsed, err := dhcpv4.FromBytes(resp.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	kind := map[dhcpv4.MessageType]dhcpv4.MessageType{
		dhcpv4.MessageTypeDiscover: dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeRequest: dhcpv4.MessageTypeAck, dhcpv4.MessageTypeInform: dhcpv4.MessageTypeAck,
	}[req.MessageType()]
	if parsed.MessageType() != kind || parsed.TransactionID != req.TransactionID || parsed.ServerIdentifier().String() != "192.0.2.1" ||
		string(parsed.GetOneOption(dhcpv4.OptionClientMachineIdentifier)) != string(req.GetOneOption(dhcpv4.OptionClientMachineIdentifier)) {
		t.Errorf("answer %s", parsed.Summary())
	}
	addr := toAddr(parsed.YourIPAddr)
	if given := b.prefix.Contains(addr); given != (mode == DHCPFull) || given != (parsed.IPAddressLeaseTime(0) > 0) {
		t.Errorf("address %v for %v", addr, parsed.IPAddressLeaseTime(0))
	}
	if len(resp.ToBytes()) > 576 {
		t.Errorf("%d bytes, which not every firmware takes", len(resp.ToBytes()))
	}
}

// What QEMU's firmwares were seen to send (recorded by the tests that boot them)
// is answered as it was then: each file says by its name which way of booting it is.
func TestRecordedFirmware(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "recorded", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
				if fields := strings.Fields(line); fields[0] != "#" {
					fmt.Fprintln(&got, replay(t, fields))
				}
			}
			golden(t, filepath.Join("recorded", strings.TrimSuffix(filepath.Base(name), ".txt")+".golden"), got.String())
		})
	}
}

// replay answers one recorded packet, and says what was decided.
func replay(t *testing.T, fields []string) string {
	t.Helper()
	raw, err := hex.DecodeString(fields[2])
	if err != nil {
		t.Fatal(err)
	}
	from := netip.AddrPortFrom(netip.MustParseAddr(fields[1]), portClient6)
	dir := mapDirectory{bootMAC: {NodeUUID: bootUUID, Action: Ramdisk}}
	if fields[0] == strconv.Itoa(portServer6) {
		b := newBench6(t, DHCPFull, dir)
		packet, err := dhcpv6.FromBytes(raw)
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := packet.(*dhcpv6.Message); ok && m.Options.ServerID() != nil {
			b.duid = m.Options.ServerID() // the server of the recording
		}
		_, err = b.answer6(context.Background(), packet, arrival{port: portServer6, iface: b.iface, from: from, now: b.now})
		if err != nil && !errors.As(err, new(silence)) {
			t.Fatal(err)
		}
		return b.told()
	}
	port, _ := strconv.Atoi(fields[0])
	mode := DHCPFull
	if strings.Contains(t.Name(), "Proxy") {
		mode = DHCPProxy
	}
	b := newBench(t, mode, dir)
	b.server, b.prefix = netip.MustParseAddr("192.168.77.1"), netip.MustParsePrefix("192.168.77.0/24") // of the recording
	b.begin, b.end = netip.MustParseAddr("192.168.77.100"), netip.MustParseAddr("192.168.77.120")
	if b.leases != nil {
		b.leases = newLeases(b.begin, b.end, nil)
	}
	req, err := dhcpv4.FromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.answer(context.Background(), req, b.at(port)); err != nil && !errors.As(err, new(silence)) {
		t.Fatal(err)
	}
	return b.told()
}

// told is the last sighting in one line.
func (b *bench) told() string {
	return fmt.Sprintf("%s %s %s: %s%s", b.last.Protocol, b.last.MAC, b.last.Request, b.last.Answer, b.last.Reason)
}
