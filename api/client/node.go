package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"ferric/api/ipa"
	"ferric/api/ironic"
)

func nodePath(node string) string { return "/v1/nodes/" + segment(node) }

// CreateNode enrols a node; attributes are named as in ironic.Node, driver is
// required.
func (c *Client) CreateNode(ctx context.Context, attributes map[string]any) (*ironic.Node, error) {
	var node ironic.Node
	if err := c.call(ctx, http.MethodPost, "/v1/nodes", nil, attributes, &node); err != nil {
		return nil, err
	}
	return &node, nil
}

// Node shows a node by UUID or name.
func (c *Client) Node(ctx context.Context, node string) (*ironic.Node, error) {
	var n ironic.Node
	if err := c.get(ctx, nodePath(node), nil, &n); err != nil {
		return nil, err
	}
	return &n, nil
}

// Nodes lists all nodes that the filters of query let pass, page by page.
// Without "detail" or "fields" in it only few columns are filled.
func (c *Client) Nodes(ctx context.Context, query url.Values) ([]ironic.Node, error) {
	return pages(query, func(query url.Values) ([]ironic.Node, string, error) {
		var page ironic.Nodes
		err := c.get(ctx, "/v1/nodes", query, &page)
		return page.Nodes, page.Next, err
	})
}

// UpdateNode changes a node and returns what it is then.
func (c *Client) UpdateNode(ctx context.Context, node string, patch ironic.Patch) (*ironic.Node, error) {
	var n ironic.Node
	if err := c.call(ctx, http.MethodPatch, nodePath(node), nil, patch, &n); err != nil {
		return nil, err
	}
	return &n, nil
}

// DeleteNode forgets a node with its ports.
func (c *Client) DeleteNode(ctx context.Context, node string) error {
	return c.call(ctx, http.MethodDelete, nodePath(node), nil, nil, nil)
}

// NodeStates shows the states of a node.
func (c *Client) NodeStates(ctx context.Context, node string) (*ironic.NodeStates, error) {
	var states ironic.NodeStates
	if err := c.get(ctx, nodePath(node)+"/states", nil, &states); err != nil {
		return nil, err
	}
	return &states, nil
}

// SetProvisionState starts a verb; see WaitProvision for its end.
func (c *Client) SetProvisionState(ctx context.Context, node string, request ironic.ProvisionRequest) error {
	return c.call(ctx, http.MethodPut, nodePath(node)+"/states/provision", nil, request, nil)
}

// SetPower starts a change of power. A positive timeout is how long the
// conductor waits for it, in whole seconds; zero is its own setting.
func (c *Client) SetPower(ctx context.Context, node, target string, timeout time.Duration) error {
	body := map[string]any{"target": target}
	if timeout > 0 {
		body["timeout"] = max(1, int(timeout/time.Second))
	}
	return c.call(ctx, http.MethodPut, nodePath(node)+"/states/power", nil, body, nil)
}

// SetRAIDConfig sets the RAID configuration that the node is to have when its
// steps for that are performed.
func (c *Client) SetRAIDConfig(ctx context.Context, node string, config map[string]any) error {
	return c.call(ctx, http.MethodPut, nodePath(node)+"/states/raid", nil, config, nil)
}

// SetMaintenance takes a node out of service.
func (c *Client) SetMaintenance(ctx context.Context, node, reason string) error {
	return c.call(ctx, http.MethodPut, nodePath(node)+"/maintenance", nil, map[string]any{"reason": reason}, nil)
}

// UnsetMaintenance takes a node back into service and clears its fault.
func (c *Client) UnsetMaintenance(ctx context.Context, node string) error {
	return c.call(ctx, http.MethodDelete, nodePath(node)+"/maintenance", nil, nil, nil)
}

// Validate asks which interfaces of a node could do their work.
func (c *Client) Validate(ctx context.Context, node string) (ironic.ValidateResult, error) {
	var result ironic.ValidateResult
	if err := c.get(ctx, nodePath(node)+"/validate", nil, &result); err != nil {
		return nil, err
	}
	return result, nil
}

// BootDevice asks the BMC of a node for its boot device.
func (c *Client) BootDevice(ctx context.Context, node string) (*ironic.BootDevice, error) {
	var device ironic.BootDevice
	if err := c.get(ctx, nodePath(node)+"/management/boot_device", nil, &device); err != nil {
		return nil, err
	}
	return &device, nil
}

// SetBootDevice sets the boot device, for the next boot or for all.
func (c *Client) SetBootDevice(ctx context.Context, node, device string, persistent bool) error {
	body := ironic.BootDevice{BootDevice: &device, Persistent: &persistent}
	return c.call(ctx, http.MethodPut, nodePath(node)+"/management/boot_device", nil, body, nil)
}

// BootDevices lists the boot devices that a node supports.
func (c *Client) BootDevices(ctx context.Context, node string) ([]string, error) {
	var answer struct {
		Devices []string `json:"supported_boot_devices"`
	}
	if err := c.get(ctx, nodePath(node)+"/management/boot_device/supported", nil, &answer); err != nil {
		return nil, err
	}
	return answer.Devices, nil
}

// Progress tells how far the node's agent is with a transfer. A conductor
// that has nothing to tell answers 404 (see IsStatus). Extension of ferric's.
func (c *Client) Progress(ctx context.Context, node string) (*ipa.Progress, error) {
	var progress ipa.Progress
	if err := c.get(ctx, "/ferric/v1/nodes/"+segment(node)+"/progress", nil, &progress); err != nil {
		return nil, err
	}
	return &progress, nil
}

// Events lists what happened to a node, oldest first. Extension of ferric's.
func (c *Client) Events(ctx context.Context, node string) ([]ironic.Event, error) {
	var list ironic.Events
	if err := c.get(ctx, "/ferric/v1/nodes/"+segment(node)+"/events", nil, &list); err != nil {
		return nil, err
	}
	return list.Events, nil
}

// EraseReports tells what the latest steps that erase did to the disks of a
// node, newest first. Extension of ferric's.
func (c *Client) EraseReports(ctx context.Context, node string) ([]ipa.EraseReport, error) {
	var list ipa.EraseReports
	if err := c.get(ctx, "/ferric/v1/nodes/"+segment(node)+"/erase_report", nil, &list); err != nil {
		return nil, err
	}
	return list.Reports, nil
}
