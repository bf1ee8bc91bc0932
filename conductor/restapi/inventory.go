package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"ferric/api/ipa"
	"ferric/api/ironic"
	"ferric/conductor/inspection"
	"ferric/conductor/store"
)

// versionOfAgents is what agents post inspection data with: they name none.
const versionOfAgents = ironic.VersionMin

func (s *Server) showInventory(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	inv, err := s.conductor.Inventory(ctx, n.ID)
	if errors.Is(err, store.ErrNotFound) {
		return reply{}, notFound("Node inventory record for node %s could not be found.", n.UUID)
	}
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]json.RawMessage{"inventory": inv.Inventory, "plugin_data": inv.PluginData})
}

// continueInspection takes what an agent found on its machine (REST contract,
// section 8.3).
func (s *Server) continueInspection(ctx context.Context, r *request) (reply, error) {
	if err := s.lookupAllowed(r); err != nil { // it finds nodes by addresses, too
		return reply{}, err
	}
	if r.version < ironic.VersionContinueInspection && r.version != versionOfAgents {
		return reply{}, notFound("The resource could not be found.")
	}
	a := r.args
	nodeUUID, err := a.uuid("node_uuid")
	if err != nil {
		return reply{}, err
	}
	if nodeUUID != "" && r.version < ironic.VersionContinueInspection {
		return reply{}, notFound("The resource could not be found.")
	}
	document := map[string]any{}
	for name, value := range a.values {
		if name != "node_uuid" {
			document[name] = value
		}
	}
	data, err := inspection.Parse(document)
	if err != nil {
		return reply{}, badRequest("%s.", err)
	}
	n, token, err := s.conductor.ContinueInspection(ctx, nodeUUID, data, r.version >= ironic.VersionContinueInspection)
	if errors.Is(err, store.ErrNotFound) {
		s.guesses.wrong(r.source, time.Now())
		r.log.WithError(err).Info("inspection data refused")
		// The same words for every reason: a guess learns nothing.
		return reply{}, notFound("Node could not be found for the given inspection data.")
	}
	if err != nil {
		return reply{}, err
	}
	if r.version < ironic.VersionContinueInspection {
		return reply{status: 202, body: map[string]string{"uuid": n.UUID}}, nil
	}
	return reply{status: 202, body: ipa.LookupResponse{
		Node:   NodeView(n, r.version, ViewOptions{Base: r.base, Fields: lookupFields}),
		Config: s.agentConfig(token, r.version),
	}}, nil
}

func (s *Server) inventoryRoutes() []route {
	return []route{
		{method: "GET", path: "/nodes/:node/inventory", policy: "baremetal:node:inventory:get", since: ironic.VersionInventory, handle: s.showInventory, result: "Inventory", doc: "Shows what the latest inspection of a node found."},
		{method: "POST", path: "/continue_inspection", policy: "public", handle: s.continueInspection, limit: inspectionBodyLimit, anyArgs: true, status: 202, result: "Lookup",
			args: []arg{{name: "node_uuid", kind: argUUID}}, doc: "Takes what an agent found on its machine."},
	}
}
