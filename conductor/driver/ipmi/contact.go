package ipmi

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// contact remembers how it went when a BMC was asked last: told apart, as a
// BMC that answers now may have been silent a minute ago. It has a lock of its
// own, since who asks for it does not wait in the queue.
type contact struct {
	mu           sync.Mutex
	last         driver.Contact // of all
	answer, fail driver.Contact // the last of each
}

// note files the outcome of a command. The BMC's refusal of a command is an
// answer, a login that it refuses is a failure to reach it. Who gave up before
// there was an outcome tells nothing of the BMC.
func (c *contact) note(what string, err error) {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrBusy) || errors.Is(err, context.Canceled) {
		return
	}
	now := driver.Contact{At: time.Now().UTC(), What: what, OK: err == nil || answered(err)}
	if err != nil {
		now.Error = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = now
	if now.OK {
		c.answer = now
	} else {
		c.fail = now
	}
}

// Contacts are how it went when a BMC was asked last, and the last answer and
// the last failure; At is zero where there was none.
type Contacts struct{ Last, Answer, Failure driver.Contact }

// Contacts of a BMC. False says that it has not been asked yet.
func (b *BMCs) Contacts(info Info) (Contacts, bool) {
	b.mu.Lock()
	of, ok := b.contacts[controller{info.endpoint(), info.Bridge}]
	b.mu.Unlock()
	if !ok {
		return Contacts{}, false
	}
	of.mu.Lock()
	defer of.mu.Unlock()
	c := Contacts{of.last, of.answer, of.fail}
	return c, !c.Last.At.IsZero()
}

// LastContact is how it went when the node's BMC was asked last.
func (p *Power) LastContact(n *store.Node) (driver.Contact, bool) {
	info, err := nodeInfo(n)
	if err != nil {
		return driver.Contact{}, false
	}
	c, ok := p.bmcs.Contacts(info)
	return c.Last, ok
}

var _ driver.Contacted = (*Power)(nil)
