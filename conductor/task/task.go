// Package task is the unit of work on one node: it takes the node's lock, runs
// a function, saves what the function changed, and gives the lock back. A lock
// cannot leak: it lives as long as the function, or as long as the background
// work that the function handed it to.
package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// ErrNoFreeWorker says that all workers are busy; the request is to be
// repeated later.
var ErrNoFreeWorker = errors.New("no free conductor workers available")

// LockedError says who holds the lock of a node.
type LockedError struct {
	Node string // UUID
	Host string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("Node %s is locked by host %s, please retry after the current operation is completed.", e.Node, e.Host)
}

// maxErrorText is the length that last_error and maintenance_reason are cut to
// (state-machine contract, section 10).
const maxErrorText = 4096

// Config of a Manager. The names are those of the [conductor] section.
type Config struct {
	Host              string        // identity, value of nodes.reservation
	WorkersPoolSize   int           // workers_pool_size
	ReservedWorkers   int           // reserved_workers_pool_percentage of them
	LockRetryAttempts int           // node_locked_retry_attempts
	LockRetryInterval time.Duration // node_locked_retry_interval
	// History is how much of the nodes' history is kept; nil is none.
	History *store.HistoryLimits
}

// Manager makes tasks. It is safe for concurrent use.
type Manager struct {
	cfg     Config
	store   *store.Store
	log     *logrus.Entry
	workers chan struct{}
	later   chan struct{} // those of them that BackgroundLater may have
	wg      sync.WaitGroup
	base    context.Context // life of background work

	mu       sync.Mutex
	queues   map[int64]*queue
	counters counters

	// Failed is called, with the lock held, when background work returned an
	// error or panicked. It is set once, before the first task.
	Failed func(ctx context.Context, t *Task, what string, err error)
}

// queue orders the tasks of this process that want the same node: first come,
// first served, without asking the database.
type queue struct {
	turn   chan struct{}
	users  int
	holder holder // that has the turn, or had it
}

// NewManager makes a manager whose background work ends when base is done.
func NewManager(base context.Context, cfg Config, s *store.Store, log *logrus.Entry) *Manager {
	reserve := cfg.WorkersPoolSize * cfg.ReservedWorkers / 100
	return &Manager{
		cfg: cfg, store: s, log: log, base: base, queues: map[int64]*queue{},
		workers: make(chan struct{}, cfg.WorkersPoolSize), later: make(chan struct{}, cfg.WorkersPoolSize-reserve),
	}
}

// Wait blocks until all background work has ended.
func (m *Manager) Wait() { m.wg.Wait() }

// Task is a locked node and what belongs to it.
type Task struct {
	Node  *store.Node
	Store *store.Store
	Log   *logrus.Entry

	manager *Manager
	actor   Actor
	history []store.History // to be written with the node
	noted   []store.Event   // to be written with the node
	last    remembered      // of the node, when it was saved or read last
	update  bool            // of Update: without the lock in the row
	name    string
	work    func(ctx context.Context, t *Task) error
	leave   func() // gives the worker back
}

// Do runs fn with the lock of node id held. It waits for a lock that is taken
// as long as the retry options say and then fails with *LockedError.
func (m *Manager) Do(ctx context.Context, id int64, purpose string, fn func(ctx context.Context, t *Task) error) error {
	wait := time.Duration(m.cfg.LockRetryAttempts) * m.cfg.LockRetryInterval
	return m.do(ctx, id, purpose, wait, fn)
}

// TryDo is Do without waiting.
func (m *Manager) TryDo(ctx context.Context, id int64, purpose string, fn func(ctx context.Context, t *Task) error) error {
	return m.do(ctx, id, purpose, 0, fn)
}

// Update is Do for a quick fn that only changes rows. It waits for its turn
// like Do, but does not write the lock: in this process, which is the
// database's only one, nobody can take it meanwhile, and Save makes sure of it.
func (m *Manager) Update(ctx context.Context, id int64, purpose string, fn func(ctx context.Context, t *Task) error) error {
	wait := time.Duration(m.cfg.LockRetryAttempts) * m.cfg.LockRetryInterval
	t, leave, err := m.lock(ctx, id, purpose, wait, m.store.Unreserved)
	if err != nil {
		return err
	}
	defer leave()
	t.update = true
	err = fn(ctx, t)
	if errors.Is(err, store.ErrReserved) {
		return m.locked(ctx, id)
	}
	return err
}

