package ironic

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// Factors and base of the heartbeat's interval (agent contract, section
// "Heartbeat").
const (
	beatLow, beatHigh = 0.3, 0.6
	retryBase         = 5 * time.Second
)

// Heartbeat tells the API once where the agent of the node listens. Members
// that the server's version does not know are left out.
func (c *Client) Heartbeat(ctx context.Context, nodeUUID string, beat ipa.Heartbeat) error {
	version := min(c.ServerVersion(ctx), maxHeartbeat)
	if version < sinceAgentVersion {
		beat.AgentVersion = ""
	}
	if version < sinceAgentToken {
		beat.AgentToken = ""
	}
	if version < sinceVerifyCA {
		beat.AgentVerifyCA = ""
	}
	return c.do(ctx, http.MethodPost, "/v1/heartbeat/"+url.PathEscape(nodeUUID), version, beat, nil, http.StatusAccepted)
}

// Heartbeater sends heartbeats for the life of the agent.
type Heartbeater struct {
	Send    func(ctx context.Context) error
	Timeout time.Duration // heartbeat_timeout of the lookup
	Gap     time.Duration // least time between a heartbeat and a forced one
	Log     *logrus.Entry

	force chan struct{}
}

// NewHeartbeater makes a Heartbeater; start it with Run.
func NewHeartbeater(send func(context.Context) error, timeout, gap time.Duration, log *logrus.Entry) *Heartbeater {
	return &Heartbeater{Send: send, Timeout: timeout, Gap: gap, Log: log, force: make(chan struct{}, 1)}
}

// Force asks for a heartbeat soon. It returns at once.
func (h *Heartbeater) Force() {
	select {
	case h.force <- struct{}{}:
	default: // one is already asked for
	}
}

// Run sends heartbeats until ctx ends; it never gives up.
func (h *Heartbeater) Run(ctx context.Context) {
	accepted, forced := false, false
	for {
		// What was forced up to now is served by this heartbeat.
		select {
		case <-h.force:
			forced = true
		default:
		}
		err := h.Send(ctx)
		sent := time.Now()
		if ctx.Err() != nil {
			return
		}
		h.report(err, &accepted)
		if err == nil {
			forced = false
		}
		next := sent.Add(h.interval(err == nil, rand.Float64()))
		if forced { // and refused: the conductor waits for it
			next = sent.Add(max(h.Gap, retryBase))
		}
		if !h.wait(ctx, sent, next, &forced) {
			return
		}
	}
}

// wait returns when the next heartbeat is due: at next, or earlier if one is
// forced meanwhile, which forced tells then; false when ctx ended.
func (h *Heartbeater) wait(ctx context.Context, sent, next time.Time, forced *bool) bool {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	force := h.force
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-force:
			force, *forced = nil, true
			if early := sent.Add(h.Gap); early.Before(next) {
				timer.Reset(time.Until(early))
			}
		}
	}
}

func (h *Heartbeater) interval(success bool, u float64) time.Duration {
	if success {
		return time.Duration(float64(h.Timeout) * (beatLow + (beatHigh-beatLow)*u))
	}
	return time.Duration(float64(retryBase) * (1 + u))
}

func (h *Heartbeater) report(err error, accepted *bool) {
	var status *StatusError
	switch {
	case err == nil && !*accepted:
		*accepted = true
		h.Log.Info("first heartbeat accepted")
	case err == nil:
		h.Log.Debug("heartbeat accepted")
	case errors.As(err, &status) && status.Code == http.StatusConflict:
		h.Log.WithError(err).Warn("heartbeat refused: the node is locked")
	default:
		h.Log.WithError(err).Error("heartbeat failed")
	}
}
