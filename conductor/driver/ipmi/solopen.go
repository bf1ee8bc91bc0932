package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/transport"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Completion codes of Activate Payload and Deactivate Payload (IPMI 2.0 tables 24-2 and 24-3).
const (
	codePayloadActive       = 0x80 // in this or another session
	codePayloadDisabled     = 0x81
	codePayloadLimit        = 0x82
	codePayloadNoEncryption = 0x83
	codePayloadDeactivated  = 0x80
)

// solInstance is the instance of the payload: the one serial line that each BMC has.
const solInstance = 1

// ErrConsoleTaken means that somebody else has the serial line of the BMC.
var ErrConsoleTaken = errors.New("serial console is in use by another session of the BMC")

// OpenSOL logs in and takes the machine's serial line: serial-over-LAN, the payload type 1 of RMCP+ (IPMI 2.0
// section 15). Where another session has the line, that one is ended with takeOver, and it is ErrConsoleTaken
// without. A BMC on which serial-over-LAN is switched off has it switched on.
func (b *BMCs) OpenSOL(parent context.Context, info Info, takeOver bool) (*SOL, error) {
	if info.Version15 {
		return nil, fmt.Errorf("%w: serial-over-LAN needs ipmi_protocol_version 2.0", ErrInvalidParameter)
	}
	ctx, o, end, err := b.begin(parent, info, "serial console", b.commandLimit(4))
	if err != nil {
		return nil, err
	}
	defer end()
	leave, err := o.queue(ctx, types.CommandActivatePayload)
	if err != nil {
		return nil, err
	}
	defer leave()
	line, err := o.openSOL(ctx, takeOver)
	if err != nil {
		err = o.explain(o.interrupted(parent, err))
	}
	o.contact.note(o.name, err)
	return line, err
}

func (o *operation) openSOL(ctx context.Context, takeOver bool) (*SOL, error) {
	s, err := o.login(ctx)
	if err != nil {
		return nil, err
	}
	plus := s.(*rmcpPlus)
	terms, err := plus.activateSOL(ctx, takeOver)
	if err != nil {
		o.bmcs.logout(ctx, plus)
		return nil, err
	}
	endpoint, isOther := payloadEndpoint(o.endpoint, terms.PayloadUDPPort)
	if !isOther {
		return o.bmcs.startSOL(o.bmc, plus, o.endpoint, terms), nil
	}
	// The payload is at a port of its own, which needs a session of its own (section 24.1).
	plus.deactivateSOL(ctx)
	o.bmcs.logout(ctx, plus)
	if plus, err = o.loginAt(ctx, endpoint); err != nil {
		return nil, fmt.Errorf("port %d, where the BMC has its serial console: %w", terms.PayloadUDPPort, err)
	}
	if terms, err = plus.activateSOL(ctx, takeOver); err != nil {
		o.bmcs.logout(ctx, plus)
		return nil, err
	}
	return o.bmcs.startSOL(o.bmc, plus, endpoint, terms), nil
}

// loginAt logs in at another port of the BMC.
func (o *operation) loginAt(ctx context.Context, endpoint string) (*rmcpPlus, error) {
	w, err := dial(ctx, endpoint, o.bmcs.cfg.ResponseTimeout)
	if err != nil {
		return nil, err
	}
	s, err := o.openOn(ctx, w)
	if err != nil {
		w.close()
		return nil, err
	}
	return s.(*rmcpPlus), nil
}

// payloadEndpoint is where the payload goes, and whether that is another place than the session's. BMCs that say
// nothing, name the standard port though they were reached by another (by port forwarding), or name it in the wrong
// byte order, mean the port that they were reached by.
func payloadEndpoint(session string, port uint16) (endpoint string, other bool) {
	const standard, swapped = 623, 0x6f02
	host, own, err := net.SplitHostPort(session)
	if err != nil || port == 0 || port == standard || port == swapped || strconv.Itoa(int(port)) == own || strconv.Itoa(int(port>>8|port<<8)) == own {
		return session, false
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), true
}

