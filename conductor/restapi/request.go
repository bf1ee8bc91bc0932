package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/sirupsen/logrus"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/task"
)

// bodyLimit says which option bounds the body of a request (REST contract, section 1).
type bodyLimit int

const (
	usualBodyLimit      bodyLimit = iota
	provisionBodyLimit            // holds a config drive
	inspectionBodyLimit           // holds all that is known of a machine
)

// bytes is what a limit is.
func (c EdgeConfig) bytes(limit bodyLimit) int64 {
	switch limit {
	case provisionBodyLimit:
		return int64(c.MaxProvisionBody) << 10
	case inspectionBodyLimit:
		return int64(c.MaxInspectionBody) << 10
	}
	return int64(c.MaxBody) << 10
}

// maxDepth bounds the nesting of a resource's members.
const maxDepth = 25

// request is what a handler sees of the HTTP request.
type request struct {
	route      *route
	version    ironic.Version
	base       string // links start with it, no slash at the end
	params     map[string]string
	args       arguments // those that the route has, by name
	body       []byte
	stream     io.Reader    // the body, where the route leaves it to the handler
	length     int64        // of the body as the client tells, -1 is unknown
	source     netip.Prefix // of the network, where it comes from
	jsonSuffix bool         // ".json" was cut off the path
	identity   *auth.Identity
	permitted  bool   // the route's policy has been checked
	project    string // whose objects a list is confined to, "" is all
	id         string // as the answer's headers tell it
	method     string // GET or HEAD, where the route has GET
	header     http.Header
	log        *logrus.Entry
}

// reply is what a handler answers. A nil body is an empty one.
type reply struct {
	status   int
	body     any
	location string
}

// handler answers one kind of request. Errors are mapped by apiError.
type handler func(ctx context.Context, r *request) (reply, error)

func ok(body any) (reply, error) { return reply{status: http.StatusOK, body: body}, nil }

// accepted is the answer to what goes on in the background.
func accepted(location string) (reply, error) {
	return reply{status: http.StatusAccepted, location: location}, nil
}

func noContent() (reply, error) { return reply{status: http.StatusNoContent}, nil }

// adapt is the only place where handlers meet echo.
func (s *Server) adapt(rt route) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := &request{
			route: &rt, version: versionOf(c), base: s.linkBase(c.Request()), params: map[string]string{}, identity: identityOf(c), source: s.source(c.Request()),
			jsonSuffix: c.Get(keyJSONSuffix) != nil, id: requestID(c), method: c.Request().Method, header: c.Request().Header, log: s.requestLog(c),
		}
		for i, name := range c.ParamNames() {
			r.params[name] = c.ParamValues()[i]
			if strings.Contains(r.params[name], "/") { // echo gives all of the rest to a parameter at the end
				return echo.ErrNotFound
			}
		}
		if r.version < rt.since {
			return s.tooNew(c.Request().Context(), r)
		}
		err := s.permit(r)
		if err != nil {
			return err
		}
		if rt.stream {
			r.stream, r.length = patient{c.Request().Body, http.NewResponseController(c.Response())}, c.Request().ContentLength
		} else if r.body, err = s.readBody(c.Response(), c.Request(), rt.limit); err != nil {
			return err
		}
		if err := r.readArguments(c.Request().URL.RawQuery); err != nil {
			return err
		}
		actor := task.Actor{User: r.identity.User(), Project: r.identity.ProjectID, Request: r.id}
		out, err := rt.handle(task.WithActor(c.Request().Context(), actor), r)
		if err != nil {
			return err
		}
		if !r.permitted {
			r.log.Errorf("%s %s does not check %s", rt.method, rt.path, rt.policy)
			return auth.Denied(rt.policy)
		}
		return write(c, out)
	}
}

// tooNew is the answer to a request whose microversion is older than the route.
func (s *Server) tooNew(ctx context.Context, r *request) error {
	rt := r.route
	if rt.lateSince {
		if err := s.permit(r); err != nil {
			return err
		}
		if _, err := s.node(ctx, r); err != nil {
			return err
		}
	}
	switch rt.older {
	case http.StatusMethodNotAllowed:
		return api.Routing(rt.older, "The method is not allowed before API version %s.", rt.since)
	case http.StatusNotAcceptable:
		return notAcceptable("The request is not acceptable before API version %s.", rt.since)
	}
	return api.Routing(http.StatusNotFound, "The resource could not be found before API version %s.", rt.since)
}

func write(c echo.Context, out reply) error {
	if out.location != "" {
		c.Response().Header().Set(echo.HeaderLocation, out.location)
	}
	if out.body == nil {
		return c.NoContent(out.status)
	}
	if stream, goesOn := out.body.(streamed); goesOn {
		stream(c.Request().Context(), c.Response())
		return nil
	}
	if upgrade, leaves := out.body.(upgraded); leaves {
		upgrade(c.Response(), c.Request())
		return nil
	}
	if text, ready := out.body.(rendered); ready {
		return text.write(c, out.status)
	}
	text, err := encode(out.body)
	if err != nil {
		return err
	}
	return rendered{text}.write(c, out.status)
}

// readBody reads at most what the limit allows and checks the nesting. The two
// errors are flat for JSON, as clients know them.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, limit bodyLimit) ([]byte, error) {
	if r.Body == nil || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil, nil
	}
	refuse := api.Errorf
	if strings.Contains(strings.ToLower(r.Header.Get(echo.HeaderContentType)), "json") {
		refuse = api.Flat
	}
	size := s.cfg.Edge.bytes(limit)
	tooLarge := func() error {
		return refuse(http.StatusRequestEntityTooLarge, "The request body is larger than %d bytes.", size)
	}
	if r.ContentLength > size {
		return nil, tooLarge() // before any of it is read
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, size))
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, badRequest("The request body could not be read: %v.", err)
	}
	if depth(b) > s.cfg.Edge.MaxDepth {
		return nil, refuse(http.StatusBadRequest, "The request body is nested deeper than %d levels.", s.cfg.Edge.MaxDepth)
	}
	return b, nil
}

// streamPatience is for how long a client may send nothing of a body that is
// streamed. The server's own limit is for bodies that are small.
const streamPatience = time.Minute

// patient reads a body for as long as something comes.
type patient struct {
	io.Reader
	control *http.ResponseController
}

func (p patient) Read(b []byte) (int, error) {
	_ = p.control.SetReadDeadline(time.Now().Add(streamPatience)) // where there is a connection
	return p.Reader.Read(b)
}

// depth counts how deep arrays and objects of a JSON text nest, without
// building any of them.
func depth(text []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// decodeObject reads the body, which must be one JSON object.
func (r *request) decodeObject() (map[string]any, error) {
	var object map[string]any
	if err := json.Unmarshal(r.body, &object); err != nil || object == nil {
		return nil, badRequest("The request body is not a JSON object.")
	}
	return object, nil
}

func badRequest(format string, args ...any) error {
	return api.Errorf(http.StatusBadRequest, format, args...)
}

func notAcceptable(format string, args ...any) error {
	return api.Errorf(http.StatusNotAcceptable, format, args...)
}

func conflict(format string, args ...any) error {
	return api.Errorf(http.StatusConflict, format, args...)
}

func notFound(format string, args ...any) error {
	return api.Errorf(http.StatusNotFound, format, args...)
}
