package lab

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Alone waits until no machine of another test runs, in whatever process, and
// keeps others waiting until the test ends: emulated machines that share two
// processors with others run into the limits of their tests. t is a testing.TB.
func Alone(t interface {
	Helper()
	Fatal(args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "vm.lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	start := time.Now()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Logf("waited %.0f s for other machines", time.Since(start).Seconds())
}
