package restapi

import (
	"context"

	"ferric/conductor/store"
)

// keyVIF is where the internal_info of a port keeps the VIF that is attached.
const keyVIF = "tenant_vif_port_id"

func (s *Server) listVIFs(ctx context.Context, r *request) (reply, error) {
	_, ports, err := s.vifPorts(ctx, r)
	if err != nil {
		return reply{}, err
	}
	vifs := []map[string]any{}
	for _, p := range ports {
		if id := p.InternalInfo.String(keyVIF); id != "" {
			vifs = append(vifs, map[string]any{"id": id})
		}
	}
	return ok(map[string]any{"vifs": vifs})
}

// vifPorts finds the node and its ports.
func (s *Server) vifPorts(ctx context.Context, r *request) (*store.Node, []*store.Port, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	ports, err := s.store.NodePorts(ctx, n.ID)
	return n, ports, err
}

// attachVIF notes the VIF at the first free port, or at the one asked for.
func (s *Server) attachVIF(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	id, _ := body["id"].(string)
	if !logicalName.MatchString(id) {
		return reply{}, badRequest("A VIF needs an id that is a UUID or a name.")
	}
	n, ports, err := s.vifPorts(ctx, r)
	if err != nil {
		return reply{}, err
	}
	var free *store.Port
	for _, p := range ports {
		switch used := p.InternalInfo.String(keyVIF); {
		case used == id:
			return reply{}, conflict("Unable to attach VIF because VIF %s is already attached to port %s.", id, p.UUID)
		case used == "" && free == nil && (body["port_uuid"] == nil || body["port_uuid"] == p.UUID):
			free = p
		}
	}
	if free == nil {
		return reply{}, badRequest("Unable to attach VIF %s, node %s has no free port for it.", id, n.UUID)
	}
	_, err = s.conductor.UpdatePort(ctx, free, func(p *store.Port, n *store.Node) error {
		p.InternalInfo[keyVIF] = id
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) detachVIF(ctx context.Context, r *request) (reply, error) {
	n, ports, err := s.vifPorts(ctx, r)
	if err != nil {
		return reply{}, err
	}
	id := r.params["vif"]
	for _, p := range ports {
		if p.InternalInfo.String(keyVIF) != id {
			continue
		}
		_, err := s.conductor.UpdatePort(ctx, p, func(p *store.Port, n *store.Node) error {
			delete(p.InternalInfo, keyVIF)
			return nil
		})
		if err != nil {
			return reply{}, err
		}
		return noContent()
	}
	return reply{}, badRequest("Unable to detach VIF %s from node %s because it is not attached to it.", id, n.UUID)
}
