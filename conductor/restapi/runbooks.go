package restapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// runbookFields are the attributes of a runbook (REST contract, section 9).
// Literal table.
var runbookFields = fields[store.Runbook]{
	{"uuid", ironic.VersionRunbooks, onCreate | sortable, requiredUUID(func(b *store.Runbook) *string { return &b.UUID })},
	{"name", ironic.VersionRunbooks, onCreate | onPatch | sortable, runbookName},
	{"description", ironic.VersionRunbookTraits, onCreate | onPatch | sortable, optionalText(func(b *store.Runbook) **string { return &b.Description }, 255)},
	{"steps", ironic.VersionRunbooks, onCreate | onPatch, plannedSteps(func(b *store.Runbook) *store.List[store.PlannedStep] { return &b.Steps }, "order")},
	{"disable_ramdisk", ironic.VersionRunbooks, onCreate | onPatch | sortable, flag(func(b *store.Runbook) *bool { return &b.DisableRamdisk }, false)},
	{"public", ironic.VersionRunbooks, onCreate | onPatch | sortable, flag(func(b *store.Runbook) *bool { return &b.Public }, false)},
	{"owner", ironic.VersionRunbooks, onCreate | onPatch | sortable, optionalText(func(b *store.Runbook) **string { return &b.Owner }, 255)},
	{"traits", ironic.VersionRunbookTraits, readOnly, computed(func(b *store.Runbook) any { return orNone(b.Traits) })},
	{"extra", ironic.VersionRunbooks, onCreate | onPatch, object(func(b *store.Runbook) *store.Object { return &b.Extra }, nil)},
	{"created_at", ironic.VersionRunbooks, sortable, computed(func(b *store.Runbook) any { return moment(&b.CreatedAt) })},
	{"updated_at", ironic.VersionRunbooks, sortable, computed(func(b *store.Runbook) any { return moment(b.UpdatedAt) })},
}

// runbookName is a logical name; that it had to be a trait is for createRunbook.
var runbookName = column[store.Runbook]{
	get: func(b *store.Runbook) any { return b.Name },
	set: func(b *store.Runbook, v any) error {
		name, ok := v.(string)
		if !ok || !logicalName.MatchString(name) {
			return fmt.Errorf("%v is not a valid name", v)
		}
		b.Name = name
		return nil
	},
}

func (s *Server) runbooks() resource[store.Runbook] {
	return resource[store.Runbook]{
		kind: "Runbook", key: "runbooks", path: "runbooks", fields: runbookFields, defaults: []string{"uuid", "name"},
		project: "(runbooks.public OR runbooks.owner = ?)",
		head:    func(b *store.Runbook) (int64, string) { return b.ID, b.UUID }, view: runbookView,
		rows: s.store.Runbooks, byUUID: s.store.Runbook, byName: s.store.RunbookByName,
	}
}

func runbookView(r *request, b *store.Runbook, names []string) map[string]any {
	view := maskSteps(runbookFields.view(b, r.version, names))
	view["links"] = links(r.base, "runbooks/"+b.UUID)
	return view
}

func (s *Server) listRunbooks(ctx context.Context, r *request) (reply, error) {
	return s.runbooks().page(ctx, s, r, store.Query{})
}

