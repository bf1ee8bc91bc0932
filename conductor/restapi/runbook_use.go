package restapi

import (
	"cmp"
	"context"
	"slices"

	"ferric/api/ironic"
	"ferric/conductor/flow"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// useRunbook puts the steps of the runbook that the request names into req, if
// it was approved for node n: by name before 1.112, since then by its traits.
func (s *Server) useRunbook(ctx context.Context, r *request, n *store.Node, req *flow.ProvisionRequest) error {
	ident, err := r.args.text("runbook")
	if err != nil || ident == "" {
		return err
	}
	if given(r.args, "clean_steps") || given(r.args, "service_steps") {
		return badRequest("Please provide either explicit steps or a runbook, but not both.")
	}
	b, err := s.runbooks().find(ctx, r, ident)
	if err != nil {
		return err
	}
	const rule = "baremetal:runbook:use"
	if !b.Public && !s.policy.Allows(r.identity, rule, auth.Target{Owner: b.Owner}) {
		return auth.Denied(rule)
	}
	if err := approved(b, n, r); err != nil {
		return err
	}
	steps, disallowed := &req.CleanSteps, s.cfg.DisallowCleanSteps
	if req.Verb.Target == "service" {
		steps, disallowed = &req.ServiceSteps, s.cfg.DisallowServiceSteps
	}
	for _, step := range b.Steps {
		if id := step.Interface + "." + step.Step; slices.Contains(disallowed, id) {
			return badRequest("Runbook %s has the step %s, which is disallowed by configuration.", b.Name, id)
		}
		*steps = append(*steps, flow.Step{Interface: step.Interface, Step: step.Step, Args: step.Args, Order: step.Order})
	}
	slices.SortStableFunc(*steps, func(x, y flow.Step) int { return cmp.Compare(*x.Order, *y.Order) })
	req.DisableRamdisk = b.DisableRamdisk
	return nil
}

func approved(b *store.Runbook, n *store.Node, r *request) error {
	has := func(trait string) bool { return slices.Contains(n.Traits, trait) }
	switch {
	case r.version < ironic.VersionRunbookTraits && !has(b.Name):
		return badRequest("This runbook has not been approved for use on this node %s. Please ask an administrator to add it to your node traits.", n.UUID)
	case r.version < ironic.VersionRunbookTraits:
	case len(b.Traits) == 0:
		return badRequest("Runbook %s has no traits configured. Please ask an administrator to add traits to the runbook.", b.UUID)
	case !slices.ContainsFunc(b.Traits, has):
		return badRequest("This runbook has not been approved for use on this node %s. The node does not have any of the runbook's traits %v. Please ask an administrator to add a matching trait to your node.", n.UUID, b.Traits)
	}
	return nil
}
