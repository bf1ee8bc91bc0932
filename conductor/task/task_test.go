package task_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

func newManager(t *testing.T, workers int) (*task.Manager, *store.Store, int64) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Enroll}
	if err := db.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := task.NewManager(context.Background(), task.Config{Host: "test", WorkersPoolSize: workers, LockRetryAttempts: 3, LockRetryInterval: 30 * time.Millisecond}, db, logrus.NewEntry(log))
	m.Failed = func(ctx context.Context, t *task.Task, what string, err error) {
		t.SetError("%s: %v", what, err)
		_ = t.Save(ctx) // what is missing then is what the test looks for
	}
	return m, db, n.ID
}

func row(t *testing.T, db *store.Store, id int64) *store.Node {
	t.Helper()
	n, err := db.NodeByID(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLockIsReleased goes through all ways that a task can end.
func TestLockIsReleased(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name      string
		fn        func(ctx context.Context, t *task.Task) error
		want      error
		lastError string
	}{
		{"done", func(context.Context, *task.Task) error { return nil }, nil, ""},
		{"error", func(context.Context, *task.Task) error { return boom }, boom, ""},
		{"background done", func(_ context.Context, t *task.Task) error {
			return t.Background("work", func(context.Context, *task.Task) error { return nil })
		}, nil, ""},
		{"background error", func(_ context.Context, t *task.Task) error {
			return t.Background("work", func(context.Context, *task.Task) error { return boom })
		}, nil, "work: boom"},
		{"background panic", func(_ context.Context, t *task.Task) error {
			return t.Background("work", func(context.Context, *task.Task) error { panic("ouch") })
		}, nil, "work: internal error: ouch"},
		{"error after the hand-over", func(_ context.Context, t *task.Task) error {
			_ = t.Background("work", func(context.Context, *task.Task) error { panic("must not run") })
			return boom
		}, boom, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, db, id := newManager(t, 1)
			for range 2 { // the second finds lock and worker free again
				if err := m.Do(t.Context(), id, "test", tt.fn); !errors.Is(err, tt.want) {
					t.Fatalf("Do gives %v; want %v", err, tt.want)
				}
				m.Wait()
			}
			n := row(t, db, id)
			if n.Reservation != nil {
				t.Errorf("the node is still reserved by %s", *n.Reservation)
			}
			got := ""
			if n.LastError != nil {
				got = *n.LastError
			}
			if got != tt.lastError {
				t.Errorf("last_error is %q; want %q", got, tt.lastError)
			}
		})
	}
}

// TestPanicInRequest: the server above recovers it; the lock must not stay.
func TestPanicInRequest(t *testing.T) {
	m, db, id := newManager(t, 1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = m.Do(t.Context(), id, "test", func(_ context.Context, w *task.Task) error {
			panic("ouch")
		})
	}()
	if n := row(t, db, id); n.Reservation != nil {
		t.Errorf("the node is still reserved by %s", *n.Reservation)
	}
}

func TestNoFreeWorker(t *testing.T) {
	m, db, id := newManager(t, 1)
	other := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Enroll}
	if err := db.CreateNode(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	start := func(_ context.Context, w *task.Task) error {
		return w.Background("work", func(context.Context, *task.Task) error { <-hold; return nil })
	}
	if err := m.Do(t.Context(), id, "test", start); err != nil {
		t.Fatal(err)
	}
	if err := m.Do(t.Context(), other.ID, "test", start); !errors.Is(err, task.ErrNoFreeWorker) {
		t.Errorf("a second worker of one gives %v; want %v", err, task.ErrNoFreeWorker)
	}
	var locked *task.LockedError
	if err := m.TryDo(t.Context(), id, "test", start); !errors.As(err, &locked) || locked.Host != "test" {
		t.Errorf("a busy node gives %v; want that it is locked by test", err)
	}
	close(hold)
	m.Wait()
}

