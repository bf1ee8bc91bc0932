package hwmtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pause is how often it is looked whether what was started has ended.
const pause = 20 * time.Millisecond

func checkGoroutines(x *exam) verdict {
	x.tryAll()
	if len(x.hung) > 0 {
		return skipped("a call has not returned: %s", some(x.hung))
	}
	var left []string
	for deadline := x.grace(); ; time.Sleep(pause) {
		left = goroutines(x.id)
		if len(left) == 0 {
			return ok("all have ended")
		}
		if time.Now().After(deadline) {
			return failed("%d go on after all calls are over: %s", len(left), some(left))
		}
	}
}

// goroutines are those that were started, at however many removes, by a call with
// the mark, by the function that they run.
func goroutines(mark string) []string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return []string{err.Error()}
	}
	var left []string
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(group, `"hwmtest":"`+mark+`"`) || idle(group) {
			continue
		}
		name := "unknown"
		for line := range strings.Lines(group) {
			// The last frame that is not the runtime's is where it began.
			if fields := strings.Fields(line); len(fields) >= 4 && fields[0] == "#" && !strings.HasPrefix(fields[2], "runtime.") {
				name = fields[2]
			}
		}
		count, _, _ := strings.Cut(strings.TrimSpace(group), " ")
		n, err := strconv.Atoi(count)
		for range max(n, 1) {
			left = append(left, name)
		}
		if err != nil {
			continue
		}
	}
	return left
}

// idle are the goroutines that libraries keep for the whole process: connections
// that wait for the next request, and the like.
func idle(stack string) bool {
	for _, name := range []string{"net/http.(*persistConn)", "net/http.(*http2", "os/signal.", "log/syslog", "hwmtest.goroutines"} {
		if strings.Contains(stack, name) {
			return true
		}
	}
	return false
}

func checkProcesses(x *exam) verdict {
	x.tryAll()
	var left map[int]string
	for deadline := x.grace(); ; time.Sleep(pause) {
		left = x.processes()
		if len(left) == 0 {
			return ok("all have ended")
		}
		if time.Now().After(deadline) {
			break
		}
	}
	var names []string
	for pid, name := range left {
		names = append(names, fmt.Sprintf("%s (%d)", name, pid))
		// It runs on a machine that is gone, and nobody waits for it.
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	slices.Sort(names)
	return failed("%d still run, or were not waited for: %s", len(names), some(names))
}

// processes are those that a call has left: they have the machine's directory in
// their environment, as all programs of a fake host do, and all executables that
// find these on their PATH. Where nothing else runs in this process, all its
// children that are new are among them.
func (x *exam) processes() map[int]string {
	left := map[int]string{}
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return left
	}
	for _, path := range paths {
		environ, err := os.ReadFile(path)
		if err != nil || len(environ) == 0 {
			continue // another user's, or one that has ended
		}
		for _, root := range x.roots {
			if bytes.Contains(environ, []byte(filepath.Dir(root)+"/")) {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				if err == nil && pid != os.Getpid() {
					left[pid] = processName(pid)
				}
				break
			}
		}
	}
	if x.alone {
		for _, pid := range children() {
			if !slices.Contains(x.before, pid) {
				left[pid] = processName(pid)
			}
		}
	}
	return left
}

func processName(pid int) string {
	return strings.TrimSpace(text(fmt.Sprintf("/proc/%d", pid), "comm"))
}

// children are the processes that this one has started and not yet waited for.
func children() []int {
	paths, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil
	}
	var pids []int
	for _, path := range paths {
		for _, field := range strings.Fields(text(filepath.Dir(path), "children")) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
