package restapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"ferric/api"
	"ferric/conductor/store"
)

// StreamConfig is about streams of events.
type StreamConfig struct {
	// Max is how many streams of events are served at a time; 0 is none.
	Max int `ini:"ferric_api.event_streams"`
	// KeepAlive is the pause after which a stream without events tells that it is still there.
	KeepAlive time.Duration `ini:"ferric_api.event_stream_keepalive"`
	// WriteTimeout is for how long a reader may take nothing before it is dropped.
	WriteTimeout time.Duration `ini:"ferric_api.event_stream_write_timeout"`
	// MaxBehind is how many events, of all nodes, a reader that was up to date may fall behind before it is dropped.
	MaxBehind int `ini:"ferric_api.event_stream_max_behind"`
	// Life is when a stream ends, so that its reader shows its credentials again; it goes on where it was.
	Life time.Duration `ini:"ferric_api.event_stream_life"`
}

func defaultStreams() StreamConfig {
	return StreamConfig{Max: 64, KeepAlive: 15 * time.Second, WriteTimeout: 30 * time.Second, MaxBehind: 5000, Life: time.Hour}
}

// check finds options that make no sense.
func (c StreamConfig) check() error {
	if c.KeepAlive <= 0 || c.WriteTimeout <= 0 || c.Life <= 0 || c.MaxBehind <= 0 || c.Max < 0 {
		return fmt.Errorf("the options [ferric_api]event_stream* must be positive")
	}
	return nil
}

const (
	// streamBatch is how many events are in memory for a stream at a time.
	streamBatch = 100
	// streamPause is the least between two looks at the database, for one that
	// changes all the time.
	streamPause = 100 * time.Millisecond
	// streamRetry is what readers are told to wait before they come again, in ms.
	streamRetry = 3000
)

// Kinds of events of the stream itself. They have no id: who comes again goes
// on behind the last event of a node.
const (
	streamGap     = "stream-gap"     // events behind the id that was asked for are no longer kept
	streamDropped = "stream-dropped" // the reader was too slow
	streamEnd     = "stream-end"     // the conductor stops, or the stream is old; come again
)

// streams counts those that are open, and ends them with the conductor.
type streams struct {
	open  atomic.Int64
	ended chan struct{}
	once  sync.Once
}

// EndStreams ends all streams of events, whose readers would keep the servers
// from stopping.
func (s *Server) EndStreams() { s.streams.once.Do(func() { close(s.streams.ended) }) }

// streamed is a body that goes on until ctx or the conductor ends.
type streamed func(ctx context.Context, w http.ResponseWriter)

// openStream begins a stream behind the event that the reader had last, or else
// with what happens from now on.
func (s *Server) openStream(ctx context.Context, r *request, f store.EventFilter) (reply, error) {
	oldest, newest, err := s.store.EventRange(ctx)
	if err != nil {
		return reply{}, err
	}
	resumed := r.args.has("after") || r.header.Get("Last-Event-Id") != ""
	gap := ""
	switch {
	case !resumed:
		f.After = newest
	case f.After > newest: // an id of another database
		gap, f.After = fmt.Sprintf("there is no event %d, the newest is %d", f.After, newest), newest
	case f.After+1 < oldest && f.After != 0:
		gap = fmt.Sprintf("of the events behind %d those before %d are no longer kept", f.After, oldest)
	}
	if s.streams.open.Add(1) > int64(s.cfg.Streams.Max) {
		s.streams.open.Add(-1)
		return reply{}, api.Errorf(http.StatusServiceUnavailable, "There are %d streams of events, which is all that [ferric_api]event_streams allows.", s.cfg.Streams.Max)
	}
	f.Limit = streamBatch
	return ok(streamed(func(ctx context.Context, w http.ResponseWriter) {
		defer s.streams.open.Add(-1)
		out := &stream{server: s, request: r, filter: f, out: w, control: http.NewResponseController(w)}
		if err := out.run(ctx, gap); err != nil && ctx.Err() == nil {
			r.log.WithError(err).Info("a reader of events was dropped")
		}
	}))
}

// stream is one reader's. What the reader has yet to get stays in the database,
// so that a slow one costs no memory.
type stream struct {
	server  *Server
	request *request
	filter  store.EventFilter
	out     http.ResponseWriter
	control *http.ResponseController
	current bool // the reader has been up to date
}

func (o *stream) run(ctx context.Context, gap string) error {
	cfg := o.server.cfg.Streams
	changed, stop := o.server.store.WatchEvents()
	defer stop()
	_ = o.control.SetReadDeadline(time.Time{}) // the server's is for requests that end
	h := o.out.Header()
	h.Set("Content-Type", mimeEvents)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // proxies are to pass it on at once
	o.out.WriteHeader(http.StatusOK)
	if err := o.write(fmt.Sprintf("retry: %d\n\n", streamRetry)); err != nil {
		return err
	}
	if gap != "" {
		if err := o.last(streamGap, gap); err != nil {
			return err
		}
	}
	life, alive := time.NewTimer(cfg.Life), time.NewTicker(cfg.KeepAlive)
	defer life.Stop()
	defer alive.Stop()
	for {
		if sent, err := o.catchUp(ctx); err != nil {
			return err
		} else if sent {
			alive.Reset(cfg.KeepAlive)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.server.streams.ended:
			return o.last(streamEnd, "the conductor stops")
		case <-life.C:
			return o.last(streamEnd, "the stream is old, come again")
		case <-alive.C:
			if err := o.write(": keep-alive\n\n"); err != nil {
				return err
			}
		case <-changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(streamPause):
			}
		}
	}
}

// catchUp sends what was committed since the last time.
func (o *stream) catchUp(ctx context.Context) (sent bool, err error) {
	for {
		_, newest, err := o.server.store.EventRange(ctx)
		if err != nil {
			return sent, err
		}
		if behind := newest - o.filter.After; o.current && behind > int64(o.server.cfg.Streams.MaxBehind) {
			text := fmt.Sprintf("%d events behind, come again with the last id", behind)
			if err := o.last(streamDropped, text); err != nil {
				return sent, err
			}
			return sent, fmt.Errorf("events: %s", text)
		}
		list, err := o.server.store.EventsOf(ctx, o.filter)
		if err != nil {
			return sent, err
		}
		for i := range list {
			if err := o.send(&list[i]); err != nil {
				return sent, err
			}
			o.filter.After = list[i].ID
			sent = true
		}
		if len(list) < streamBatch {
			o.filter.After, o.current = max(o.filter.After, newest), true
			return sent, nil
		}
	}
}

func (o *stream) send(e *store.NodeEvent) error {
	shown, visible := o.server.shownEvent(o.request, e)
	if !visible {
		return nil
	}
	text, err := json.Marshal(shown)
	if err != nil {
		return err
	}
	return o.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, text))
}

// last tells something of the stream itself.
func (o *stream) last(kind, detail string) error {
	text, err := json.Marshal(map[string]string{"detail": detail})
	if err != nil {
		return err
	}
	return o.write(fmt.Sprintf("event: %s\ndata: %s\n\n", kind, text))
}

// write fails when the reader takes nothing for too long.
func (o *stream) write(text string) error {
	if err := o.control.SetWriteDeadline(time.Now().Add(o.server.cfg.Streams.WriteTimeout)); err != nil {
		return err
	}
	if _, err := o.out.Write([]byte(text)); err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	return o.control.Flush()
}
