package ipmi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"
)

// session is a login on one BMC. One goroutine uses it at a time.
type session interface {
	// command sends one request and returns the data behind the completion code. Errors: *CompletionError,
	// ErrUnreachable, or that of ctx.
	command(ctx context.Context, cmd types.Command, data []byte) ([]byte, error)
	// close tells the BMC, waits for its answer until ctx ends, and closes the socket.
	close(ctx context.Context)
}

// rmcpPlus is an IPMI 2.0 session (section 13.15), put together from go-ipmi's messages and key derivation.
// Its ready-made client is not used for this: it accepts packets without verifying their authentication
// code, a malformed one panics in a goroutine of its own, Kg cannot be set, and a wrong password cannot be
// told from other failures.
type rmcpPlus struct {
	*wire
	suite        suite
	consoleID    uint32
	bmcID        uint32
	k1, k2       []byte
	authCodeSize int
	sequence     uint32 // of the last packet sent in the session
	rqSeq        uint8  // of the last request, 6 bits
}

// openRMCPPlus logs in with one cipher suite and raises the session to the wanted privilege level.
// Errors: ErrAuth, ErrPrivilege, ErrUnreachable, errRefusedSuite, errBusyBMC, errRestartLogin.
func openRMCPPlus(ctx context.Context, w *wire, info Info, s suite) (*rmcpPlus, error) {
	size, _ := crypto.IntegrityAuthCodeLen(s.integrity)
	session := &rmcpPlus{wire: w, suite: s, authCodeSize: size}
	if err := session.open(ctx, info); err != nil {
		return nil, fmt.Errorf("open session with cipher suite %d: %w", s.id, err)
	}
	if err := session.authenticate(ctx, info); err != nil {
		if errors.Is(err, ErrUnreachable) {
			err = fmt.Errorf("%w after the session was offered; some BMCs are silent to an unknown user", err)
		}
		return nil, fmt.Errorf("login of user %q with cipher suite %d: %w", info.Username, s.id, err)
	}
	// A new session is at USER; lower levels need no step.
	if info.PrivilegeLevel > types.PrivilegeLevelUser {
		_, err := session.command(ctx, types.CommandSetSessionPrivilegeLevel, []byte{uint8(info.PrivilegeLevel)})
		if answered(err) {
			err = fmt.Errorf("%w: %w", ErrPrivilege, err)
		}
		if err != nil {
			session.logout(ctx)
			return nil, fmt.Errorf("raise user %q to %s: %w", info.Username, info.PrivilegeLevel, err)
		}
	}
	return session, nil
}

// open is the Open Session exchange (sections 13.17 and 13.18).
func (s *rmcpPlus) open(ctx context.Context, info Info) error {
	s.consoleID = 1 + randomID()>>1
	request := rmcpplus.OpenSessionRequest{RequestedMaximumPrivilegeLevel: info.PrivilegeLevel, RemoteConsoleSessionID: s.consoleID}
	request.AuthenticationPayload, request.IntegrityPayload, request.ConfidentialityPayload =
		rmcpplus.NewAlgorithmPayloads(s.suite.auth, s.suite.integrity, s.suite.encryption)
	var response rmcpplus.OpenSessionResponse
	_, err := s.setup(ctx, anySending, types.PayloadTypeRmcpOpenSessionRequest, types.PayloadTypeRmcpOpenSessionResponse,
		func(tag uint8) []byte { request.MessageTag = tag; return request.Pack() },
		func(payload []byte) bool {
			return response.Unpack(payload) == nil && response.RemoteConsoleSessionID == s.consoleID
		})
	if err != nil {
		return err
	}
	if response.AuthAlg != uint8(s.suite.auth) || response.IntegrityAlg != uint8(s.suite.integrity) || response.CryptAlg != uint8(s.suite.encryption) {
		return fmt.Errorf("%w: it offered other algorithms instead", errRefusedSuite)
	}
	s.bmcID = response.ManagedSystemSessionID
	return nil
}