// runbook finds the runbook that the path names and checks the rules; anybody
// may see one that is public.
func (s *Server) runbook(ctx context.Context, r *request, rules ...string) (*store.Runbook, error) {
	b, err := s.runbooks().find(ctx, r, r.params["runbook"])
	if err != nil {
		return nil, err
	}
	for _, rule := range rules {
		if rule == "baremetal:runbook:get" && b.Public {
			r.permitted = true
			continue
		}
		if err := s.permitOwner(r, rule, b.Owner, auth.Denied(rule)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (s *Server) showRunbook(ctx context.Context, r *request) (reply, error) {
	return s.runbooks().show(ctx, r, func(ctx context.Context, r *request) (*store.Runbook, error) {
		return s.runbook(ctx, r, r.route.policy)
	})
}

func (s *Server) createRunbook(ctx context.Context, r *request) (reply, error) {
	b := &store.Runbook{UUID: uuid.NewString(), Traits: store.Strings{}, Extra: store.Object{}}
	if err := runbookFields.read(r, b, "name", "steps"); err != nil {
		return reply{}, err
	}
	if r.version < ironic.VersionRunbookTraits {
		if err := checkTrait(b.Name); err != nil {
			return reply{}, err
		}
	}
	if err := s.ownRunbook(r, b); err != nil {
		return reply{}, err
	}
	if b.Public && b.Owner != nil {
		return reply{}, errPublicOwner
	}
	if err := s.store.CreateRunbook(ctx, b); err != nil {
		return reply{}, s.runbooks().taken(err, b)
	}
	return s.runbooks().created(r, b)
}

var errPublicOwner = badRequest("There cannot be an owner for a public runbook")

// ownRunbook gives a runbook that a project makes to the project.
func (s *Server) ownRunbook(r *request, b *store.Runbook) error {
	id := r.identity
	if id.System || id.Admin {
		return nil
	}
	if b.Owner != nil && *b.Owner != id.ProjectID {
		return badRequest("Cannot create a runbook as a project scoped admin with an owner other than your own project.")
	}
	if b.Public {
		return badRequest("Cannot create a public runbook as a project scoped admin.")
	}
	b.Owner = &id.ProjectID
	return nil
}

// runbookRules are the rules of what has one of its own, by the root of a
// patch's path. Literal table.
var runbookRules = map[string]string{"owner": "baremetal:runbook:update:owner", "public": "baremetal:runbook:update:public"}

func (s *Server) updateRunbook(ctx context.Context, r *request) (reply, error) {
	patch, err := api.ParsePatch(r.body)
	if err != nil {
		return reply{}, err
	}
	rules := []string{}
	roots := patch.Roots()
	for _, root := range roots {
		rule := runbookRules[root]
		if rule == "" {
			rule = r.route.policy
		}
		rules = append(rules, rule)
	}
	if len(rules) == 0 {
		rules = []string{r.route.policy}
	}
	b, err := s.runbook(ctx, r, rules...)
	if err != nil {
		return reply{}, err
	}
	return s.runbooks().update(ctx, r, b, s.store.ChangeRunbook, func(before, after *store.Runbook) error {
		// What becomes public loses its owner, unless it is given one.
		if after.Public && !before.Public && !slices.Contains(roots, "owner") {
			after.Owner = nil
		}
		if after.Public && after.Owner != nil {
			return errPublicOwner
		}
		return nil
	})
}

func (s *Server) deleteRunbook(ctx context.Context, r *request) (reply, error) {
	b, err := s.runbook(ctx, r, r.route.policy)
	if err != nil {
		return reply{}, err
	}
	if err := s.store.DeleteRunbook(ctx, b.ID); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) listRunbookTraits(ctx context.Context, r *request) (reply, error) {
	b, err := s.runbook(ctx, r, r.route.policy)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"traits": orNone(b.Traits)})
}

// changeRunbookTraits changes the traits of the runbook that the path names.
func (s *Server) changeRunbookTraits(ctx context.Context, r *request, change func(traits []string) []string) error {
	b, err := s.runbook(ctx, r, r.route.policy)
	if err != nil {
		return err
	}
	_, err = s.store.ChangeRunbook(ctx, b.ID, func(b *store.Runbook) error {
		b.Traits = change(b.Traits)
		slices.Sort(b.Traits)
		b.Traits = slices.Compact(b.Traits)
		return nil
	})
	return err
}

func (s *Server) setRunbookTraits(ctx context.Context, r *request) (reply, error) {
	if !r.args.has("traits") {
		return reply{}, badRequest("A list of traits is needed in the request body.")
	}
	traits, err := textList(r.args.values["traits"])
	if err != nil {
		return reply{}, badRequest("Invalid value for traits: %v", err)
	}
	for _, trait := range traits {
		if err := checkTrait(trait); err != nil {
			return reply{}, err
		}
	}
	if err := s.changeRunbookTraits(ctx, r, func([]string) []string { return traits }); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) addRunbookTrait(ctx context.Context, r *request) (reply, error) {
	trait := r.params["trait"]
	if err := checkTrait(trait); err != nil {
		return reply{}, err
	}
	if err := s.changeRunbookTraits(ctx, r, func(traits []string) []string { return append(traits, trait) }); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent, location: r.base + "/v1/runbooks/" + r.params["runbook"] + "/traits/" + trait}, nil
}

