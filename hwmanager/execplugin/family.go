package execplugin

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family is a box for where there are no control groups: the processes that
// descend from one, or are in a process group or session of one that does, or
// have the mark of the call in their environment. One that hides from all of
// that between two looks is not found.
type family struct {
	mark  string
	root  process
	known map[int]uint64 // start times of those seen, ended ones too
}

func newFamily(mark string) *family { return &family{mark: mark, known: map[int]uint64{}} }

func (f *family) enter(*syscall.SysProcAttr) {}

func (f *family) started(pid int) {
	f.root, _ = readProcess(pid)
	f.known[pid] = f.root.start
}

func (f *family) alive() []int {
	f.look()
	var pids []int
	for pid, start := range f.known {
		if p, there := readProcess(pid); there && p.start == start && !p.ended() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// look finds the members that are new.
func (f *family) look() {
	var strangers []process
	self := os.Getpid()
	for _, pid := range processes() {
		p, there := readProcess(pid)
		if !there || pid == self || p.start < f.root.start || f.known[pid] == p.start {
			continue
		}
		strangers = append(strangers, p)
	}
	for found := true; found; {
		found = false
		rest := strangers[:0]
		for _, p := range strangers {
			if f.related(p) {
				f.known[p.pid] = p.start
				found = true
				continue
			}
			rest = append(rest, p)
		}
		strangers = rest
	}
}

func (f *family) related(p process) bool {
	for _, pid := range [...]int{p.parent, p.group, p.session} {
		start, known := f.known[pid]
		if !known {
			continue
		}
		// The number may be another's by now, but not while a group or a session
		// has it.
		if now, there := readProcess(pid); !there || now.start == start {
			return true
		}
	}
	return hasMark(p.pid, f.mark)
}

// hasMark reports whether a process has the mark of a call in its environment.
func hasMark(pid int, mark string) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(environ, []byte(markVariable+"="+mark))
}

func (f *family) signal(s syscall.Signal) {
	for _, pid := range f.alive() {
		f.send(pid, s)
	}
}

// send sends a signal to a member, and never to another process that got its
// number.
func (f *family) send(pid int, s syscall.Signal) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if p, there := readProcess(pid); there && p.start == f.known[pid] {
			_ = syscall.Kill(pid, s)
		}
		return
	}
	defer unix.Close(fd)
	if p, there := readProcess(pid); there && p.start == f.known[pid] {
		_ = unix.PidfdSendSignal(fd, s, nil, 0)
	}
}

// kill stops all before it kills them, so that those who start others cannot
// run ahead of it.
func (f *family) kill(patience time.Duration) {
	until(patience, func() bool {
		for known := -1; known < len(f.known); {
			known = len(f.known)
			f.signal(syscall.SIGSTOP)
		}
		f.signal(syscall.SIGKILL)
		return len(f.alive()) == 0
	})
}

func (f *family) exceeded(l limits, scratch int64) string { return measure(f.alive(), l, scratch) }

func (f *family) limitsMemory() bool { return false }

func (f *family) close() error { return nil }

// measure compares what processes take with limits.
func measure(pids []int, l limits, scratch int64) string {
	if len(pids) > l.processes {
		return overProcesses(l)
	}
	total := scratch
	for _, pid := range pids {
		total += ownMemory(pid)
	}
	if total > l.memory {
		return overMemory(l)
	}
	return ""
}

func overMemory(l limits) string {
	return fmt.Sprintf("it used more than %d MiB of memory, files in its scratch directory included", l.memory>>20)
}

func overProcesses(l limits) string {
	return fmt.Sprintf("it had more than %d processes", l.processes)
}

// ownMemory is what a process has in memory that no file is behind.
func ownMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return 0
	}
	resident, _ := strconv.ParseInt(fields[1], 10, 64)
	shared, _ := strconv.ParseInt(fields[2], 10, 64)
	return (resident - shared) * int64(os.Getpagesize())
}

// process is what procfs tells of a process.
type process struct {
	pid, parent, group, session int
	name                        string
	state                       byte
	start                       uint64 // ticks since the machine was started
}

// ended reports whether only the memory of its end is left of a process.
func (p process) ended() bool { return p.state == 'Z' || p.state == 'X' }

// processes are the numbers of all processes.
func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// readProcess reads /proc/PID/stat; false if there is no such process.
func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false
	}
	// The name may have blanks and brackets.
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	fields := strings.Fields(string(text[end+1:]))
	const startField = 19 // the 22nd of all
	if len(fields) <= startField {
		return process{}, false
	}
	p := process{pid: pid, name: string(text[open+1 : end]), state: fields[0][0]}
	p.parent, _ = strconv.Atoi(fields[1])
	p.group, _ = strconv.Atoi(fields[2])
	p.session, _ = strconv.Atoi(fields[3])
	p.start, _ = strconv.ParseUint(fields[startField], 10, 64)
	return p, true
}
