package restapi

import (
	"context"

	"ferric/api"
	"ferric/api/ironic"
)

// root is the discovery document (REST contract, section 2).
func (s *Server) root(ctx context.Context, r *request) (reply, error) {
	v := apiVersion(r)
	return ok(ironic.Root{
		Name:           "OpenStack Ironic API",
		Description:    "Ironic is an OpenStack project which enables the provisioning and management of baremetal machines.",
		DefaultVersion: v,
		Versions:       []ironic.APIVersion{v},
	})
}

func apiVersion(r *request) ironic.APIVersion {
	return ironic.APIVersion{ID: "v1", Status: "CURRENT", MinVersion: api.MinVersion.String(), Version: api.MaxVersion.String(),
		Links: []ironic.Link{{Href: r.base + "/v1/", Rel: "self"}}}
}

// rootResources are the resources that exist, with the microversion that each
// appeared in. Literal table.
var rootResources = []struct {
	name  string
	since ironic.Version
}{
	{"chassis", 1}, {"nodes", 1}, {"ports", 1}, {"drivers", 1}, {"lookup", 22}, {"heartbeat", 22}, {"portgroups", 23}, {"volume", 32}, {"conductors", 49},
	{"allocations", 52}, {"events", 54}, {"deploy_templates", 55}, {"shards", 82}, {"continue_inspection", 84}, {"runbooks", 92}, {"inspection_rules", 96},
}

func (s *Server) rootV1(ctx context.Context, r *request) (reply, error) {
	body := map[string]any{
		"id":          "v1",
		"links":       []ironic.Link{{Href: r.base + "/v1/", Rel: "self"}, {Href: "https://docs.openstack.org/ironic/latest/contributor/webapi.html", Rel: "describedby", Type: "text/html"}},
		"media_types": map[string]string{"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"},
		"version":     apiVersion(r),
	}
	for _, res := range rootResources {
		if res.since <= r.version {
			body[res.name] = []ironic.Link{{Href: r.base + "/v1/" + res.name + "/", Rel: "self"}, {Href: r.base + "/" + res.name + "/", Rel: "bookmark"}}
		}
	}
	return ok(body)
}