// authenticate is RAKP (sections 13.20 to 13.23 and 13.31): each side proves that it knows the password.
func (s *rmcpPlus) authenticate(ctx context.Context, info Info) error {
	password := crypto.PadPassword20([]byte(info.Password))
	first := rmcpplus.RAKPMessage1{
		ManagedSystemSessionID:         s.bmcID,
		NameOnlyLookup:                 true,
		RequestedMaximumPrivilegeLevel: info.PrivilegeLevel,
		UsernameLength:                 uint8(len(info.Username)),
		Username:                       []byte(info.Username),
	}
	rand.Read(first.RemoteConsoleRandomNumber[:])
	second := rmcpplus.RAKPMessage2{AuthAlg: s.suite.auth}
	_, err := s.setup(ctx, lastSending, types.PayloadTypeRAKPMessage1, types.PayloadTypeRAKPMessage2,
		func(tag uint8) []byte { first.MessageTag = tag; return first.Pack() },
		func(payload []byte) bool {
			return second.Unpack(payload) == nil && second.RemoteConsoleSessionID == s.consoleID
		})
	if err != nil {
		return err
	}
	consoleRandom, bmcRandom := first.RemoteConsoleRandomNumber[:], second.ManagedSystemRandomNumber[:]
	want, err := crypto.RAKP2AuthCode(s.suite.auth, s.consoleID, s.bmcID, consoleRandom, bmcRandom,
		second.ManagedSystemGUID[:], first.Role(), info.Username, password)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, second.KeyExchangeAuthenticationCode) {
		return fmt.Errorf("%w: the password does not match", ErrAuth)
	}
	sikKey := password
	if info.KgKey != "" {
		sikKey = []byte(info.KgKey)
	}
	var sik []byte
	sik, s.k1, s.k2, err = crypto.DeriveSessionKeys(s.suite.auth, consoleRandom, bmcRandom, first.Role(), info.Username, sikKey)
	if err != nil {
		return err
	}
	return s.activate(ctx, info, activation{sik: sik, password: password, consoleRandom: consoleRandom,
		bmcRandom: bmcRandom, guid: second.ManagedSystemGUID[:], role: first.Role()})
}

// activation is what RAKP messages 3 and 4 need of the messages before them.
type activation struct {
	sik, password, consoleRandom, bmcRandom, guid []byte
	role                                          uint8
}

// activate sends RAKP message 3 and verifies message 4.
func (s *rmcpPlus) activate(ctx context.Context, info Info, a activation) error {
	code, err := crypto.RAKP3AuthCode(s.suite.auth, a.bmcRandom, s.consoleID, a.role, info.Username, a.password)
	if err != nil {
		return err
	}
	third := rmcpplus.RAKPMessage3{ManagedSystemSessionID: s.bmcID, KeyExchangeAuthenticationCode: code}
	fourth := rmcpplus.RAKPMessage4{AuthAlg: s.suite.auth}
	s.sendings = sendingsLast // the commands in the session are the better question
	sent, err := s.setup(ctx, anySending, types.PayloadTypeRAKPMessage3, types.PayloadTypeRAKPMessage4,
		func(tag uint8) []byte { third.MessageTag = tag; return third.Pack() },
		func(payload []byte) bool {
			return fourth.Unpack(payload) == nil && fourth.MgmtConsoleSessionID == s.consoleID
		})
	s.sendings = sendings
	if err != nil && sent > 1 && ctx.Err() == nil {
		// The BMC may have taken an earlier sending, whose answer got lost, and refuse the repetition. Whether it
		// did shows with the first command: an answer in the session proves as much as message 4.
		return nil
	}
	if errors.Is(err, ErrAuth) {
		// Message 2 has proved the password. So the BMC holds other random numbers than ours, as after a
		// datagram that the network delivered twice.
		return fmt.Errorf("%w: %v", errRestartLogin, err)
	}
	if err != nil {
		return err
	}
	want, err := crypto.RAKP4ICV(s.suite.auth, a.consoleRandom, s.bmcID, a.guid, a.sik)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, fourth.IntegrityCheckValue) {
		return fmt.Errorf("%w: the password matches, but the BMC key (Kg) does not", ErrAuth)
	}
	return nil
}

// Which sendings of a message an answer may be to. Where a BMC may make new random numbers for each, it is the last.
const (
	lastSending = iota
	anySending
)

// setup is one exchange outside of the session; it tells how often the message was sent. Each sending on a socket
// has a tag of its own. A refusal is its tag and status; of the 8 bytes that it should have, some send no more
// (ipmi_sim).
func (s *rmcpPlus) setup(ctx context.Context, which int, send, receive types.PayloadType, build func(tag uint8) []byte, accept func(payload []byte) bool) (sent int, err error) {
	err = s.exchange(ctx,
		func() ([]byte, error) { s.tag++; sent++; return s.pack(send, build(s.tag), 0, 0), nil },
		func(datagram []byte) (bool, error) {
			p, ok := parsePacket(datagram, 0)
			if !ok || p.payloadType != receive || p.sessionID != 0 || p.encrypted || p.authentic || len(p.payload) < 2 {
				return false, nil
			}
			if before := int(s.tag - p.payload[0]); before >= sent || which == lastSending && before > 0 {
				return false, nil
			}
			if err := statusError(types.RmcpStatusCode(p.payload[1])); err != nil {
				return false, err
			}
			return accept(p.payload), nil
		})
	return sent, err
}

// statusError maps the status of a session setup answer (table 13-15) to what the caller can do about it.
func statusError(code types.RmcpStatusCode) error {
	status := types.NewRmcpStatusError(code)
	switch code {
	case types.RmcpStatusCodeNoErrors:
		return nil
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeInvalidConfidentAlg,
		types.RmcpStatusCodeNoCipherSuiteMatch, types.RmcpStatusCodeNoMatchingAuthPayload, types.RmcpStatusCodeNoMatchingIntegrityPayload:
		return fmt.Errorf("%w: %w", errRefusedSuite, status)
	case types.RmcpStatusCodeNoResToCreateSess, types.RmcpStatusCodeNoResToCreateSessAtRole:
		return fmt.Errorf("%w: %w", errBusyBMC, status)
	case types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel:
		return fmt.Errorf("%w: %w", ErrPrivilege, status)
	case types.RmcpStatusCodeInvalidSessionID, types.RmcpStatusCodeInactiveSessionID:
		return fmt.Errorf("%w: %w", errRestartLogin, status)
	}
	return fmt.Errorf("%w: %w", ErrAuth, status)
}

