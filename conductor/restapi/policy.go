package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// authenticate finds out who calls, before anything else is looked at. Routes
// whose policy is public need no credentials, and get none.
func (s *Server) authenticate(routes []route) echo.MiddlewareFunc {
	var open [][]string
	for _, rt := range routes {
		if rt.policy == auth.Public {
			open = append(open, strings.Split(rt.path, "/"))
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			path := strings.Split(c.Request().URL.Path, "/")
			if slices.ContainsFunc(open, func(p []string) bool { return matches(p, path) }) {
				c.Set(keyIdentity, &auth.Identity{})
				return next(c)
			}
			id, err := s.auth.Authenticate(c.Request())
			if err != nil {
				return err
			}
			c.Set(keyIdentity, id)
			return next(c)
		}
	}
}

// matches compares a path with that of a route, in which :name is anything.
func matches(pattern, path []string) bool {
	return slices.EqualFunc(pattern, path, func(p, segment string) bool {
		return p == segment || strings.HasPrefix(p, ":") && segment != ""
	})
}

// listAll is what the rule of a list ends with that is not confined to a project.
const listAll = "_all"

// permit checks the route's rule as far as that can be done without the object
// that it is about: what depends on a node's or another object's owner is left to
// permitNode and permitOwner, and what a project sees of a list to onlyProject.
// A handler that calls none of them answers 403 (see adapt).
func (s *Server) permit(r *request) error {
	rule, id := r.route.policy, r.identity
	if strings.HasSuffix(rule, ":list") && s.policy.Knows(rule+listAll) {
		if s.policy.Allows(id, rule+listAll, auth.Target{}) {
			r.permitted = true
			return nil
		}
		if id.ProjectID == "" || !s.policy.Allows(id, rule, auth.Target{}) {
			return auth.Denied(rule)
		}
		r.project = id.ProjectID
		return nil
	}
	if s.allows(id, rule, auth.Target{}) {
		r.permitted = true
		return nil
	}
	if strings.Contains(r.route.path, "/:node") || s.policy.AboutOwners(rule) {
		return nil
	}
	return auth.Denied(rule)
}

// selfOwned ends the rules about nodes that project administrators have.
const selfOwned = ":self_owned_node"

func (s *Server) allows(id *auth.Identity, rule string, t auth.Target) bool {
	if s.policy.Allows(id, rule, t) {
		return true
	}
	own := rule + selfOwned
	return s.cfg.ProjectAdminsOwnNodes && s.policy.Knows(own) && s.policy.Allows(id, own, t)
}

// permitNode checks the request's rules for a node, or for something that
// belongs to it. Who may not even see the node gets missing, the error for what
// does not exist.
func (s *Server) permitNode(r *request, n *store.Node, missing error) error {
	t := auth.Target{Owner: n.Owner, Lessee: n.Lessee}
	if !s.policy.Allows(r.identity, "baremetal:node:get", t) && r.route.policy != auth.Public {
		return missing
	}
	for _, rule := range r.rules() {
		if !s.allows(r.identity, rule, t) {
			return auth.Denied(rule)
		}
	}
	r.permitted = true
	return nil
}

// permitNodeOf is permitNode for the node with an id.
func (s *Server) permitNodeOf(ctx context.Context, r *request, nodeID int64, missing error) error {
	if r.identity.Admin {
		r.permitted = true
		return nil
	}
	n, err := s.store.NodeByID(ctx, nodeID)
	if errors.Is(err, store.ErrNotFound) {
		return missing
	}
	if err != nil {
		return err
	}
	return s.permitNode(r, n, missing)
}

// permitOwner checks a rule for what has an owner of its own: allocations and
// runbooks. The object is concealed by answering missing to who may not see it,
// which the caller finds out by the rule of showing it.
func (s *Server) permitOwner(r *request, rule string, owner *string, denied error) error {
	if !s.policy.Allows(r.identity, rule, auth.Target{Owner: owner}) {
		return denied
	}
	r.permitted = true
	return nil
}

// onlyProject confines a list to what the request's project may see. where is
// the condition, with one placeholder for the project.
func (r *request) onlyProject(q *store.Query, where string) {
	r.permitted = true
	if r.project != "" {
		q.Where, q.Args = append(q.Where, where), append(q.Args, r.project)
	}
}

