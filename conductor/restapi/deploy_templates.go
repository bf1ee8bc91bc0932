package restapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// templateFields are the attributes of a deploy template (REST contract,
// section 9). Literal table.
var templateFields = fields[store.DeployTemplate]{
	{"uuid", ironic.VersionDeployTemplates, onCreate | sortable, requiredUUID(func(p *store.DeployTemplate) *string { return &p.UUID })},
	{"name", ironic.VersionDeployTemplates, onCreate | onPatch | sortable, templateName},
	{"steps", ironic.VersionDeployTemplates, onCreate | onPatch, plannedSteps(func(p *store.DeployTemplate) *store.List[store.PlannedStep] { return &p.Steps }, "priority")},
	{"extra", ironic.VersionDeployTemplates, onCreate | onPatch, object(func(p *store.DeployTemplate) *store.Object { return &p.Extra }, nil)},
	{"created_at", ironic.VersionDeployTemplates, sortable, computed(func(p *store.DeployTemplate) any { return moment(&p.CreatedAt) })},
	{"updated_at", ironic.VersionDeployTemplates, sortable, computed(func(p *store.DeployTemplate) any { return moment(p.UpdatedAt) })},
}

// templateName is a trait: the template is used where an instance has it.
var templateName = column[store.DeployTemplate]{
	get: func(p *store.DeployTemplate) any { return p.Name },
	set: func(p *store.DeployTemplate, v any) error {
		name, ok := v.(string)
		if !ok {
			return fmt.Errorf("the name of a trait is expected")
		}
		p.Name = name
		return checkTrait(name)
	},
}

func (s *Server) templates() resource[store.DeployTemplate] {
	return resource[store.DeployTemplate]{
		kind: "Deploy template", key: "deploy_templates", path: "deploy_templates", fields: templateFields, defaults: []string{"uuid", "name"},
		head: func(p *store.DeployTemplate) (int64, string) { return p.ID, p.UUID }, view: templateView,
		rows: s.store.DeployTemplates, byUUID: s.store.DeployTemplate, byName: s.store.DeployTemplateByName,
	}
}

func templateView(r *request, p *store.DeployTemplate, names []string) map[string]any {
	view := maskSteps(templateFields.view(p, r.version, names))
	view["links"] = links(r.base, "deploy_templates/"+p.UUID)
	return view
}

func (s *Server) listTemplates(ctx context.Context, r *request) (reply, error) {
	return s.templates().page(ctx, s, r, store.Query{})
}

// template finds the deploy template that the path names.
func (s *Server) template(ctx context.Context, r *request) (*store.DeployTemplate, error) {
	return s.templates().find(ctx, r, r.params["template"])
}

func (s *Server) showTemplate(ctx context.Context, r *request) (reply, error) {
	return s.templates().show(ctx, r, s.template)
}

func (s *Server) createTemplate(ctx context.Context, r *request) (reply, error) {
	p := &store.DeployTemplate{UUID: uuid.NewString(), Extra: store.Object{}}
	if err := templateFields.read(r, p, "name", "steps"); err != nil {
		return reply{}, err
	}
	if err := s.store.CreateDeployTemplate(ctx, p); err != nil {
		return reply{}, s.templates().taken(err, p)
	}
	return s.templates().created(r, p)
}

func (s *Server) updateTemplate(ctx context.Context, r *request) (reply, error) {
	p, err := s.template(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.templates().update(ctx, r, p, s.store.ChangeDeployTemplate, nil)
}

func (s *Server) deleteTemplate(ctx context.Context, r *request) (reply, error) {
	p, err := s.template(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.store.DeleteDeployTemplate(ctx, p.ID); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) templateRoutes() []route {
	const not = http.StatusMethodNotAllowed
	return []route{
		{method: "GET", path: "/deploy_templates", since: ironic.VersionDeployTemplates, policy: "baremetal:deploy_template:get", handle: s.listTemplates,
			args: slices.Clone(pageArgs), result: "DeployTemplates", doc: "Lists deploy templates."},
		{method: "POST", path: "/deploy_templates", since: ironic.VersionDeployTemplates, older: not, policy: "baremetal:deploy_template:create", handle: s.createTemplate,
			body: "DeployTemplate", status: 201, result: "DeployTemplate", doc: "Creates a deploy template."},
		{method: "GET", path: "/deploy_templates/:template", since: ironic.VersionDeployTemplates, policy: "baremetal:deploy_template:get", handle: s.showTemplate,
			args: []arg{fieldsArg}, result: "DeployTemplate", doc: "Shows a deploy template."},
		{method: "PATCH", path: "/deploy_templates/:template", since: ironic.VersionDeployTemplates, older: not, policy: "baremetal:deploy_template:update", handle: s.updateTemplate,
			body: "DeployTemplate", result: "DeployTemplate", doc: "Updates a deploy template."},
		{method: "DELETE", path: "/deploy_templates/:template", since: ironic.VersionDeployTemplates, older: not, policy: "baremetal:deploy_template:delete", handle: s.deleteTemplate,
			status: 204, doc: "Deletes a deploy template."},
	}
}
