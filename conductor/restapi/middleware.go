package restapi

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/sirupsen/logrus"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
)

// Keys of what the middleware leaves in echo's context.
const (
	keyVersion    = "version"
	keyRequestID  = "request"
	keyIdentity   = "identity"
	keyJSONSuffix = "json suffix"
)

// recoverPanic turns a panic of a handler into a 500.
func (s *Server) recoverPanic(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				s.requestLog(c).Errorf("%s %s panicked: %v\n%s", c.Request().Method, c.Request().URL.Path, p, debug.Stack())
				err = api.Errorf(http.StatusInternalServerError, "Internal error; see the conductor's log.")
			}
		}()
		return next(c)
	}
}

// identify gives the request an id and the answer its headers, which every
// answer has (REST contract, section 1).
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := "req-" + uuid.NewString()
		c.Set(keyRequestID, id)
		h := c.Response().Header()
		h.Set(ironic.HeaderRequestID, id)
		h.Set("X-Openstack-Request-Id", id)
		h.Set(ironic.HeaderMinimumVersion, api.MinVersion.String())
		h.Set(ironic.HeaderMaximumVersion, api.MaxVersion.String())
		return next(c)
	}
}

func (s *Server) requestLog(c echo.Context) *logrus.Entry {
	return s.log.WithField("request", requestID(c))
}

func requestID(c echo.Context) string {
	id, _ := c.Get(keyRequestID).(string) // "" before identify
	return id
}

// normalisePath brings the spellings of a path to the one that is routed: a
// slash at the end, /v1 and, for old clients, .json are dropped.
func normalisePath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		path := trimSlash(r.URL.Path)
		v, err := api.NegotiateVersion(r.Header)
		old := r.Header.Get(ironic.HeaderVersion) != "" && err == nil && v < ironic.VersionNoJSONSuffix
		if stem, ok := strings.CutSuffix(path, ".json"); ok && old && !strings.HasPrefix(path, "/ferric/") {
			path = stem
			c.Set(keyJSONSuffix, true)
		}
		if rest, ok := strings.CutPrefix(path, "/v1/"); ok && !strings.HasPrefix(rest, "v1") && !strings.HasPrefix(rest, "ferric/") {
			path = "/" + rest
		}
		if path == "" {
			path = "/"
		}
		r.URL.Path, r.URL.RawPath = path, "" // in place: echo routes this very request
		return next(c)
	}
}

func trimSlash(path string) string { return strings.TrimRight(path, "/") }

// negotiate resolves the microversion. The discovery document at / is for
// clients that do not know yet what they can ask for.
func negotiate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		v, err := api.NegotiateVersion(c.Request().Header)
		if err != nil && c.Request().URL.Path != "/" {
			return err
		}
		if err != nil {
			v = api.MinVersion
		}
		c.Set(keyVersion, v)
		c.Response().Header().Set(ironic.HeaderVersion, v.String())
		return next(c)
	}
}

func identityOf(c echo.Context) *auth.Identity {
	id, ok := c.Get(keyIdentity).(*auth.Identity)
	if !ok {
		panic(fmt.Sprintf("nobody authenticated for %s", c.Path()))
	}
	return id
}

func versionOf(c echo.Context) ironic.Version {
	v, ok := c.Get(keyVersion).(ironic.Version)
	if !ok {
		panic(fmt.Sprintf("no version negotiated for %s", c.Path()))
	}
	return v
}