// TestReservedWorkers: what nobody waits for leaves the last workers to requests.
func TestReservedWorkers(t *testing.T) {
	_, db, _ := newManager(t, 1)
	m := task.NewManager(t.Context(), task.Config{Host: "test", WorkersPoolSize: 4, ReservedWorkers: 25}, db, logrus.NewEntry(logrus.New()))
	hold := make(chan struct{})
	start := func(background func(*task.Task, string, func(context.Context, *task.Task) error) error) error {
		n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Enroll}
		if err := db.CreateNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		return m.Do(t.Context(), n.ID, "test", func(_ context.Context, w *task.Task) error {
			return background(w, "work", func(context.Context, *task.Task) error { <-hold; return nil })
		})
	}
	for i := range 4 {
		err := start((*task.Task).BackgroundLater)
		if want := i == 3; errors.Is(err, task.ErrNoFreeWorker) != want || !want && err != nil {
			t.Errorf("heartbeat %d: %v; want no worker for the last of four", i, err)
		}
	}
	if err := start((*task.Task).Background); err != nil {
		t.Errorf("a request: %v; want the worker that was reserved", err)
	}
	if err := start((*task.Task).Background); !errors.Is(err, task.ErrNoFreeWorker) {
		t.Errorf("another request: %v; want %v", err, task.ErrNoFreeWorker)
	}
	close(hold)
	m.Wait()
	for range 3 {
		if err := start((*task.Task).BackgroundLater); err != nil {
			t.Errorf("later: %v; want that all workers were given back", err)
		}
	}
	m.Wait()
}

// TestFirstComeFirstServed queues tasks for one node.
func TestFirstComeFirstServed(t *testing.T) {
	m, _, id := newManager(t, 4)
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	running := make(chan struct{})
	release := make(chan struct{})
	wg.Go(func() {
		if err := m.Do(t.Context(), id, "first", func(context.Context, *task.Task) error { close(running); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-running
	const waiters = 5
	for i := range waiters {
		wg.Go(func() {
			err := m.Do(t.Context(), id, fmt.Sprint(i), func(context.Context, *task.Task) error {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		for m.Queued(id) != i+2 { // until this one waits
			time.Sleep(100 * time.Microsecond)
		}
	}
	close(release)
	wg.Wait()
	if !slices.IsSorted(order) || len(order) != waiters {
		t.Errorf("tasks ran in the order %v", order)
	}
}

func TestProcess(t *testing.T) {
	m, db, id := newManager(t, 1)
	step := func(event provision.Event, target provision.State) {
		t.Helper()
		if err := m.Do(t.Context(), id, "test", func(ctx context.Context, w *task.Task) error { return w.Process(ctx, event, target) }); err != nil {
			t.Fatal(err)
		}
	}
	check := func(state, target provision.State) {
		t.Helper()
		n := row(t, db, id)
		got := provision.State("")
		if n.TargetProvisionState != nil {
			got = *n.TargetProvisionState
		}
		if n.ProvisionState != state || got != target {
			t.Errorf("state %q with target %q; want %q with %q", n.ProvisionState, got, state, target)
		}
	}
	step(provision.Manage, "")
	check(provision.Verifying, provision.Manageable)
	step(provision.Done, "")
	check(provision.Manageable, "")
	step(provision.Clean, provision.Manageable) // manual cleaning keeps its target
	step(provision.Wait, "")
	check(provision.CleanWait, provision.Manageable)
	step(provision.Resume, "")
	check(provision.Cleaning, provision.Manageable)
	step(provision.Fail, "")
	check(provision.CleanFailed, provision.Manageable)
	step(provision.Manage, "")
	step(provision.Provide, "")
	step(provision.Done, "")
	step(provision.Deploy, "")
	step(provision.Wait, "")
	check(provision.WaitCallback, provision.Active)
	step(provision.Delete, "") // not what was begun: the new state's own target
	check(provision.Deleting, provision.Available)
}

// TestUpdate changes one node from many sides at once, with and without the
// lock in its row: no change is lost.
func TestUpdate(t *testing.T) {
	m, db, id := newManager(t, 1)
	add := func(ctx context.Context, w *task.Task) error {
		count, _ := w.Node.Extra["count"].(float64)
		w.Node.Extra["count"] = count + 1
		return w.Save(ctx)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				change := m.Update
				if i%2 == 0 {
					change = m.Do
				}
				err := change(t.Context(), id, "test", add)
				for locked := (*task.LockedError)(nil); errors.As(err, &locked); {
					err = change(t.Context(), id, "test", add)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := row(t, db, id); n.Extra["count"] != float64(80) {
		t.Errorf("%v of 80 changes are left", n.Extra["count"])
	}
	background := func(_ context.Context, w *task.Task) error {
		return w.Background("work", func(context.Context, *task.Task) error { return nil })
	}
	if err := m.Update(t.Context(), id, "test", background); err == nil {
		t.Error("background work went on without a lock")
	}
	if _, err := db.Reserve(t.Context(), "elsewhere", id); err != nil {
		t.Fatal(err)
	}
	var locked *task.LockedError
	if err := m.Update(t.Context(), id, "test", add); !errors.As(err, &locked) || locked.Host != "elsewhere" {
		t.Errorf("a locked node gives %v; want that it is locked by elsewhere", err)
	}
}
