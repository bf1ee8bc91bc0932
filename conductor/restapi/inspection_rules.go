package restapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"ferric/api/ironic"
	"ferric/conductor/inspection/rules"
	"ferric/conductor/store"
)

// ruleFields are the attributes of an inspection rule (REST contract, section
// 9). Literal table.
var ruleFields = fields[store.InspectionRule]{
	{"uuid", ironic.VersionInspectionRules, onCreate | sortable, requiredUUID(func(i *store.InspectionRule) *string { return &i.UUID })},
	{"description", ironic.VersionInspectionRules, onCreate | onPatch | sortable, optionalText(func(i *store.InspectionRule) **string { return &i.Description }, 255)},
	{"priority", ironic.VersionInspectionRules, onCreate | onPatch | sortable, rulePriority},
	{"sensitive", ironic.VersionInspectionRules, onCreate | onPatch | sortable, flag(func(i *store.InspectionRule) *bool { return &i.Sensitive }, false)},
	{"phase", ironic.VersionInspectionRules, onCreate | onPatch | sortable, rulePhase},
	{"conditions", ironic.VersionInspectionRules, onCreate | onPatch, ruleParts(func(i *store.InspectionRule) *store.List[map[string]any] { return &i.Conditions })},
	{"actions", ironic.VersionInspectionRules, onCreate | onPatch, ruleParts(func(i *store.InspectionRule) *store.List[map[string]any] { return &i.Actions })},
	{"created_at", ironic.VersionInspectionRules, sortable, computed(func(i *store.InspectionRule) any { return moment(&i.CreatedAt) })},
	{"updated_at", ironic.VersionInspectionRules, sortable, computed(func(i *store.InspectionRule) any { return moment(i.UpdatedAt) })},
}

const (
	maxRulePriority = 9999
	rulePhaseMain   = "main" // the only phase that there is
)

var (
	rulePriority = column[store.InspectionRule]{
		get: func(i *store.InspectionRule) any { return i.Priority },
		set: func(i *store.InspectionRule, v any) error {
			if v == nil {
				v = 0.0
			}
			n, isNumber := v.(float64)
			if !isNumber || n != math.Trunc(n) {
				return errors.New("a whole number is expected")
			}
			if n < 0 || n > maxRulePriority {
				return fmt.Errorf("priority must be between 0 and %d", maxRulePriority)
			}
			i.Priority = int(n)
			return nil
		},
	}
	rulePhase = column[store.InspectionRule]{
		get: func(i *store.InspectionRule) any { return i.Phase },
		set: func(i *store.InspectionRule, v any) error {
			i.Phase = rulePhaseMain
			if v != nil && v != rulePhaseMain {
				return fmt.Errorf("invalid phase: %.20v. Valid phases are: %s", v, rulePhaseMain)
			}
			return nil
		},
	}
)

// ruleParts are conditions or actions, of which checkRule knows more.
func ruleParts(at func(i *store.InspectionRule) *store.List[map[string]any]) column[store.InspectionRule] {
	return column[store.InspectionRule]{
		get: func(i *store.InspectionRule) any {
			parts := []any{}
			for _, p := range *at(i) {
				parts = append(parts, p)
			}
			return parts
		},
		set: func(i *store.InspectionRule, v any) error {
			items, isList := v.([]any)
			if !isList && v != nil {
				return errors.New("a list of objects is expected")
			}
			parts := store.List[map[string]any]{}
			for _, item := range items {
				part, isObject := item.(map[string]any)
				if !isObject {
					return errors.New("a list of objects is expected")
				}
				parts = append(parts, part)
			}
			*at(i) = parts
			return nil
		},
	}
}

func checkRule(i *store.InspectionRule) error {
	if err := rules.Check(i.Conditions, i.Actions); err != nil {
		return badRequest("Invalid inspection rule: %v.", err)
	}
	return nil
}

func (s *Server) inspectionRules() resource[store.InspectionRule] {
	return resource[store.InspectionRule]{
		kind: "Inspection rule", key: "inspection_rules", path: "inspection_rules", fields: ruleFields, defaults: []string{"uuid", "priority", "phase", "description"},
		head: func(i *store.InspectionRule) (int64, string) { return i.ID, i.UUID }, view: ruleView,
		rows: s.store.InspectionRules, byUUID: s.store.InspectionRule,
	}
}

