package flow_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/fake"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// firmware is a management interface that can be told how to boot.
type firmware struct {
	fake.Management
	refuse error
}

func (f *firmware) GetBootMode(context.Context, *store.Node) (string, error)    { return "bios", nil }
func (f *firmware) SetBootMode(_ context.Context, _ *task.Task, _ string) error { return f.refuse }
func (f *firmware) GetSecureBoot(context.Context, *store.Node) (bool, error)    { return false, nil }
func (f *firmware) SetSecureBoot(_ context.Context, _ *task.Task, _ bool) error { return f.refuse }

func TestBootMode(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	types, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware"}})
	if err != nil {
		t.Fatal(err)
	}
	hardware, err := fake.New(fake.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	able := &firmware{Management: hardware.Management}
	types.Add(builtin.Implementations{Management: map[string]driver.Management{"fake": able}})
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	base, stop := context.WithCancel(context.Background())
	tasks := task.NewManager(base, task.Config{Host: "test", WorkersPoolSize: 2, LockRetryAttempts: 1, LockRetryInterval: time.Millisecond}, db, logrus.NewEntry(logger))
	t.Cleanup(func() { stop(); tasks.Wait(); db.Close() })
	f := flow.New(flow.DefaultConfig(), db, tasks, types, logrus.NewEntry(logger))
	n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Manageable}
	if err := f.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	row := func() *store.Node {
		tasks.Wait()
		n, err := db.NodeByID(t.Context(), n.ID)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	if err := f.SetBootMode(t.Context(), n.ID, "uefi"); err != nil {
		t.Fatal(err)
	}
	if got := row(); got.BootMode == nil || *got.BootMode != "uefi" || got.Reservation != nil {
		t.Errorf("boot mode %v, locked by %v", got.BootMode, got.Reservation)
	}
	if err := f.SetSecureBoot(t.Context(), n.ID, true); err != nil {
		t.Fatal(err)
	}
	if got := row(); got.SecureBoot == nil || !*got.SecureBoot {
		t.Errorf("secure boot %v", got.SecureBoot)
	}

	able.refuse = errors.New("out of order")
	if err := f.SetSecureBoot(t.Context(), n.ID, false); err != nil {
		t.Fatal(err)
	}
	if got := row(); !*got.SecureBoot || got.LastError == nil || !strings.Contains(*got.LastError, "out of order") || got.Reservation != nil {
		t.Errorf("after a failure: secure boot %v, error %v, locked by %v", *got.SecureBoot, got.LastError, got.Reservation)
	}

	busy := row()
	busy.ProvisionState = provision.CleanWait
	if err := db.SaveNode(t.Context(), busy); err != nil {
		t.Fatal(err)
	}
	if err := f.SetBootMode(t.Context(), n.ID, "bios"); !errors.Is(err, flow.ErrConflict) {
		t.Errorf("change in clean wait: %v, want a conflict", err)
	}
}
