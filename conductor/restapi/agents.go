package restapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"time"

	"ferric/api"
	"ferric/api/ipa"
	"ferric/api/ironic"
	"ferric/conductor/store"
)

// lookupFields are all that an agent gets of its node (REST contract, section 8.1).
var lookupFields = []string{"uuid", "properties", "instance_info", "driver_internal_info"}

// ramdiskEndpoint refuses agents where they are switched off.
func (s *Server) ramdiskEndpoint() error {
	if !s.cfg.EnableRamdiskEndpoints {
		return api.Errorf(http.StatusForbidden, "The endpoints for agents are disabled ([api]enable_ramdisk_endpoints).")
	}
	return nil
}

func (s *Server) lookup(ctx context.Context, r *request) (reply, error) {
	if err := s.lookupAllowed(r); err != nil {
		return reply{}, err
	}
	a := r.args
	nodeUUID, err := a.uuid("node_uuid")
	if err != nil {
		return reply{}, err
	}
	addresses, err := a.list("addresses")
	if err != nil {
		return reply{}, err
	}
	var macs []string
	for _, text := range addresses {
		if mac, ok := parseMAC(text); ok {
			macs = append(macs, mac)
		}
	}
	if nodeUUID == "" && macs == nil {
		return reply{}, badRequest("At least one of node_uuid and a valid MAC address in addresses is required for a lookup.")
	}
	n, token, err := s.conductor.Lookup(ctx, macs, nodeUUID, r.version >= ironic.VersionAgentToken)
	if err != nil {
		return reply{}, s.lookupFailed(ctx, r, macs, nodeUUID, err)
	}
	config := s.agentConfig(token, r.version)
	config.Plugins = s.pluginOffers(ctx, r, n, token)
	return ok(ipa.LookupResponse{Node: NodeView(n, r.version, ViewOptions{Base: r.base, Fields: lookupFields}), Config: config})
}

// lookupAllowed refuses those who have guessed too often.
func (s *Server) lookupAllowed(r *request) error {
	if err := s.ramdiskEndpoint(); err != nil {
		return err
	}
	if wait := s.guesses.wait(r.source, time.Now()); wait > 0 {
		return api.Errorf(http.StatusTooManyRequests, "Too many lookups from this address found no node; try again in %d seconds.", int(math.Ceil(wait.Seconds())))
	}
	return nil
}

// lookupFailed counts a lookup that found nothing.
func (s *Server) lookupFailed(ctx context.Context, r *request, macs []string, nodeUUID string, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	s.guesses.wrong(r.source, time.Now())
	r.log.WithError(err).Info("lookup refused")
	s.noteRefusedLookup(ctx, r, macs, nodeUUID, err)
	// The same words for every reason: an agent's guess learns nothing.
	return notFound("Node could not be found for the given lookup.")
}

// agentConfig is what the conductor tells the agent.
func (s *Server) agentConfig(token string, v ironic.Version) ipa.LookupConfig {
	md5, shallow := s.cfg.AgentMD5, s.cfg.DisableDeepImageInspection
	return ipa.LookupConfig{
		HeartbeatTimeout:            s.cfg.HeartbeatTimeout.Seconds(),
		AgentToken:                  token,
		AgentTokenRequired:          true,
		AgentMD5ChecksumEnable:      &md5,
		DisableDeepImageInspection:  &shallow,
		PermittedImageFormats:       s.cfg.PermittedImageFormats,
		AgentSkipBMCDetect:          s.cfg.SkipBMCDetect,
		EnableBIOSBootloaderInstall: s.cfg.EnableBIOSBootloaderInstall,
		TLSMinVersion:               s.cfg.TLSMinVersion,
		Metrics:                     map[string]any{"backend": "noop", "prepend_host": false, "prepend_uuid": false, "prepend_host_reverse": true, "global_prefix": nil},
		MetricsStatsd:               map[string]any{"statsd_host": "localhost", "statsd_port": 8125},
		AgentContainers: map[string]any{"allow_arbitrary_containers": false, "allowed_containers": []string{},
			"container_steps_file": "/etc/ironic-python-agent.d/mysteps.yaml", "runner": "podman", "pull_options": []string{}, "run_options": []string{}},
	}
}

