package restapi

import (
	"context"
	"slices"

	"github.com/google/uuid"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

func (s *Server) createConnector(ctx context.Context, r *request) (reply, error) {
	c := &store.VolumeConnector{UUID: uuid.NewString(), Extra: store.Object{}}
	if err := connectorFields.read(r, c, "node_uuid", "type", "connector_id"); err != nil {
		return reply{}, err
	}
	n, err := s.parentNode(ctx, r, c.NodeUUID)
	if err != nil {
		return reply{}, err
	}
	c.NodeID = n.ID
	if err := s.store.CreateVolumeConnector(ctx, c); err != nil {
		return reply{}, s.connectors().taken(err, c)
	}
	return s.connectors().created(r, c)
}

func (s *Server) createTarget(ctx context.Context, r *request) (reply, error) {
	t := &store.VolumeTarget{UUID: uuid.NewString(), Properties: store.Object{}, Extra: store.Object{}}
	if err := targetFields.read(r, t, "node_uuid", "volume_type", "boot_index", "volume_id"); err != nil {
		return reply{}, err
	}
	n, err := s.parentNode(ctx, r, t.NodeUUID)
	if err != nil {
		return reply{}, err
	}
	t.NodeID = n.ID
	if err := s.store.CreateVolumeTarget(ctx, t); err != nil {
		return reply{}, s.targets().taken(err, t)
	}
	return s.targets().created(r, t)
}

func (s *Server) updateConnector(ctx context.Context, r *request) (reply, error) {
	c, err := s.connector(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return updateInNode(ctx, s, r, s.connectors(), c, inNode[store.VolumeConnector]{
		what: "volume connector update",
		node: func(c *store.VolumeConnector) (int64, string) { return c.NodeID, c.NodeUUID },
		change: func(_ context.Context, c *store.VolumeConnector, from, to *store.Node, patch api.Patch) error {
			if err := checkPoweredOff("volume connector update", from, to); err != nil {
				return err
			}
			c.NodeID = to.ID
			return connectorFields.patch(c, patch)
		},
		save: s.store.SaveVolumeConnector,
	})
}

func (s *Server) updateTarget(ctx context.Context, r *request) (reply, error) {
	t, err := s.target(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return updateInNode(ctx, s, r, s.targets(), t, inNode[store.VolumeTarget]{
		what: "volume target update",
		node: func(t *store.VolumeTarget) (int64, string) { return t.NodeID, t.NodeUUID },
		change: func(_ context.Context, t *store.VolumeTarget, from, to *store.Node, patch api.Patch) error {
			if err := checkPoweredOff("volume target update", from, to); err != nil {
				return err
			}
			t.NodeID = to.ID
			return targetFields.patch(t, patch)
		},
		save: s.store.SaveVolumeTarget,
	})
}

func (s *Server) deleteConnector(ctx context.Context, r *request) (reply, error) {
	c, err := s.connector(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.deleteVolume(ctx, c.NodeID, "volume connector deletion", func(ctx context.Context) error {
		return s.store.DeleteVolumeConnector(ctx, c.ID)
	})
}

func (s *Server) deleteTarget(ctx context.Context, r *request) (reply, error) {
	t, err := s.target(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.deleteVolume(ctx, t.NodeID, "volume target deletion", func(ctx context.Context) error {
		return s.store.DeleteVolumeTarget(ctx, t.ID)
	})
}

// rulePropertiesOfTargets is Ironic's name for it.
const rulePropertiesOfTargets = "baremetal:volume:view_target_properties"

// shownProperties are the properties of a volume target as the caller may see them.
func (s *Server) shownProperties(r *request, properties any) any {
	if !s.policy.Allows(r.identity, rulePropertiesOfTargets, auth.Target{}) {
		return map[string]any{"redacted_contents": "** Value redacted: requires " + rulePropertiesOfTargets + " permission. **"}
	}
	return mask(properties, "", "")
}

func (s *Server) volumeRoutes() []route {
	show := []arg{fieldsArg}
	const get, list = "baremetal:volume:get", "baremetal:volume:list"
	return slices.Concat([]route{
		{method: "GET", path: "/volume", policy: list, since: ironic.VersionVolumes, handle: s.showVolume, result: "Volume", doc: "Leads to volume connectors and targets."},
		{method: "GET", path: "/volume/connectors", policy: list, since: ironic.VersionVolumes, handle: s.listConnectors, args: volumePageArgs, result: "VolumeConnectors", doc: "Lists volume connectors."},
		{method: "POST", path: "/volume/connectors", policy: "baremetal:volume:create", since: ironic.VersionVolumes, handle: s.createConnector, body: "VolumeConnector", status: 201, result: "VolumeConnector", doc: "Creates a volume connector."},
		{method: "GET", path: "/volume/connectors/:connector", policy: get, since: ironic.VersionVolumes, handle: s.showConnector, args: show, result: "VolumeConnector", doc: "Shows a volume connector."},
		{method: "PATCH", path: "/volume/connectors/:connector", policy: "baremetal:volume:update", since: ironic.VersionVolumes, handle: s.updateConnector, body: "VolumeConnector", result: "VolumeConnector", doc: "Updates a volume connector."},
		{method: "DELETE", path: "/volume/connectors/:connector", policy: "baremetal:volume:delete", since: ironic.VersionVolumes, handle: s.deleteConnector, status: 204, doc: "Deletes a volume connector."},
		{method: "GET", path: "/volume/targets", policy: list, since: ironic.VersionVolumes, handle: s.listTargets, args: volumePageArgs, result: "VolumeTargets", doc: "Lists volume targets."},
		{method: "POST", path: "/volume/targets", policy: "baremetal:volume:create", since: ironic.VersionVolumes, handle: s.createTarget, body: "VolumeTarget", status: 201, result: "VolumeTarget", doc: "Creates a volume target."},
		{method: "GET", path: "/volume/targets/:target", policy: get, since: ironic.VersionVolumes, handle: s.showTarget, args: show, result: "VolumeTarget", doc: "Shows a volume target."},
		{method: "PATCH", path: "/volume/targets/:target", policy: "baremetal:volume:update", since: ironic.VersionVolumes, handle: s.updateTarget, body: "VolumeTarget", result: "VolumeTarget", doc: "Updates a volume target."},
		{method: "DELETE", path: "/volume/targets/:target", policy: "baremetal:volume:delete", since: ironic.VersionVolumes, handle: s.deleteTarget, status: 204, doc: "Deletes a volume target."},
		{method: "GET", path: "/nodes/:node/volume", policy: get, since: ironic.VersionVolumes, handle: s.showNodeVolume, result: "Volume", doc: "Leads to the volume connectors and targets of a node."},
		{method: "GET", path: "/nodes/:node/volume/connectors", policy: list, since: ironic.VersionVolumes, handle: s.listConnectors, args: volumePageArgs, result: "VolumeConnectors", doc: "Lists the volume connectors of a node."},
		{method: "GET", path: "/nodes/:node/volume/targets", policy: list, since: ironic.VersionVolumes, handle: s.listTargets, args: volumePageArgs, result: "VolumeTargets", doc: "Lists the volume targets of a node."},
	}, refusals("/nodes/:node/volume/connectors", "baremetal:volume", ironic.VersionVolumes), refusals("/nodes/:node/volume/targets", "baremetal:volume", ironic.VersionVolumes))
}
