// Package mdns finds a service of OpenStack by multicast DNS (RFC 6762): where
// the bare-metal API is, and options for the agent (agent contract, section
// "Finding the API"). Anybody on the link can answer, so answers are bounded
// and nothing in them is believed that is not asked for.
package mdns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// domain is where OpenStack announces its services.
const domain = "_openstack._tcp.local."

// Query says what to look for.
type Query struct {
	Service  string // "baremetal"
	Attempts int
	// Interfaces are addresses of the interfaces to ask on; none: all.
	Interfaces []netip.Addr
	// HasRoute reports whether an address can be reached.
	HasRoute func(netip.Addr) bool
}

// Endpoint is a service that was found.
type Endpoint struct {
	URL string // without a trailing slash
	// Options are those for the agent, without the prefix "ipa_".
	Options map[string]string
}

const (
	// answerTime is how long one attempt waits for answers.
	answerTime = 3 * time.Second
	// firstDelay is the pause after the first attempt; each further one is
	// twice as long (agent contract, section "Finding the API").
	firstDelay = 100 * time.Millisecond
)

// errIncomplete: not everything that makes an endpoint was answered.
var errIncomplete = errors.New("no complete answer")

// Find looks for a service.
func Find(ctx context.Context, q Query) (Endpoint, error) {
	var err error
	delay := firstDelay
	for attempt := range max(q.Attempts, 1) {
		if attempt > 0 {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return Endpoint{}, context.Cause(ctx)
			}
			delay *= 2
		}
		var found Endpoint
		if found, err = q.ask(ctx); err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return Endpoint{}, context.Cause(ctx)
		}
	}
	return Endpoint{}, fmt.Errorf("multicast DNS: service %s in %s: %w", q.Service, domain, err)
}

// endpoint makes the answers gathered so far into an endpoint.
func (q Query) endpoint(a *answers) (Endpoint, error) {
	if a.host == "" || !a.hasText {
		return Endpoint{}, errIncomplete
	}
	addresses := a.addresses[a.host]
	if len(addresses) == 0 {
		return Endpoint{}, errIncomplete
	}
	// Those of IPv4 first.
	slices.SortStableFunc(addresses, func(x, y netip.Addr) int { return x.BitLen() - y.BitLen() })
	i := slices.IndexFunc(addresses, func(addr netip.Addr) bool { return !addr.IsLoopback() && q.HasRoute(addr) })
	if i < 0 {
		return Endpoint{}, fmt.Errorf("no route to any address of %s: %v", a.host, addresses)
	}
	host := strings.TrimSuffix(a.host, ".")
	if strings.HasSuffix(a.host, ".local.") {
		host = addresses[i].String() // nobody else knows the name
	}
	return makeEndpoint(host, a.port, a.text)
}

func makeEndpoint(host string, port uint16, text map[string]string) (Endpoint, error) {
	const plainPort = 80
	e := Endpoint{Options: map[string]string{}}
	u := url.URL{Scheme: "https", Host: joinHostPort(host, port), Path: strings.TrimRight(text["path"], "/")}
	if port == plainPort {
		u.Scheme = "http"
	}
	if p := text["protocol"]; p != "" {
		u.Scheme = p
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return e, fmt.Errorf("protocol %q is neither http nor https", u.Scheme)
	}
	if u.Path != "" && u.Path[0] != '/' {
		return e, fmt.Errorf("path %q does not begin with a slash", u.Path)
	}
	for key, value := range text {
		if option, ok := strings.CutPrefix(key, "ipa_"); ok {
			e.Options[option] = value
		}
	}
	e.URL = u.String()
	if parsed, err := url.Parse(e.URL); err != nil || parsed.Host != u.Host || parsed.User != nil {
		return e, fmt.Errorf("host %q and path %q make no URL", host, u.Path)
	}
	return e, nil
}

func joinHostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}
