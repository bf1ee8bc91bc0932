package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// Errors of every change.
var (
	// ErrClosed says that the conductor stops and takes no more changes.
	ErrClosed = errors.New("the database is closed, for the conductor stops")
	// ErrFull says that nothing was changed for want of space. It can be tried again.
	ErrFull = errors.New("the database has no space left on its disk")
)

// maxGroup bounds how many changes one commit holds, and with it how long the
// first of them waits.
const maxGroup = 128

// writer owns the one connection that writes. It gathers the changes that are
// waiting into one transaction, each in a savepoint of its own, commits them
// together and only then answers all of them. Who waits is its queue.
type writer struct {
	db      *sqlx.DB
	changes chan *change
	done    chan struct{}
	// committed is told, by run, how a commit went.
	committed func(Commit)
	waiting   atomic.Int64 // changes that have no answer yet

	hook func(done bool) // around each commit, nil is none

	closing sync.RWMutex // held for reading by each change on its way
	closed  bool
}

// change is a function that waits for its commit.
type change struct {
	ctx      context.Context
	fn       func(tx *sqlx.Tx) error
	durable  bool
	err      error
	panicked any // the panic of fn
	done     chan struct{}
}

func newWriter(db *sqlx.DB, committed func(Commit)) *writer {
	w := &writer{db: db, changes: make(chan *change), done: make(chan struct{}), committed: committed}
	go w.run()
	return w
}

// write runs fn with others in a transaction and returns when it is committed,
// or undone. A panic of fn is the caller's.
func (w *writer) write(ctx context.Context, durable bool, fn func(tx *sqlx.Tx) error) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return ErrClosed
	}
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	c := &change{ctx: ctx, fn: fn, durable: durable, done: make(chan struct{})}
	select {
	case w.changes <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-c.done // not cut short: from here on the outcome is what counts
	if c.panicked != nil {
		panic(c.panicked)
	}
	var e sqlite3.Error
	if errors.As(c.err, &e) && e.Code == sqlite3.ErrFull {
		return fmt.Errorf("%w: %w", ErrFull, c.err)
	}
	return c.err
}

// close waits for the changes on their way and refuses later ones.
func (w *writer) close() error {
	w.closing.Lock()
	defer w.closing.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.changes)
	<-w.done
	return w.db.Close()
}

func (w *writer) run() {
	defer close(w.done)
	for first := range w.changes {
		group := []*change{first}
	gather:
		for len(group) < maxGroup {
			select {
			case c, ok := <-w.changes:
				if !ok {
					break gather
				}
				group = append(group, c)
			default:
				break gather
			}
		}
		began := time.Now()
		err := w.commit(group)
		if err != nil {
			for _, c := range group {
				if c.err == nil {
					c.err = err
				}
			}
		}
		w.committed(Commit{Changes: len(group), Took: time.Since(began), Err: err})
		for _, c := range group {
			close(c.done)
		}
	}
}

// commit runs the functions of group, which leave their own errors in it, and
// commits. Its error is that of all of them: nothing of the group has happened.
func (w *writer) commit(group []*change) error {
	level, alive := "NORMAL", false
	for _, c := range group {
		if c.err = c.ctx.Err(); c.err == nil {
			alive = true
		}
		if c.durable {
			level = "FULL"
		}
	}
	if !alive {
		return nil
	}
	// In WAL mode NORMAL keeps the database whole but does not wait for the disk.
	if _, err := w.db.Exec("PRAGMA synchronous = " + level); err != nil {
		return fmt.Errorf("write to the database: %w", err)
	}
	tx, err := w.db.Beginx()
	if err != nil {
		return fmt.Errorf("write to the database: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	for _, c := range group {
		if c.err != nil {
			continue
		}
		if err := c.run(tx); err != nil {
			// SQLite gave the whole transaction up, as it does on a full disk.
			return fmt.Errorf("write to the database: %w", err)
		}
	}
	if w.hook != nil {
		w.hook(false)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit to the database: %w", err)
	}
	if w.hook != nil {
		w.hook(true)
	}
	return nil
}

// run runs the function and undoes what it did when it fails. Its own error is
// that of the transaction.
func (c *change) run(tx *sqlx.Tx) error {
	if _, err := tx.Exec("SAVEPOINT change"); err != nil {
		return err
	}
	c.err = c.protected(tx)
	if c.err != nil {
		if _, err := tx.Exec("ROLLBACK TO change"); err != nil {
			return c.err
		}
	}
	_, err := tx.Exec("RELEASE change")
	return err
}

func (c *change) protected(tx *sqlx.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked = fmt.Sprintf("%v\n%s", p, debug.Stack())
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.fn(tx)
}
