package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Alone waits until a machine of a test may run beside those of other tests, in
// whatever process, and keeps its place until the test ends: emulated machines
// that share two processors with too many others run into the limits of their
// tests. There is one place, or as many as FERRIC_MACHINES says. t is a testing.TB.
func Alone(t interface {
	Helper()
	Fatal(args ...any)
	Logf(format string, args ...any)
	Cleanup(func())
}) {
	t.Helper()
	places := 1
	if text := os.Getenv("FERRIC_MACHINES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatal(fmt.Sprintf("FERRIC_MACHINES is %q; want the number of machines that may run at once", text))
		}
		places = n
	}
	var files []*os.File
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	for i := range places {
		name := "vm.lock"
		if i > 0 {
			name = fmt.Sprintf("vm%d.lock", i)
		}
		f, err := os.OpenFile(filepath.Join(os.TempDir(), name), os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	const pause = 200 * time.Millisecond
	for start := time.Now(); ; time.Sleep(pause) {
		for _, f := range files {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			if err == nil {
				t.Logf("waited %.0f s for other machines", time.Since(start).Seconds())
				return
			}
			if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
				t.Fatal(err)
			}
		}
	}
}
