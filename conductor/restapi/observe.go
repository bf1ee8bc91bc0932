package restapi

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/labstack/echo/v4"

	"ferric/conductor/restapi/auth"
)

// Who may read the metrics. Literal table of [ferric_api]metrics.
var metricsPolicies = map[string]string{"off": "", "auth": "baremetal:conductor:get", "public": auth.Public}

const metricsPath = "/metrics"

// observe tells the metrics of each request.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	tell := s.cfg.Observe
	if tell == nil {
		return next
	}
	return func(c echo.Context) error {
		began := time.Now()
		err := next(c)
		status := c.Response().Status
		if err != nil && !c.Response().Committed {
			status = apiError(err).Status
		}
		route, method := c.Path(), c.Request().Method
		if route == "" {
			route = "none"
		}
		if !knownMethods[method] {
			method = "other"
		}
		took := time.Since(began)
		if c.Response().Header().Get(echo.HeaderContentType) == mimeEvents {
			took = 0
		}
		tell(method, route, status, took)
		return err
	}
}

// knownMethods are the values of a label: clients may send any word.
var knownMethods = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true, http.MethodOptions: true}

// metricsRoutes serve the metrics to whom [ferric_api]metrics says.
func (s *Server) metricsRoutes() []route {
	policy := metricsPolicies[s.cfg.MetricsAccess]
	if policy == "" || s.cfg.Metrics == nil {
		return nil
	}
	return []route{{method: http.MethodGet, path: metricsPath, policy: policy, handle: s.showMetrics, anyArgs: true, result: "Metrics", doc: "Counts what the conductor does, in Prometheus's text format."}}
}

// OpenStreams counts the streams of events.
func (s *Server) OpenStreams() int { return int(s.streams.open.Load()) }

// showMetrics lets the metrics answer. Who asks too often is told so by them.
func (s *Server) showMetrics(_ context.Context, r *request) (reply, error) {
	return ok(streamed(func(ctx context.Context, w http.ResponseWriter) {
		q := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: metricsPath}, Header: r.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
		s.cfg.Metrics.ServeHTTP(w, q)
	}))
}
