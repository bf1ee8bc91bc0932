package execplugin

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// box holds a process together with all that it starts.
type box interface {
	// enter has a process that is about to be started be in the box.
	enter(attr *syscall.SysProcAttr)
	// started tells the process that was started.
	started(pid int)
	// alive lists the processes in the box, without those that have ended.
	alive() []int
	// signal sends a signal to all processes in the box.
	signal(syscall.Signal)
	// kill ends all processes in the box; it returns when they have ended, or
	// after patience.
	kill(patience time.Duration)
	// exceeded says in words which limit was exceeded, "" for none. scratch is
	// what lies in memory for the call beside its processes.
	exceeded(l limits, scratch int64) string
	// limitsMemory is whether the kernel limits the memory of the box.
	limitsMemory() bool
	// close removes the box, whose processes have ended.
	close() error
}

// boxes makes boxes: control groups where the agent may make some, else boxes
// that find their processes in procfs.
type boxes struct {
	cgroup string // directory to make control groups in; "" for none
}

func findBoxes(noCgroup bool) boxes {
	if noCgroup {
		return boxes{}
	}
	return boxes{cgroup: ownCgroup()}
}

// make makes a box for the call mark, in a control group if wanted.
func (b boxes) make(mark string, l limits, inCgroup bool) box {
	if inCgroup && b.cgroup != "" {
		if group, err := newCgroup(b.cgroup, mark, l); err == nil {
			return group
		}
	}
	return newFamily(mark)
}

// What marks the things of a call: prefix of the names of control groups and
// scratch directories, and variable of the environment.
const (
	markPrefix   = "ferric-plugin-"
	markVariable = "FERRIC_PLUGIN_CALL"
)

// newMark names a call and the process that makes it:
// "NAMESPACE-PID-START-RANDOM". The next agent knows by it what one that was
// killed has left.
func newMark() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	self, _ := readProcess(os.Getpid())
	return fmt.Sprintf("%s-%d-%d-%s", pidNamespace(), os.Getpid(), self.start, hex.EncodeToString(random[:]))
}

// pidNamespace is the number of the namespace in which process numbers are
// those that this process knows. Agents in containers share control groups.
func pidNamespace() string {
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "0"
	}
	return strings.TrimSuffix(strings.TrimPrefix(link, "pid:["), "]")
}

// orphaned reports whether mark is that of a process that is no more. Of
// processes in other namespaces nobody knows.
func orphaned(mark string) bool {
	parts := strings.Split(mark, "-")
	if len(parts) != 4 || parts[0] != pidNamespace() {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	start, err2 := strconv.ParseUint(parts[2], 10, 64)
	if err != nil || err2 != nil {
		return false
	}
	p, alive := readProcess(pid)
	return !alive || p.start != start
}

// name is a process in an error: its number and the name of its program.
func name(pid int) string {
	p, _ := readProcess(pid)
	return fmt.Sprintf("%d (%s)", pid, clean(p.name))
}

// until polls for a condition, at short intervals that grow.
func until(patience time.Duration, done func() bool) bool {
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(wait)
	}
}