// projectNodes is the condition of onlyProject for nodes.
const projectNodes = "? IN (nodes.owner, nodes.lessee)"

// nodeRules are the rules for what a patch touches, by the root of the path.
// Anything else is baremetal:node:update. Literal table.
var nodeRules = map[string]string{
	"instance_info": "baremetal:node:update_instance_info", "instance_name": "baremetal:node:update_instance_info",
	"extra":       "baremetal:node:update_extra",
	"driver_info": "baremetal:node:update:driver_info", "properties": "baremetal:node:update:properties",
	"chassis_uuid": "baremetal:node:update:chassis_uuid", "instance_uuid": "baremetal:node:update:instance_uuid",
	"lessee": "baremetal:node:update:lessee", "owner": "baremetal:node:update:owner",
	"driver": "baremetal:node:update:driver_interfaces", "network_data": "baremetal:node:update:network_data",
	"conductor_group": "baremetal:node:update:conductor_group", "name": "baremetal:node:update:name",
	"retired": "baremetal:node:update:retired", "retired_reason": "baremetal:node:update:retired",
	"shard": "baremetal:node:update:shard", "parent_node": "baremetal:node:update:parent_node",
	"disable_power_off": "baremetal:node:update:disable_power_off",
}

// rules of a request about a node: that of the route, and those that depend on
// what is asked for.
func (r *request) rules() []string {
	rule := r.route.policy
	switch {
	case strings.HasPrefix(rule, "baremetal:allocation:"):
		return nil // an allocation has an owner of its own
	case rule == "baremetal:node:update" && r.route.method == http.MethodPatch:
		if rules := patchRules(r.body); len(rules) > 0 {
			return rules
		}
	case rule == "baremetal:node:set_provision_state":
		rules := []string{rule}
		for _, steps := range []string{"clean_steps", "service_steps"} {
			if r.args.has(steps) {
				rules = append(rules, rule+":"+steps)
			}
		}
		return rules
	}
	return []string{rule}
}

// patchRules reads as little of a patch as it needs: what it cannot read, the
// handler cannot either.
func patchRules(body []byte) []string {
	var operations []struct {
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if json.Unmarshal(body, &operations) != nil {
		return nil
	}
	var rules []string
	for _, op := range operations {
		root := api.Root(ironic.PatchOperation{Path: op.Path})
		rule, known := nodeRules[root]
		switch {
		case known:
		case strings.HasSuffix(root, "_interface"):
			rule = nodeRules["driver"]
		case root == "automated_clean" && isFalse(op.Value):
			rule = "baremetal:node:disable_cleaning"
		default:
			rule = "baremetal:node:update"
		}
		if !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	return rules
}

func isFalse(v any) bool {
	switch v := v.(type) {
	case bool:
		return !v
	case string:
		b, ok := parseBool(v)
		return ok && !b
	}
	return false
}

// ownNode gives a node that a project's administrator makes to the project.
func (s *Server) ownNode(r *request, n *store.Node) error {
	id := r.identity
	if id.System || s.policy.Allows(id, "baremetal:node:create", auth.Target{}) {
		return nil
	}
	if n.Owner != nil && *n.Owner != id.ProjectID {
		return badRequest("Cannot create a node as a project scoped admin with an owner other than your own project.")
	}
	n.Owner = &id.ProjectID
	return nil
}

// redacted are the attributes that not everybody sees who sees the node, with
// whether they are objects. Literal table.
var redacted = []struct {
	name   string
	object bool
}{{"last_error", false}, {"reservation", false}, {"driver_internal_info", true}, {"driver_info", true}}

// redacts tells whether the caller gets other views of nodes than others do.
func (s *Server) redacts(r *request) bool {
	return !s.policy.Allows(r.identity, "baremetal:node:get:filter_threshold", auth.Target{})
}

// redact replaces in a view what a lessee may not see.
func (s *Server) redact(r *request, n *store.Node, view map[string]any) {
	if !s.redacts(r) {
		return
	}
	for _, f := range redacted {
		rule := "baremetal:node:get:" + f.name
		if _, shown := view[f.name]; !shown || s.policy.Allows(r.identity, rule, auth.Target{Owner: n.Owner, Lessee: n.Lessee}) {
			continue
		}
		text := "** Redacted - requires " + rule + " permission. **"
		view[f.name] = text
		if f.object {
			view[f.name] = map[string]any{"content": text}
		}
	}
}
