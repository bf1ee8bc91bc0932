package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/jmoiron/sqlx"
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

// insertRow inserts row and fills id. what names the row in errors.
func (s *Store) insertRow(ctx context.Context, insert string, row any, id *int64, what string) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.NamedExec(insert, row)
		if err != nil {
			return fmt.Errorf("create %s: %w", what, constraint(err))
		}
		*id, err = res.LastInsertId()
		return err
	})
}

// updateRow writes the columns of row. what names the row in errors.
func updateRow(tx *sqlx.Tx, update string, row any, what string) error {
	res, err := tx.NamedExec(update, row)
	if err != nil {
		return fmt.Errorf("save %s: %w", what, constraint(err))
	}
	if rows, err := res.RowsAffected(); err != nil || rows == 0 {
		return fmt.Errorf("save %s: %w", what, ErrNotFound)
	}
	return nil
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