func (m *Manager) do(ctx context.Context, id int64, purpose string, wait time.Duration, fn func(ctx context.Context, t *Task) error) error {
	t, leave, err := m.lock(ctx, id, purpose, wait, m.reserve)
	if err != nil {
		return err
	}
	handedOver := false
	unlock := func() {
		m.release(context.WithoutCancel(ctx), t)
		leave()
	}
	// A panic of fn comes this way, too.
	defer func() {
		if handedOver {
			return
		}
		if t.leave != nil {
			t.leave()
		}
		unlock()
	}()
	if err := fn(ctx, t); err != nil {
		return err
	}
	if t.work == nil {
		return nil
	}
	handedOver = true
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		defer t.leave()
		defer unlock()
		m.runBackground(t)
	}()
	return nil
}

// releaseTries and releasePause are for a database that cannot be written to
// for a while, by a full disk or a backup.
const (
	releaseTries = 10
	releasePause = time.Second
)

// release gives the lock back, also when the request's context is gone. The
// node stays locked until the next start if the database refuses for long.
func (m *Manager) release(ctx context.Context, t *Task) {
	for i := 1; ; i++ {
		err := m.store.Release(ctx, m.cfg.Host, t.Node.ID)
		if err == nil {
			return
		}
		t.Log.WithError(err).Error("cannot release the node's lock")
		if i == releaseTries {
			return
		}
		time.Sleep(releasePause)
	}
}

// runBackground runs the work of t and reports its failure, panics included.
func (m *Manager) runBackground(t *Task) {
	// Work may hand over to further work; each runs on a clean stack.
	for t.work != nil {
		name, work := t.name, t.work
		t.work = nil
		err := t.protect(name, func() error { return work(m.base, t) })
		if err != nil && m.base.Err() == nil {
			_ = t.protect(name, func() error { m.Failed(m.base, t, name, err); return nil }) // logged there
		}
	}
}

// protect turns a panic of fn into an error.
func (t *Task) protect(name string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.Log.Errorf("%s panicked: %v\n%s", name, p, debug.Stack())
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return fn()
}

func (m *Manager) reserve(ctx context.Context, id int64) (*store.Node, error) {
	return m.store.Reserve(ctx, m.cfg.Host, id)
}

// lock waits for its turn in this process, then until take, which gives the
// fresh node, finds nobody else's lock in the database.
func (m *Manager) lock(ctx context.Context, id int64, purpose string, wait time.Duration, take func(context.Context, int64) (*store.Node, error)) (*Task, func(), error) {
	deadline := time.Now().Add(wait)
	leave, ok := m.enter(ctx, id, wait)
	if !ok {
		return nil, nil, m.locked(ctx, id)
	}
	for {
		n, err := take(ctx, id)
		switch {
		case err == nil:
			actor, _ := ctx.Value(actorKey{}).(Actor)
			log := m.log.WithField("node", n.UUID)
			if actor.Request != "" {
				log = log.WithField("request", actor.Request)
			}
			log.WithField("purpose", purpose).Debug("node locked")
			m.hold(id, purpose)
			return &Task{Node: n, Store: m.store, Log: log, manager: m, actor: actor, last: remember(n)}, leave, nil
		case !errors.Is(err, store.ErrReserved):
			leave()
			return nil, nil, err
		case time.Now().Add(m.cfg.LockRetryInterval).After(deadline):
			leave()
			return nil, nil, m.locked(ctx, id)
		}
		select {
		case <-ctx.Done():
			leave()
			return nil, nil, ctx.Err()
		case <-time.After(m.cfg.LockRetryInterval):
		}
	}
}

// enter waits until no earlier task of this process wants the node.
func (m *Manager) enter(ctx context.Context, id int64, wait time.Duration) (leave func(), ok bool) {
	m.mu.Lock()
	q := m.queues[id]
	if q == nil {
		q = &queue{turn: make(chan struct{}, 1)}
		m.queues[id] = q
	}
	q.users++
	m.mu.Unlock()
	forget := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if q.users--; q.users == 0 {
			delete(m.queues, id)
		}
	}
	select {
	case q.turn <- struct{}{}:
		return func() { <-q.turn; forget() }, true
	default:
	}
	began := time.Now()
	m.counters.lockWaits.Add(1)
	defer func() { m.counters.lockWait.Add(int64(time.Since(began))) }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case q.turn <- struct{}{}:
		return func() { <-q.turn; forget() }, true
	case <-timer.C:
	case <-ctx.Done():
	}
	m.counters.locksRefused.Add(1)
	forget()
	return nil, false
}

// Queued counts the tasks of this process that hold or want a node's lock.
func (m *Manager) Queued(id int64) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.queues[id]; q != nil {
		return q.users
	}
	return 0
}

func (m *Manager) locked(ctx context.Context, id int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := m.store.NodeByID(ctx, id)
	if err != nil {
		return err
	}
	host := m.cfg.Host
	if n.Reservation != nil {
		host = *n.Reservation
	}
	return &LockedError{Node: n.UUID, Host: host}
}

