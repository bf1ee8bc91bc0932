package restapi

import (
	"errors"
	"net/http"
	"regexp"
	"slices"

	"github.com/labstack/echo/v4"

	"ferric/api/ironic"
)

// route is one line of the API: what it is called by, who may call it, from
// which microversion on, with which arguments, and what it answers with. The
// description of the API (openapi.go) is rendered from the same lines.
type route struct {
	method string
	path   string // without /v1, which is optional on the wire
	policy string // the rule of Ironic's policy that allows it; "public" needs no credentials
	doc    string // one sentence
	handle handler

	since ironic.Version // microversion that it appeared in; 0 is the first
	older int            // status below since; 0 is 404
	// lateSince has those who may not call it told so, whatever the microversion.
	lateSince bool

	args []arg
	// anyArgs lets arguments through that are not in args: those of a vendor's method.
	anyArgs bool
	// lateArgs leaves it to the handler to refuse arguments that are newer than
	// the request's microversion (checkVersions), where another check goes first.
	lateArgs bool
	// body is the resource whose document the request's body is. Without one the
	// members of the body are arguments, like those of the query.
	body  string
	limit bodyLimit // 0 is [api]max_json_body_size
	// stream leaves the body to the handler, as request.stream, whatever its size.
	stream bool

	status int    // of success, 0 is 200
	result string // the resource that it answers with, "" is nothing
}

// arg is an argument of a route: of the query or, in a body that is no
// document, one of its members.
type arg struct {
	name  string
	kind  kind
	since ironic.Version // microversion that it appeared in; 0 is the first
	older int            // status when it is given below since; 0 is 406
	doc   string
}

// kind of an argument's value. The methods of arguments read it.
type kind string

const (
	argText   kind = "text"
	argFlag   kind = "flag"
	argNumber kind = "number"
	argNames  kind = "names" // a comma list
	argUUID   kind = "uuid"
	argIdent  kind = "ident" // a UUID or a name
	argObject kind = "object"
	argList   kind = "list" // of anything
	argAny    kind = "any"
)

// routes of the whole API (REST contract, sections 2 to 9), a table for each
// resource.
func (s *Server) routes() []route {
	return slices.Concat(
		s.discoveryRoutes(),
		s.nodeRoutes(),
		s.nodeStateRoutes(),
		s.traitRoutes(),
		s.familyRoutes(),
		s.portRoutes(),
		s.portgroupRoutes(),
		s.chassisRoutes(),
		s.volumeRoutes(),
		s.eventRoutes(),
		s.driverRoutes(),
		s.hardwareRoutes(),
		s.settingRoutes(),
		s.conductorRoutes(),
		s.agentRoutes(),
		s.legacyRoutes(),
		s.allocationRoutes(),
		s.templateRoutes(),
		s.runbookRoutes(),
		s.historyRoutes(),
		s.inspectionRuleRoutes(),
		s.inventoryRoutes(),
		s.extensionRoutes(),
		s.pluginRoutes(),
		s.eventListRoutes(),
		s.timelineRoutes(),
		s.explainRoutes(),
		s.metricsRoutes(),
		s.descriptionRoutes(),
	)
}

// register makes echo serve the routes. Where there is a GET there is a HEAD.
func (s *Server) register(e *echo.Echo, routes []route) {
	for _, r := range routes {
		e.Add(r.method, r.path, s.adapt(r))
		if r.method == http.MethodGet {
			e.Add(http.MethodHead, r.path, s.adapt(r))
		}
	}
}

// underVerbs matches the paths of what is done to a node, which have been there
// since the first microversion, and underNode also those of what a node has.
var (
	underVerbs = regexp.MustCompile(`^/nodes/[^/]+/(states/[^/]|management(/|$))`)
	underNode  = regexp.MustCompile(`^/nodes/[^/]+/[^/]`)
)

// unrouted tells 404 and 405 apart as Ironic does. Where a node had nothing by
// any method at the request's microversion it is 404, and with a verb that does
// not exist it is 405.
func unrouted(routes []route) echo.MiddlewareFunc {
	appeared := map[string]ironic.Version{}
	for _, rt := range routes {
		since := rt.since
		if rt.older != 0 {
			since = 0 // something else answered
		}
		if first, seen := appeared[rt.path]; !seen || since < first {
			appeared[rt.path] = since
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			path := c.Request().URL.Path
			verb := underVerbs.MatchString(path)
			switch {
			case errors.Is(err, echo.ErrMethodNotAllowed) && underNode.MatchString(path) && !verb && versionOf(c) < appeared[c.Path()]:
				c.Response().Header().Del(echo.HeaderAllow)
				return echo.ErrNotFound
			case errors.Is(err, echo.ErrNotFound) && verb && c.Request().Method != http.MethodGet:
				return echo.ErrMethodNotAllowed
			}
			return err
		}
	}
}

func (s *Server) discoveryRoutes() []route {
	return []route{
		{method: "GET", path: "/", policy: "public", handle: s.root, result: "Root", doc: "Lists the versions of the API."},
		{method: "GET", path: "/v1", policy: "public", handle: s.rootV1, result: "V1", doc: "Lists the resources of version 1."},
	}
}

func (s *Server) extensionRoutes() []route {
	return []route{
		{method: "GET", path: "/ferric/v1/nodes/:node/progress", policy: "baremetal:node:get", handle: s.showProgress, result: "Progress", doc: "Tells how far the transfer in flight is."},
		{method: "GET", path: "/ferric/v1/nodes/:node/erase_report", policy: "baremetal:node:get", handle: s.showEraseReport, result: "EraseReports", doc: "Tells how each disk was erased."},
		{method: "GET", path: "/ferric/v1/nodes/:node/sensors", policy: "baremetal:node:get", handle: s.showSensors, result: "Sensors", doc: "Tells what the sensors of the machine say.",
			args: []arg{{name: "refresh", kind: argFlag, doc: "Whether they are read now although they are read at intervals."}}},
		{method: "GET", path: "/ferric/v1/nodes/:node/console", policy: "baremetal:node:get_console", handle: s.attachConsole, status: 101, doc: "Shows the console over WebSocket.",
			args: []arg{{name: "recent", kind: argFlag, doc: "Whether what was said lately comes first; true unless said otherwise."}}},
	}
}
