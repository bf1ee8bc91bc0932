package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// linkBuffer holds the news about links that come at once when a server's virtual
	// functions appear; the kernel drops what does not fit.
	linkBuffer = 4 << 20
	// linkPause is the time before a watch that ended is begun anew.
	linkPause = time.Second
)

// links sets NICs up when they appear and has them configured when they have a carrier,
// each of them once: a NIC that is set down stays down, as the agent's lockdown wants it.
type links struct {
	subscribe func(chan<- netlink.LinkUpdate, <-chan struct{}, netlink.LinkSubscribeOptions) error
	isNIC     func(netlink.Link) bool
	raise     func(netlink.Link) error
	configure func(netlink.Link) // in a goroutine of its own
	returned  func()             // a carrier is back, maybe that of another network
	warn      func(error)
	pause     time.Duration

	raised, running, lost map[int]bool // by interface index, which the kernel does not use again
}

// watch goes on until ctx ends: netlink ends a subscription at the first failure, such
// as news lost for want of buffer space, and a new one begins with all links that exist.
func (l *links) watch(ctx context.Context) {
	l.raised, l.running, l.lost = map[int]bool{}, map[int]bool{}, map[int]bool{}
	for ctx.Err() == nil {
		if err := l.watchOnce(ctx); err != nil {
			l.warn(fmt.Errorf("watch network links: %w", err))
		}
		pause(ctx, l.pause)
	}
}

// watchOnce returns when the subscription has ended.
func (l *links) watchOnce(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the socket, which netlink leaves open after a failure
	updates := make(chan netlink.LinkUpdate, 64)
	err := l.subscribe(updates, ctx.Done(), netlink.LinkSubscribeOptions{
		ListExisting:           true,
		ReceiveBufferSize:      linkBuffer,
		ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) {
			if ctx.Err() == nil {
				l.warn(fmt.Errorf("watch network links: %w", err))
			}
		},
	})
	if err != nil {
		return err
	}
	for u := range updates {
		l.update(u)
	}
	return nil
}

func (l *links) update(u netlink.LinkUpdate) {
	attrs := u.Link.Attrs()
	if u.Header.Type == unix.RTM_DELLINK {
		delete(l.raised, attrs.Index)
		return
	}
	if !l.isNIC(u.Link) {
		return
	}
	if !l.raised[attrs.Index] {
		l.raised[attrs.Index] = true
		// Some drivers load firmware meanwhile; news of the other links must not wait.
		go func() {
			if err := l.raise(u.Link); err != nil {
				l.warn(fmt.Errorf("set up %s: %w", attrs.Name, err))
			}
		}()
	}
	switch carrier := attrs.RawFlags&unix.IFF_LOWER_UP != 0; {
	case carrier && !l.running[attrs.Index]:
		l.running[attrs.Index] = true
		go l.configure(u.Link)
	case carrier && l.lost[attrs.Index]:
		delete(l.lost, attrs.Index)
		l.returned()
	case !carrier && l.running[attrs.Index]:
		l.lost[attrs.Index] = true
	}
}

// isNIC tells real and virtual Ethernet adapters, and the VLANs on them that the agent
// makes (ipa-enable-vlan-interfaces), from loopback, tunnels and the like.
func isNIC(link netlink.Link) bool {
	attrs := link.Attrs()
	if attrs.Flags&net.FlagLoopback != 0 || len(attrs.HardwareAddr) != 6 {
		return false
	}
	if isVLAN(link) {
		return true
	}
	_, err := os.Stat("/sys/class/net/" + attrs.Name + "/device")
	return err == nil
}

func isVLAN(link netlink.Link) bool { return link.Type() == "vlan" }