// Save writes the node, with events of what has changed that operators look for.
func (t *Task) Save(ctx context.Context) error {
	events := append(t.noted, t.changes()...)
	var err error
	switch {
	case t.update:
		err = t.Store.SaveUnreserved(ctx, t.Node, events)
	case len(t.history)+len(events) > 0:
		err = t.Store.SaveNodeWith(ctx, t.Node, events, t.history, t.historyLimits())
	default:
		err = t.Store.SaveNode(ctx, t.Node)
	}
	if err == nil {
		t.noted, t.history, t.last = nil, nil, remember(t.Node)
	}
	return err
}

// SaveFindings is Save together with what an inspection found, of which the new
// ports that are taken are left out.
func (t *Task) SaveFindings(ctx context.Context, f store.Findings) (taken []*store.Port, err error) {
	taken, err = t.Store.SaveFindings(ctx, t.Node, f, append(t.noted, t.changes()...), t.history, t.historyLimits())
	if err == nil {
		t.noted, t.history, t.last = nil, nil, remember(t.Node)
	}
	return taken, err
}

// Background takes a worker for work, which starts with the lock still held
// when the function of Do has returned nil. Without a free worker nothing has
// happened and ErrNoFreeWorker is returned. Inside background work it chains:
// work runs next, on the same worker.
func (t *Task) Background(name string, work func(ctx context.Context, t *Task) error) error {
	return t.background(name, t.manager.take, work)
}

// BackgroundLater is Background for what nobody waits for, such as timeouts and
// heartbeats: it leaves the last workers to requests of users.
func (t *Task) BackgroundLater(name string, work func(ctx context.Context, t *Task) error) error {
	return t.background(name, t.manager.takeLater, work)
}

func (t *Task) background(name string, take func() (func(), bool), work func(ctx context.Context, t *Task) error) error {
	if t.update {
		return fmt.Errorf("%s of node %s needs its lock", name, t.Node.UUID)
	}
	if t.leave == nil { // not in background yet
		leave, ok := take()
		if !ok {
			return ErrNoFreeWorker
		}
		t.leave = leave
	}
	t.name, t.work = name, work
	return nil
}

// Start processes event and then runs work in the background: the verb is
// acknowledged once the new state is durable. An earlier error is cleared.
func (t *Task) Start(ctx context.Context, event provision.Event, target provision.State, name string, work func(ctx context.Context, t *Task) error) error {
	if _, err := provision.Next(t.Node.ProvisionState, event); err != nil {
		return err
	}
	if err := t.Background(name, work); err != nil {
		return err
	}
	t.Node.LastError = nil
	return t.Process(ctx, event, target)
}

// Process applies event to the node and saves it. target overrides the
// target_provision_state of the new state; "" keeps the state's own.
func (t *Task) Process(ctx context.Context, event provision.Event, target provision.State) error {
	n := t.Node
	from := n.ProvisionState
	to, err := provision.Next(from, event)
	if err != nil {
		return err
	}
	attributes, _ := provision.Of(to)
	t.recordEnd(from, to, event)
	switch {
	case target != "":
		n.TargetProvisionState = &target
	case attributes.Kind == provision.Stable:
		n.TargetProvisionState = nil
	case !continues(event) || n.TargetProvisionState == nil:
		own := attributes.Target
		n.TargetProvisionState = &own
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	n.ProvisionState, n.ProvisionUpdatedAt = to, &at
	if to == provision.Inspecting && from != provision.InspectWait {
		n.InspectionStartedAt, n.InspectionFinishedAt = &at, nil
	}
	if to == provision.Manageable && (from == provision.Inspecting || from == provision.InspectWait) {
		n.InspectionStartedAt, n.InspectionFinishedAt = nil, &at
	}
	if err := t.Save(ctx); err != nil {
		return err
	}
	t.Log.WithFields(logrus.Fields{"from": from, "event": event}).Infof("provision state: %s", to)
	return nil
}

// continues reports whether event goes on with, or ends, what an earlier event
// began: the target then stays (manual cleaning returns to manageable).
func continues(event provision.Event) bool {
	switch event {
	case provision.Wait, provision.Resume, provision.HoldEvent, provision.Unhold, provision.Fail, provision.Abort:
		return true
	}
	return false
}

// SetError puts the reason into last_error, cut to the contract's length. The
// caller saves.
func (t *Task) SetError(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	t.Node.LastError = &text
	t.record(store.SeverityError, text)
	t.Log.WithField("state", t.Node.ProvisionState).Error(text)
}
