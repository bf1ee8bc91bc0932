package main

import (
	"cmp"
	"slices"
	"strings"
)

// sortKey is one of those that a list is sorted by.
type sortKey struct{ key, direction string }

// parseSort reads "name:desc,uuid".
func parseSort(text string) ([]sortKey, error) {
	if text == "" {
		return nil, nil
	}
	var keys []sortKey
	for _, part := range strings.Split(text, ",") {
		key, direction, has := strings.Cut(part, ":")
		if !has {
			direction = "asc"
		}
		if key == "" || direction != "asc" && direction != "desc" {
			return nil, usageError("--sort: %q is not of the form KEY[:asc|desc]", part)
		}
		keys = append(keys, sortKey{key, direction})
	}
	return keys, nil
}

// sortRows sorts by several keys, the first being the most important. What has
// no value comes first.
func sortRows(rows []map[string]any, keys []sortKey) {
	slices.SortStableFunc(rows, func(a, b map[string]any) int {
		for _, by := range keys {
			order := compare(a[by.key], b[by.key])
			if by.direction == "desc" {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
}

func compare(a, b any) int {
	if x, ok := a.(float64); ok {
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y)
		}
	}
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Compare(cell(a), cell(b))
}
