// Package store keeps the conductor's state: rows and queries, nothing else.
// Everything that has been acknowledged to a client is in here; whatever is in
// memory only can be lost at any moment.
//
// A method that changes something returns nil when the change survives a power
// loss: changes of different callers are gathered into one transaction, which
// is committed with full synchronisation before any of them is answered. There
// are two exceptions. A node's lock is seen by everybody at once but does not
// outlive the process anyhow. The time stamp of a heartbeat that changes
// nothing else is written within heartbeatDelay, and when the Store is closed.
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
	"sync/atomic"
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
	// ErrNotEmpty says that something still belongs to what is to be deleted.
	ErrNotEmpty = errors.New("not empty")
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
	db         *sqlx.DB // reads
	writer     *writer
	heartbeats heartbeats
	news       news
	observe    atomic.Pointer[func(Commit)]

	conductorChanges atomic.Int64
	conductors       atomic.Pointer[conductorList]
}

// readers is how many queries run at a time. Each has a connection of its own,
// with its statements prepared, and sees what was committed when it began.
const readers = 8

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
	write, err := connect(path, 1, "_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_foreign_keys=on&_cache_size=-2048")
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, write); err != nil {
		write.Close()
		return nil, fmt.Errorf("migrate database %s: %w", path, err)
	}
	read, err := connect(path, readers, "_query_only=on&_cache_size=-2048")
	if err != nil {
		write.Close()
		return nil, err
	}
	s := &Store{db: read}
	s.writer = newWriter(write, s.committed)
	return s, nil
}

// AroundCommit has hook called right before every commit and, with done, right after
// it, before anybody is told. It is for tests that end the process there, and
// goes before the first change.
func (s *Store) AroundCommit(hook func(done bool)) { s.writer.hook = hook }

func connect(path string, connections int, options string) (*sqlx.DB, error) {
	db, err := sqlx.Open("sqlite3", "file:"+path+"?_busy_timeout=10000&_stmt_cache_size=64&"+options)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close waits for the changes on their way, refuses later ones with ErrClosed
// and closes the database.
func (s *Store) Close() error {
	err := s.flushHeartbeats(context.Background())
	if errors.Is(err, ErrClosed) { // closed before
		err = nil
	}
	return errors.Join(err, s.writer.close(), s.db.Close())
}

// write runs fn in a transaction, grouped with the changes of others, and
// returns when what it did is durable, or undone because fn or the commit
// failed. fn is quick, touches nothing but tx and does not call the Store,
// whose other writes wait for it. When ctx ends before fn has begun, it does
// not run.
func (s *Store) write(ctx context.Context, fn func(tx *sqlx.Tx) error) error {
	return s.writer.write(ctx, true, fn)
}

// writeVolatile is write for what everybody is to see, but what need not
// survive a power loss: it does not wait for the disk.
func (s *Store) writeVolatile(ctx context.Context, fn func(tx *sqlx.Tx) error) error {
	return s.writer.write(ctx, false, fn)
}

// exec is write of a single statement; it tells how many rows it changed.
func (s *Store) exec(ctx context.Context, query string, args ...any) (rows int64, err error) {
	err = s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.Exec(query, args...)
		if err != nil {
			return err
		}
		rows, err = res.RowsAffected()
		return err
	})
	return rows, err
}

func migrate(ctx context.Context, db *sqlx.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Each area has numbers of its own, so that a later file may have an earlier number.
	p, err := goose.NewProvider(goose.DialectSQLite3, db.DB, files, goose.WithAllowOutofOrder(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// now is the time as the database keeps it: UTC, microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// constraint turns a violated uniqueness into *DuplicateError, and a reference
// to what has just been deleted into ErrNotFound.
func constraint(err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) && e.ExtendedCode == sqlite3.ErrConstraintForeignKey {
		return fmt.Errorf("what it belongs to is gone: %w", ErrNotFound)
	}
	if e.ExtendedCode != sqlite3.ErrConstraintUnique {
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
