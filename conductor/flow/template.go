package flow

import (
	"context"
	"slices"

	"ferric/conductor/steps"
	"ferric/conductor/store"
)

// deploySteps are the steps that a deployment is asked for: those of the
// templates that the instance's traits name, overridden by the user's (deploy
// flow, section 4).
func (f *Flow) deploySteps(ctx context.Context, n *store.Node, user []Step) ([]steps.Requested, error) {
	asked := requested(user)
	traits, _ := n.InstanceInfo["traits"].([]any)
	from := map[string]string{} // the template that a step is of
	var templated []steps.Requested
	for _, trait := range traits {
		name, _ := trait.(string)
		templates, err := f.store.DeployTemplates(ctx, store.Query{Where: []string{"name = ?"}, Args: []any{name}})
		if err != nil {
			return nil, err
		}
		for _, template := range templates { // one at most
			for _, s := range template.Steps {
				id := s.Interface + "." + s.Step
				if other, twice := from[id]; twice {
					return nil, invalid("Failed to validate the deploy steps of node %s. Error: the deploy templates %s and %s both have the step %s.", n.UUID, other, name, id)
				}
				from[id] = name
				step := steps.Requested{Interface: s.Interface, Step: s.Step, Args: s.Args}
				if s.Priority != nil {
					step.Priority = *s.Priority
				}
				if !slices.ContainsFunc(asked, func(a steps.Requested) bool { return a.Interface == s.Interface && a.Step == s.Step }) {
					templated = append(templated, step)
				}
			}
		}
	}
	return append(templated, asked...), nil
}