// activateSOL takes the serial line, encrypted and authenticated.
func (s *rmcpPlus) activateSOL(ctx context.Context, takeOver bool) (transport.ActivatePayloadResponse, error) {
	request := transport.ActivatePayloadRequest{
		PayloadType: types.PayloadTypeSOL, PayloadInstance: solInstance,
		EnableEncryption: true, EnableAuthentication: true,
		SharedSerialAlertBehavior: transport.SharedSerialAlertBehavior_Defer,
	}
	var terms transport.ActivatePayloadResponse
	enabled, ended := false, 0
	for {
		data, err := s.command(ctx, types.CommandActivatePayload, request.Pack())
		var refused *CompletionError
		switch {
		case err == nil:
			if err := terms.Unpack(data); err != nil {
				return terms, fmt.Errorf("%s: %w", types.CommandActivatePayload.Name, err)
			}
			return terms, nil
		case !errors.As(err, &refused):
			return terms, err
		case refused.Code == codePayloadDisabled && !enabled:
			if err := s.enableSOL(ctx); err != nil {
				return terms, fmt.Errorf("serial-over-LAN is disabled on the BMC, and enabling it failed: %w", err)
			}
			enabled = true
		case refused.Code == codePayloadNoEncryption:
			return terms, fmt.Errorf("the BMC has serial-over-LAN without encryption only: %w", err)
		case (refused.Code == codePayloadActive || refused.Code == codePayloadLimit) && !takeOver:
			return terms, fmt.Errorf("%w: %w", ErrConsoleTaken, err)
		case (refused.Code == codePayloadActive || refused.Code == codePayloadLimit) && ended < 3:
			ended++
			s.deactivateSOL(ctx)
			if err := pause(ctx, time.Duration(ended)*s.wait/4); err != nil { // some need a while to let go
				return terms, fmt.Errorf("%w: %w", ErrConsoleTaken, err)
			}
		default:
			return terms, err
		}
	}
}

// deactivateSOL frees the serial line, whoever has it. That nobody had it is no news.
func (s *rmcpPlus) deactivateSOL(ctx context.Context) {
	request := transport.DeactivatePayloadRequest{PayloadType: types.PayloadTypeSOL, PayloadInstance: solInstance}
	_, _ = s.command(ctx, types.CommandDeactivatePayload, request.Pack())
}

// enableSOL sets the parameter "SOL enable" (table 26-5), between the announcement that parameters are changed
// and that of the end, which not all BMCs know.
func (s *rmcpPlus) enableSOL(ctx context.Context) error {
	const setInProgress, enable = 0, 1
	set := func(parameter, value uint8) error {
		_, err := s.command(ctx, types.CommandSetSOLConfigParam, []byte{types.ChannelNumberSelf, parameter, value})
		return err
	}
	_ = set(setInProgress, 1)
	err := set(enable, 1)
	_ = set(setInProgress, 0)
	return err
}

// SOLConfig is how a BMC does serial-over-LAN (IPMI 2.0 table 26-5). A member is absent where the BMC lacks it.
type SOLConfig struct {
	Enabled          *bool    `json:"enabled"`
	ForceEncryption  *bool    `json:"force_encryption"`
	PrivilegeLevel   string   `json:"privilege_level,omitempty"`
	AccumulateMillis *int     `json:"accumulate_ms"`
	SendThreshold    *int     `json:"send_threshold"`
	Retries          *int     `json:"retries"`
	RetryMillis      *int     `json:"retry_ms"`
	BitRate          *float64 `json:"bit_rate"`
	VolatileBitRate  *float64 `json:"volatile_bit_rate"`
	Port             *int     `json:"port"`
}

// SOLConfig reads the parameters of serial-over-LAN.
func (b *BMCs) SOLConfig(ctx context.Context, info Info) (SOLConfig, error) {
	ctx, o, end, err := b.begin(ctx, info, "serial console settings", b.commandLimit(2))
	if err != nil {
		return SOLConfig{}, err
	}
	defer end()
	o.isWalk = true
	var c SOLConfig
	for parameter := range uint8(9) {
		data, err := o.command(ctx, types.CommandGetSOLConfigParam, []byte{types.ChannelNumberSelf, parameter, 0, 0})
		if answered(err) {
			continue
		}
		if err != nil {
			return SOLConfig{}, err
		}
		if len(data) > 1 {
			c.set(parameter, data[1:])
		}
	}
	return c, nil
}

// set takes over one parameter; what is too short for it is left out.
func (c *SOLConfig) set(parameter uint8, data []byte) {
	second := func() *int {
		if len(data) < 2 {
			return nil
		}
		return new(int(data[1]))
	}
	switch parameter {
	case 1:
		c.Enabled = new(data[0]&0x01 != 0)
	case 2:
		c.ForceEncryption = new(data[0]&0x80 != 0)
		c.PrivilegeLevel = types.PrivilegeLevel(data[0] & 0x0f).String()
	case 3:
		c.AccumulateMillis, c.SendThreshold = new(int(data[0])*5), second()
	case 4:
		c.Retries, c.RetryMillis = new(int(data[0]&0x07)), second()
		if c.RetryMillis != nil {
			*c.RetryMillis *= 10
		}
	case 5:
		c.BitRate = bitRate(data[0])
	case 6:
		c.VolatileBitRate = bitRate(data[0])
	case 8:
		if high := second(); high != nil {
			c.Port = new(int(data[0]) | *high<<8)
		}
	}
}

// bitRate is that of a serial line in kbit/s; nil where the serial channel's own setting holds.
func bitRate(code uint8) *float64 {
	rate, ok := map[uint8]float64{6: 9.6, 7: 19.2, 8: 38.4, 9: 57.6, 10: 115.2}[code&0x0f]
	if !ok {
		return nil
	}
	return &rate
}
