package conductor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trimDelay keeps trimming out of the way of the first requests.
const trimDelay = time.Second

// trim gives back, soon after the start, the memory that only the start
// needed: buffers of the migrations, and the program's own pages, of which the
// initialisation of all packages has touched most. What is needed again of
// them comes back from the page cache.
func trim(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(trimDelay):
	}
	debug.FreeOSMemory() // moves what pools hold aside
	debug.FreeOSMemory() // frees it
	return trimProgram()
}

// trimProgram drops the program's pages from the process. They are read only
// and unchanged, so that the file has them.
func trimProgram() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	var start, end uintptr // of the mapping that the lines are about, 0 for none of the program's
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, rest, _ := strings.Cut(lines.Text(), " ")
		if !strings.HasSuffix(key, ":") { // the first line of a mapping: addresses, access, ..., file
			start = 0
			if strings.HasPrefix(rest, "r") && !strings.HasPrefix(rest, "rw") && strings.HasSuffix(rest, " "+self) {
				if _, err := fmt.Sscanf(key, "%x-%x", &start, &end); err != nil {
					return fmt.Errorf("/proc/self/smaps: %w", err)
				}
			}
			continue
		}
		// Anonymous pages would be changed ones, as the loader makes them.
		if start == 0 || key != "Anonymous:" || strings.TrimSpace(rest) != "0 kB" {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give pages back: %w", errno)
		}
	}
	return lines.Err()
}
