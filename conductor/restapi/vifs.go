package restapi

import (
	"context"
	"slices"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// keyVIF is where the internal_info of a port or portgroup keeps the VIF that
// is attached to it.
const keyVIF = "tenant_vif_port_id"

// vifHolder is a port or portgroup as far as a VIF can be attached to it.
type vifHolder struct {
	kind, uuid string
	info       store.Object
	pxe        bool
	groupID    int64 // of a port, the portgroup that it is in
	id         int64
	save       func(ctx context.Context) error
}

func (h *vifHolder) vif() string { return h.info.String(keyVIF) }

// vifHolders lists the portgroups of a node and, after them, its ports.
func (s *Server) vifHolders(ctx context.Context, nodeID int64) ([]*vifHolder, error) {
	groups, err := s.store.NodePortgroups(ctx, nodeID)
	if err != nil {
		return nil, err
	}
	ports, err := s.store.NodePorts(ctx, nodeID)
	if err != nil {
		return nil, err
	}
	var holders []*vifHolder
	for _, g := range groups {
		holders = append(holders, &vifHolder{kind: "portgroup", uuid: g.UUID, info: g.InternalInfo, pxe: true, id: g.ID,
			save: func(ctx context.Context) error { return s.store.SavePortgroup(ctx, g) }})
	}
	for _, p := range ports {
		h := &vifHolder{kind: "port", uuid: p.UUID, info: p.InternalInfo, pxe: p.PXEEnabled, id: p.ID,
			save: func(ctx context.Context) error { return s.store.SavePort(ctx, p) }}
		if p.PortgroupID != nil {
			h.groupID = *p.PortgroupID
		}
		holders = append(holders, h)
	}
	return holders, nil
}

func (s *Server) listVIFs(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	holders, err := s.vifHolders(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	vifs := []map[string]any{}
	for _, h := range holders {
		if id := h.vif(); id != "" {
			vifs = append(vifs, map[string]any{"id": id})
		}
	}
	return ok(map[string]any{"vifs": vifs})
}

// attachVIF notes the VIF at the port or portgroup that was asked for, or at the
// best that is free.
func (s *Server) attachVIF(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	id, _ := body["id"].(string)
	if !logicalName.MatchString(id) {
		return reply{}, badRequest("A VIF needs an id that is a UUID or a name.")
	}
	kind, uuid := "", ""
	if r.version >= ironic.VersionVIFPort {
		if kind, uuid, err = wantedHolder(body); err != nil {
			return reply{}, err
		}
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	err = s.conductor.WithNode(ctx, n.ID, "attachment of a VIF", func(ctx context.Context, n *store.Node) error {
		holders, err := s.vifHolders(ctx, n.ID)
		if err != nil {
			return err
		}
		for _, h := range holders {
			if h.vif() == id {
				return conflict("Unable to attach VIF because VIF %s is already attached to Ironic %s %s", id, h.kind, h.uuid)
			}
		}
		if len(holders) == 0 && kind == "" {
			return nil // no port whose network could be told: the noop interface takes what it does not know
		}
		free := freeHolders(holders)
		if kind != "" {
			free = slices.DeleteFunc(free, func(h *vifHolder) bool { return h.kind != kind || h.uuid != uuid })
		}
		if len(free) == 0 {
			return badRequest("Unable to attach VIF %s, not enough free physical ports.", id)
		}
		h := best(free)
		h.info[keyVIF] = id
		return h.save(ctx)
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}

// wantedHolder reads which port or portgroup a VIF is to be attached to, if any.
func wantedHolder(body map[string]any) (kind, uuid string, err error) {
	for _, candidate := range []string{"port", "portgroup"} {
		value, isGiven := body[candidate+"_uuid"]
		if !isGiven {
			continue
		}
		if kind != "" {
			return "", "", badRequest("Cannot specify both port_uuid and portgroup_uuid")
		}
		text, _ := value.(string)
		id, isUUID := parseUUID(text)
		if !isUUID {
			return "", "", badRequest("Expected UUID for %s_uuid: %v", candidate, value)
		}
		kind, uuid = candidate, id
	}
	return kind, uuid, nil
}

// freeHolders are those that a VIF can be attached to. The ports of a portgroup
// are used through it, unless one of them has a VIF of its own already.
func freeHolders(holders []*vifHolder) []*vifHolder {
	ports, split := map[int64]int{}, map[int64]bool{}
	for _, h := range holders {
		if h.groupID != 0 {
			ports[h.groupID]++
			split[h.groupID] = split[h.groupID] || h.vif() != ""
		}
	}
	return slices.DeleteFunc(slices.Clone(holders), func(h *vifHolder) bool {
		switch {
		case h.vif() != "":
			return true
		case h.kind == "portgroup":
			return ports[h.id] == 0 || split[h.id]
		}
		return h.groupID != 0 && !split[h.groupID]
	})
}

// best is the first of the portgroups, or else of the ports that boot from the
// network, or of the others.
func best(free []*vifHolder) *vifHolder {
	for _, h := range free { // portgroups come first, and boot
		if h.pxe {
			return h
		}
	}
	return free[0]
}

func (s *Server) detachVIF(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	id := r.params["vif"]
	err = s.conductor.WithNode(ctx, n.ID, "detachment of a VIF", func(ctx context.Context, n *store.Node) error {
		holders, err := s.vifHolders(ctx, n.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(holders, func(h *vifHolder) bool { return h.vif() == id })
		if len(holders) == 0 {
			return nil // see attachVIF
		}
		if i < 0 {
			return badRequest("Unable to detach VIF %s from node %s because it is not attached to it.", id, n.UUID)
		}
		delete(holders[i].info, keyVIF)
		return holders[i].save(ctx)
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}
