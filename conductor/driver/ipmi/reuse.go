package ipmi

import (
	"context"
	"sync"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
)

// A login costs four exchanges and one of the few sessions that a BMC has, so a
// session is kept for the next command for a while. That is less than the
// minute after which BMCs forget one (IPMI 2.0 section 6.12.15), and the
// conductor holds a bounded number of them, each of which is an open socket.
const (
	sessionIdle  = 20 * time.Second
	keptSessions = 512
)

// credentials are what a session was opened with: who has others, or others
// than before, logs in anew.
type credentials struct {
	username     string
	password, kg Secret
	privilege    types.PrivilegeLevel
	suite        int
}

func (i Info) credentials() credentials {
	return credentials{username: i.Username, password: i.Password, kg: i.KgKey, privilege: i.PrivilegeLevel, suite: i.CipherSuite}
}

// kept is a session between two commands. It belongs to who holds the queue.
type kept struct {
	session session
	of      credentials
	expiry  *time.Timer
}

// take returns the kept session if it was opened as info says. Another one is
// closed: the node's credentials have changed.
func (o *operation) take(ctx context.Context) session {
	k := o.bmc.kept
	if k == nil {
		return nil
	}
	o.bmc.kept = nil
	k.expiry.Stop()
	o.bmcs.keptCount.Add(-1)
	if k.of == o.info.credentials() {
		return k.session
	}
	o.bmcs.logout(ctx, k.session)
	return nil
}

// keep puts a session that works by for the next command, or ends it.
func (o *operation) keep(ctx context.Context, s session) {
	plus, isRMCPPlus := s.(*rmcpPlus)
	if !isRMCPPlus || o.bmcs.keptCount.Load() >= keptSessions {
		o.bmcs.logout(ctx, s)
		return
	}
	plus.sendings = sendingsKept
	o.bmcs.keptCount.Add(1)
	k := &kept{session: s, of: o.info.credentials()}
	target := o.bmc
	k.expiry = time.AfterFunc(o.bmcs.sessionIdle, func() { o.bmcs.expire(target, k) })
	o.bmc.kept = k
}

// expire closes a session that nobody has used for long. Who has the queue at
// this moment takes the session, and keeps it anew.
func (b *BMCs) expire(target *bmc, k *kept) {
	if !target.queue.TryAcquire(1) {
		return
	}
	defer target.queue.Release(1)
	if target.kept == k {
		target.kept = nil
		b.keptCount.Add(-1)
		b.logout(context.Background(), k.session)
	}
}

// logout ends a session; it has a little time of its own for it.
func (b *BMCs) logout(ctx context.Context, s session) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.ResponseTimeout)
	defer cancel()
	s.close(closing)
}

// abandon closes a session whose BMC did not answer, which gets the logout without being waited for.
func (b *BMCs) abandon(ctx context.Context, s session) {
	gone, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cancel()
	s.close(gone)
}

// closeKept ends all kept sessions, when no operation runs any more.
func (b *BMCs) closeKept() {
	var all sync.WaitGroup
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, target := range b.bmcs {
		if target.queue.Acquire(context.Background(), 1) != nil { // for expire, which is brief
			continue
		}
		if k := target.kept; k != nil {
			target.kept = nil
			k.expiry.Stop()
			all.Go(func() { b.logout(context.Background(), k.session) })
		}
		target.queue.Release(1)
	}
	all.Wait()
}
