package netboot

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSightingsAreBounded(t *testing.T) {
	s := newSightings()
	const node, other = "52:54:00:00:00:01", "52:54:00:00:00:02"
	at := func(i int) time.Time { return testNow.Add(time.Duration(i) * time.Second) }
	for i := range 3 * sightingsPerMAC {
		s.add(Sighting{Time: at(i), MAC: node, NodeUUID: bootUUID, Protocol: ProtocolDHCP, Request: fmt.Sprint(i)})
	}
	seen := s.Of(strings.ToUpper(node))
	if len(seen) != sightingsPerMAC || seen[len(seen)-1].Request != fmt.Sprint(3*sightingsPerMAC-1) {
		t.Errorf("%d sightings are kept, the last of them %+v; want the last %d", len(seen), seen[len(seen)-1], sightingsPerMAC)
	}
	for i := range 2 * sightingsOfOthers {
		s.add(Sighting{Time: at(i), MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255), Request: "DISCOVER"})
	}
	if s.others.count != sightingsOfOthers || len(s.others.byKey) != sightingsOfOthers || s.others.order.Len() != sightingsOfOthers {
		t.Errorf("%d sightings of %d strangers are kept; want %d", s.others.count, len(s.others.byKey), sightingsOfOthers)
	}
	if len(s.Of(node)) != sightingsPerMAC {
		t.Error("strangers have pushed out what was seen of a node")
	}
	for range 5 {
		s.add(Sighting{Time: at(9999), MAC: other, Protocol: ProtocolTFTP, Request: "\x00\x1b[2J" + strings.Repeat("x", 9999)})
	}
	last := s.Recent(1)
	if len(last) != 1 || last[0].Count != 5 || last[0].MAC != other || len(last[0].Request) > maxSightingText+8 || strings.ContainsAny(last[0].Request, "\x00\x1b") {
		t.Errorf("got %+v; want one sighting of 5 requests with a printable text of bounded length", last)
	}
	if diff := cmp.Diff(last, s.Of(other)); diff != "" {
		t.Errorf("Of and Recent differ:\n%s", diff)
	}
	if got := s.Recent(-1); len(got) != 0 {
		t.Errorf("%d sightings for a negative number", len(got))
	}
}
