package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Error is a failure with the HTTP status and the text that a client gets.
type Error struct {
	Status int
	Text   string // one sentence, without secrets
	// Challenge is the WWW-Authenticate header of a 401.
	Challenge string
	shape     shape
}

// shape says which of the error bodies of REST contract, section 1.2, is sent.
type shape int

const (
	// wrapped: {"error_message": "<JSON of faultcode, faultstring, debuginfo>"}.
	wrapped shape = iota
	// routing: wrapped, the inner document has message, code and title too.
	routing
	// flat: the inner document of wrapped by itself.
	flat
	// refusal: {"error": {"message", "code", "title"}}, of what stands before the API.
	refusal
)

func (e *Error) Error() string { return e.Text }

// Errorf makes an error of the usual shape.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...)}
}

// Routing makes an error of the layer before the handlers: no such route, no
// such method, no such version.
func Routing(status int, format string, args ...any) *Error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...), shape: routing}
}

// Flat makes an error about the size or depth of a body.
func Flat(status int, format string, args ...any) *Error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...), shape: flat}
}

// Refusal makes an error about the credentials of a request; challenge is what
// a 401 asks for.
func Refusal(status int, challenge, format string, args ...any) *Error {
	return &Error{Status: status, Text: fmt.Sprintf(format, args...), Challenge: challenge, shape: refusal}
}

// fault is the inner document. Message, Code and Title are sent by the routing
// layer only.
type fault struct {
	Code      string  `json:"faultcode"`
	Text      string  `json:"faultstring"`
	DebugInfo *string `json:"debuginfo"`

	Message string `json:"message,omitempty"`
	Status  string `json:"code,omitempty"`
	Title   string `json:"title,omitempty"`
}

// Body is the JSON document that goes over the wire.
func (e *Error) Body() []byte {
	if e.shape == refusal {
		return encode(map[string]any{"error": map[string]any{"message": e.Text, "code": e.Status, "title": http.StatusText(e.Status)}})
	}
	f := fault{Code: "Client", Text: e.Text}
	if e.Status >= http.StatusInternalServerError {
		f.Code = "Server"
	}
	if e.shape == routing {
		f.Message, f.Title = e.Text, http.StatusText(e.Status)
		f.Status = strconv.Itoa(e.Status) + " " + f.Title
	}
	body := encode(f)
	if e.shape == flat {
		return body
	}
	return encode(map[string]string{"error_message": string(body)})
}

// encode cannot fail: its values are strings and numbers.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode error body: %v", err))
	}
	return b
}
