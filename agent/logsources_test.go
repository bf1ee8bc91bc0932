package agent

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"ferric/agent/config"
	"ferric/hwmanager"
)

// logger is a hardware manager with logs of its own, or with a reason why not.
type logger struct {
	oneCard
	name string
	err  error
}

func (l logger) Name() string { return l.name }
func (l logger) Logs(_ context.Context, _ *hwmanager.Host, add func(string, io.Reader) error) error {
	if l.err != nil {
		return l.err
	}
	return add(l.name, strings.NewReader("of "+l.name))
}

// TestLogsOfManagers: one whose logs cannot be had keeps nobody else's out.
func TestLogsOfManagers(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	a := New(&config.Config{Sys: t.TempDir(), Proc: t.TempDir()}, nil, io.Discard)
	var err error
	managers := []hwmanager.Manager{logger{name: "broken", err: errors.New("controller is on fire")}, logger{name: "passes", err: hwmanager.ErrNotHandled}, logger{name: "good"}}
	if a.set, err = hwmanager.Load(t.Context(), a.host, managers); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := a.writeLogs(t.Context(), &packed); err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]string{}
	for archive := tar.NewReader(unpacked); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		members[header.Name] = string(content)
	}
	if members["good"] != "of good" || members["hardware-managers"] != "controller is on fire" {
		t.Errorf("logs of good %q, failures %q", members["good"], members["hardware-managers"])
	}
}
