package client

import (
	"context"
	"net/url"

	"ferric/api/ironic"
)

// Drivers lists the hardware types that live conductors offer.
func (c *Client) Drivers(ctx context.Context) ([]ironic.Driver, error) {
	var list ironic.Drivers
	if err := c.get(ctx, "/v1/drivers", nil, &list); err != nil {
		return nil, err
	}
	return list.Drivers, nil
}

// Driver shows a hardware type with its interfaces.
func (c *Client) Driver(ctx context.Context, name string) (*ironic.Driver, error) {
	var driver ironic.Driver
	if err := c.get(ctx, "/v1/drivers/"+segment(name), nil, &driver); err != nil {
		return nil, err
	}
	return &driver, nil
}

// DriverProperties lists what a hardware type reads of driver_info, with a
// description of each.
func (c *Client) DriverProperties(ctx context.Context, name string) (map[string]string, error) {
	var properties map[string]string
	if err := c.get(ctx, "/v1/drivers/"+segment(name)+"/properties", nil, &properties); err != nil {
		return nil, err
	}
	return properties, nil
}

// Conductors lists all conductors, also those that are gone.
func (c *Client) Conductors(ctx context.Context) ([]ironic.Conductor, error) {
	return pages(url.Values{"detail": {"true"}}, func(query url.Values) ([]ironic.Conductor, string, error) {
		var page ironic.Conductors
		err := c.get(ctx, "/v1/conductors", query, &page)
		return page.Conductors, page.Next, err
	})
}

// Conductor shows a conductor by host name.
func (c *Client) Conductor(ctx context.Context, host string) (*ironic.Conductor, error) {
	var conductor ironic.Conductor
	if err := c.get(ctx, "/v1/conductors/"+segment(host), nil, &conductor); err != nil {
		return nil, err
	}
	return &conductor, nil
}
