package restapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"ferric/api"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/plugins"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// statuses maps the conductor's errors to HTTP (REST contract, section 1.2).
// Literal table; the first that matches counts.
var statuses = []struct {
	match  func(error) bool
	status int
	text   string // "" is the error's own
}{
	{is(store.ErrNotFound), http.StatusNotFound, ""},
	{is(store.ErrDuplicate), http.StatusConflict, ""},
	{as[*task.LockedError], http.StatusConflict, ""},
	{is(store.ErrReserved), http.StatusConflict, ""},
	{is(task.ErrNoFreeWorker), http.StatusServiceUnavailable, "Requested action cannot be performed due to lack of free conductor workers."},
	{is(flow.ErrTooMany), http.StatusServiceUnavailable, ""},
	{is(flow.ErrPowerFailure), http.StatusServiceUnavailable, ""},
	{is(flow.ErrInMaintenance), http.StatusBadRequest, ""},
	{is(flow.ErrProtected), http.StatusForbidden, ""},
	{is(flow.ErrConflict), http.StatusConflict, ""},
	{is(flow.ErrInvalid), http.StatusBadRequest, ""},
	{is(flow.ErrAgentToken), http.StatusBadRequest, ""},
	{is(plugins.ErrInvalid), http.StatusBadRequest, ""},
	{is(plugins.ErrTooLarge), http.StatusRequestEntityTooLarge, ""},
	{is(plugins.ErrConflict), http.StatusConflict, ""},
	{is(plugins.ErrBusy), http.StatusServiceUnavailable, ""},
	{is(plugins.ErrNoSpace), http.StatusInsufficientStorage, ""},
	{is(store.ErrTooManyReports), http.StatusTooManyRequests, ""},
	{is(flow.ErrNoRAID), http.StatusNotFound, ""},
	{is(driver.ErrUnsupported), http.StatusBadRequest, ""},
	{as[*driver.MissingParameterError], http.StatusBadRequest, ""},
	{as[*driver.InvalidParameterError], http.StatusBadRequest, ""},
	{as[*provision.InvalidEventError], http.StatusBadRequest, ""},
	{is(store.ErrFull), http.StatusServiceUnavailable, "The database has no space left on its disk; nothing was changed."},
	{is(store.ErrClosed), http.StatusServiceUnavailable, ""},
	{is(context.DeadlineExceeded), http.StatusServiceUnavailable, ""},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// apiError is what the client gets for err.
func apiError(err error) *api.Error {
	var known *api.Error
	if errors.As(err, &known) {
		return known
	}
	var routing *echo.HTTPError
	if errors.As(err, &routing) {
		switch routing.Code {
		case http.StatusNotFound:
			return api.Routing(http.StatusNotFound, "The resource could not be found.")
		case http.StatusMethodNotAllowed:
			return api.Routing(http.StatusMethodNotAllowed, "The method is not allowed for this resource.")
		}
		return api.Routing(routing.Code, "%v", routing.Message)
	}
	for _, s := range statuses {
		if !s.match(err) {
			continue
		}
		if s.text != "" {
			return api.Errorf(s.status, "%s", s.text)
		}
		return api.Errorf(s.status, "%s", err)
	}
	return api.Errorf(http.StatusInternalServerError, "%s", err)
}

// handleError is the one place where an error becomes an answer.
func (s *Server) handleError(err error, c echo.Context) {
	e := apiError(err)
	log := s.requestLog(c).WithError(err).WithField("status", e.Status)
	if e.Status >= http.StatusInternalServerError && e.Status != http.StatusServiceUnavailable {
		log.Errorf("%s %s failed", c.Request().Method, c.Request().URL.Path)
	} else {
		log.Debugf("%s %s refused", c.Request().Method, c.Request().URL.Path)
	}
	if c.Response().Committed {
		return
	}
	if e.Challenge != "" {
		c.Response().Header().Set(echo.HeaderWWWAuthenticate, e.Challenge)
	}
	if err := c.Blob(e.Status, echo.MIMEApplicationJSON, e.Body()); err != nil {
		log.WithField("cause", err).Debug("cannot send the error")
	}
}
