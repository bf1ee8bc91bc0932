// Package ipmi drives machines through their BMC by IPMI over LAN, under Ironic's interface name ipmitool.
// It speaks the protocol itself. Start reading at BMCs: chassis.go and bootdevice.go hold what can be asked of
// a BMC, operation.go the queue and the retries, rmcpplus.go the session, wire.go the datagrams.
package ipmi

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"
)

// BMCs is the way to all BMCs: a queue for each address and port, and for a while after a command the session
// that it was sent in. It is safe for concurrent use.
type BMCs struct {
	cfg         Config
	log         *logrus.Entry
	closed      chan struct{}
	sessionIdle time.Duration // after which a kept session is closed
	solQuiet    time.Duration // after which a silent serial line is probed
	keptCount   atomic.Int64

	mu         sync.Mutex
	bmcs       map[string]*bmc // by Info.endpoint
	contacts   map[controller]*contact
	isClosed   bool
	operations sync.WaitGroup
}

// bmc is what is remembered about one BMC. The fields below the queue belong to who holds it.
type bmc struct {
	queue *semaphore.Weighted // of one, first come first served

	lastCommand time.Time // end of the last command
	suite       int       // that worked last, 0 if none did
	remembered  int       // what Memory has, once it isRecalled
	isRecalled  bool
	kept        *kept // session for the next command, nil if none
	solSequence uint8 // of the last packet to the serial line: BMCs drop the first of a session if it has the same number
}

// controller is who answers: a BMC, or somebody behind it.
type controller struct {
	endpoint string
	bridge   Bridge
}

// New returns the BMCs of a conductor; cfg must be valid (Config.Validate).
func New(cfg Config, log *logrus.Entry) *BMCs {
	return &BMCs{cfg: cfg, log: log, closed: make(chan struct{}), sessionIdle: sessionIdle, solQuiet: solQuiet, bmcs: map[string]*bmc{}, contacts: map[controller]*contact{}}
}

// Close cancels all running operations and waits for their end. Later ones fail with ErrClosed.
func (b *BMCs) Close() {
	b.mu.Lock()
	if !b.isClosed {
		b.isClosed = true
		close(b.closed)
	}
	b.mu.Unlock()
	b.operations.Wait()
	b.closeKept()
}

// begin registers an operation. end must be called; ctx ends with Close or after limit at the latest.
func (b *BMCs) begin(parent context.Context, info Info, name string, limit time.Duration) (ctx context.Context, o *operation, end func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isClosed {
		return nil, nil, nil, ErrClosed
	}
	endpoint := info.endpoint()
	target, ok := b.bmcs[endpoint]
	if !ok {
		target = &bmc{queue: semaphore.NewWeighted(1), solSequence: uint8(rand.IntN(15))}
		b.bmcs[endpoint] = target
	}
	who := controller{endpoint, info.Bridge}
	if b.contacts[who] == nil {
		b.contacts[who] = &contact{}
	}
	b.operations.Add(1)
	ctx, cancel := context.WithTimeout(parent, limit)
	go func() {
		select {
		case <-b.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	o = &operation{bmcs: b, bmc: target, info: info, endpoint: endpoint, name: name, contact: b.contacts[who],
		log: b.log.WithFields(logrus.Fields{"bmc": endpoint, "operation": name})}
	o.login = o.open
	return ctx, o, func() {
		cancel()
		b.operations.Done()
	}, nil
}

// commandLimit bounds an operation of n commands: each may wait as long for others in the queue as for the BMC,
// and keeps its distance from the one before.
func (b *BMCs) commandLimit(n int) time.Duration {
	return time.Duration(n) * (2*b.cfg.CommandRetryTimeout + b.cfg.MinCommandInterval)
}
