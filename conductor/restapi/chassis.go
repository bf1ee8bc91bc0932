package restapi

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// chassisFields are the attributes of a chassis (REST contract, section 6).
// Literal table.
var chassisFields = fields[store.Chassis]{
	{"uuid", ironic.VersionMin, onCreate | sortable, requiredUUID(func(c *store.Chassis) *string { return &c.UUID })},
	{"description", ironic.VersionMin, onCreate | onPatch | sortable, optionalText(func(c *store.Chassis) **string { return &c.Description }, 255)},
	{"extra", ironic.VersionMin, onCreate | onPatch, object(func(c *store.Chassis) *store.Object { return &c.Extra }, nil)},
	{"nodes", ironic.VersionMin, readOnly, computed(func(*store.Chassis) any { return nil })}, // see chassisView
	{"created_at", ironic.VersionMin, sortable, computed(func(c *store.Chassis) any { return moment(&c.CreatedAt) })},
	{"updated_at", ironic.VersionMin, sortable, computed(func(c *store.Chassis) any { return moment(c.UpdatedAt) })},
}

// chassisListFields are the columns of a list that was not asked for others.
var chassisListFields = []string{"uuid", "description"}

func chassisView(r *request, c *store.Chassis, names []string) map[string]any {
	out := chassisFields.view(c, r.version, names)
	if _, shown := out["nodes"]; shown {
		// A list in a list, as clients know it.
		out["nodes"] = [][]ironic.Link{links(r.base, "chassis/"+c.UUID+"/nodes")}
	}
	out["links"] = links(r.base, "chassis/"+c.UUID)
	return out
}

func (s *Server) allChassis() resource[store.Chassis] {
	return resource[store.Chassis]{
		kind: "Chassis", key: "chassis", path: "chassis", fields: chassisFields, defaults: chassisListFields,
		view: chassisView,
		rows: s.store.ListChassis, byUUID: s.store.Chassis, head: func(c *store.Chassis) (int64, string) { return c.ID, c.UUID },
	}
}

// chassis finds the chassis that the path names.
func (s *Server) chassis(ctx context.Context, r *request) (*store.Chassis, error) {
	return s.allChassis().find(ctx, r, r.params["chassis"])
}

func (s *Server) listChassis(ctx context.Context, r *request) (reply, error) {
	return s.allChassis().page(ctx, s, r, store.Query{})
}

func (s *Server) listChassisDetail(ctx context.Context, r *request) (reply, error) {
	return s.allChassis().detail(ctx, s, r, store.Query{})
}

func (s *Server) showChassis(ctx context.Context, r *request) (reply, error) {
	return s.allChassis().show(ctx, r, s.chassis)
}

// ofChassis is a list of nodes, confined to those of the chassis in the path.
func (s *Server) ofChassis(list handler) handler {
	return func(ctx context.Context, r *request) (reply, error) {
		c, err := s.chassis(ctx, r)
		if err != nil {
			return reply{}, err
		}
		r.args.values["chassis_uuid"] = c.UUID
		return list(ctx, r)
	}
}

func (s *Server) createChassis(ctx context.Context, r *request) (reply, error) {
	if len(r.body) == 0 {
		r.body = []byte("{}") // a chassis needs nothing
	}
	c := &store.Chassis{UUID: uuid.NewString(), Extra: store.Object{}}
	if err := chassisFields.read(r, c); err != nil {
		return reply{}, err
	}
	if err := s.store.CreateChassis(ctx, c); err != nil {
		return reply{}, s.allChassis().taken(err, c)
	}
	return s.allChassis().created(r, c)
}

func (s *Server) updateChassis(ctx context.Context, r *request) (reply, error) {
	c, err := s.chassis(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.allChassis().update(ctx, r, c, s.store.ChangeChassis, nil)
}

func (s *Server) deleteChassis(ctx context.Context, r *request) (reply, error) {
	c, err := s.chassis(ctx, r)
	if err != nil {
		return reply{}, err
	}
	err = s.store.DeleteChassis(ctx, c)
	if errors.Is(err, store.ErrNotEmpty) {
		return reply{}, badRequest("Cannot delete chassis %s because it contains nodes.", c.UUID)
	}
	if err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) chassisRoutes() []route {
	nodes := nodeFilters.args()
	return []route{
		{method: "GET", path: "/chassis", policy: "baremetal:chassis:get", handle: s.listChassis, args: pageArgs, result: "ChassisList", doc: "Lists chassis."},
		{method: "POST", path: "/chassis", policy: "baremetal:chassis:create", handle: s.createChassis, body: "Chassis", status: 201, result: "Chassis", doc: "Creates a chassis."},
		{method: "GET", path: "/chassis/detail", policy: "baremetal:chassis:get", handle: s.listChassisDetail, args: sliceArgs, result: "ChassisList", doc: "Lists chassis with all attributes."},
		{method: "GET", path: "/chassis/:chassis", policy: "baremetal:chassis:get", handle: s.showChassis, args: []arg{fieldsArg}, result: "Chassis", doc: "Shows a chassis."},
		{method: "PATCH", path: "/chassis/:chassis", policy: "baremetal:chassis:update", handle: s.updateChassis, body: "Chassis", result: "Chassis", doc: "Updates a chassis."},
		{method: "DELETE", path: "/chassis/:chassis", policy: "baremetal:chassis:delete", handle: s.deleteChassis, status: 204, doc: "Deletes a chassis that has no nodes."},
		{method: "GET", path: "/chassis/:chassis/nodes", policy: "baremetal:node:list", handle: s.ofChassis(s.listNodes), args: slices.Concat(pageArgs, nodes), result: "Nodes", doc: "Lists the nodes of a chassis."},
		{method: "GET", path: "/chassis/:chassis/nodes/detail", policy: "baremetal:node:list", handle: s.ofChassis(s.listNodesDetail), args: slices.Concat(sliceArgs, nodes), result: "Nodes", doc: "Lists the nodes of a chassis with all attributes."},
	}
}
