package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

// Do makes a request for which there is no method, with in as its JSON body
// unless that is nil, and decodes the answer into out unless that is nil. A
// refusal is an *api.Error.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	return c.call(ctx, method, path, query, in, out)
}

// List reads the items below key of the list at path, all pages of it, as
// documents. limit 0 is all items.
func (c *Client) List(ctx context.Context, path, key string, query url.Values, limit int) ([]map[string]any, error) {
	left := limit
	return pages(query, func(page url.Values) ([]map[string]any, string, error) {
		if limit > 0 {
			page.Set("limit", strconv.Itoa(left))
		}
		var answer map[string]json.RawMessage
		if err := c.get(ctx, path, page, &answer); err != nil {
			return nil, "", err
		}
		var items []map[string]any
		if err := json.Unmarshal(answer[key], &items); err != nil {
			return nil, "", fmt.Errorf("GET %s: answer has no list of %s", path, key)
		}
		var next string
		if raw := answer["next"]; raw != nil {
			if err := json.Unmarshal(raw, &next); err != nil {
				return nil, "", fmt.Errorf("GET %s: link to the next page: %w", path, err)
			}
		}
		if left -= len(items); limit > 0 && left <= 0 {
			next = ""
		}
		return items, next, nil
	})
}
