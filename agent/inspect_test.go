package agent_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inspector takes inventories; it answers with the statuses given, the last one
// again and again.
type inspector struct {
	*httptest.Server
	posts   chan map[string]any
	lookups chan string // the query
}

func newInspector(t *testing.T, statuses ...int) *inspector {
	i := &inspector{posts: make(chan map[string]any, 100), lookups: make(chan string, 100)}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/continue_inspection":
			var body map[string]any
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost {
				t.Errorf("%s with a body that is no JSON: %v", r.Method, err)
			}
			if version := r.Header.Get("X-OpenStack-Ironic-API-Version"); version != "" {
				t.Errorf("API version %s in a request that must not have any", version)
			}
			status := statuses[0]
			if len(statuses) > 1 {
				statuses = statuses[1:]
			}
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"uuid": %q}`, nodeUUID)
			i.posts <- body
		case "/v1/lookup":
			i.lookups <- r.URL.RawQuery
			http.Error(w, "not yet", http.StatusNotFound)
		default:
			fmt.Fprint(w, `{"default_version":{"version":"1.96"}}`)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *inspector) post(t *testing.T) map[string]any {
	t.Helper()
	return receive(t, i.posts, "inventory")
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatalf("no %s came", what)
	}
	panic("unreachable")
}

// inspecting starts the program with arguments for the lab machine.
func inspecting(t *testing.T, url string, program func(path string) []string, args ...string) (cmd *exec.Cmd, output *logBuffer) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	h, _ := machine(t)
	for _, name := range []string{"vda", "sda", "sdb", "nvme0n1"} {
		if err := os.Truncate(filepath.Join(h.Dev, name), 8<<30); err != nil {
			t.Fatal(err)
		}
	}
	argv := append(program(path), "--api-url", url, "--sys", h.Sys, "--proc", h.Proc, "--dev", h.Dev, "--etc", t.TempDir(),
		"--cmdline", os.DevNull, "--state-dir", t.TempDir(), "--listen-host", "127.0.0.1", "--listen-port", "0")
	output = &logBuffer{}
	cmd = exec.Command(argv[0], append(argv[1:], args...)...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("output:\n%s", output)
		}
	})
	return cmd, output
}

func TestInspectOnce(t *testing.T) {
	subcommand := func(path string) []string { return []string{path, "inspect"} }
	byName := func(path string) []string {
		link := filepath.Join(t.TempDir(), "ironic-collect-introspection-data")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		return []string{link}
	}
	tests := []struct {
		name     string
		program  func(string) []string
		statuses []int
		exit     int
		posts    int
	}{
		{"subcommand", subcommand, []int{202}, 0, 1},
		{"name of the program", byName, []int{202}, 0, 1},
		{"too early", subcommand, []int{404, 202}, 0, 2},
		{"refused", subcommand, []int{400}, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := newInspector(t, test.statuses...)
			cmd, _ := inspecting(t, i.URL, test.program)
			var body map[string]any
			for range test.posts {
				body = i.post(t)
			}
			err := cmd.Wait()
			var exit *exec.ExitError
			if errors.As(err, &exit); cmd.ProcessState.ExitCode() != test.exit {
				t.Errorf("exit status %d (%v); want %d", cmd.ProcessState.ExitCode(), err, test.exit)
			}
			for _, member := range []string{"inventory", "configuration", "logs", "boot_interface", "root_disk", "error"} {
				if _, present := body[member]; !present {
					t.Errorf("the document has no %s", member)
				}
			}
			if body["error"] != nil {
				t.Errorf("error %v", body["error"])
			}
			if names := membersOf(t, body["logs"]); !slices.Contains(names, "journal") {
				t.Errorf("logs hold %v; want a journal", names)
			}
		})
	}
}

// membersOf are the names in an archive of logs.
func membersOf(t *testing.T, logs any) []string {
	t.Helper()
	encoded, _ := logs.(string)
	packed, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

func TestInspectDaemon(t *testing.T) {
	i := newInspector(t, 202, 400, 202)
	cmd, _ := inspecting(t, i.URL, func(path string) []string { return []string{path, "inspect"} },
		"--daemon", "--introspection-daemon-post-interval", "0.05", "--inspection-collectors", "default")
	for range 3 {
		i.post(t)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// TestInspectBeforeLookup: the agent itself posts first, and looks up the node
// that the server told; without the server's help it looks up by address.
func TestInspectBeforeLookup(t *testing.T) {
	tests := []struct {
		status int
		uuid   bool
	}{{202, true}, {400, false}}
	for _, test := range tests {
		i := newInspector(t, test.status)
		inspecting(t, i.URL, func(path string) []string { return []string{path} }, "--inspection-collectors", "default,logs")
		i.post(t)
		query := receive(t, i.lookups, "lookup")
		if got := strings.Contains(query, "node_uuid="+nodeUUID); got != test.uuid {
			t.Errorf("after %d the lookup is %q; node_uuid wanted: %v", test.status, query, test.uuid)
		}
		if !strings.Contains(query, "52%3A54%3A00%3A12%3A34%3A01") {
			t.Errorf("the lookup %q has no address", query)
		}
	}
}
