package store

import (
	"context"
	"fmt"
	"strings"
)

// Query selects rows of a table. A zero field does not select; Where
// conditions are SQL with one placeholder for each argument, made by the caller
// from literal text only.
type Query struct {
	Where   []string
	Args    []any
	SortKey string // a column of the table; "id" if empty. The caller checks it.
	Desc    bool
	After   int64 // id of the last row of the page before
	Limit   int   // 0 is all
}

// list reads the rows of a table that q selects. from is what they are
// selected from, "SELECT … FROM table …", with joins where there are some.
// Ties are broken by id; NULL sorts like the empty text.
func list[T any](ctx context.Context, s *Store, from, table string, q Query) ([]*T, error) {
	where, args := append([]string(nil), q.Where...), append([]any(nil), q.Args...)
	direction, after := "ASC", ">"
	if q.Desc {
		direction, after = "DESC", "<"
	}
	id := table + ".id"
	key := id
	if q.SortKey != "" && q.SortKey != "id" {
		key = "COALESCE(" + table + "." + q.SortKey + ", '')"
	}
	switch {
	case q.After == 0:
	case key == id:
		where, args = append(where, id+" "+after+" ?"), append(args, q.After)
	default:
		// The marker's own sort value is read in the query, so that no
		// column needs a Go accessor.
		at := fmt.Sprintf("(SELECT %s FROM %s WHERE id = ?)", key, table)
		where = append(where, fmt.Sprintf("(%[1]s %[2]s %[3]s OR (%[1]s = %[3]s AND %[4]s > ?))", key, after, at, id))
		args = append(args, q.After, q.After, q.After)
	}
	query := from
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	query += " ORDER BY " + key + " " + direction
	if key != id {
		query += ", " + id
	}
	if q.Limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	var rows []*T
	if err := s.db.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, fmt.Errorf("list %s: %w", table, err)
	}
	return rows, nil
}
