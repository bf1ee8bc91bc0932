package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func open(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(t *testing.T, s *store.Store, name string) *store.Node {
	t.Helper()
	n := &store.Node{UUID: uuid.NewString(), Driver: "ipmi", ProvisionState: provision.Enroll}
	if name != "" {
		n.Name = &name
	}
	if err := s.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNodeSurvivesReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	s := open(t, path)
	n := create(t, s, "one")
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	state, yes := provision.Active, true
	n.DriverInfo = store.Object{"ipmi_port": float64(623), "nested": map[string]any{"list": []any{"a", true, nil}}}
	n.TargetProvisionState, n.ProvisionUpdatedAt, n.AutomatedClean, n.Maintenance = &state, &at, &yes, true
	if err := s.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	s.Close()
	got, err := open(t, path).Node(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	n.Traits = store.Strings{}
	for _, o := range []*store.Object{&n.DriverInternalInfo, &n.Properties, &n.InstanceInfo, &n.Extra, &n.CleanStep, &n.DeployStep, &n.ServiceStep, &n.RAIDConfig, &n.TargetRAIDConfig, &n.NetworkData} {
		*o = store.Object{} // what is not set reads as an empty object
	}
	if diff := cmp.Diff(n, got); diff != "" {
		t.Errorf("node (-saved +read):\n%s", diff)
	}
}

func TestDuplicates(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite"))
	n := create(t, s, "one")
	name := "one"
	err := s.CreateNode(t.Context(), &store.Node{UUID: uuid.NewString(), Name: &name, Driver: "ipmi", ProvisionState: provision.Enroll})
	var duplicate *store.DuplicateError
	if !errors.As(err, &duplicate) || duplicate.Table != "node" || duplicate.Column != "name" || !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("a second node of the name gives %v", err)
	}
	port := func() error {
		return s.CreatePort(t.Context(), &store.Port{UUID: uuid.NewString(), Address: "52:54:00:00:00:01", NodeID: n.ID})
	}
	if err := port(); err != nil {
		t.Fatal(err)
	}
	if err := port(); !errors.As(err, &duplicate) || duplicate.Table != "port" || duplicate.Column != "address" {
		t.Errorf("a second port of the address gives %v", err)
	}
	if err := s.DeleteNode(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PortByAddress(t.Context(), "52:54:00:00:00:01"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the port of a deleted node gives %v; want %v", err, store.ErrNotFound)
	}
}

// TestReserve lets many compete for one lock, through two connections as two
// processes would.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	stores := []*store.Store{open(t, path), open(t, path)}
	n := create(t, stores[0], "")
	var holders, wins atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		s, host := stores[i%2], fmt.Sprintf("host%d", i)
		wg.Go(func() {
			for range 50 {
				_, err := s.Reserve(t.Context(), host, n.ID)
				if errors.Is(err, store.ErrReserved) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				wins.Add(1)
				if holders.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				holders.Add(-1)
				if err := s.Release(t.Context(), "somebody else", n.ID); err != nil { // has no effect
					t.Error(err)
				}
				if err := s.Release(t.Context(), host, n.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if wins.Load() == 0 {
		t.Error("nobody ever held the lock")
	}
	if got, err := stores[0].NodeByID(t.Context(), n.ID); err != nil || got.Reservation != nil {
		t.Errorf("reservation %v, %v; want none", got.Reservation, err)
	}
}

// TestPages reads all nodes page by page in every order, names being partly
// unset.
func TestPages(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite"))
	const count = 11
	for i := range count {
		name := ""
		if i%3 != 0 {
			name = fmt.Sprintf("node-%02d", (i*7)%count)
		}
		create(t, s, name)
	}
	for _, key := range []string{"", "id", "name", "uuid", "created_at", "provision_state"} {
		for _, desc := range []bool{false, true} {
			q := store.Query{SortKey: key, Desc: desc}
			all, err := s.Nodes(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var paged []*store.Node
			q.Limit = 3
			for {
				page, err := s.Nodes(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				paged = append(paged, page...)
				q.After = page[len(page)-1].ID
				if len(paged) > count {
					t.Fatalf("sorted by %q: the pages do not end", key)
				}
			}
			if len(all) != count {
				t.Errorf("%d nodes; want %d", len(all), count)
			}
			if diff := cmp.Diff(all, paged); diff != "" {
				t.Errorf("sorted by %q, descending %v (-whole +paged):\n%s", key, desc, diff)
			}
		}
	}
}

func TestEventsAreBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite"))
	n := create(t, s, "")
	for i := range 1200 {
		if err := s.AddEvent(t.Context(), n.ID, time.Now(), "dhcp", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.Events(t.Context(), n.ID)
	if err != nil || len(events) < 1000 || len(events) > 1050 || events[len(events)-1].Detail != "1199" {
		t.Errorf("%d events, %v; want about 1000, the newest among them", len(events), err)
	}
}

// TestOrphans: nothing is stored for a node that is deleted meanwhile.
func TestOrphans(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite"))
	p := store.NewPort()
	p.Address, p.NodeID = "52:54:00:00:00:01", 77
	for what, err := range map[string]error{
		"port":             s.CreatePort(t.Context(), p),
		"portgroup":        s.CreatePortgroup(t.Context(), &store.Portgroup{UUID: uuid.NewString(), NodeID: 77, Mode: "active-backup"}),
		"volume connector": s.CreateVolumeConnector(t.Context(), &store.VolumeConnector{UUID: uuid.NewString(), NodeID: 77, Type: "ip"}),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of no node: %v, want ErrNotFound", what, err)
		}
	}
}

// TestChassisGone: a node gets into a chassis that is there, even if it was
// there just before only.
func TestChassisGone(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite"))
	ctx := t.Context()
	c := &store.Chassis{UUID: uuid.NewString(), Extra: store.Object{}}
	in, out := &store.Node{UUID: uuid.NewString(), ChassisUUID: &c.UUID}, &store.Node{UUID: uuid.NewString()}
	if err := s.CreateNode(ctx, in); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("node in no chassis: %v, want ErrNotFound", err)
	}
	for what, err := range map[string]error{"chassis": s.CreateChassis(ctx, c), "node out of it": s.CreateNode(ctx, out)} {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if err := s.CreateNode(ctx, in); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteChassis(ctx, c); !errors.Is(err, store.ErrNotEmpty) {
		t.Errorf("delete a chassis with a node: %v, want ErrNotEmpty", err)
	}
	if err := s.DeleteNode(ctx, in.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteChassis(ctx, c); err != nil {
		t.Fatal(err)
	}
	out.ChassisUUID = &c.UUID
	if err := s.SaveNode(ctx, out); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("node into a chassis that is gone: %v, want ErrNotFound", err)
	}
}
