package ironic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Limits of the wait between lookups. The contract lets it grow to 60 s, and
// adds waits of its own after each 409; but a conductor that answers 404 or 409
// is alive and will be ready in a moment ("a fast agent is too early"), so these
// waits stay short, and what the contract adds comes only once a node stays
// locked.
const (
	maxLookupWait      = 60 * time.Second
	maxLookupWaitAlive = 5 * time.Second
	promptConflicts    = 12 // about half a minute
)

// Lookup asks the API once which node has one of the MAC addresses. nodeUUID
// may be "".
func (c *Client) Lookup(ctx context.Context, macs []string, nodeUUID string) (*ipa.LookupResponse, error) {
	query := "addresses=" + url.QueryEscape(strings.Join(macs, ","))
	if nodeUUID != "" {
		query += "&node_uuid=" + url.QueryEscape(nodeUUID)
	}
	version := min(c.ServerVersion(ctx), maxLookup)
	var raw json.RawMessage
	if err := c.do(ctx, http.MethodGet, "/v1/lookup?"+query, version, nil, &raw, http.StatusOK); err != nil {
		return nil, err
	}
	return parseLookup(raw)
}

// parseLookup checks what an agent cannot do without. Very old servers put the
// heartbeat's timeout beside the settings.
func parseLookup(text []byte) (*ipa.LookupResponse, error) {
	var answer struct {
		ipa.LookupResponse
		HeartbeatTimeout float64 `json:"heartbeat_timeout"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("decode answer to the lookup: %w", err)
	}
	if uuid, _ := answer.Node["uuid"].(string); uuid == "" {
		return nil, errors.New("the answer to the lookup names no node")
	}
	if answer.Config.HeartbeatTimeout == 0 {
		answer.Config.HeartbeatTimeout = answer.HeartbeatTimeout
	}
	const longest = 1 << 31 // seconds; a time.Duration holds it
	if t := answer.Config.HeartbeatTimeout; !(t > 0 && t < longest) {
		return nil, fmt.Errorf("the answer to the lookup has a heartbeat_timeout of %v s", t)
	}
	return &answer.LookupResponse, nil
}

// Lookup says how to look for a node until it is found.
type Lookup struct {
	// MACs are asked anew for each attempt, for network cards may appear
	// meanwhile; its error ends the wait.
	MACs     func(context.Context) ([]string, error)
	NodeUUID string        // "" if it is not known
	Interval time.Duration // least time between attempts
	Timeout  time.Duration
	Log      *logrus.Entry
}

// errBlindLookup: a server that is asked with the version that stands for an
// unknown one hands out no token.
var errBlindLookup = errors.New("the API has not told its version, and gave no token")

// blindLookups is how many of these in one wait count as failures: an agent
// without a token is refused for good, and one lost answer must not make it
// that.
const blindLookups = 5

// WaitForLookup looks up until it succeeds, for at most the timeout. The error
// is that of MACs, or of kind ipa.LookupNode.
func (c *Client) WaitForLookup(ctx context.Context, l Lookup) (*ipa.LookupResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	for attempt, conflicts, blind := 1, 0, 0; ; attempt++ {
		addresses, err := l.MACs(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := c.Lookup(ctx, addresses, l.NodeUUID)
		if err == nil && answer.Config.AgentToken == "" && !c.versionKnown() && blind < blindLookups {
			blind++
			err = errBlindLookup
		}
		if err == nil {
			return answer, nil
		}
		wait := lookupWait(attempt, l.Interval, err, rand.Float64())
		if isStatus(err, http.StatusConflict) {
			conflicts++
			wait += conflictWait(conflicts)
		}
		l.Log.WithError(err).WithField("attempt", attempt).Warn("lookup failed, trying again")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ipa.LookupNode.New("no answer to the lookup of %s within %s: %v", strings.Join(addresses, ", "), l.Timeout, err)
		}
	}
}

// lookupWait is the time to wait after the nth failure; u is uniform in [0, 1).
func lookupWait(attempt int, least time.Duration, err error, u float64) time.Duration {
	most := maxLookupWait
	if isStatus(err, http.StatusNotFound) || isStatus(err, http.StatusConflict) || errors.Is(err, errBlindLookup) {
		most = maxLookupWaitAlive
	}
	if grown := time.Duration(math.Exp2(float64(min(attempt-1, 10)))) * time.Second; grown < most {
		most = grown
	}
	if most <= least {
		return least
	}
	return least + time.Duration(u*float64(most-least))
}

// conflictWait is what is added after the nth 409.
func conflictWait(n int) time.Duration {
	switch n -= promptConflicts; {
	case n <= 0:
		return 0
	case n == 1:
		return 5 * time.Second
	case n == 2:
		return 10 * time.Second
	}
	return 30 * time.Second
}

func isStatus(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}
