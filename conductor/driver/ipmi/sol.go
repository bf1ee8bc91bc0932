package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/transport"
	"github.com/bougou/go-ipmi/pkg/types"
	"github.com/sirupsen/logrus"
)

// Bits of the fourth byte of a SOL packet: what the console wants, and how the BMC is (IPMI 2.0 table 15-2).
const (
	solBreak       = 0x10 // to the BMC
	solDeactivated = 0x10 // from the BMC
	solOverrun     = 0x08 // from the BMC: it has lost characters
)

// How SOL packets are repeated. Each side has one packet in the air; the other acknowledges it by its number, which
// runs from 1 to 15, and by how much of it was taken.
const (
	solFirstWait   = 150 * time.Millisecond
	solLongestWait = time.Second
	solSendings    = 12
	solBreaks      = 2               // of a break, which is not worth the line
	solRefusal     = 5 * time.Second // how long a machine that takes nothing is waited for
	solSmallest    = 16              // what every BMC takes in a packet
	solLargest     = 251             // characters, whose number has a byte in the acknowledgement
	solHeaderSize  = 4
)

// A line is probed every BMCs.solQuiet, so that a BMC that restarted or gave the line to somebody else is noticed, and
// because there are BMCs that end a session without commands, whatever text is passed in it.
const (
	solQuiet     = 15 * time.Second
	solProbeWait = 2 * time.Second
	solProbes    = 4
)

// ErrNotTaken means that the BMC has refused what was written: the machine is off, or does not read.
var ErrNotTaken = errors.New("the machine does not take what is typed")

// errLineEnded is the end of a line by the BMC's will.
var errLineEnded = errors.New("the BMC has ended the serial console")

// SOL is the serial line of a machine, open. Reading and writing may go on at once; a write returns when the BMC
// has taken the text.
type SOL struct {
	session  *rmcpPlus
	log      *logrus.Entry
	maxChars int
	quiet    time.Duration
	owner    uint32 // session that the BMC said has the line when it was opened, 0 is unknown

	datagrams chan []byte
	text      chan []byte // from the machine
	writes    chan *solWrite
	stop      context.CancelFunc
	ended     chan struct{}
	err       error  // why it ended, once ended is closed
	unread    []byte // of Read

	// Of the goroutine that runs the line.
	sent      *solWrite
	sequence  uint8     // of the last packet sent
	received  uint8     // number of the last packet received, 0 is none
	taken     int       // characters of it that were handed on
	since     uint32    // number in the session of the datagram that brought it first
	heard     time.Time // of the BMC, last
	probes    int       // sent since the last answer
	probeDue  time.Time // the next one
	isClosing bool      // by our will
}

// solWrite is text, or a break, on its way to the machine.
type solWrite struct {
	data      []byte
	operation uint8
	done      chan error

	sequence    uint8
	inPacket    int // characters of data in the packet in the air
	accepted    int // those that the BMC has taken of the packet, which are in data no more
	tries       int
	due         time.Time // of the next sending
	suspended   bool      // refused until the BMC says otherwise
	refusedFrom time.Time
}

// startSOL runs an activated line until it ends or the driver is shut down.
func (b *BMCs) startSOL(target *bmc, s *rmcpPlus, endpoint string, terms transport.ActivatePayloadResponse) *SOL {
	ctx, cancel := context.WithCancel(context.Background())
	l := &SOL{
		session: s, log: b.log.WithField("bmc", endpoint), quiet: b.solQuiet,
		maxChars:  min(max(int(terms.InboundPayloadSize)-solHeaderSize, solSmallest), solLargest),
		datagrams: make(chan []byte, 64), text: make(chan []byte, 256), writes: make(chan *solWrite), stop: cancel, ended: make(chan struct{}),
		heard: time.Now(), sequence: target.solSequence,
	}
	s.conn.SetReadDeadline(time.Time{})
	b.operations.Add(1)
	var reading sync.WaitGroup
	reading.Go(func() { l.receive(ctx) })
	go func() {
		defer b.operations.Done()
		err := l.run(ctx, b.closed)
		cancel()
		l.leave(reading.Wait)
		if target.queue.Acquire(context.Background(), 1) == nil {
			target.solSequence = l.sequence
			target.queue.Release(1)
		}
		l.err = fmt.Errorf("serial console of BMC %s: %w", endpoint, err)
		close(l.ended)
	}()
	return l
}

// receive hands datagrams on. What the socket reports in between, as that nothing listens while the BMC restarts,
// is no end: the packets' own time limits tell.
func (l *SOL) receive(ctx context.Context) {
	buf := make([]byte, maxDatagram)
	for ctx.Err() == nil {
		n, err := l.session.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			_ = pause(ctx, solFirstWait)
			continue
		}
		select {
		case l.datagrams <- append([]byte(nil), buf[:n]...):
		case <-ctx.Done():
		}
	}
}

