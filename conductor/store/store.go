// Package store keeps the conductor's state: rows and queries, nothing else.
// Everything that has been acknowledged to a client is in here; whatever is in
// memory only can be lost at any moment.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Errors of this package. They are wrapped with what was looked for.
var (
	ErrNotFound = errors.New("not found")
	// ErrDuplicate wraps a violated uniqueness; see DuplicateError.
	ErrDuplicate = errors.New("already exists")
	// ErrReserved says that another task holds the node's lock.
	ErrReserved = errors.New("node is locked")
)

// DuplicateError names the column whose value is taken.
type DuplicateError struct {
	Table, Column string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%s with the same %s already exists", e.Table, e.Column)
}

func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// Store is the database. It is safe for concurrent use.
type Store struct {
	db *sqlx.DB
}

// Open opens, or creates, the SQLite database in the file at path and brings
// its schema up to date.
func Open(ctx context.Context, path string) (*Store, error) {
	// Passwords of BMCs are in it; SQLite gives its other files the same mode.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	// WAL with synchronous=FULL: a committed transaction survives a power cut.
	dsn := "file:" + path + "?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_foreign_keys=on&_txlock=immediate"
	db, err := sqlx.Open("sqlite3", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	s := &Store{db: db}
	if err := s.migrate(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("migrate database %s: %w", path, err)
	}
	return s, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// write runs fn in a transaction and returns when what it did is durable, or
// undone because fn or the commit failed. fn is quick, touches nothing but tx
// and does not call the Store, whose other writes wait for it.
func (s *Store) write(ctx context.Context, fn func(tx *sqlx.Tx) error) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// touchNode raises the revision of a node of whose representation something
// changed that is not in its row, such as its traits.
func touchNode(tx *sqlx.Tx, nodeID int64) error {
	_, err := tx.Exec("UPDATE nodes SET revision = revision + 1 WHERE id = ?", nodeID)
	return err
}

func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Each area has numbers of its own, so that a later file may have an earlier number.
	p, err := goose.NewProvider(goose.DialectSQLite3, s.db.DB, files, goose.WithAllowOutofOrder(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// now is the time as the database keeps it: UTC, microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// constraint turns a violated uniqueness into *DuplicateError.
func constraint(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) || e.ExtendedCode != sqlite3.ErrConstraintUnique {
		return err
	}
	// "UNIQUE constraint failed: nodes.name"
	_, where, _ := strings.Cut(e.Error(), ": ")
	table, column, _ := strings.Cut(where, ".")
	return &DuplicateError{Table: strings.TrimSuffix(table, "s"), Column: column}
}

func notFound(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf(format+": %w", append(args, ErrNotFound)...)
	}
	return err
}