// request makes the message of a command, which its answer is known by.
func (s *rmcpPlus) request(cmd types.Command, data []byte) []byte {
	s.nextSequence()
	return message(types.BMC_SA, types.RemoteConsole_SWID, s.rqSeq, cmd, data)
}

func (s *rmcpPlus) nextSequence() { s.rqSeq = (s.rqSeq + 1) & types.IPMIRequesterSequenceMax }

// isAnswer tells whether a message is the answer to the last request, which was of cmd.
func (s *rmcpPlus) isAnswer(m types.IPMIResponse, cmd types.Command) bool {
	return m.RequesterSequence == s.rqSeq && m.Command == cmd.ID && m.NetFn == cmd.NetFn|1
}

func (s *rmcpPlus) command(ctx context.Context, cmd types.Command, data []byte) ([]byte, error) {
	message := s.request(cmd, data)
	var response types.IPMIResponse
	err := s.exchange(ctx,
		func() ([]byte, error) { return s.seal(types.PayloadTypeIPMI, message) },
		func(datagram []byte) (bool, error) {
			kind, plain, ok := s.unseal(datagram)
			if !ok || kind != types.PayloadTypeIPMI {
				return false, nil
			}
			response, ok = parseMessage(plain)
			return ok && s.isAnswer(response, cmd), nil
		})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.Name, err)
	}
	if code := types.CompletionCode(response.CompletionCode); code != types.CodeOK {
		return nil, &CompletionError{Command: cmd, Code: code}
	}
	return response.Data, nil
}

func (s *rmcpPlus) close(ctx context.Context) {
	s.logout(ctx)
	s.wire.close()
}

func (s *rmcpPlus) logout(ctx context.Context) {
	// Nobody can use a failure: the BMC ends idle sessions by itself after a minute (section 6.12.15).
	_, _ = s.command(ctx, types.CommandCloseSession, binary.LittleEndian.AppendUint32(nil, s.bmcID))
}

// seal encrypts a payload and signs the packet that carries it (sections 13.28.4 and 13.29).
func (s *rmcpPlus) seal(kind types.PayloadType, message []byte) ([]byte, error) {
	iv := make([]byte, 16)
	rand.Read(iv)
	payload, err := crypto.EncryptAESPayload(message, s.k2, iv)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	s.sequence++
	datagram := s.pack(kind, payload, types.PayloadFlagEncrypted|types.PayloadFlagAuthenticated, s.sequence)
	pad := types.IntegrityPadLen(sessionHeaderSize, len(payload))
	for range pad {
		datagram = append(datagram, 0xff)
	}
	const nextHeader = 0x07
	datagram = append(datagram, uint8(pad), nextHeader)
	code, err := crypto.SessionIntegrityAuthCode(s.suite.integrity, datagram[rmcpHeaderSize:], s.k1, "")
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return append(datagram, code...), nil
}

// unseal returns the payload of a packet of this session, and its type; ok is false for one that is not authentic.
func (s *rmcpPlus) unseal(datagram []byte) (kind types.PayloadType, message []byte, ok bool) {
	p, ok := parsePacket(datagram, s.authCodeSize)
	if !ok || p.sessionID != s.consoleID || !p.authentic || !p.encrypted {
		return 0, nil, false
	}
	code, err := crypto.SessionIntegrityAuthCode(s.suite.integrity, p.signed, s.k1, "")
	if err != nil || !hmac.Equal(code, p.authCode) {
		return 0, nil, false
	}
	const block = 16
	if len(p.payload) < 2*block || len(p.payload)%block != 0 {
		return 0, nil, false
	}
	message, err = crypto.DecryptAESPayload(p.payload, s.k2)
	return p.payloadType, message, err == nil
}

// pack puts the RMCP and session headers before a payload.
func (s *rmcpPlus) pack(payloadType types.PayloadType, payload []byte, flags uint8, sequence uint32) []byte {
	header := types.SessionHeader20{
		AuthType:             types.AuthTypeRMCPPlus,
		PayloadType:          payloadType,
		PayloadEncrypted:     flags&types.PayloadFlagEncrypted != 0,
		PayloadAuthenticated: flags&types.PayloadFlagAuthenticated != 0,
		Sequence:             sequence,
		PayloadLength:        uint16(len(payload)),
	}
	if header.PayloadAuthenticated {
		header.SessionID = s.bmcID
	}
	return append(append(types.NewRmcpHeader().Pack(), header.Pack()...), payload...)
}

func randomID() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint32(b[:])
}
