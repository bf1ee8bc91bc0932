// Package server is the HTTP side of the agent: the routes of the agent
// protocol, the token rules and TLS. What commands do is not its business.
package server

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/sirupsen/logrus"

	"ferric/agent/command"
	"ferric/api/ipa"
)

// maxBody bounds the body of a command in bytes. The largest thing in one is
// a config drive of 64 MiB in base64.
const maxBody = 96 << 20

// Options are what the server needs to know.
type Options struct {
	Version string
	// Token is the agent's token; as long as it is empty no command passes.
	Token string
	// TokenlessGET accepts GETs of commands without a token until the first
	// one that carries one: a conductor before API 1.96 sends none.
	TokenlessGET bool
	TLS          *tls.Config // nil: plain HTTP
	// Logs (optional) writes the archive of GET /ferric/v1/logs, a tar.gz.
	Logs func(ctx context.Context, w io.Writer) error
	// EraseReport (optional) is what the latest step that erases has done; false
	// before the first.
	EraseReport func() (ipa.EraseReport, bool)
	// Plugins (optional) are the hardware managers, and what became of the
	// plugins that the conductor has offered.
	Plugins func() ipa.AgentPlugins
	Log     *logrus.Entry
}

// Server serves the agent protocol.
type Server struct {
	opts     Options
	exec     *command.Executor
	echo     *echo.Echo
	http     *http.Server
	started  time.Time
	tokenGET atomic.Bool // a GET carried the token once
}

// New makes a server for the commands of exec.
func New(exec *command.Executor, opts Options) *Server {
	s := &Server{opts: opts, exec: exec, echo: echo.New(), started: time.Now()}
	s.echo.HTTPErrorHandler = s.handleError
	s.echo.IPExtractor = echo.ExtractIPDirect()
	s.echo.Use(s.logRequests(), refuseOptions)
	s.routes()
	s.http = &http.Server{
		Handler:           s.echo,
		ReadHeaderTimeout: 30 * time.Second,
		ReadTimeout:       10 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          stdlog.New(io.Discard, "", 0),
	}
	return s
}

// routes are those of the agent contract, section "Listener and routes". The
// forms with and without slash are both served. /ferric is our extension.
func (s *Server) routes() {
	e := s.echo
	e.GET("/", s.root)
	e.GET("/v1", s.v1)
	e.GET("/v1/", s.v1)
	for _, base := range []string{"", "/v1"} {
		e.GET(base+"/status", s.status)
		for _, slash := range []string{"", "/"} {
			e.GET(base+"/commands"+slash, s.list, s.tokenOnGET)
			e.POST(base+"/commands"+slash, s.submit, s.token)
		}
		e.GET(base+"/commands/:id", s.get, s.tokenOnGET)
	}
	e.GET("/ferric/v1/progress", s.progress, s.token)
	e.GET("/ferric/v1/progress/stream", s.streamProgress, s.token)
	e.DELETE("/ferric/v1/commands/:id", s.cancel, s.token)
	e.GET("/ferric/v1/logs", s.logs, s.token)
	e.GET("/ferric/v1/erase_report", s.eraseReport, s.token)
	e.GET("/ferric/v1/plugins", s.plugins, s.token)
}

// ServeHTTP makes a Server an http.Handler, without TLS.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers on l until Shutdown. The error is never nil.
func (s *Server) Serve(l net.Listener) error {
	if s.opts.TLS != nil {
		l = tls.NewListener(l, s.opts.TLS)
	}
	return s.http.Serve(l)
}

// Shutdown lets running requests end, as long as ctx lasts, and stops.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

// logRequests logs requests without their query, which holds the token.
func (s *Server) logRequests() echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			began := time.Now()
			err := s.guarded(next, c)
			if err != nil {
				c.Error(err)
			}
			s.opts.Log.WithFields(logrus.Fields{
				"method": c.Request().Method, "path": c.Request().URL.Path, "remote": c.RealIP(),
				"status": c.Response().Status, "seconds": time.Since(began).Seconds(),
			}).Debug("request")
			return nil
		}
	}
}

// guarded turns a panic into an error: every answer has a body. Where it was
// is only for the log.
func (s *Server) guarded(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.opts.Log.Errorf("panic in %s %s: %v\n%s", c.Request().Method, c.Request().URL.Path, p, debug.Stack())
			err = fmt.Errorf("the request panicked: %v", p)
		}
	}()
	return next(c)
}

// refuseOptions answers OPTIONS as any other verb that a route does not have;
// the router by itself answers an empty 204.
func refuseOptions(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method == http.MethodOptions && c.Get(echo.ContextKeyHeaderAllow) != nil {
			return echo.ErrMethodNotAllowed
		}
		return next(c)
	}
}

// token lets a request pass that carries the agent's token as query parameter.
func (s *Server) token(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !s.tokenMatches(c.QueryParam("agent_token")) {
			return errToken
		}
		return next(c)
	}
}

