package main

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// showList has a command a line.
	showList  = "/show"
	showLimit = 60 * time.Second
)

// show runs the commands of the list and tells what they print, each between a
// "begin" and an "end" line. Without a list there is nothing to do.
func show(path string, say func(string, ...any)) error {
	list, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		command := lines.Text()
		say("begin %s", command)
		out, err := output(strings.Fields(command))
		for line := range strings.Lines(out) {
			say("| %s", strings.TrimRight(line, "\n"))
		}
		say("end %s: %v", command, err)
	}
	return lines.Err()
}

func output(words []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), showLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
