package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// table is how the rows of one of the tables are written and found that have an
// id, a uuid and the times of their creation and last change. All of it is
// literal text: nothing of a request becomes part of a statement.
type table[T any] struct {
	name                   string
	what                   string // one of its rows, in errors
	from                   string // what a row is selected from, with the joins that it takes
	insert, update, remove string
	head                   func(row *T) head
}

// head is where the columns are that all such rows have.
type head struct {
	id      *int64
	uuid    *string
	created *time.Time
	updated **time.Time
}

// tableOf makes the statements for the columns that can change. from "" is the
// table alone.
func tableOf[T any](name, what, from string, head func(row *T) head, columns ...string) table[T] {
	if from == "" {
		from = "SELECT * FROM " + name
	}
	return table[T]{
		name: name, what: what, from: from, head: head,
		insert: "INSERT INTO " + name + " (uuid, created_at, " + strings.Join(columns, ", ") +
			") VALUES (:uuid, :created_at, :" + strings.Join(columns, ", :") + ")",
		update: "UPDATE " + name + " SET " + assignments(columns) + ", updated_at = :updated_at WHERE id = :id",
		remove: "DELETE FROM " + name + " WHERE id = ?",
	}
}

// create inserts a row and fills its id and time of creation.
func (t table[T]) create(ctx context.Context, s *Store, row *T) error {
	return s.write(ctx, func(tx *sqlx.Tx) error { return t.createIn(tx, row) })
}

func (t table[T]) createIn(tx *sqlx.Tx, row *T) error {
	h := t.head(row)
	*h.created = now()
	res, err := tx.NamedExec(t.insert, row)
	if err != nil {
		return fmt.Errorf("create %s %s: %w", t.what, *h.uuid, constraint(err))
	}
	*h.id, err = res.LastInsertId()
	return err
}

// save writes the columns of a row that can change.
func (t table[T]) save(ctx context.Context, s *Store, row *T) error {
	return s.write(ctx, func(tx *sqlx.Tx) error { return t.saveIn(tx, row) })
}

func (t table[T]) saveIn(tx *sqlx.Tx, row *T) error {
	h, at := t.head(row), now()
	*h.updated = &at
	res, err := tx.NamedExec(t.update, row)
	if err != nil {
		return fmt.Errorf("save %s %s: %w", t.what, *h.uuid, constraint(err))
	}
	if rows, err := res.RowsAffected(); err != nil || rows == 0 {
		return fmt.Errorf("save %s %s: %w", t.what, *h.uuid, ErrNotFound)
	}
	return nil
}

// change has fn change a row as it is now, and saves it: nobody else's change
// comes in between. fn only touches the row.
func (t table[T]) change(ctx context.Context, s *Store, id int64, fn func(row *T) error) (*T, error) {
	row := new(T)
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		if err := tx.Get(row, t.from+" WHERE "+t.name+".id = ?", id); err != nil {
			return notFound(err, "%s #%d", t.what, id)
		}
		if err := fn(row); err != nil {
			return err
		}
		return t.saveIn(tx, row)
	})
	return row, err
}

// find reads the row whose column has a value that is in it once only.
func (t table[T]) find(ctx context.Context, s *Store, column, value string) (*T, error) {
	return one[T](ctx, s, t.from, t.name+"."+column+" = ?", t.what, value)
}

// list reads the rows that q selects.
func (t table[T]) list(ctx context.Context, s *Store, q Query) ([]*T, error) {
	return list[T](ctx, s, t.from, t.name, q)
}

// delete removes a row, if it is still there.
func (t table[T]) delete(ctx context.Context, s *Store, id int64) error {
	_, err := s.exec(ctx, t.remove, id)
	return err
}

// one reads the row of from for which the condition where holds.
func one[T any](ctx context.Context, s *Store, from, where, what string, arg any) (*T, error) {
	row := new(T)
	if err := s.db.GetContext(ctx, row, from+" WHERE "+where, arg); err != nil {
		return nil, notFound(err, "%s %v", what, arg)
	}
	return row, nil
}
