// Package crash is a conductor that kills itself around one of its commits. The
// tests here kill it around each of them in the life of a node, start it again,
// and compare what becomes of the node with the table of restarts.
package crash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sirupsen/logrus"

	"ferric/conductor"
)

// ConfigVar tells a test program that is run again to be a conductor with the
// configuration at that path.
const ConfigVar = "FERRIC_CRASH_CONDUCTOR"

// ServeIfAsked is what TestMain begins with: it does not return in a program
// that is to be a conductor.
func ServeIfAsked() {
	path := os.Getenv(ConfigVar)
	if path == "" {
		return
	}
	if err := serve(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve is the conductor, as `ferric conductor` runs it. As long as it is armed
// it counts its commits.
func serve(path string) error {
	cfg, _, err := conductor.LoadConfig(path)
	if err != nil {
		return err
	}
	dir, count := filepath.Dir(path), 0
	cfg.AroundCommit = func(done bool) { // called by one goroutine
		text, err := os.ReadFile(filepath.Join(dir, armed))
		if err != nil {
			count = 0
			return
		}
		when := "after"
		if !done {
			when = "before"
			count++
			_ = os.WriteFile(filepath.Join(dir, counted), []byte(strconv.Itoa(count)), 0o600)
		}
		if strings.TrimSpace(string(text)) == fmt.Sprintf("%d %s", count, when) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return conductor.Run(ctx, cfg, logrus.NewEntry(logrus.New()))
}

// Files beside the configuration.
const (
	armed   = "armed"
	counted = "count"
)

// Arm has the conductor whose configuration is in dir end right before, or right
// after, its commit number n from now on; 0 has it count only.
func Arm(dir string, n int, when string) error {
	if err := os.Remove(filepath.Join(dir, counted)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(filepath.Join(dir, armed), fmt.Appendf(nil, "%d %s", n, when), 0o600)
}

// Disarm ends that and tells how many commits there were.
func Disarm(dir string) (int, error) {
	if err := os.Remove(filepath.Join(dir, armed)); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, counted))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}
