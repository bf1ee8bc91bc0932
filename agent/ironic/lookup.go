package ironic

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Limits of the wait between lookups. The contract lets it grow to 60 s; a
// conductor that answers 404 or 409 is alive and will be ready in a moment
// ("a fast agent is too early"), so these stay short.
const (
	maxLookupWait      = 60 * time.Second
	maxLookupWaitAlive = 5 * time.Second
)

// Lookup asks the API once which node has one of the MAC addresses. nodeUUID
// may be "".
func (c *Client) Lookup(ctx context.Context, macs []string, nodeUUID string) (*ipa.LookupResponse, error) {
	query := "addresses=" + url.QueryEscape(strings.Join(macs, ","))
	if nodeUUID != "" {
		query += "&node_uuid=" + url.QueryEscape(nodeUUID)
	}
	version := min(c.ServerVersion(ctx), maxLookup)
	var answer ipa.LookupResponse
	if err := c.do(ctx, http.MethodGet, "/v1/lookup?"+query, version, nil, &answer, http.StatusOK); err != nil {
		return nil, err
	}
	if uuid, _ := answer.Node["uuid"].(string); uuid == "" {
		return nil, errors.New("the answer to the lookup names no node")
	}
	if !(answer.Config.HeartbeatTimeout > 0) {
		return nil, errors.New("the answer to the lookup has no heartbeat_timeout")
	}
	return &answer, nil
}

// WaitForLookup looks up until it succeeds, for at most timeout. Each attempt
// asks macs anew, for network cards may appear meanwhile; an error of macs ends
// the wait. The error is else of kind ipa.LookupNode.
func (c *Client) WaitForLookup(ctx context.Context, macs func(context.Context) ([]string, error), interval, timeout time.Duration, log *logrus.Entry) (*ipa.LookupResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		addresses, err := macs(ctx)
		if err != nil {
			return nil, err
		}
		answer, err := c.Lookup(ctx, addresses, "")
		if err == nil {
			return answer, nil
		}
		wait := lookupWait(attempt, interval, err, rand.Float64())
		log.WithError(err).WithField("attempt", attempt).Warn("lookup failed, trying again")
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ipa.LookupNode.New("no answer to the lookup of %s within %s: %v", strings.Join(addresses, ", "), timeout, err)
		}
	}
}

// lookupWait is the time to wait after the nth failure; u is uniform in [0, 1).
func lookupWait(attempt int, least time.Duration, err error, u float64) time.Duration {
	most := maxLookupWait
	var status *StatusError
	if errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusConflict) {
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
