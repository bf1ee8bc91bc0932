package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ferric/api"
	"ferric/api/ironic"
)

// reconnectDelay is waited for before a stream that ended is opened again.
const reconnectDelay = time.Second

// maxEvent bounds an event of a stream.
const maxEvent = 1 << 20

// LatestEvents lists the last events of all nodes, oldest first; query filters
// them ("node", "kind", "after", "limit"). Extension of ferric's.
func (c *Client) LatestEvents(ctx context.Context, query url.Values) ([]ironic.Event, error) {
	var list ironic.Events
	if err := c.get(ctx, "/ferric/v1/events", query, &list); err != nil {
		return nil, err
	}
	return list.Events, nil
}

// FollowEvents calls each with what happens, behind the event with the id after,
// until ctx ends or each fails. A connection that is lost is made again; word,
// which may be nil, gets what the stream says of itself and why it was lost.
// Extension of ferric's.
func (c *Client) FollowEvents(ctx context.Context, query url.Values, after int64, each func(ironic.Event) error, word func(string)) error {
	if word == nil {
		word = func(string) {}
	}
	follow := &follower{each: each, word: word, after: after}
	endless := *c
	plain := *c.http
	plain.Timeout = 0
	endless.http = &plain
	for {
		err := follow.once(ctx, &endless, query)
		var refusal *api.Error
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case follow.failed != nil:
			return follow.failed
		case err != nil && !follow.opened, errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError:
			return err
		case err != nil:
			word(err.Error())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectDelay):
		}
	}
}

type follower struct {
	each   func(ironic.Event) error
	word   func(string)
	after  int64
	opened bool  // it worked once
	failed error // of each
}

// once reads one stream to its end.
func (f *follower) once(ctx context.Context, c *Client, query url.Values) error {
	wanted := url.Values{"stream": {"true"}, "after": {fmt.Sprint(f.after)}}
	for name, values := range query {
		wanted[name] = values
	}
	resp, err := c.request(ctx, http.MethodGet, "/ferric/v1/events", wanted, nil, ironic.VersionNodeName)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
		return fmt.Errorf("follow events: %w", decodeError(resp.StatusCode, text))
	}
	f.opened = true
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	kind := ""
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			kind = value
		case "data":
			var e ironic.Event
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				return fmt.Errorf("the stream of events was cut: %w", err)
			}
			if e.ID == 0 {
				f.word(strings.TrimPrefix(kind, "stream-") + ": " + e.Detail)
				continue
			}
			if f.failed = f.each(e); f.failed != nil {
				return f.failed
			}
			f.after = e.ID
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the stream of events was cut: %w", err)
	}
	return nil
}