// tokenOnGET is token, and the rule for older conductors: see TokenlessGET.
func (s *Server) tokenOnGET(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		switch _, carried := c.QueryParams()["agent_token"]; {
		case carried && s.tokenMatches(c.QueryParam("agent_token")):
			s.tokenGET.Store(true)
		case !carried && s.opts.Token != "" && s.opts.TokenlessGET && !s.tokenGET.Load():
			c.Set(tokenless, true)
		default:
			return errToken
		}
		return next(c)
	}
}

// tokenless marks a GET that passed without a token.
const tokenless = "tokenless"

// shown is a result as the client may see it.
func shown(c echo.Context, r ipa.Result) ipa.Result {
	if c.Get(tokenless) == true {
		return command.WithoutArgs(r)
	}
	return r
}

var errToken = echo.NewHTTPError(http.StatusUnauthorized, "Token invalid.")

func (s *Server) tokenMatches(given string) bool {
	return s.opts.Token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(s.opts.Token)) == 1
}

func (s *Server) status(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{
		"started_at": float64(s.started.UnixMicro()) / 1e6,
		"version":    s.opts.Version,
	})
}

func (s *Server) list(c echo.Context) error {
	list := s.exec.List()
	for i := range list {
		list[i] = shown(c, list[i])
	}
	return c.JSON(http.StatusOK, ipa.Results{Commands: list})
}

func (s *Server) get(c echo.Context) error {
	result, err := s.exec.Get(c.Request().Context(), c.Param("id"), wantsWait(c))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, shown(c, result))
}

func (s *Server) submit(c echo.Context) error {
	req, err := DecodeRequest(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody), c.Request().ContentLength)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return echo.NewHTTPError(http.StatusRequestEntityTooLarge, "the command has more than 96 MiB; a config drive may have 64 MiB").SetInternal(err)
	}
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "Missing or invalid name or params").SetInternal(err)
	}
	ctx := c.Request().Context()
	result, after, err := s.exec.Execute(ctx, req)
	if err != nil {
		return err
	}
	if wantsWait(c) {
		if result, err = s.exec.Get(ctx, result.ID, true); err != nil {
			return err
		}
	}
	if after != nil {
		// Whether the answer arrives or not: the command has succeeded.
		defer func() { go after() }()
	}
	if err := c.JSON(http.StatusOK, result); err != nil {
		return err
	}
	c.Response().Flush()
	return nil
}

func wantsWait(c echo.Context) bool { return strings.EqualFold(c.QueryParam("wait"), "true") }

// cancel ends a running step that may be aborted.
func (s *Server) cancel(c echo.Context) error {
	result, err := s.exec.Cancel(c.Param("id"))
	if errors.Is(err, command.ErrNotCancellable) {
		return echo.NewHTTPError(http.StatusConflict, err.Error())
	}
	if err != nil {
		return err
	}
	if wantsWait(c) {
		if result, err = s.exec.Get(c.Request().Context(), result.ID, true); err != nil {
			return err
		}
	}
	return c.JSON(http.StatusAccepted, result)
}

// logs answers also while a command runs.
func (s *Server) logs(c echo.Context) error {
	if s.opts.Logs == nil {
		return ipa.NotFound.New("there are no logs")
	}
	var packed bytes.Buffer
	if err := s.opts.Logs(c.Request().Context(), &packed); err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/gzip", packed.Bytes())
}

// eraseReport tells what the latest step that erases has done to which device,
// also while it runs and when it has failed.
func (s *Server) eraseReport(c echo.Context) error {
	if s.opts.EraseReport != nil {
		if report, ok := s.opts.EraseReport(); ok {
			return c.JSON(http.StatusOK, report)
		}
	}
	return ipa.NotFound.New("nothing was erased since the machine booted")
}

// plugins tells which hardware managers there are, and which are not, and why.
func (s *Server) plugins(c echo.Context) error {
	if s.opts.Plugins == nil {
		return ipa.NotFound.New("nothing is known of plugins")
	}
	return c.JSON(http.StatusOK, s.opts.Plugins())
}

// handleError writes the error body of the agent contract, section "Error
// body and error types".
func (s *Server) handleError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	code, text := http.StatusInternalServerError, ""
	var known *ipa.Error
	var httpErr *echo.HTTPError
	switch {
	case errors.As(err, &known):
		code, text = known.Code, known.Error()
	case errors.As(err, &httpErr):
		code = httpErr.Code
		text = fmt.Sprintf("%d %s: %v", code, http.StatusText(code), httpErr.Message)
	default:
		text = ipa.CommandExecution.New("%v", err).Error()
	}
	fault := "Client"
	if code >= 500 {
		fault = "Server"
	}
	body := map[string]string{"faultcode": fault, "faultstring": text}
	if err := c.JSON(code, body); err != nil {
		s.opts.Log.WithError(err).Debug("error body not sent")
	}
}
