package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShow(t *testing.T) {
	list := filepath.Join(t.TempDir(), "show")
	if err := os.WriteFile(list, []byte("echo one two\nfalse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if err := show(list, say); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(said, "; "), "begin echo one two; | one two; end echo one two: <nil>; begin false; end false: exit status 1"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	if err := show(list+".none", say); err != nil {
		t.Errorf("no list: %v", err)
	}
}
