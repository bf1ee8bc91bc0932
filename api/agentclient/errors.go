package agentclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

var (
	// ErrBusy says that another command is running: wait for its heartbeat.
	ErrBusy = errors.New("agent is busy")
	// ErrUnreachable says that the agent cannot be connected to, or went away
	// before it answered.
	ErrUnreachable = errors.New("agent is unreachable")
	// ErrNoProgress says that the agent has no transfer to tell of.
	ErrNoProgress = errors.New("agent has no progress to tell")

	// errSent is ErrUnreachable after the request may have arrived.
	errSent = fmt.Errorf("%w after the request was sent", ErrUnreachable)
)

// NotSent says of an error that the agent has not heard of the request, for it
// could not be connected to.
func NotSent(err error) bool { return errors.Is(err, ErrUnreachable) && !errors.Is(err, errSent) }

// StatusError is a request that the agent refused. It is ErrBusy where the
// reason is another command.
type StatusError struct {
	Status int    // of HTTP
	Fault  string // the agent's faultstring
}

func newStatusError(status int, body []byte) *StatusError {
	var fault struct {
		String string `json:"faultstring"`
	}
	if err := json.Unmarshal(body, &fault); err != nil || fault.String == "" {
		fault.String = http.StatusText(status)
	}
	return &StatusError{Status: status, Fault: fault.String}
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("agent answers %d: %s", e.Status, e.Fault)
}

// Is recognises a busy agent by status or, as older ones answer otherwise, by
// text (agent contract, 1.3).
func (e *StatusError) Is(target error) bool {
	return target == ErrBusy &&
		(e.Status == http.StatusConflict || strings.Contains(strings.ToLower(e.Fault), "agent is busy"))
}
