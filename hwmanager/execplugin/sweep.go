package execplugin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sweep ends what is left of calls whose agent was killed: processes, control
// groups, scratch directories. An agent does it once, before it opens plugins;
// what other agents on the machine are doing is left alone.
func Sweep(opts Options) error {
	var problems []error
	if parent := findBoxes(opts.NoCgroup).cgroup; parent != "" {
		for _, mark := range leftovers(parent) {
			group := &cgroup{path: filepath.Join(parent, markPrefix+mark)}
			group.kill(killPatience)
			problems = append(problems, group.close())
		}
	}
	for _, pid := range processes() {
		mark := markOf(pid)
		if mark == "" || !orphaned(mark) {
			continue
		}
		stray := newFamily(mark)
		stray.started(pid)
		stray.kill(time.Second)
		if left := stray.alive(); len(left) > 0 {
			problems = append(problems, fmt.Errorf("process %s of a former agent's plugin cannot be killed", name(left[0])))
		}
	}
	dir := opts.Scratch
	if dir == "" {
		dir = os.TempDir()
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		for _, mark := range leftovers(real) {
			problems = append(problems, scratch{path: filepath.Join(real, markPrefix+mark)}.remove())
		}
	}
	return errors.Join(problems...)
}

// leftovers are the marks of calls in the names of a directory whose process is
// no more.
func leftovers(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var marks []string
	for _, entry := range entries {
		mark, ours := strings.CutPrefix(entry.Name(), markPrefix)
		if ours && entry.IsDir() && orphaned(mark) {
			marks = append(marks, mark)
		}
	}
	return marks
}

// markOf is the mark in the environment of a process, "" if it has none.
func markOf(pid int) string {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if mark, ours := bytes.CutPrefix(variable, []byte(markVariable+"=")); ours {
			return string(mark)
		}
	}
	return ""
}
