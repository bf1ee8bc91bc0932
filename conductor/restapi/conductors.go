package restapi

import (
	"context"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// conductorRow is a conductor with what follows from the time.
type conductorRow struct {
	*store.Conductor
	alive bool
}

// conductorFields are the attributes of a conductor (REST contract, section 9).
// Literal table.
var conductorFields = fields[conductorRow]{
	{"hostname", ironic.VersionConductors, sortable, computed(func(c *conductorRow) any { return c.Hostname })},
	{"conductor_group", ironic.VersionConductors, sortable, computed(func(c *conductorRow) any { return c.ConductorGroup })},
	{"alive", ironic.VersionConductors, readOnly, computed(func(c *conductorRow) any { return c.alive })},
	{"drivers", ironic.VersionConductors, readOnly, computed(func(c *conductorRow) any { return append([]string{}, c.Drivers()...) })},
	{"created_at", ironic.VersionConductors, sortable, computed(func(c *conductorRow) any { return moment(&c.CreatedAt) })},
	{"updated_at", ironic.VersionConductors, sortable, computed(func(c *conductorRow) any { return moment(c.UpdatedAt) })},
}

var conductorListFields = []string{"hostname", "conductor_group", "alive"}

func (s *Server) conductorView(r *request, c *store.Conductor, names []string) map[string]any {
	out := conductorFields.view(&conductorRow{c, s.alive(c)}, r.version, names)
	out["links"] = links(r.base, "conductors/"+c.Hostname)
	return out
}

// listConductors sorts and cuts in memory: there are few.
func (s *Server) listConductors(ctx context.Context, r *request) (reply, error) {
	a := r.args
	marker, err := a.text("marker") // a host name here
	if err != nil {
		return reply{}, err
	}
	delete(a.values, "marker")
	p, err := pageOf(a, conductorFields, r.version, s.cfg.MaxLimit, conductorListFields)
	if err != nil {
		return reply{}, err
	}
	all, err := s.store.Conductors(ctx)
	if err != nil {
		return reply{}, err
	}
	sortConductors(all, p)
	if marker != "" {
		at := slices.IndexFunc(all, func(c *store.Conductor) bool { return c.Hostname == marker })
		if at < 0 {
			return reply{}, notFound("Conductor %s could not be found.", marker)
		}
		all = all[at+1:]
	}
	all = all[:min(len(all), p.limit)]
	views := []map[string]any{}
	for _, c := range all {
		views = append(views, s.conductorView(r, c, p.fields))
	}
	body := map[string]any{"conductors": views}
	if len(all) > 0 && len(all) == p.limit {
		body["next"] = p.next(r.base, "conductors", all[len(all)-1].Hostname, a)
	}
	return ok(body)
}

func sortConductors(all []*store.Conductor, p page) {
	slices.SortStableFunc(all, func(a, b *store.Conductor) int {
		order := 0
		switch p.sortKey {
		case "hostname":
			order = strings.Compare(a.Hostname, b.Hostname)
		case "conductor_group":
			order = strings.Compare(a.ConductorGroup, b.ConductorGroup)
		case "created_at":
			order = a.CreatedAt.Compare(b.CreatedAt)
		case "updated_at":
			if a.UpdatedAt != nil && b.UpdatedAt != nil {
				order = a.UpdatedAt.Compare(*b.UpdatedAt)
			}
		default:
			order = int(a.ID - b.ID)
		}
		if p.desc {
			return -order
		}
		return order
	})
}

func (s *Server) showConductor(ctx context.Context, r *request) (reply, error) {
	a := r.args
	names, err := chosenFields(a, conductorFields, r.version)
	if err != nil {
		return reply{}, err
	}
	all, err := s.store.Conductors(ctx)
	if err != nil {
		return reply{}, err
	}
	for _, c := range all {
		if c.Hostname == r.params["host"] {
			return ok(s.conductorView(r, c, names))
		}
	}
	return reply{}, notFound("Conductor %s could not be found.", r.params["host"])
}

func (s *Server) conductorRoutes() []route {
	return []route{
		{method: "GET", path: "/conductors", policy: "baremetal:conductor:get", since: ironic.VersionConductors, handle: s.listConductors, args: pageArgs, result: "Conductors", doc: "Lists conductors."},
		{method: "GET", path: "/conductors/:host", policy: "baremetal:conductor:get", since: ironic.VersionConductors, handle: s.showConductor, args: []arg{fieldsArg}, result: "Conductor", doc: "Shows a conductor."},
	}
}
