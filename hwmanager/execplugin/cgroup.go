package execplugin

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroup is a box that the kernel keeps: nothing gets out of it by leaving its
// parent, its session or its name behind.
type cgroup struct {
	path   string
	dir    *os.File
	memory bool // the kernel limits memory
	pids   bool // the kernel limits processes
}

// ownCgroup is the directory of the control group (version 2) that this process
// is in; "" where there is none, or nothing may be changed.
func ownCgroup() string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	own := ""
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			own = path
		}
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") || own == "" {
			continue
		}
		below, ok := strings.CutPrefix(own, strings.TrimSuffix(fields[3], "/"))
		if !ok {
			continue
		}
		dir := filepath.Join(unescape(fields[4]), below)
		// Only a group without processes may hand controllers down, but for the
		// root, where the ramdisk's agent is. Elsewhere there are none, and the
		// group is for holding and killing.
		for _, controller := range []string{"+memory", "+pids"} {
			_ = writeTo(dir, "cgroup.subtree_control", controller)
		}
		return dir
	}
	return ""
}

// unescape undoes the escapes of mountinfo.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

func newCgroup(parent, mark string, l limits) (*cgroup, error) {
	c := &cgroup{path: filepath.Join(parent, markPrefix+mark)}
	if err := os.Mkdir(c.path, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	c.memory = writeTo(c.path, "memory.max", strconv.FormatInt(l.memory, 10)) == nil
	c.pids = writeTo(c.path, "pids.max", strconv.Itoa(l.processes)) == nil
	_ = writeTo(c.path, "memory.swap.max", "0")
	_ = writeTo(c.path, "memory.oom.group", "1")
	var err error
	if c.dir, err = os.Open(c.path); err != nil {
		return nil, errors.Join(fmt.Errorf("open control group: %w", err), os.Remove(c.path))
	}
	return c, nil
}

// writeTo writes into a file that is there already.
func writeTo(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (c *cgroup) enter(attr *syscall.SysProcAttr) {
	attr.UseCgroupFD, attr.CgroupFD = true, int(c.dir.Fd())
}

func (c *cgroup) started(int) {}

func (c *cgroup) limitsMemory() bool { return c.memory }

func (c *cgroup) alive() []int {
	var pids []int
	_ = filepath.WalkDir(c.path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for field := range bytes.FieldsSeq(text) {
			if pid, err := strconv.Atoi(string(field)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// populated is whether a process is in the group or one below.
func (c *cgroup) populated() bool { return counter(c.path, "cgroup.events", "populated") > 0 }

// counter reads a value from a file of lines "NAME VALUE".
func counter(dir, file, name string) int64 {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == name {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

func (c *cgroup) signal(s syscall.Signal) {
	for _, pid := range c.alive() {
		_ = syscall.Kill(pid, s)
	}
}

func (c *cgroup) kill(patience time.Duration) {
	at := writeTo(c.path, "cgroup.kill", "1") // Linux 5.14
	until(patience, func() bool {
		if at != nil {
			_ = writeTo(c.path, "cgroup.freeze", "1")
			c.signal(syscall.SIGKILL)
			_ = writeTo(c.path, "cgroup.freeze", "0")
		}
		return !c.populated()
	})
}

func (c *cgroup) exceeded(l limits, scratch int64) string {
	if c.memory && counter(c.path, "memory.events", "oom_kill") > 0 {
		return overMemory(l)
	}
	if c.pids && counter(c.path, "pids.events", "max") > 0 {
		return overProcesses(l)
	}
	if c.memory && c.pids {
		return ""
	}
	return measure(c.alive(), l, scratch)
}

func (c *cgroup) close() error {
	defer c.dir.Close()
	var dirs []string
	_ = filepath.WalkDir(c.path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	var err error
	for i := len(dirs) - 1; i >= 0; i-- {
		// A process that has just ended keeps its group busy for a moment.
		until(time.Second, func() bool {
			err = os.Remove(dirs[i])
			return err == nil || !errors.Is(err, syscall.EBUSY)
		})
		if err != nil {
			return fmt.Errorf("remove control group: %w", err)
		}
	}
	return nil
}
