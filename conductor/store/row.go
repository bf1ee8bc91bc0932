package store

import (
	"context"
	"strings"
)

// statements write the rows of a table whose rows have an id, a uuid and the
// times of their creation and last change.
type statements struct {
	insert, update, remove string
}

// statementsOf makes the statements for the columns that can change.
func statementsOf(table string, columns ...string) statements {
	return statements{
		insert: "INSERT INTO " + table + " (uuid, created_at, " + strings.Join(columns, ", ") +
			") VALUES (:uuid, :created_at, :" + strings.Join(columns, ", :") + ")",
		update: "UPDATE " + table + " SET " + assignments(columns) + ", updated_at = :updated_at WHERE id = :id",
		remove: "DELETE FROM " + table + " WHERE id = ?",
	}
}

// one reads the row of from for which the condition where holds.
func one[T any](ctx context.Context, s *Store, from, where, what, arg string) (*T, error) {
	row := new(T)
	if err := s.db.GetContext(ctx, row, from+" WHERE "+where, arg); err != nil {
		return nil, notFound(err, "%s %s", what, arg)
	}
	return row, nil
}

// RowID is the id of the row with this UUID in a table that lists are made of.
func (s *Store) RowID(ctx context.Context, table, uuid string) (id int64, err error) {
	if err := s.db.GetContext(ctx, &id, "SELECT id FROM "+table+" WHERE uuid = ?", uuid); err != nil {
		return 0, notFound(err, "%s %s", table, uuid)
	}
	return id, nil
}