// leave gives the line back and logs out, once nobody else reads the socket.
func (l *SOL) leave(read func()) {
	l.session.conn.SetReadDeadline(time.Unix(1, 0))
	read()
	closing, cancel := context.WithTimeout(context.Background(), l.session.wait)
	defer cancel()
	if l.isClosing {
		l.session.deactivateSOL(closing)
	}
	l.session.close(closing)
}

func (l *SOL) run(ctx context.Context, shutdown <-chan struct{}) error {
	l.probeOwner()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		writes := l.writes
		if l.sent != nil {
			writes = nil
		}
		select {
		case <-ctx.Done():
			l.isClosing = true
			return io.ErrClosedPipe
		case <-shutdown:
			l.isClosing = true
			return ErrClosed
		case l.sent = <-writes:
			l.transmit()
		case datagram := <-l.datagrams:
			if err := l.take(datagram); err != nil {
				return err
			}
		case <-timer.C:
			if err := l.tick(time.Now()); err != nil {
				return err
			}
		}
		timer.Reset(time.Until(l.nextDue()))
	}
}

// nextDue is when something is to be sent if nothing arrives.
func (l *SOL) nextDue() time.Time {
	due := l.probeDue
	if l.sent != nil && l.sent.due.Before(due) {
		due = l.sent.due
	}
	return due
}

// tick repeats what was not answered.
func (l *SOL) tick(now time.Time) error {
	if w := l.sent; w != nil && !now.Before(w.due) {
		switch {
		case w.suspended && now.Sub(w.refusedFrom) > solRefusal:
			l.done(ErrNotTaken)
		case w.suspended:
			l.transmit()
		case w.operation != 0 && w.tries >= solBreaks:
			l.done(nil) // there are BMCs that do not acknowledge a packet without text
		case w.tries >= solSendings:
			return fmt.Errorf("%w: a packet was sent %d times without an answer", ErrUnreachable, w.tries)
		default:
			l.send(w)
		}
	}
	switch {
	case now.Before(l.probeDue):
	case l.probes >= solProbes && now.Sub(l.heard) > solProbes*solProbeWait:
		return fmt.Errorf("%w: silent for %s", ErrUnreachable, now.Sub(l.heard).Round(time.Second))
	default:
		l.probeOwner()
	}
	return nil
}

// probeOwner asks in which session the line is.
func (l *SOL) probeOwner() {
	l.probes++
	l.probeDue = time.Now().Add(solProbeWait)
	l.write(types.PayloadTypeIPMI, l.session.request(types.CommandGetPayloadInstanceInfo, []byte{uint8(types.PayloadTypeSOL), solInstance}))
}

// write seals and sends. What the network does not take is repeated like what it loses.
func (l *SOL) write(kind types.PayloadType, payload []byte) {
	datagram, err := l.session.seal(kind, payload)
	if err == nil {
		_, _ = l.session.conn.Write(datagram)
	}
}

// transmit makes a new packet of what is left of the write in progress.
func (l *SOL) transmit() {
	w := l.sent
	l.sequence = l.sequence%15 + 1
	w.sequence, w.inPacket, w.accepted, w.tries, w.suspended = l.sequence, min(len(w.data), l.maxChars), 0, 0, false
	l.send(w)
}

func (l *SOL) send(w *solWrite) {
	p := types.SOLPayloadPacket{SequenceNumber: w.sequence, ControlByte: w.operation, CharacterData: w.data[:w.inPacket]}
	l.write(types.PayloadTypeSOL, p.Pack())
	w.due = time.Now().Add(min(solFirstWait<<w.tries, solLongestWait))
	w.tries++
}

// done tells who writes.
func (l *SOL) done(err error) {
	l.sent.done <- err
	l.sent = nil
}

// take acts on a datagram. One that is not authentic, or not of this line, is dropped.
func (l *SOL) take(datagram []byte) error {
	kind, payload, ok := l.session.unseal(datagram)
	if !ok {
		return nil
	}
	switch kind {
	case types.PayloadTypeIPMI:
		m, ok := parseMessage(payload)
		if !ok || l.probes == 0 || !l.session.isAnswer(m, types.CommandGetPayloadInstanceInfo) {
			return nil
		}
		l.heard, l.probes = time.Now(), 0
		l.probeDue = l.heard.Add(l.quiet)
		return l.checkOwner(m)
	case types.PayloadTypeSOL:
		p, ok := parseSOL(payload)
		if !ok {
			return nil
		}
		l.heard = time.Now()
		return l.packet(p, binary.LittleEndian.Uint32(datagram[rmcpHeaderSize+6:]))
	}
	return nil
}

