package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/bougou/go-ipmi/pkg/command/app"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Memory keeps which cipher suite each BMC took last, beyond the life of a process.
type Memory interface {
	// CipherSuite is 0 where none is known.
	CipherSuite(ctx context.Context, endpoint string) (int, error)
	SetCipherSuite(ctx context.Context, endpoint string, suite int) error
}

// chooseSuite logs in with the suite that worked last. Where none has, or it works no more, the BMC is asked which it
// has, and the configured ones among them are tried; where it does not say, all are.
func (o *operation) chooseSuite(ctx context.Context, w *wire) (session, error) {
	configured, known := o.bmcs.cfg.CipherSuites, o.recall(ctx)
	var telling error
	if slices.Contains(configured, known) {
		s, err := o.firstSuite(ctx, w, []int{known})
		if err == nil || ctx.Err() != nil || !suiteMayBeWrong(err) {
			return s, err
		}
		telling = err
		o.bmc.suite = 0
	}
	listed, err := listSuites(ctx, w)
	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(telling, err)
	}
	o.log.WithError(err).WithField("cipher_suites", listed).Debug("asked the BMC for its cipher suites")
	candidates := slices.DeleteFunc(slices.Clone(configured), func(id int) bool { return !slices.Contains(listed, id) })
	switch {
	case telling != nil && slices.Contains(candidates, known) && !errors.Is(telling, ErrNoCipherSuite):
		// The BMC has it still: the login fails for another reason, and is not repeated in vain.
		o.bmc.suite = known
		return nil, telling
	case len(candidates) == 0:
		candidates = configured
	}
	if telling != nil {
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(id int) bool { return id == known })
	}
	if len(candidates) == 0 {
		return nil, telling
	}
	s, err := o.firstSuite(ctx, w, candidates)
	if err != nil && telling != nil && !errors.Is(err, ErrAuth) && !errors.Is(telling, ErrNoCipherSuite) {
		err = telling
	}
	if err == nil {
		o.remember(ctx)
	}
	return s, err
}

// suiteMayBeWrong tells whether a BMC that lacks a suite may end a login so: there are some that refuse the login, or
// are silent, instead of naming the reason.
func suiteMayBeWrong(err error) bool {
	return errors.Is(err, ErrNoCipherSuite) || errors.Is(err, ErrAuth) || errors.Is(err, ErrUnreachable)
}

// recall is the suite that worked last, also in an earlier process.
func (o *operation) recall(ctx context.Context) int {
	if memory := o.bmcs.cfg.Memory; memory != nil && !o.bmc.isRecalled {
		suite, err := memory.CipherSuite(ctx, o.endpoint)
		if err != nil {
			o.log.WithError(err).Warn("cannot recall the cipher suite of the BMC")
			return o.bmc.suite
		}
		o.bmc.isRecalled, o.bmc.suite, o.bmc.remembered = true, suite, suite
	}
	return o.bmc.suite
}

// remember keeps the suite that works, if it is another one than before.
func (o *operation) remember(ctx context.Context) {
	memory := o.bmcs.cfg.Memory
	if memory == nil || o.bmc.suite == o.bmc.remembered {
		return
	}
	if err := memory.SetCipherSuite(ctx, o.endpoint, o.bmc.suite); err != nil {
		o.log.WithError(err).Warn("cannot remember the cipher suite of the BMC")
		return
	}
	o.bmc.remembered = o.bmc.suite
}

// Sizes of a message outside of sessions, which looks as in IPMI 1.5 (table 13-8), and of the list of suites.
const (
	sessionHeader15 = 10
	maxSuiteParts   = 8
	suitePartSize   = 16
	sendingsList    = 2 // it is not worth more
)

// listSuites asks for the suites of the BMC before there is a session (section 22.15).
func listSuites(ctx context.Context, w *wire) ([]int, error) {
	before := w.sendings
	w.sendings = sendingsList
	defer func() { w.sendings = before }()
	var records []byte
	for part := range uint8(maxSuiteParts) {
		const thisChannel, listBySuite = 0x0e, 0x80
		sequence := part + 1
		request := message(types.BMC_SA, types.RemoteConsole_SWID, sequence, types.CommandGetChannelCipherSuites, []byte{thisChannel, uint8(types.PayloadTypeIPMI), listBySuite | part})
		datagram := append(types.NewRmcpHeader().Pack(), make([]byte, sessionHeader15)...)
		datagram[rmcpHeaderSize+sessionHeader15-1] = uint8(len(request))
		datagram = append(datagram, request...)
		var response types.IPMIResponse
		err := w.exchange(ctx, func() ([]byte, error) { return datagram, nil }, func(answer []byte) (done bool, err error) {
			plain, ok := sessionless(answer)
			if ok {
				response, ok = parseMessage(plain)
			}
			cmd := types.CommandGetChannelCipherSuites
			return ok && response.RequesterSequence == sequence && response.NetFn == cmd.NetFn|1 && response.Command == cmd.ID, nil
		})
		if err != nil {
			return nil, fmt.Errorf("list cipher suites: %w", err)
		}
		if code := types.CompletionCode(response.CompletionCode); code != types.CodeOK {
			return nil, &CompletionError{Command: types.CommandGetChannelCipherSuites, Code: code}
		}
		if len(response.Data) == 0 {
			break
		}
		more := response.Data[1:]
		records = append(records, more...)
		if len(more) < suitePartSize {
			break
		}
	}
	list, err := app.ParseCipherSuitesData(records) // what it could read is good also where the rest is broken
	var ids []int
	for _, r := range list {
		if r.OEMIanaID == 0 {
			ids = append(ids, int(r.CipherSuitID))
		}
	}
	if len(ids) == 0 && err != nil {
		return nil, fmt.Errorf("list cipher suites: %w", err)
	}
	return ids, nil
}

// sessionless is the message in a datagram outside of all sessions.
func sessionless(b []byte) (message []byte, ok bool) {
	const ipmiClass, rmcpVersion = 0x07, 0x06
	if len(b) < rmcpHeaderSize+sessionHeader15 || b[0] != rmcpVersion || b[3] != ipmiClass || b[4] != 0 || binary.LittleEndian.Uint32(b[9:]) != 0 {
		return nil, false
	}
	b = b[rmcpHeaderSize+sessionHeader15-1:]
	if size := int(b[0]); len(b) > size {
		return b[1 : 1+size], true
	}
	return nil, false
}