func ruleView(r *request, i *store.InspectionRule, names []string) map[string]any {
	view := ruleFields.view(i, r.version, names)
	for _, name := range []string{"conditions", "actions"} {
		if parts, shown := view[name].([]any); shown {
			view[name] = partViews(parts)
			if i.Sensitive {
				view[name] = nil
			}
		}
	}
	view["links"] = links(r.base, "inspection/"+i.UUID) // as Ironic has it
	return view
}

// partViews are conditions or actions as they are shown: multiple stands
// beside a loop only.
func partViews(parts []any) []any {
	views := []any{}
	for _, p := range parts {
		part, view := p.(map[string]any), map[string]any{}
		for _, name := range []string{"op", "args", "loop", "multiple"} {
			if v, given := part[name]; given && (name != "multiple" || part["loop"] != nil) {
				view[name] = v
			}
		}
		views = append(views, view)
	}
	return views
}

func (s *Server) listInspectionRules(ctx context.Context, r *request) (reply, error) {
	return s.inspectionRules().page(ctx, s, r, store.Query{})
}

// inspectionRule finds the rule that the path names.
func (s *Server) inspectionRule(ctx context.Context, r *request) (*store.InspectionRule, error) {
	return s.inspectionRules().find(ctx, r, r.params["rule"])
}

func (s *Server) showInspectionRule(ctx context.Context, r *request) (reply, error) {
	return s.inspectionRules().show(ctx, r, s.inspectionRule)
}

func (s *Server) createInspectionRule(ctx context.Context, r *request) (reply, error) {
	i := &store.InspectionRule{UUID: uuid.NewString(), Phase: rulePhaseMain, Conditions: store.List[map[string]any]{}}
	if err := ruleFields.read(r, i); err != nil {
		return reply{}, err
	}
	if err := checkRule(i); err != nil {
		return reply{}, err
	}
	if err := s.store.CreateInspectionRule(ctx, i); err != nil {
		return reply{}, s.inspectionRules().taken(err, i)
	}
	return s.inspectionRules().created(r, i)
}

func (s *Server) updateInspectionRule(ctx context.Context, r *request) (reply, error) {
	i, err := s.inspectionRule(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.inspectionRules().update(ctx, r, i, s.store.ChangeInspectionRule, func(before, after *store.InspectionRule) error {
		if before.Sensitive && !after.Sensitive {
			return badRequest("Inspection rules cannot have the sensitive flag unset.")
		}
		return checkRule(after)
	})
}

func (s *Server) deleteInspectionRule(ctx context.Context, r *request) (reply, error) {
	i, err := s.inspectionRule(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.store.DeleteInspectionRule(ctx, i.ID); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) deleteInspectionRules(ctx context.Context, r *request) (reply, error) {
	if err := s.store.DeleteInspectionRules(ctx); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) inspectionRuleRoutes() []route {
	const since = ironic.VersionInspectionRules
	phase := []arg{{name: "phase", kind: argText, doc: "Is accepted and selects nothing."}}
	return []route{
		{method: "GET", path: "/inspection_rules", since: since, policy: "baremetal:inspection_rule:get", handle: s.listInspectionRules,
			args: slices.Concat(pageArgs, phase), result: "InspectionRules", doc: "Lists inspection rules."},
		{method: "POST", path: "/inspection_rules", since: since, policy: "baremetal:inspection_rule:create", handle: s.createInspectionRule,
			body: "InspectionRule", status: 201, result: "InspectionRule", doc: "Creates an inspection rule."},
		{method: "DELETE", path: "/inspection_rules", since: since, policy: "baremetal:inspection_rule:delete", handle: s.deleteInspectionRules,
			status: 204, doc: "Deletes all inspection rules."},
		{method: "GET", path: "/inspection_rules/:rule", since: since, policy: "baremetal:inspection_rule:get", handle: s.showInspectionRule,
			args: []arg{fieldsArg}, result: "InspectionRule", doc: "Shows an inspection rule."},
		{method: "PATCH", path: "/inspection_rules/:rule", since: since, policy: "baremetal:inspection_rule:update", handle: s.updateInspectionRule,
			body: "InspectionRule", result: "InspectionRule", doc: "Updates an inspection rule."},
		{method: "DELETE", path: "/inspection_rules/:rule", since: since, policy: "baremetal:inspection_rule:delete", handle: s.deleteInspectionRule,
			status: 204, doc: "Deletes an inspection rule."},
	}
}
