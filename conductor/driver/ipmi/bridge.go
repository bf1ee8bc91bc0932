package ipmi

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bougou/go-ipmi/pkg/types"
)

// Bridge is the way from the BMC that is logged in on to the controller that is meant, as in a chassis whose
// manager passes on what is for its blades (IPMI 2.0 section 6.12). The login itself is the BMC's own.
type Bridge struct {
	// Kind is "single" or "dual", or "" where the BMC itself is meant.
	Kind string
	// TargetChannel and TargetAddress are where the controller is, LocalAddress is who asks it.
	TargetChannel, TargetAddress, LocalAddress uint8
	// TransitChannel and TransitAddress are where the controller between is, with dual bridging.
	TransitChannel, TransitAddress uint8
}

// Errors of a Send Message that did not reach its controller (table 22-9).
const (
	codeLostArbitration = 0x81
	codeBusError        = 0x82
	codeNAK             = 0x83
)

const trackRequest = 0x40 // the BMC passes the answer on to who has asked

func (b Bridge) String() string {
	switch b.Kind {
	case "single":
		return fmt.Sprintf("controller %#02x on channel %d", b.TargetAddress, b.TargetChannel)
	case "dual":
		return fmt.Sprintf("controller %#02x on channel %d behind %#02x on channel %d", b.TargetAddress, b.TargetChannel, b.TransitAddress, b.TransitChannel)
	}
	return ""
}

// parseBridge reads the keys of bridging, once it is known which there must be.
func parseBridge(i *Info, driverInfo map[string]any) error {
	var required []string
	switch i.Bridge.Kind {
	case "":
		return nil
	case "single":
		required = []string{"ipmi_target_channel", "ipmi_target_address"}
	case "dual":
		required = []string{"ipmi_transit_channel", "ipmi_transit_address", "ipmi_target_channel", "ipmi_target_address"}
	}
	var missing []string
	for _, key := range required {
		if v := driverInfo[key]; v == nil || v == "" {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s, which ipmi_bridging %s needs", ErrMissingParameter, strings.Join(missing, ", "), i.Bridge.Kind)
	}
	i.Bridge.LocalAddress = types.BMC_SA
	for _, p := range []struct {
		key string
		to  *uint8
		max uint64
	}{
		{"ipmi_target_channel", &i.Bridge.TargetChannel, 15}, {"ipmi_target_address", &i.Bridge.TargetAddress, 0xff},
		{"ipmi_transit_channel", &i.Bridge.TransitChannel, 15}, {"ipmi_transit_address", &i.Bridge.TransitAddress, 0xff},
		{"ipmi_local_address", &i.Bridge.LocalAddress, 0xff},
	} {
		v := driverInfo[p.key]
		if v == nil || strings.HasPrefix(p.key, "ipmi_transit") && i.Bridge.Kind != "dual" {
			continue
		}
		s, err := text(v)
		n := uint64(0)
		if err == nil {
			n, err = strconv.ParseUint(strings.TrimSpace(s), 0, 8)
		}
		if err != nil || n > p.max {
			return fmt.Errorf("%w: driver_info %s = %.60q: must be a number up to %d, like 7 or 0x7", ErrInvalidParameter, p.key, fmt.Sprint(v), p.max)
		}
		*p.to = uint8(n)
	}
	return nil
}

// message is an IPMB message.
func message(responder, requester, sequence uint8, cmd types.Command, data []byte) []byte {
	request := types.IPMIRequest{
		ResponderAddr: responder, NetFn: cmd.NetFn,
		RequesterAddr: requester, RequesterSequence: sequence,
		Command: cmd.ID, CommandData: data,
	}
	request.ComputeChecksum()
	return request.Pack()
}

// wrap makes the message to the BMC that has a command passed on.
func (b Bridge) wrap(sequence uint8, cmd types.Command, data []byte) []byte {
	passed := append([]byte{b.TargetChannel | trackRequest}, message(b.TargetAddress, b.LocalAddress, sequence, cmd, data)...)
	if b.Kind == "dual" {
		passed = append([]byte{b.TransitChannel | trackRequest}, message(b.TransitAddress, b.LocalAddress, sequence, types.CommandSendMessage, passed)...)
	}
	return message(types.BMC_SA, types.RemoteConsole_SWID, sequence, types.CommandSendMessage, passed)
}

// bridged sends a command to the controller behind the BMC. The BMC acknowledges that it has passed the command on,
// and brings the answer in a packet of its own, or with the acknowledgement.
func (s *rmcpPlus) bridged(ctx context.Context, way Bridge, cmd types.Command, data []byte) ([]byte, error) {
	s.nextSequence()
	outer := way.wrap(s.rqSeq, cmd, data)
	var response types.IPMIResponse
	var undelivered error
	err := s.exchange(ctx,
		func() ([]byte, error) { return s.seal(types.PayloadTypeIPMI, outer) },
		func(datagram []byte) (bool, error) {
			kind, plain, ok := s.unseal(datagram)
			if !ok || kind != types.PayloadTypeIPMI {
				return false, nil
			}
			var done bool
			response, done, undelivered = s.bridgedAnswer(plain, cmd)
			return done, undelivered
		})
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", cmd.Name, way, err)
	}
	if code := types.CompletionCode(response.CompletionCode); code != types.CodeOK {
		return nil, &CompletionError{Command: cmd, Code: code}
	}
	return response.Data, nil
}

// bridgedAnswer finds the answer to the last request in a message, which may be wrapped in those of controllers
// between. Their checksums are not looked at, which some BMCs leave as they were before they rewrote the addresses:
// the packet is authentic.
func (s *rmcpPlus) bridgedAnswer(b []byte, cmd types.Command) (m types.IPMIResponse, done bool, err error) {
	const layers, smallest = 3, 8
	for range layers {
		if len(b) < smallest || m.Unpack(b) != nil || m.RequesterSequence != s.rqSeq {
			return m, false, nil
		}
		send := types.CommandSendMessage
		if m.NetFn != send.NetFn|1 || m.Command != send.ID {
			return m, m.NetFn == cmd.NetFn|1 && m.Command == cmd.ID, nil
		}
		if code := types.CompletionCode(m.CompletionCode); code != types.CodeOK {
			return m, false, &CompletionError{Command: send, Code: code}
		}
		b = m.Data
	}
	return m, false, nil
}
