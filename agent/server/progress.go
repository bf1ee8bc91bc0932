package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"ferric/api/ipa"
)

// The stream of progress: how often the command is looked at, and how often a
// client is sent a comment at least, so that it sees that nothing is lost.
const (
	progressPoll      = 500 * time.Millisecond
	progressHeartbeat = 15 * time.Second
)

// progress tells how far the running command is, once, or as a stream if that
// is what the client takes.
func (s *Server) progress(c echo.Context) error {
	if strings.Contains(c.Request().Header.Get(echo.HeaderAccept), "text/event-stream") {
		return s.streamProgress(c)
	}
	p, running := s.exec.Progress()
	if !running {
		return ipa.NotFound.New("no transfer is in flight")
	}
	return c.JSON(http.StatusOK, p)
}

// streamProgress sends server-sent events: "progress" whenever there is news
// of the command that runs now, and at last "end" with id, name and status.
func (s *Server) streamProgress(c echo.Context) error {
	command, running := s.exec.Running()
	if !running {
		return ipa.NotFound.New("no command is running")
	}
	ctx := c.Request().Context()
	over := make(chan struct{})
	go func() {
		defer close(over)
		if result, err := s.exec.Get(ctx, command.ID, true); err == nil {
			command = result
		}
	}()
	c.Response().Header().Set(echo.HeaderContentType, "text/event-stream")
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	c.Response().WriteHeader(http.StatusOK)

	poll := time.NewTicker(progressPoll)
	defer poll.Stop()
	var last ipa.Progress
	quiet := time.Now()
	for first := true; ; first = false {
		p, known := s.exec.Progress()
		switch {
		case known && p != last:
			last, quiet = p, time.Now()
			if err := sendEvent(c, "progress", p); err != nil {
				return nil // the client has gone
			}
		case first || time.Since(quiet) >= progressHeartbeat:
			quiet = time.Now()
			if _, err := fmt.Fprint(c.Response(), ": running\n\n"); err != nil {
				return nil
			}
			c.Response().Flush()
		}
		select {
		case <-over:
			if ctx.Err() != nil {
				return nil
			}
			end := map[string]any{"id": command.ID, "command_name": command.Name, "command_status": command.Status}
			_ = sendEvent(c, "end", end) // whether it arrives or not, the stream ends
			return nil
		case <-poll.C:
		}
	}
}

func sendEvent(c echo.Context, event string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.Response(), "event: %s\ndata: %s\n\n", event, encoded); err != nil {
		return err
	}
	c.Response().Flush()
	return nil
}
