package generic

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// lldpFrame bounds an LLDP packet in bytes; they do not exceed an Ethernet
// frame.
const lldpFrame = 1600

// linkPatience is the time that a network card gets to bring its link up. One
// without a link after it is not waited for.
const linkPatience = 15 * time.Second

// lldpPoll is how often a wait looks at its context and at the links.
const lldpPoll = 250 * time.Millisecond

// LLDP implements hwmanager.LLDPCollector. Switches send about every 30 s, so
// each interface is listened to once in a life of the manager.
func (m *Manager) LLDP(ctx context.Context, h *hwmanager.Host, names []string) (map[string][]ipa.TLV, error) {
	if names == nil {
		var err error
		if names, err = interfaceNames(h); err != nil {
			return nil, err
		}
	}
	m.lldp.mu.Lock()
	defer m.lldp.mu.Unlock()
	if m.lldp.heard == nil {
		m.lldp.heard = map[string][]ipa.TLV{}
	}
	var unheard []string
	for _, name := range names {
		if _, known := m.lldp.heard[name]; !known && !vlanName.MatchString(name) {
			unheard = append(unheard, name)
		}
	}
	if len(unheard) > 0 && live(h) {
		if err := stopFirmwareLLDP(h, unheard); err != nil {
			h.Log.WithError(err).Warn("network cards may keep LLDP packets to themselves")
		}
		heard, err := captureLLDP(ctx, h, unheard, h.Settings.LLDPTimeout)
		if err != nil {
			return nil, err
		}
		maps.Copy(m.lldp.heard, heard)
	}
	packets := map[string][]ipa.TLV{}
	for _, name := range names {
		packets[name] = []ipa.TLV{}
		if heard := m.lldp.heard[name]; heard != nil {
			packets[name] = heard
		}
	}
	return packets, nil
}

// ear is a socket that gets the LLDP packets of one interface.
type ear struct {
	name string
	fd   int
}

// captureLLDP takes the first packet on each interface, until all have one or
// timeout passes without any (agent contract, section "VLANs and LLDP").
// Where no interface has a link for a while nothing is waited for.
func captureLLDP(ctx context.Context, h *hwmanager.Host, names []string, timeout time.Duration) (map[string][]ipa.TLV, error) {
	heard := map[string][]ipa.TLV{}
	var ears []ear
	defer func() {
		for _, e := range ears {
			unix.Close(e.fd)
		}
	}()
	for _, name := range names {
		heard[name] = []ipa.TLV{}
		fd, err := openLLDP(name)
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("listen for LLDP: %w", err)
		}
		if err != nil {
			h.Log.WithError(err).Warnf("no LLDP on %s", name)
			continue
		}
		ears = append(ears, ear{name, fd})
	}
	started := time.Now()
	quietSince := started
	for len(ears) > 0 && time.Since(quietSince) < timeout {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if time.Since(started) > linkPatience && !anyLink(h, ears) {
			break
		}
		ready, err := waitReadable(ears)
		if err != nil {
			return nil, fmt.Errorf("listen for LLDP: %w", err)
		}
		var deaf []ear
		for i, e := range ears {
			if !ready[i] {
				deaf = append(deaf, e)
				continue
			}
			tlvs, err := receiveLLDP(e.fd)
			switch {
			case err != nil:
				h.Log.WithError(err).Warnf("no LLDP on %s", e.name)
			case len(tlvs) == 0: // not a packet from outside
				deaf = append(deaf, e)
				continue
			default:
				heard[e.name] = tlvs
				quietSince = time.Now()
			}
			unix.Close(e.fd)
		}
		ears = deaf
	}
	return heard, nil
}

func anyLink(h *hwmanager.Host, ears []ear) bool {
	for _, e := range ears {
		if readText(h.Sys, "class/net", e.name, "carrier") == "1" {
			return true
		}
	}
	return false
}

// openLLDP makes a socket for the LLDP packets of an interface, to whichever
// of the group addresses they go.
func openLLDP(name string) (int, error) {
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	// The kernel wants the protocol in network order.
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_LLDP))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		&unix.PacketMreq{Ifindex: int32(nic.Index), Type: unix.PACKET_MR_PROMISC})
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("receive all packets of %s: %w", name, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: nic.Index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind packet socket to %s: %w", name, err)
	}
	return fd, nil
}

// waitReadable waits a moment and tells which sockets have something.
func waitReadable(ears []ear) ([]bool, error) {
	polled := make([]unix.PollFd, len(ears))
	for i, e := range ears {
		polled[i] = unix.PollFd{Fd: int32(e.fd), Events: unix.POLLIN}
	}
	if _, err := unix.Poll(polled, int(lldpPoll.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return nil, err
	}
	ready := make([]bool, len(ears))
	for i, p := range polled {
		ready[i] = p.Revents != 0
	}
	return ready, nil
}

// receiveLLDP reads a packet; none if it is one that this machine sent. An
// interface that is down may come up.
func receiveLLDP(fd int) ([]ipa.TLV, error) {
	frame := make([]byte, lldpFrame)
	n, from, err := unix.Recvfrom(fd, frame, 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
		return nil, nil
	}
	return parseLLDP(frame[:n]), nil
}

// parseLLDP takes a packet apart: type (7 bits) and length (9 bits), value;
// the last one has type 0 (IEEE 802.1AB, section 8.4). What follows it is
// padding. A value that is cut off is left out.
func parseLLDP(packet []byte) []ipa.TLV {
	var tlvs []ipa.TLV
	for len(packet) >= 2 {
		header := binary.BigEndian.Uint16(packet)
		kind, length := int(header>>9), int(header&0x1ff)
		packet = packet[2:]
		if length > len(packet) {
			break
		}
		tlvs = append(tlvs, ipa.TLV{Type: kind, Value: hex.EncodeToString(packet[:length])})
		packet = packet[length:]
		if kind == 0 {
			break
		}
	}
	return tlvs
}
