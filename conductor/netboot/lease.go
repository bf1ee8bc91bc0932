package netboot

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Lease is one address that was given away.
type Lease struct {
	Address netip.Addr
	// Client is who has it: with IPv4 the MAC address, with IPv6, where a machine's
	// firmware and systems are clients of their own, identifiers of client and interface.
	Client  string
	MAC     string // lower case, colons
	Expires time.Time
}

// LeaseStore makes leases outlive a restart; it holds at most one lease per
// address. Without one, nothing is lost that matters: an address is the hash of
// the MAC address into the range, so a machine finds the same one after a restart,
// and where a collision had moved it, a client that names its address (every
// renewing or rebooting operating system does) is given that again as long as nobody
// else holds it. Only a new machine whose hash is that address can come in between,
// which the client detects and declines.
type LeaseStore interface {
	// Load returns all leases, the expired ones included.
	Load(ctx context.Context) ([]Lease, error)
	// Save inserts the lease, or replaces the one of the same address.
	Save(ctx context.Context, lease Lease) error
	// Delete removes the lease of an address, if there is one.
	Delete(ctx context.Context, address netip.Addr) error
}

const (
	// offerHold is for how long an offered address is kept for the client's request.
	offerHold = time.Minute
	// declineHold is for how long an address that was found in use is not given away.
	declineHold = 10 * time.Minute
)

// holder is who asks for an address.
type holder struct {
	client string // see Lease.Client
	mac    string
}

func holderOf(mac net.HardwareAddr) holder { return holder{mac.String(), mac.String()} }

// leasesPerMAC bounds what one machine can hold with identifiers that it makes up.
// A live system has a new one at every boot, so the oldest is given up for it.
const leasesPerMAC = 8

// leases assigns addresses of a range. Its size is bounded by that of the range.
type leases struct {
	begin    netip.Addr
	size     uint32
	reserved map[netip.Addr]bool // in the range, but somebody's own: never given away
	store    LeaseStore          // may be nil

	mu       sync.Mutex
	byClient map[string]*Lease
	byAddr   map[netip.Addr]*Lease
	declined map[netip.Addr]refusal
}

// refusal is an address that a client found in use by another host.
type refusal struct {
	mac   string // of who said so
	until time.Time
}

func newLeases(begin, end netip.Addr, store LeaseStore, reserved ...netip.Addr) *leases {
	l := &leases{
		begin: begin, size: uint32(rangeSize(begin, end)), store: store,
		reserved: make(map[netip.Addr]bool),
		byClient: make(map[string]*Lease), byAddr: make(map[netip.Addr]*Lease),
		declined: make(map[netip.Addr]refusal),
	}
	for _, addr := range reserved {
		l.reserved[addr] = true
	}
	return l
}

// load takes over what the store holds for this range.
func (l *leases) load(ctx context.Context) error {
	if l.store == nil {
		return nil
	}
	stored, err := l.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("load DHCP leases: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lease := range stored {
		if l.usable(lease.Address, time.Time{}) && l.byClient[lease.Client] == nil && l.byAddr[lease.Address] == nil {
			l.put(holder{lease.Client, lease.MAC}, lease.Address, lease.Expires)
		}
	}
	return nil
}

// offer returns the address of who, and holds a new one for offerHold. A wanted
// address is given if it is free; else the hash decides.
func (l *leases) offer(who holder, want netip.Addr, now time.Time) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease := l.byClient[who.client]; lease != nil {
		if lease.Expires.Before(now.Add(offerHold)) {
			lease.Expires = now.Add(offerHold)
		}
		return lease.Address, nil
	}
	addr, ok := want, l.free(want, now)
	if !ok {
		addr, ok = l.probe(who, now)
	}
	if oldest := l.surplus(who); oldest != nil {
		addr, ok = oldest.Address, true
	}
	if !ok {
		return netip.Addr{}, fmt.Errorf("%w %v-%v", ErrRangeExhausted, l.begin, addAddr(l.begin, l.size-1))
	}
	delete(l.declined, addr)
	l.put(who, addr, now.Add(offerHold))
	return addr, nil
}

// surplus is the lease of the machine that ends first, if it has as many as it may.
func (l *leases) surplus(who holder) *Lease {
	if who.client == who.mac {
		return nil
	}
	var oldest *Lease
	count := 0
	for _, lease := range l.byClient {
		if lease.MAC != who.mac {
			continue
		}
		if count++; oldest == nil || lease.Expires.Before(oldest.Expires) {
			oldest = lease
		}
	}
	if count < leasesPerMAC {
		return nil
	}
	return oldest
}

// probe walks the range once, from the hash of who on, and prefers an address
// that nobody had before to one whose lease has run out, and that to one which
// another machine has declined, the longest ago: one that declines all that it is
// offered leaves nothing to itself only.
func (l *leases) probe(who holder, now time.Time) (netip.Addr, bool) {
	h := fnv.New32a()
	if mac, err := net.ParseMAC(who.client); err == nil {
		h.Write(mac)
	} else {
		h.Write([]byte(who.client))
	}
	start := h.Sum32() % l.size
	var expired, declined netip.Addr
	for i := range l.size {
		addr := addAddr(l.begin, (start+i)%l.size)
		if !l.free(addr, now) {
			r, refused := l.declined[addr]
			if refused && r.mac != who.mac && l.byAddr[addr] == nil && (!declined.IsValid() || r.until.Before(l.declined[declined].until)) {
				declined = addr
			}
			continue
		}
		if l.byAddr[addr] == nil {
			return addr, true
		}
		if !expired.IsValid() {
			expired = addr
		}
	}
	if expired.IsValid() {
		return expired, true
	}
	return declined, declined.IsValid()
}

