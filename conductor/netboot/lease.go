package netboot

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Lease is one address that was given away.
type Lease struct {
	Address netip.Addr
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

// leases assigns addresses of a range. Its size is bounded by that of the range.
type leases struct {
	begin    netip.Addr
	size     uint32
	reserved map[netip.Addr]bool // in the range, but somebody's own: never given away
	store    LeaseStore          // may be nil

	mu       sync.Mutex
	byMAC    map[string]*Lease
	byAddr   map[netip.Addr]*Lease
	declined map[netip.Addr]time.Time // until when
}

func newLeases(begin, end netip.Addr, store LeaseStore, reserved ...netip.Addr) *leases {
	l := &leases{
		begin: begin, size: uint32(rangeSize(begin, end)), store: store,
		reserved: make(map[netip.Addr]bool),
		byMAC:    make(map[string]*Lease), byAddr: make(map[netip.Addr]*Lease),
		declined: make(map[netip.Addr]time.Time),
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
		if l.usable(lease.Address, time.Time{}) && l.byMAC[lease.MAC] == nil && l.byAddr[lease.Address] == nil {
			l.put(lease.MAC, lease.Address, lease.Expires)
		}
	}
	return nil
}

// offer returns the address of mac, and holds a new one for offerHold. A wanted
// address is given if it is free; else the hash decides.
func (l *leases) offer(mac net.HardwareAddr, want netip.Addr, now time.Time) (netip.Addr, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := mac.String()
	if lease := l.byMAC[key]; lease != nil {
		if lease.Expires.Before(now.Add(offerHold)) {
			lease.Expires = now.Add(offerHold)
		}
		return lease.Address, nil
	}
	addr, ok := want, l.free(want, now)
	if !ok {
		addr, ok = l.probe(mac, now)
	}
	if !ok {
		return netip.Addr{}, fmt.Errorf("%w %v-%v", ErrRangeExhausted, l.begin, addAddr(l.begin, l.size-1))
	}
	l.put(key, addr, now.Add(offerHold))
	return addr, nil
}

// probe walks the range once, from the hash of mac on, and prefers an address
// that nobody had before to one whose lease has run out.
func (l *leases) probe(mac net.HardwareAddr, now time.Time) (netip.Addr, bool) {
	h := fnv.New32a()
	h.Write(mac)
	start := h.Sum32() % l.size
	var expired netip.Addr
	for i := range l.size {
		addr := addAddr(l.begin, (start+i)%l.size)
		if !l.free(addr, now) {
			continue
		}
		if l.byAddr[addr] == nil {
			return addr, true
		}
		if !expired.IsValid() {
			expired = addr
		}
	}
	return expired, expired.IsValid()
}

// commit leases addr to mac until expires. It returns false if the address is not
// mac's and cannot become so, which calls for a NAK.
func (l *leases) commit(ctx context.Context, mac net.HardwareAddr, addr netip.Addr, now, expires time.Time) (bool, error) {
	key := mac.String()
	l.mu.Lock()
	lease := l.byMAC[key]
	ok := lease != nil && lease.Address == addr
	if !ok && l.free(addr, now) && (lease == nil || lease.Expires.Before(now.Add(offerHold))) {
		ok = true // known from before a restart
	}
	if ok {
		l.put(key, addr, expires)
	}
	l.mu.Unlock()
	if !ok || l.store == nil {
		return ok, nil
	}
	if err := l.store.Save(ctx, Lease{Address: addr, MAC: key, Expires: expires}); err != nil {
		return ok, fmt.Errorf("save DHCP lease of %s on %v: %w", key, addr, err)
	}
	return ok, nil
}

// release ends the lease of mac on addr; the address stays reserved for it until
// another machine needs it.
func (l *leases) release(ctx context.Context, mac net.HardwareAddr, addr netip.Addr, now time.Time) error {
	l.mu.Lock()
	lease := l.byMAC[mac.String()]
	mine := lease != nil && lease.Address == addr
	if mine {
		lease.Expires = now
	}
	l.mu.Unlock()
	if !mine || l.store == nil {
		return nil
	}
	if err := l.store.Delete(ctx, addr); err != nil {
		return fmt.Errorf("delete DHCP lease of %v on %v: %w", mac, addr, err)
	}
	return nil
}

// decline takes addr, which mac found in use, out of service for declineHold. It
// returns false if the address is not mac's.
func (l *leases) decline(ctx context.Context, mac net.HardwareAddr, addr netip.Addr, now time.Time) (bool, error) {
	l.mu.Lock()
	lease := l.byMAC[mac.String()]
	mine := lease != nil && lease.Address == addr
	if mine {
		delete(l.byMAC, lease.MAC)
		delete(l.byAddr, addr)
		l.declined[addr] = now.Add(declineHold)
	}
	l.mu.Unlock()
	if !mine || l.store == nil {
		return mine, nil
	}
	if err := l.store.Delete(ctx, addr); err != nil {
		return mine, fmt.Errorf("delete DHCP lease of %v on %v: %w", mac, addr, err)
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

// put makes addr the one lease of mac; l.mu is held.
func (l *leases) put(mac string, addr netip.Addr, expires time.Time) {
	if old := l.byMAC[mac]; old != nil {
		delete(l.byAddr, old.Address)
	}
	if old := l.byAddr[addr]; old != nil {
		delete(l.byMAC, old.MAC)
	}
	lease := &Lease{Address: addr, MAC: mac, Expires: expires}
	l.byMAC[mac], l.byAddr[addr] = lease, lease
}

func (l *leases) free(addr netip.Addr, now time.Time) bool {
	if !l.usable(addr, now) {
		return false
	}
	lease := l.byAddr[addr]
	return lease == nil || !lease.Expires.After(now)
}

func (l *leases) usable(addr netip.Addr, now time.Time) bool {
	if !addr.Is4() || addr.Less(l.begin) || addAddr(l.begin, l.size-1).Less(addr) || l.reserved[addr] {
		return false
	}
	return !l.declined[addr].After(now)
}

func rangeSize(begin, end netip.Addr) uint64 {
	b, e := begin.As4(), end.As4()
	return uint64(binary.BigEndian.Uint32(e[:])) - uint64(binary.BigEndian.Uint32(b[:])) + 1
}

func addAddr(a netip.Addr, n uint32) netip.Addr {
	raw := a.As4()
	binary.BigEndian.PutUint32(raw[:], binary.BigEndian.Uint32(raw[:])+n)
	return netip.AddrFrom4(raw)
}
