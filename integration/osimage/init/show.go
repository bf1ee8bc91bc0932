package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

// assemble runs the command of the list, until it finds the disks of the arrays
// or the time is up. Without a list there are no arrays.
func assemble(path string, limit time.Duration) error {
	command, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(limit); ; time.Sleep(100 * time.Millisecond) {
		out, err := output(strings.Fields(string(command)))
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("assemble arrays: %w: %s", err, clean(out))
		}
	}
}

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
