package client

import (
	"fmt"
	"maps"
	"net/url"
)

// pages collects a list whose pages get fetches. The link to the next page
// carries the marker but not the filters (REST contract, section 1.4).
func pages[T any](query url.Values, get func(url.Values) (items []T, next string, err error)) ([]T, error) {
	page := maps.Clone(query)
	if page == nil {
		page = url.Values{}
	}
	var all []T
	for {
		items, next, err := get(page)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		link, err := url.Parse(next)
		if err != nil {
			return nil, fmt.Errorf("link to the next page: %w", err)
		}
		marker := link.Query().Get("marker")
		if marker == "" || marker == page.Get("marker") {
			return nil, fmt.Errorf("link to the next page %q leads nowhere", next)
		}
		page.Set("marker", marker)
	}
}
