package ironic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/vishvananda/netlink"

	"ferric/api/ipa"
)

// errNoRoute: no address of the API is reachable from an address of ours.
var errNoRoute = errors.New("no API URL answers over an address that can be advertised")

// Addressing says how to find the address of this machine that the API reaches
// it at.
type Addressing struct {
	// Interface whose first IPv4 address it is; "": the source address of the
	// route to the API.
	Interface string
	URLs      []string      // of the API
	Attempts  int           // to find it
	Sleep     time.Duration // between these
	Timeout   time.Duration // of one question to the API
}

// WaitForAddress finds the address; the error is of kind ipa.LookupAgentIP.
func WaitForAddress(ctx context.Context, a Addressing) (netip.Addr, error) {
	var err error
	for attempt := range max(a.Attempts, 1) {
		if attempt > 0 {
			select {
			case <-time.After(a.Sleep):
			case <-ctx.Done():
				return netip.Addr{}, context.Cause(ctx)
			}
		}
		var addr netip.Addr
		if a.Interface != "" {
			addr, err = interfaceAddress(a.Interface)
		} else {
			addr, err = findAddress(ctx, a.URLs, a.Timeout)
		}
		if err == nil {
			return addr, nil
		}
	}
	return netip.Addr{}, ipa.LookupAgentIP.New("%v", err)
}

func findAddress(ctx context.Context, urls []string, timeout time.Duration) (netip.Addr, error) {
	probe := &http.Client{
		Timeout: timeout,
		// Any answer counts here; nothing secret is sent.
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	failures := []error{errNoRoute}
	for _, raw := range urls {
		target, err := url.Parse(raw)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		addr, err := sourceAddress(ctx, probe, target)
		if err == nil {
			return addr, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", target.Redacted(), err))
	}
	return netip.Addr{}, errors.Join(failures...)
}

func sourceAddress(ctx context.Context, probe *http.Client, api *url.URL) (netip.Addr, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.String(), nil)
	if err != nil {
		return netip.Addr{}, err
	}
	resp, err := probe.Do(req)
	if err != nil {
		return netip.Addr{}, err
	}
	resp.Body.Close()
	targets, err := net.DefaultResolver.LookupNetIP(ctx, "ip", api.Hostname())
	if err != nil {
		return netip.Addr{}, err
	}
	for _, target := range targets {
		if addr, ok := routeSource(target.Unmap()); ok {
			return addr, nil
		}
	}
	return netip.Addr{}, errors.New("no route with a usable source address")
}

// routeSource is what "ip route get" prints as src.
func routeSource(target netip.Addr) (netip.Addr, bool) {
	routes, err := netlink.RouteGet(target.AsSlice())
	if err != nil {
		return netip.Addr{}, false
	}
	for _, route := range routes {
		addr, ok := netip.AddrFromSlice(route.Src)
		if addr = addr.Unmap(); ok && !addr.IsLinkLocalUnicast() && !addr.IsUnspecified() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// HasRoute reports whether packets to target leave this machine from an
// address that can be advertised.
func HasRoute(target netip.Addr) bool {
	_, ok := routeSource(target)
	return ok
}

// interfaceAddress is the first IPv4 address of the interface.
func interfaceAddress(name string) (netip.Addr, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", name, err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of interface %s: %w", name, err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no IPv4 address", name)
}
