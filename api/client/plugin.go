package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"ferric/api/ironic"
)

const pluginsPath = "/ferric/v1/plugins"

func pluginPath(name, version string) string {
	path := pluginsPath + "/" + segment(name)
	if version != "" {
		path += "/" + segment(version)
	}
	return path
}

// Plugins lists the bundles that agents are offered. Extension of ferric's.
func (c *Client) Plugins(ctx context.Context) ([]ironic.Plugin, error) {
	var list ironic.Plugins
	err := c.get(ctx, pluginsPath, nil, &list)
	return list.Plugins, err
}

// Plugin shows the versions of a plugin with their manifests, the newest first.
// Extension of ferric's.
func (c *Client) Plugin(ctx context.Context, name string) ([]ironic.Plugin, error) {
	var list ironic.Plugins
	err := c.get(ctx, pluginPath(name, ""), nil, &list)
	return list.Plugins, err
}

// AddPlugin adds a bundle, which is read from r and has size bytes. query says
// which nodes it is for ("drivers", "traits", "dmi_vendor", "required",
// "disabled") and "allow_older". Nothing limits its time but ctx. Extension of
// ferric's.
func (c *Client) AddPlugin(ctx context.Context, r io.Reader, size int64, query url.Values) (*ironic.PluginChange, error) {
	u := c.base.JoinPath(pluginsPath)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), io.NopCloser(r))
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	req.Header.Set(ironic.HeaderVersion, ironic.VersionNodeName.String())
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Expect", "100-continue") // who may not, or sends too much, is told before
	endless := *c.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", pluginsPath, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", pluginsPath, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("POST %s: %w", pluginsPath, decodeError(resp.StatusCode, answer))
	}
	var change ironic.PluginChange
	if err := json.Unmarshal(answer, &change); err != nil {
		return nil, fmt.Errorf("POST %s: answer is broken JSON: %w", pluginsPath, err)
	}
	return &change, nil
}

// ChangePlugin changes how a version of a plugin is offered, "" is all of them;
// the members of change are those of AddPlugin, and "pinned". Extension of ferric's.
func (c *Client) ChangePlugin(ctx context.Context, name, version string, change map[string]any) (*ironic.PluginChange, error) {
	var out ironic.PluginChange
	err := c.call(ctx, http.MethodPatch, pluginPath(name, version), nil, change, &out)
	return &out, err
}

// RemovePlugin removes a version of a plugin, "" is all of them. Extension of
// ferric's.
func (c *Client) RemovePlugin(ctx context.Context, name, version string) (*ironic.PluginChange, error) {
	var out ironic.PluginChange
	err := c.call(ctx, http.MethodDelete, pluginPath(name, version), nil, nil, &out)
	return &out, err
}

// NodePlugins tells what an agent of the node is offered, and what became of
// it. Extension of ferric's.
func (c *Client) NodePlugins(ctx context.Context, node string) (*ironic.NodePlugins, error) {
	var out ironic.NodePlugins
	err := c.get(ctx, "/ferric/v1/nodes/"+segment(node)+"/plugins", nil, &out)
	return &out, err
}
