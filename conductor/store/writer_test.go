package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sys/unix"
)

func openStore(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func addHost(tx *sqlx.Tx, name string) error {
	_, err := tx.Exec("INSERT INTO conductors (hostname, created_at) VALUES (?, ?)", name, now())
	return err
}

func hosts(t *testing.T, s *Store) []string {
	t.Helper()
	all, err := s.Conductors(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Hostname)
	}
	slices.Sort(names)
	return names
}

// occupy keeps the writer busy until the function that it returns is called.
func occupy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	busy, free := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- s.write(context.Background(), func(*sqlx.Tx) error { close(busy); <-free; return nil })
	}()
	<-busy
	return func() {
		close(free)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestGroup lets many changes wait: they come in few transactions, and each
// that fails, or panics, undoes its own only.
func TestGroup(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db.sqlite"))
	release := occupy(t, s)
	const count = 60
	boom := errors.New("boom")
	var mu sync.Mutex
	transactions := map[*sqlx.Tx]bool{}
	var want []string
	var wg sync.WaitGroup
	for i := range count {
		name := fmt.Sprintf("host%02d", i)
		if i%3 == 0 {
			want = append(want, name)
		}
		wg.Go(func() {
			defer func() {
				if p := recover(); (p != nil) != (i%3 == 2) {
					t.Errorf("%s: panic %v", name, p)
				}
			}()
			err := s.write(t.Context(), func(tx *sqlx.Tx) error {
				mu.Lock()
				transactions[tx] = true
				mu.Unlock()
				if err := addHost(tx, name); err != nil {
					return err
				}
				switch i % 3 {
				case 1:
					return boom
				case 2:
					panic(name)
				}
				return nil
			})
			if failed := i%3 == 1; failed != errors.Is(err, boom) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	release()
	wg.Wait()
	if got := hosts(t, s); !slices.Equal(got, want) {
		t.Errorf("kept %v; want %v", got, want)
	}
	if len(transactions) > count/2 {
		t.Errorf("%d changes came in %d transactions; want groups", count, len(transactions))
	}
}

// TestSynchronisation asks SQLite what a commit waits for.
func TestSynchronisation(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db.sqlite"))
	const normal, full = 1, 2
	for _, tt := range []struct {
		write func(context.Context, func(*sqlx.Tx) error) error
		want  int
	}{{s.write, full}, {s.writeVolatile, normal}, {s.write, full}} {
		var level int
		if err := tt.write(t.Context(), func(tx *sqlx.Tx) error { return tx.Get(&level, "PRAGMA synchronous") }); err != nil || level != tt.want {
			t.Errorf("synchronous is %d, %v; want %d", level, err, tt.want)
		}
	}
	var journal string
	if err := s.db.Get(&journal, "PRAGMA journal_mode"); err != nil || journal != "wal" {
		t.Errorf("journal mode %q, %v; want wal", journal, err)
	}
	if _, err := s.db.Exec("DELETE FROM nodes"); err == nil {
		t.Error("a connection for reading takes a change")
	}
}

func TestCancelledBeforeItsTurn(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db.sqlite"))
	release := occupy(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan error)
	go func() { cancelled <- s.write(ctx, func(tx *sqlx.Tx) error { return addHost(tx, "one") }) }()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) { // while the writer is still busy
		t.Errorf("a cancelled change gives %v", err)
	}
	release()
	if got := hosts(t, s); got != nil {
		t.Errorf("%v were written all the same", got)
	}
}

// TestCloseDrains closes while changes are on their way: each is either kept
// and acknowledged, or refused and not kept.
func TestCloseDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	s := openStore(t, path)
	var mu sync.Mutex
	var acknowledged []string
	var wg sync.WaitGroup
	started := make(chan struct{}, 1000)
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				name := fmt.Sprintf("host%d-%d", i, j)
				err := s.write(context.Background(), func(tx *sqlx.Tx) error { return addHost(tx, name) })
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, name)
				mu.Unlock()
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 20 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	slices.Sort(acknowledged)
	if got := hosts(t, openStore(t, path)); !slices.Equal(got, acknowledged) {
		t.Errorf("%d were kept of %d that were acknowledged", len(got), len(acknowledged))
	}
}

// Processes that tests start: this test program, told by the environment what
// to be. Each speaks on its standard output.
const (
	childRole = "FERRIC_STORE_TEST_ROLE"
	childPath = "FERRIC_STORE_TEST_PATH"
)

func TestMain(m *testing.M) {
	roles := map[string]func(path string) error{"acknowledge": acknowledge, "fill": fill}
	if role, ok := roles[os.Getenv(childRole)]; ok {
		if err := role(os.Getenv(childPath)); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	return cmd
}

// acknowledge names, one a line, the hosts whose rows are durable.
func acknowledge(path string) error {
	s, err := Open(context.Background(), path)
	if err != nil {
		return err
	}
	failed := make(chan error)
	for i := range 8 {
		go func() {
			for j := 0; ; j++ {
				name := fmt.Sprintf("host%d-%d", i, j)
				if err := s.write(context.Background(), func(tx *sqlx.Tx) error { return addHost(tx, name) }); err != nil {
					failed <- err
				}
				fmt.Println(name)
			}
		}()
	}
	return <-failed
}

// TestKill kills a process in the middle of its commits: whatever it has
// acknowledged is there.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sqlite")
	cmd := child(t, "acknowledge", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if acknowledged = append(acknowledged, lines.Text()); len(acknowledged) == 300 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if len(acknowledged) < 300 {
		t.Fatalf("the process ended by itself: %v", acknowledged)
	}
	s := openStore(t, path)
	kept := hosts(t, s)
	for _, name := range acknowledged {
		if _, ok := slices.BinarySearch(kept, name); !ok {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
	if err := s.write(t.Context(), func(tx *sqlx.Tx) error { return addHost(tx, "after") }); err != nil {
		t.Errorf("the database takes no more: %v", err)
	}
}

// fill works on a small file system of its own: until it is full, and again
// after there is space. It is the parent's judge.
func fill(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		return fmt.Errorf("mount a small disk: %w", err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 512<<10), 0o600); err != nil {
		return err
	}
	s, err := Open(context.Background(), filepath.Join(dir, "db.sqlite"))
	if err != nil {
		return err
	}
	defer s.Close()
	var mu sync.Mutex
	var acknowledged []string
	add := func(name string) error {
		err := s.write(context.Background(), func(tx *sqlx.Tx) error { return addHost(tx, name+strings.Repeat("-", 4000)) })
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			acknowledged = append(acknowledged, name+strings.Repeat("-", 4000))
		}
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			for j := 0; errs[i] == nil && j < 10000; j++ {
				errs[i] = add(fmt.Sprintf("host%d-%d", i, j))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if !errors.Is(err, ErrFull) {
			return fmt.Errorf("a full disk gives %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := add("after"); err != nil {
		return fmt.Errorf("with space again: %w", err)
	}
	all, err := s.Conductors(context.Background())
	if err != nil {
		return err
	}
	for _, c := range all {
		if !slices.Contains(acknowledged, c.Hostname) {
			return fmt.Errorf("%.20s was refused and is there", c.Hostname)
		}
	}
	if len(all) != len(acknowledged) {
		return fmt.Errorf("%d of %d acknowledged changes are there", len(all), len(acknowledged))
	}
	return nil
}

func TestDiskFull(t *testing.T) {
	cmd := child(t, "fill", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("user namespaces are not allowed here")
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