// checkOwner ends a line that is in another session than it was. A BMC that cannot tell is alive, at least.
func (l *SOL) checkOwner(m types.IPMIResponse) error {
	if types.CompletionCode(m.CompletionCode) != types.CodeOK || len(m.Data) < 4 {
		return nil
	}
	owner := binary.LittleEndian.Uint32(m.Data)
	switch {
	case owner == l.session.bmcID, l.owner == 0 && owner != 0:
		l.owner = owner
	case l.owner != 0 && owner == 0:
		return errLineEnded
	case l.owner != 0 && owner != l.owner:
		return fmt.Errorf("%w: %w", errLineEnded, ErrConsoleTaken)
	}
	return nil
}

// parseSOL takes a SOL packet apart.
func parseSOL(b []byte) (p types.SOLPayloadPacket, ok bool) {
	return p, p.Unpack(b) == nil
}

// packet acts on a packet; number is that of its datagram in the session.
func (l *SOL) packet(p types.SOLPayloadPacket, number uint32) error {
	if w := l.sent; w != nil && p.AckedSequenceNumber == w.sequence {
		l.acknowledged(w, p)
	}
	if p.SequenceNumber != 0 {
		l.incoming(p, number)
	}
	if p.ControlByte&solOverrun != 0 {
		l.log.Warn("the BMC has lost text of the serial console")
	}
	if p.ControlByte&solDeactivated != 0 {
		return errLineEnded
	}
	return nil
}

// acknowledged goes on with the write in progress. What the BMC has not taken of a packet goes into the next one: at
// once if it has taken something, after a while if nothing, and if it refused to take any more when it says that it
// takes again, which is an acknowledgement of the same packet.
func (l *SOL) acknowledged(w *solWrite, p types.SOLPayloadPacket) {
	progress := min(max(int(p.AcceptedCharacterCount)-w.accepted, 0), w.inPacket)
	w.data, w.inPacket, w.accepted = w.data[progress:], w.inPacket-progress, w.accepted+progress
	if progress > 0 {
		w.refusedFrom = time.Time{}
	}
	if len(w.data) == 0 && (!p.NACK || w.operation == 0) {
		l.done(nil)
		return
	}
	if p.NACK || progress == 0 && !w.suspended {
		if w.refusedFrom.IsZero() {
			w.refusedFrom = time.Now()
		}
		w.suspended, w.due = true, time.Now().Add(2*solFirstWait)
		return
	}
	l.transmit()
}

// incoming hands on what the machine says, once. A packet that is repeated may have more text at its end. One that
// was sent before the last one came is late on its way, and was acknowledged. Without room for the text a packet is
// not acknowledged, and comes again.
func (l *SOL) incoming(p types.SOLPayloadPacket, number uint32) {
	data := p.CharacterData[:min(len(p.CharacterData), 0xff)]
	repeated := p.SequenceNumber == l.received
	fresh := data
	switch {
	case repeated:
		fresh = data[min(l.taken, len(data)):]
	case l.received != 0 && number != 0 && int32(number-l.since) <= 0:
		return
	}
	if len(fresh) > 0 {
		select {
		case l.text <- fresh:
		default:
			return
		}
	}
	if repeated {
		l.taken = max(l.taken, len(data))
	} else {
		l.received, l.taken, l.since = p.SequenceNumber, len(data), number
	}
	ack := types.SOLPayloadPacket{AckedSequenceNumber: p.SequenceNumber, AcceptedCharacterCount: uint8(len(data))}
	l.write(types.PayloadTypeSOL, ack.Pack())
}

// Read returns text of the machine when there is some, and why the line has ended afterwards.
func (l *SOL) Read(b []byte) (int, error) {
	if len(l.unread) == 0 {
		select {
		case l.unread = <-l.text:
		case <-l.ended:
			select {
			case l.unread = <-l.text: // what came before the end
			default:
				return 0, l.err
			}
		}
	}
	n := copy(b, l.unread)
	l.unread = l.unread[n:]
	return n, nil
}

// Write types b. ErrNotTaken leaves the line as it is.
func (l *SOL) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := l.hand(&solWrite{data: b}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Break holds the line low for a moment, which systems take for an urgent request.
func (l *SOL) Break() error { return l.hand(&solWrite{operation: solBreak}) }

func (l *SOL) hand(w *solWrite) error {
	w.done = make(chan error, 1)
	select {
	case l.writes <- w:
	case <-l.ended:
		return l.err
	}
	select {
	case err := <-w.done:
		return err
	case <-l.ended:
		return l.err
	}
}

// Close gives the line back, and returns when the BMC knows or does not answer.
func (l *SOL) Close() error {
	l.stop()
	<-l.ended
	return nil
}
