package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/coder/websocket"

	"ferric/api/ironic"
)

// Console looks at the console of a node over WebSocket: binary messages are
// the line's text in both directions, text messages are JSON. It is ferric's own.
func (c *Client) Console(ctx context.Context, node string, query url.Values) (*websocket.Conn, error) {
	u := c.base.JoinPath("ferric", "v1", "nodes", node, "console")
	u.RawQuery = query.Encode()
	header := http.Header{}
	header.Set(ironic.HeaderVersion, ironic.Version(c.version.Load()).String())
	if user := u.User; user != nil {
		password, _ := user.Password()
		basic := &http.Request{Header: header}
		basic.SetBasicAuth(user.Username(), password)
	}
	u.User = nil
	// A limit on the whole request would be one on the console.
	endless := *c.http
	endless.Timeout = 0
	conn, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: &endless, HTTPHeader: header})
	if err == nil {
		return conn, nil
	}
	if resp != nil && resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		if json.Valid(text) {
			return nil, decodeError(resp.StatusCode, text)
		}
	}
	return nil, fmt.Errorf("console of node %s: %w", node, err)
}
