package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeAgent is a shell script in the agent's place.
func fakeAgent(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func logConsole(t *testing.T) (*console, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "boot.log")
	c := &console{}
	c.tty, _ = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	c.keep(log)
	return c, log
}

// TestAgentsLastWords keeps the console busy until the agent, which said more than one
// read takes, has ended: the last line still has to come.
func TestAgentsLastWords(t *testing.T) {
	out, log := logConsole(t)
	c := testChildren()
	dir := t.TempDir()
	path := fakeAgent(t, `i=0; while [ $i -lt 1500 ]; do echo "a line of thirty characters $i"; i=$((i+1)); done
echo "panic: the end"; : >`+dir+`/said; exit 2`)
	out.mu.Lock()
	end := make(chan string, 1)
	go func() { end <- run(c, out, path, "agent: ") }()
	deadline := time.Now().Add(30 * time.Second)
	for _, err := os.Stat(dir + "/said"); err != nil; _, err = os.Stat(dir + "/said") {
		if time.Now().After(deadline) {
			t.Fatal("the agent does not end")
		}
		pause(t.Context(), time.Millisecond)
	}
	for reaped := false; !reaped && time.Now().Before(deadline); pause(t.Context(), time.Millisecond) {
		c.mu.Lock()
		reaped = len(c.waiting) == 0
		c.mu.Unlock()
	}
	out.mu.Unlock()
	if got := <-end; got != "exit status 2" {
		t.Errorf("end %q, want exit status 2", got)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(text), "] agent: panic: the end\n") {
		t.Errorf("the log ends with %q", text[max(0, len(text)-100):])
	}
}

// TestAgentLeavesProgram ends the agent while another program holds its output.
func TestAgentLeavesProgram(t *testing.T) {
	out, _ := logConsole(t)
	began := time.Now()
	if got := run(testChildren(), out, fakeAgent(t, `sleep 15 & exit 3`), "agent: "); got != "exit status 3" {
		t.Errorf("end %q, want exit status 3", got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the agent's end is seen after %v", took)
	}
}

// TestStoppedAgent goes on: a program of root's may stop the agent, and nobody
// would start another one in the place of one that has not ended.
func TestStoppedAgent(t *testing.T) {
	out, _ := logConsole(t)
	path := fakeAgent(t, "kill -STOP $$; exit 7")
	end := make(chan string, 1)
	go func() { end <- run(testChildren(), out, path, "agent: ") }()
	select {
	case got := <-end:
		if got != "exit status 7" {
			t.Errorf("end %q, want exit status 7", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the agent does not go on")
	}
}