// commit leases addr to who until expires. It returns false if the address is not
// theirs and cannot become so, which calls for a NAK.
func (l *leases) commit(ctx context.Context, who holder, addr netip.Addr, now, expires time.Time) (bool, error) {
	l.mu.Lock()
	lease := l.byClient[who.client]
	ok := lease != nil && lease.Address == addr
	if !ok && l.free(addr, now) && (lease == nil && l.surplus(who) == nil || lease != nil && lease.Expires.Before(now.Add(offerHold))) {
		ok = true // known from before a restart
	}
	if ok {
		l.put(who, addr, expires)
	}
	l.mu.Unlock()
	if !ok || l.store == nil {
		return ok, nil
	}
	if err := l.store.Save(ctx, Lease{Address: addr, Client: who.client, MAC: who.mac, Expires: expires}); err != nil {
		return ok, fmt.Errorf("save DHCP lease of %s on %v: %w", who.mac, addr, err)
	}
	return ok, nil
}

// release ends the lease of who on addr; the address stays reserved for it until
// another machine needs it.
func (l *leases) release(ctx context.Context, who holder, addr netip.Addr, now time.Time) (bool, error) {
	l.mu.Lock()
	lease := l.byClient[who.client]
	mine := lease != nil && lease.Address == addr
	if mine {
		lease.Expires = now
	}
	l.mu.Unlock()
	if !mine || l.store == nil {
		return mine, nil
	}
	if err := l.store.Delete(ctx, addr); err != nil {
		return mine, fmt.Errorf("delete DHCP lease of %s on %v: %w", who.mac, addr, err)
	}
	return mine, nil
}

// decline takes addr, which its holder found in use, out of service for declineHold. It
// returns false if the address is not theirs.
func (l *leases) decline(ctx context.Context, who holder, addr netip.Addr, now time.Time) (bool, error) {
	l.mu.Lock()
	lease := l.byClient[who.client]
	mine := lease != nil && lease.Address == addr
	if mine {
		delete(l.byClient, lease.Client)
		delete(l.byAddr, addr)
		l.declined[addr] = refusal{mac: who.mac, until: now.Add(declineHold)}
	}
	l.mu.Unlock()
	if !mine || l.store == nil {
		return mine, nil
	}
	if err := l.store.Delete(ctx, addr); err != nil {
		return mine, fmt.Errorf("delete DHCP lease of %s on %v: %w", who.mac, addr, err)
	}
	return mine, nil
}

// owner returns the MAC address that holds addr, or nil.
func (l *leases) owner(addr netip.Addr) net.HardwareAddr {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease := l.byAddr[addr]
	if lease == nil {
		return nil
	}
	mac, err := net.ParseMAC(lease.MAC)
	if err != nil {
		return nil
	}
	return mac
}

// put makes addr the one lease of who; l.mu is held.
func (l *leases) put(who holder, addr netip.Addr, expires time.Time) {
	if old := l.byClient[who.client]; old != nil {
		delete(l.byAddr, old.Address)
	}
	if old := l.byAddr[addr]; old != nil {
		delete(l.byClient, old.Client)
	}
	lease := &Lease{Address: addr, Client: who.client, MAC: who.mac, Expires: expires}
	l.byClient[who.client], l.byAddr[addr] = lease, lease
}

func (l *leases) free(addr netip.Addr, now time.Time) bool {
	if !l.usable(addr, now) {
		return false
	}
	lease := l.byAddr[addr]
	return lease == nil || !lease.Expires.After(now)
}

func (l *leases) usable(addr netip.Addr, now time.Time) bool {
	return l.has(addr) && !l.reserved[addr] && !l.declined[addr].until.After(now)
}

// has tells whether an address is in the range.
func (l *leases) has(addr netip.Addr) bool {
	return addr.BitLen() == l.begin.BitLen() && addr.Zone() == "" && !addr.Less(l.begin) && !addAddr(l.begin, l.size-1).Less(addr)
}

// claim grades what who has here: 2 an address of its own, 1 one that it wants and that is free.
func (l *leases) claim(who holder, want netip.Addr, now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.byClient[who.client] != nil:
		return 2
	case l.free(want, now):
		return 1
	}
	return 0
}

// rangeSize is the number of addresses from begin to end, which are of one family
// and in order; what does not fit is more than any range may have.
func rangeSize(begin, end netip.Addr) uint64 {
	b, e := begin.As16(), end.As16()
	if [8]byte(b[:8]) != [8]byte(e[:8]) {
		return math.MaxUint64
	}
	size := binary.BigEndian.Uint64(e[8:]) - binary.BigEndian.Uint64(b[8:])
	return size + min(1, math.MaxUint64-size)
}

// addAddr is the address n after a, in the same lower half.
func addAddr(a netip.Addr, n uint32) netip.Addr {
	raw := a.As16()
	binary.BigEndian.PutUint64(raw[8:], binary.BigEndian.Uint64(raw[8:])+uint64(n))
	sum := netip.AddrFrom16(raw)
	if a.Is4() {
		low := raw[12:]
		sum = netip.AddrFrom4([4]byte(low))
	}
	return sum
}
