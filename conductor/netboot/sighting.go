package netboot

import (
	"container/list"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Protocols of a Sighting.
const (
	ProtocolDHCP   = "dhcp"
	ProtocolDHCPv6 = "dhcpv6"
	ProtocolTFTP   = "tftp"
	ProtocolHTTP   = "http"
)

// Sighting is a request that reached us and what became of it. Exactly one of
// Answer and Reason is empty, but where part of the answer failed.
type Sighting struct {
	Time     time.Time // of the last of Count
	MAC      string    // lower case, colons; empty if it could not be told
	IP       string    // who asked, as far as it had an address
	NodeUUID string    // empty: no node has the MAC address
	Protocol string    // dhcp, dhcpv6, tftp, http
	Request  string    // what was asked for
	Answer   string    // what it was answered
	Reason   string    // why it was not answered
	Bytes    int64     // of a file that was sent
	Count    int       // how often it was asked and answered the same in succession
}

// Bounds of the record. Machines that no node owns have a share of their own, so
// that strangers, however many, push no node's sightings out.
const (
	sightingsPerMAC   = 24
	sightingsOfNodes  = 1 << 15
	sightingsOfOthers = 1 << 12
	maxSightingText   = 300
)

// Sightings is the record of the last requests by MAC address, in memory only.
type Sightings struct {
	observe func(Sighting) // may be nil
	mu      sync.Mutex
	nodes   sightingLog
	others  sightingLog
}

func newSightings() *Sightings {
	return &Sightings{nodes: newSightingLog(sightingsOfNodes), others: newSightingLog(sightingsOfOthers)}
}

// Of returns what was seen of a MAC address, the oldest first. Its notation does not matter.
func (s *Sightings) Of(mac string) []Sighting {
	if hw, err := parseMAC(mac); err == nil {
		mac = hw.String()
	}
	if mac == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append(s.others.of(mac), s.nodes.of(mac)...)
	slices.SortStableFunc(all, byTime)
	return all
}

// Recent returns the last n sightings of all, the newest first.
func (s *Sightings) Recent(n int) []Sighting {
	s.mu.Lock()
	var all []Sighting
	for _, l := range []*sightingLog{&s.nodes, &s.others} {
		for e := l.order.Front(); e != nil; e = e.Next() {
			all = append(all, e.Value.(*track).seen...)
		}
	}
	s.mu.Unlock()
	slices.SortStableFunc(all, func(a, b Sighting) int { return byTime(b, a) })
	return all[:min(max(n, 0), len(all))]
}

func byTime(a, b Sighting) int { return a.Time.Compare(b.Time) }

// add records one request. Texts come from the network: they are cut and made printable.
func (s *Sightings) add(seen Sighting) {
	seen.MAC = strings.ToLower(seen.MAC)
	seen.Count = 1
	for _, text := range []*string{&seen.MAC, &seen.IP, &seen.Request, &seen.Answer, &seen.Reason} {
		*text = printable(*text)
	}
	if s.observe != nil {
		s.observe(seen)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if seen.NodeUUID == "" {
		s.others.add(seen)
	} else {
		s.nodes.add(seen)
	}
}

func printable(text string) string {
	if len(text) > maxSightingText {
		text = text[:maxSightingText] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, text)
}

// sightingLog keeps at most limit sightings, and forgets first who was not seen for longest.
type sightingLog struct {
	limit int
	count int
	order *list.List // of *track, the one seen last at the front
	byKey map[string]*list.Element
}

type track struct {
	key  string
	seen []Sighting
}

func newSightingLog(limit int) sightingLog {
	return sightingLog{limit: limit, order: list.New(), byKey: make(map[string]*list.Element)}
}

func (l *sightingLog) of(key string) []Sighting {
	if e := l.byKey[key]; e != nil {
		return slices.Clone(e.Value.(*track).seen)
	}
	return nil
}

func (l *sightingLog) add(s Sighting) {
	key := s.MAC
	if key == "" {
		key = "address " + s.IP
	}
	e := l.byKey[key]
	if e == nil {
		e = l.order.PushFront(&track{key: key})
		l.byKey[key] = e
	}
	l.order.MoveToFront(e)
	t := e.Value.(*track)
	if n := len(t.seen); n > 0 && t.seen[n-1].same(s) {
		t.seen[n-1].Time = s.Time
		t.seen[n-1].Count++
		return
	}
	if len(t.seen) >= sightingsPerMAC {
		t.seen = append(t.seen[:0], t.seen[1:]...)
		l.count--
	}
	t.seen = append(t.seen, s)
	for l.count++; l.count > l.limit; {
		oldest := l.order.Remove(l.order.Back()).(*track)
		delete(l.byKey, oldest.key)
		l.count -= len(oldest.seen)
	}
}

// same tells whether two sightings differ in nothing but when they were.
func (s Sighting) same(o Sighting) bool {
	s.Time, s.Count = o.Time, o.Count
	return s == o
}

// silence is why a packet is not answered although nothing failed.
type silence struct{ reason string }

func (s silence) Error() string { return s.reason }

// unanswered makes a silence.
func unanswered(format string, args ...any) error { return silence{fmt.Sprintf(format, args...)} }

// Sightings returns the record of the requests that reached the server, the
// unanswered ones included.
func (s *Server) Sightings() *Sightings { return s.sightings }

// sight records a request of a client whose MAC address may have to be found by its address.
func (s *Server) sight(seen Sighting) {
	seen.Time = time.Now()
	s.sightings.add(seen)
}

// addressText is an address for people, empty for none.
func addressText(a netip.Addr) string {
	if !a.IsValid() || a.IsUnspecified() {
		return ""
	}
	return a.String()
}

// Observe has f called with each request, at once. It is set before the server runs.
func (s *Sightings) Observe(f func(Sighting)) { s.observe = f }