// heartbeatArgs are the members of a heartbeat (REST contract, section 8.2).
// Literal table.
var heartbeatArgs = []arg{
	{name: "callback_url", kind: argText, doc: "Where the agent is called; empty for one that cannot be."},
	{name: "agent_version", kind: argText, since: ironic.VersionHeartbeatVersion, older: 400},
	{name: "agent_token", kind: argText, since: ironic.VersionAgentToken, older: 400, doc: "What the lookup handed out."},
	{name: "agent_verify_ca", kind: argText, since: ironic.VersionAgentVerifyCA, older: 400, doc: "Certificate of the agent, PEM."},
	{name: "agent_status", kind: argText, since: ironic.VersionAgentStatus, older: 400, doc: "start, end or error."},
	{name: "agent_status_message", kind: argText, since: ironic.VersionAgentStatus, older: 400},
}

func (s *Server) heartbeat(ctx context.Context, r *request) (reply, error) {
	if err := s.ramdiskEndpoint(); err != nil {
		return reply{}, err
	}
	a := r.args
	hb, err := readHeartbeat(a)
	if err != nil {
		return reply{}, err
	}
	ident := r.params["node"]
	id, isUUID := parseUUID(ident)
	if !isUUID {
		n, err := s.node(ctx, r)
		if err != nil {
			return reply{}, err
		}
		id = n.UUID
	}
	err = s.conductor.Heartbeat(ctx, id, hb)
	if errors.Is(err, store.ErrNotFound) {
		return reply{}, nodeNotFound(ident)
	}
	if err != nil {
		s.noteRefusedHeartbeat(ctx, r, id, err)
		return reply{}, err
	}
	return accepted("")
}

func readHeartbeat(a arguments) (ipa.Heartbeat, error) {
	var hb ipa.Heartbeat
	for name, to := range map[string]*string{
		"callback_url": &hb.CallbackURL, "agent_version": &hb.AgentVersion, "agent_token": &hb.AgentToken,
		"agent_verify_ca": &hb.AgentVerifyCA, "agent_status": &hb.AgentStatus, "agent_status_message": &hb.AgentStatusMessage,
	} {
		text, err := a.text(name)
		if err != nil {
			return hb, err
		}
		*to = text
	}
	if !a.has("callback_url") {
		return hb, badRequest("A heartbeat needs a callback_url.")
	}
	// The empty one is that of an agent that cannot be called.
	if u, err := url.Parse(hb.CallbackURL); hb.CallbackURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https") {
		return hb, badRequest("The callback_url of a heartbeat needs the scheme http or https.")
	}
	if hb.AgentToken == "" {
		return hb, badRequest("A heartbeat needs the agent_token that was given at lookup.")
	}
	if hb.AgentStatus != "" && !slices.Contains([]string{"start", "end", "error"}, hb.AgentStatus) {
		return hb, badRequest("The agent_status of a heartbeat has to be start, end or error, not %q.", hb.AgentStatus)
	}
	return hb, nil
}

// heartbeatOfNobody refuses a heartbeat whose path names no node.
func heartbeatOfNobody(context.Context, *request) (reply, error) {
	return reply{}, badRequest("Missing argument: node_ident, the node whose agent this is, in the path.")
}

func (s *Server) agentRoutes() []route {
	return []route{
		{method: "GET", path: "/lookup", policy: "public", since: ironic.VersionLookupHeartbeat, handle: s.lookup, result: "Lookup", doc: "Finds the node that an agent runs on.",
			args: []arg{{name: "addresses", kind: argNames, doc: "MAC addresses."}, {name: "node_uuid", kind: argUUID}}},
		{method: "POST", path: "/heartbeat", policy: "public", since: ironic.VersionLookupHeartbeat, handle: heartbeatOfNobody, args: heartbeatArgs, doc: "Is refused: a heartbeat is one of a node."},
		{method: "POST", path: "/heartbeat/:node", policy: "public", since: ironic.VersionLookupHeartbeat, handle: s.heartbeat, args: heartbeatArgs, status: 202, doc: "Tells that an agent is alive and where."},
	}
}