func (s *Server) deleteRunbookTraits(ctx context.Context, r *request) (reply, error) {
	if err := s.changeRunbookTraits(ctx, r, func([]string) []string { return store.Strings{} }); err != nil {
		return reply{}, err
	}
	return noContent()
}

// deleteRunbookTrait also succeeds for a trait that the runbook does not have.
func (s *Server) deleteRunbookTrait(ctx context.Context, r *request) (reply, error) {
	gone := func(traits []string) []string {
		return slices.DeleteFunc(traits, func(t string) bool { return t == r.params["trait"] })
	}
	if err := s.changeRunbookTraits(ctx, r, gone); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) runbookRoutes() []route {
	const not = http.StatusMethodNotAllowed
	return []route{
		{method: "GET", path: "/runbooks", since: ironic.VersionRunbooks, policy: "baremetal:runbook:list", handle: s.listRunbooks,
			args: slices.Clone(pageArgs), result: "Runbooks", doc: "Lists runbooks."},
		{method: "POST", path: "/runbooks", since: ironic.VersionRunbooks, older: not, policy: "baremetal:runbook:create", handle: s.createRunbook,
			body: "Runbook", status: 201, result: "Runbook", doc: "Creates a runbook."},
		{method: "GET", path: "/runbooks/:runbook", since: ironic.VersionRunbooks, policy: "baremetal:runbook:get", handle: s.showRunbook,
			args: []arg{fieldsArg}, result: "Runbook", doc: "Shows a runbook."},
		{method: "PATCH", path: "/runbooks/:runbook", since: ironic.VersionRunbooks, older: not, policy: "baremetal:runbook:update", handle: s.updateRunbook,
			body: "Runbook", result: "Runbook", doc: "Updates a runbook."},
		{method: "DELETE", path: "/runbooks/:runbook", since: ironic.VersionRunbooks, older: not, policy: "baremetal:runbook:delete", handle: s.deleteRunbook,
			status: 204, doc: "Deletes a runbook."},
		{method: "GET", path: "/runbooks/:runbook/traits", since: ironic.VersionRunbookTraits, policy: "baremetal:runbook:get", handle: s.listRunbookTraits,
			result: "Traits", doc: "Lists the traits of a runbook."},
		{method: "PUT", path: "/runbooks/:runbook/traits", since: ironic.VersionRunbookTraits, policy: "baremetal:runbook:update", handle: s.setRunbookTraits,
			args: []arg{{name: "traits", kind: argList, doc: "Names of traits."}}, status: 204, doc: "Replaces the traits of a runbook."},
		{method: "DELETE", path: "/runbooks/:runbook/traits", since: ironic.VersionRunbookTraits, policy: "baremetal:runbook:update", handle: s.deleteRunbookTraits,
			status: 204, doc: "Removes all traits of a runbook."},
		{method: "PUT", path: "/runbooks/:runbook/traits/:trait", since: ironic.VersionRunbookTraits, policy: "baremetal:runbook:update", handle: s.addRunbookTrait,
			status: 204, doc: "Adds a trait to a runbook."},
		{method: "DELETE", path: "/runbooks/:runbook/traits/:trait", since: ironic.VersionRunbookTraits, policy: "baremetal:runbook:update", handle: s.deleteRunbookTrait,
			status: 204, doc: "Removes a trait of a runbook."},
	}
}
