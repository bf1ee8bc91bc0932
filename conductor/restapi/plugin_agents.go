package restapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/plugins"
	"ferric/conductor/store"
)

// pluginOffers are the bundles that the agent of a node is to fetch, nil is none.
// An agent without a token could not fetch any. What goes wrong costs the agent
// its plugins and not its node.
func (s *Server) pluginOffers(ctx context.Context, r *request, n *store.Node, token string) []ipa.PluginOffer {
	if s.cfg.Plugins == nil || token == "" {
		return nil
	}
	offered, err := s.cfg.Plugins.Offered(ctx, n.ID)
	if err != nil {
		r.log.WithField("node", n.UUID).WithError(err).Error("the agent is offered no plugins")
		return nil
	}
	return plugins.Offers(offered)
}

// bundlePatience is how long an agent may take to fetch a bundle.
const bundlePatience = 10 * time.Minute

// sendBundle gives the bytes of a bundle, or a range of them, to the agent of a
// node that it is for.
func (s *Server) sendBundle(ctx context.Context, r *request) (reply, error) {
	if err := s.ramdiskEndpoint(); err != nil {
		return reply{}, err
	}
	library, err := s.library()
	if err != nil {
		return reply{}, err
	}
	uuid, err := r.args.uuid("node_uuid")
	if err != nil {
		return reply{}, err
	}
	token := r.header.Get(ipa.HeaderAgentToken)
	if uuid == "" || token == "" {
		return reply{}, badRequest("An agent fetches a bundle with its node as node_uuid and its token in the header %s.", ipa.HeaderAgentToken)
	}
	n, err := s.conductor.AgentNode(ctx, uuid, token)
	if err != nil {
		return reply{}, err
	}
	p, err := library.For(ctx, n.ID, r.params["plugin"], r.params["version"])
	if err != nil {
		return reply{}, pluginError(r, err)
	}
	file, err := library.OpenBundle(p)
	if err != nil {
		return reply{}, err
	}
	return ok(upgraded(func(w http.ResponseWriter, req *http.Request) {
		defer file.Close()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bundlePatience)) // where there is a connection
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Cache-Control", "private, no-cache")
		h.Set("ETag", `"`+p.SHA256+`"`)
		http.ServeContent(w, req, "", p.CreatedAt, file)
	}))
}

// reportPlugins takes what an agent tells of its plugins.
func (s *Server) reportPlugins(ctx context.Context, r *request) (reply, error) {
	if err := s.ramdiskEndpoint(); err != nil {
		return reply{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(r.body))
	var report ipa.PluginReport
	if err := decoder.Decode(&report); err != nil {
		return reply{}, badRequest("The report of plugins cannot be read: %v.", err)
	}
	id, isUUID := parseUUID(report.NodeUUID)
	if !isUUID || report.AgentToken == "" {
		return reply{}, badRequest("A report of plugins needs node_uuid and the agent_token that was given at lookup.")
	}
	report.NodeUUID = id
	if err := s.conductor.ReportPlugins(ctx, report); err != nil {
		return reply{}, err
	}
	return noContent()
}
