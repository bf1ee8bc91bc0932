package restapi

import (
	"context"
	"net/http"

	"ferric/conductor/explain"
)

// explainNode says why a node is where it is and what to do next.
func (s *Server) explainNode(ctx context.Context, r *request) (reply, error) {
	n, err := s.unversionedNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	probe, err := r.args.flag("probe")
	if err != nil {
		return reply{}, err
	}
	sources := explain.Sources{Progress: s.conductor.Progress}
	if s.cfg.Explain != nil {
		sources = *s.cfg.Explain
		sources.Progress = s.conductor.Progress
	}
	sources.Store, sources.Site.HeartbeatTimeout = s.store, s.cfg.HeartbeatTimeout
	facts, err := sources.Gather(ctx, n, probe == nil || *probe)
	if err != nil {
		return reply{}, err
	}
	return ok(explain.Explain(facts))
}

func (s *Server) explainRoutes() []route {
	return []route{
		// It shows what last_error says, and more of the same.
		{method: http.MethodGet, path: "/ferric/v1/nodes/:node/explain", policy: ruleLastError, handle: s.explainNode, result: "Explanation",
			args: []arg{{name: "probe", kind: argFlag, doc: "Whether BMC and agent are asked for it, for seconds at most; they are unless it is false."}},
			doc:  "Says why the node is where it is and what to do next."},
	}
}
