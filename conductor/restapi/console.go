package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"ferric/conductor/console"
)

// Limits of a console over WebSocket: what one message may hold, how long a
// viewer may take nothing, and how often one that says nothing is asked whether
// it is still there.
const (
	consoleMessage = 64 << 10
	consoleWrite   = 30 * time.Second
	consolePing    = 30 * time.Second
)

// upgraded is a body that takes the connection over.
type upgraded func(w http.ResponseWriter, r *http.Request)

// attachConsole shows a console that is on over WebSocket. Binary messages are
// what the machine says, and what is typed. Text messages are JSON: from here
// what becomes of the line (console.State) and {"lost": N} for a viewer who is
// too slow, to here {"break": true}.
func (s *Server) attachConsole(ctx context.Context, r *request) (reply, error) {
	id, err := s.extensionNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	recent, err := r.args.flag("recent")
	if err != nil {
		return reply{}, err
	}
	viewer, err := s.conductor.AttachConsole(ctx, id, recent == nil || *recent)
	switch {
	case errors.Is(err, console.ErrStopped):
		return reply{}, conflict("The console of node %s is not enabled.", r.params["node"])
	case errors.Is(err, console.ErrFull):
		return reply{}, conflict("%s.", upperFirst(err.Error()))
	case err != nil:
		return reply{}, err
	}
	return ok(upgraded(func(w http.ResponseWriter, req *http.Request) {
		defer viewer.Close()
		conn, err := websocket.Accept(w, req, &websocket.AcceptOptions{OriginPatterns: s.cfg.Edge.AllowedOrigins})
		if err != nil {
			return // it has answered
		}
		defer conn.CloseNow()
		conn.SetReadLimit(consoleMessage)
		r.log.WithField("node", r.params["node"]).Info("console: a viewer has come")
		err = converse(req.Context(), conn, viewer)
		r.log.WithField("node", r.params["node"]).WithError(err).Info("console: a viewer has gone")
		reason := "the console was stopped"
		if !errors.Is(err, console.ErrStopped) {
			reason = ""
		}
		_ = conn.Close(websocket.StatusNormalClosure, reason)
	}))
}

func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// converse passes on both ways until one side ends.
func converse(ctx context.Context, conn *websocket.Conn, v *console.Viewer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { cancel(typed(ctx, conn, v)) }()
	go func() { cancel(stillThere(ctx, conn)) }()
	for {
		item, err := v.Read(ctx)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if err := show(ctx, conn, item); err != nil {
			return err
		}
	}
}

// show sends one item.
func show(ctx context.Context, conn *websocket.Conn, item console.Item) error {
	ctx, cancel := context.WithTimeout(ctx, consoleWrite)
	defer cancel()
	tell := func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return conn.Write(ctx, websocket.MessageText, text)
	}
	if item.State != nil {
		return tell(item.State)
	}
	if item.Lost > 0 {
		if err := tell(map[string]int{"lost": item.Lost}); err != nil {
			return err
		}
	}
	for text := item.Text; len(text) > 0; {
		n := min(len(text), consoleMessage/2) // so that clients with the usual limits take it
		if err := conn.Write(ctx, websocket.MessageBinary, text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// typed types what arrives. That the machine does not take it is told by the
// line's state, and no reason to go.
func typed(ctx context.Context, conn *websocket.Conn, v *console.Viewer) error {
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		if kind == websocket.MessageBinary {
			_, _ = v.Write(message)
			continue
		}
		var order struct {
			Break bool `json:"break"`
		}
		if json.Unmarshal(message, &order) != nil || !order.Break {
			return conn.Close(websocket.StatusUnsupportedData, `text messages are {"break": true}, what is typed is binary`)
		}
		_ = v.Break()
	}
}

// stillThere ends with the connection.
func stillThere(ctx context.Context, conn *websocket.Conn) error {
	for {
		select {
		case <-time.After(consolePing):
		case <-ctx.Done():
			return ctx.Err()
		}
		ping, cancel := context.WithTimeout(ctx, consoleWrite)
		err := conn.Ping(ping)
		cancel()
		if err != nil {
			return err
		}
	}
}

// consoleURL makes the address of a WebSocket of ours, which the driver knows
// below the API only, one for clients.
func consoleURL(base, url string) string {
	if !strings.HasPrefix(url, "/") {
		return url
	}
	if host, ok := strings.CutPrefix(base, "https://"); ok {
		return "wss://" + host + url
	}
	return "ws://" + strings.TrimPrefix(base, "http://") + url
}
