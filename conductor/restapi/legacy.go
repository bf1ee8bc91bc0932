package restapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"ferric/api"
	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// legacyAgentVersion is what an agent is that does not tell.
const legacyAgentVersion = "3.0.0"

// modernise replaces a classic driver in a node by its hardware type.
func (s *Server) modernise(n *store.Node) {
	if was, ok := driver.Modernise(n); ok {
		s.log.Warnf("node %s: the classic driver %s is the hardware type %s now, ask for that", n.UUID, was, n.Driver)
	}
}

// legacyRoutes are lookup and heartbeat as the agents of Ironic's first years
// have them, which had no token: everybody in their network could say to be
// the agent of a node. They are served on [ferric_api]tokenless_agents only.
func (s *Server) legacyRoutes() []route {
	if !s.cfg.Edge.TokenlessAgents {
		return nil
	}
	return []route{
		{method: "POST", path: "/drivers/:driver/vendor_passthru/lookup", policy: auth.Public, handle: s.legacyLookup, result: "LegacyLookup", doc: "Finds the node of an agent without a token.",
			args: []arg{{name: "version", kind: argAny}, {name: "inventory", kind: argObject}, {name: "node_uuid", kind: argUUID}, {name: "method", kind: argText}}},
		{method: "POST", path: "/nodes/:node/vendor_passthru/heartbeat", policy: auth.Public, handle: s.legacyHeartbeat, status: 202, doc: "Tells where an agent without a token is.",
			args: []arg{{name: "agent_url", kind: argText}, {name: "agent_version", kind: argText}, {name: "method", kind: argText}}},
	}
}

// legacyPaths brings the other spelling, vendor_passthru?method=lookup, to the one that is routed.
func (s *Server) legacyPaths(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if s.cfg.Edge.TokenlessAgents && r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/vendor_passthru") {
			query, err := url.ParseQuery(r.URL.RawQuery)
			switch method := query.Get("method"); {
			case err != nil:
			case strings.HasPrefix(r.URL.Path, "/drivers/agent_") && method == "lookup", strings.HasPrefix(r.URL.Path, "/nodes/") && method == "heartbeat":
				r.URL.Path += "/" + method
			}
		}
		return next(c)
	}
}

func (s *Server) legacyLookup(ctx context.Context, r *request) (reply, error) {
	if err := s.lookupAllowed(r); err != nil {
		return reply{}, err
	}
	if !driver.IsClassicAgent(r.params["driver"]) {
		return reply{}, notFound("The driver %s has no method lookup.", r.params["driver"])
	}
	nodeUUID, err := r.args.uuid("node_uuid")
	if err != nil {
		return reply{}, err
	}
	macs := legacyAddresses(r.args.values["inventory"])
	if nodeUUID == "" && macs == nil {
		return reply{}, badRequest("At least one of node_uuid and an interface with a valid mac_address in inventory is required for a lookup.")
	}
	n, _, err := s.conductor.Lookup(ctx, macs, nodeUUID, false)
	if err != nil {
		return reply{}, s.lookupFailed(ctx, r, macs, nodeUUID, err)
	}
	return ok(map[string]any{
		"heartbeat_timeout": s.cfg.HeartbeatTimeout.Seconds(),
		"node":              NodeView(n, r.version, ViewOptions{Base: r.base, Fields: lookupFields}),
	})
}

// legacyAddresses are the MAC addresses of an inventory.
func legacyAddresses(inventory any) []string {
	object, _ := inventory.(map[string]any)
	interfaces, _ := object["interfaces"].([]any)
	var macs []string
	for _, item := range interfaces {
		nic, _ := item.(map[string]any)
		text, _ := nic["mac_address"].(string)
		if mac, ok := parseMAC(text); ok {
			macs = append(macs, mac)
		}
	}
	return macs
}

func (s *Server) legacyHeartbeat(ctx context.Context, r *request) (reply, error) {
	if err := s.ramdiskEndpoint(); err != nil {
		return reply{}, err
	}
	hb := ipa.Heartbeat{Tokenless: true}
	var err error
	if hb.CallbackURL, err = r.args.text("agent_url"); err != nil {
		return reply{}, err
	}
	if hb.AgentVersion, err = r.args.text("agent_version"); err != nil {
		return reply{}, err
	}
	if hb.AgentVersion == "" {
		hb.AgentVersion = legacyAgentVersion
	}
	if u, err := url.Parse(hb.CallbackURL); err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return reply{}, api.Errorf(http.StatusBadRequest, "The agent_url of a heartbeat needs the scheme http or https.")
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.Heartbeat(ctx, n.UUID, hb); err != nil {
		return reply{}, err
	}
	return accepted("")
}
