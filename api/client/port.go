package client

import (
	"context"
	"net/http"
	"net/url"

	"ferric/api/ironic"
)

// CreatePort adds a network interface to a node; node_uuid and address are
// required.
func (c *Client) CreatePort(ctx context.Context, attributes map[string]any) (*ironic.Port, error) {
	var port ironic.Port
	if err := c.call(ctx, http.MethodPost, "/v1/ports", nil, attributes, &port); err != nil {
		return nil, err
	}
	return &port, nil
}

// Port shows a port by UUID or name.
func (c *Client) Port(ctx context.Context, port string) (*ironic.Port, error) {
	var p ironic.Port
	if err := c.get(ctx, "/v1/ports/"+segment(port), nil, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

// Ports lists all ports that the filters of query let pass ("node",
// "address", …), page by page. Without "detail" or "fields" in it only few
// columns are filled.
func (c *Client) Ports(ctx context.Context, query url.Values) ([]ironic.Port, error) {
	return pages(query, func(query url.Values) ([]ironic.Port, string, error) {
		var page ironic.Ports
		err := c.get(ctx, "/v1/ports", query, &page)
		return page.Ports, page.Next, err
	})
}

// UpdatePort changes a port and returns what it is then.
func (c *Client) UpdatePort(ctx context.Context, port string, patch ironic.Patch) (*ironic.Port, error) {
	var p ironic.Port
	if err := c.call(ctx, http.MethodPatch, "/v1/ports/"+segment(port), nil, patch, &p); err != nil {
		return nil, err
	}
	return &p, nil
}

// DeletePort takes a port from its node.
func (c *Client) DeletePort(ctx context.Context, port string) error {
	return c.call(ctx, http.MethodDelete, "/v1/ports/"+segment(port), nil, nil, nil)
}
