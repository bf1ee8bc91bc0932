package agent

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"ferric/agent/config"
	"ferric/agent/vmedia"
	"ferric/hwmanager"
)

// Main runs an agent with the given managers and the arguments of the process
// until it is told to stop; it returns the exit status.
func Main(managers []hwmanager.Manager) int {
	if slices.Equal(os.Args[1:], []string{"managers"}) {
		return printManagers(os.Stdout, managers)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var found vmedia.Found
	media := func(c *config.Config) (string, error) {
		var err error
		found, err = loadMedia(ctx, c)
		return found.Parameters, err
	}
	args, inspectOnly := inspectArgs(os.Args)
	cfg, warnings, err := config.Parse(args, config.Sources{Cmdline: readCmdline, Media: media}, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ferric-agent:", err)
		return 2
	}
	limitMemory()
	a := New(cfg, managers, os.Stderr)
	for _, w := range warnings {
		a.log.Warn(w)
	}
	if len(found.Devices) > 0 {
		a.log.WithField("devices", found.Devices).WithField("files", found.Files).Info("configured from virtual media")
	}
	run := a.Run
	if inspectOnly {
		run = a.Inspect
	}
	if err := run(ctx); err != nil {
		a.log.WithError(err).Error("ferric-agent stopped")
		return 1
	}
	return 0
}

// printManagers lists the managers that the agent was built with as JSON, for
// the manifest of the ramdisk ("ferric-agent managers"), on the last line. Nothing
// is asked of the machine.
func printManagers(out io.Writer, managers []hwmanager.Manager) int {
	type manager struct {
		Name    string `json:"name"`
		Class   string `json:"class"`
		Version string `json:"version"`
	}
	list := []manager{}
	for _, m := range managers {
		if u, ok := m.(unmade); ok {
			fmt.Fprintln(os.Stderr, "ferric-agent:", u.err)
			return 1
		}
		var told manager
		if err := guarded(func() { told = manager{m.Name(), m.ClassName(), m.Version()} }); err != nil {
			fmt.Fprintf(os.Stderr, "ferric-agent: Name, ClassName or Version of %T: %v\n", m, err)
			return 1
		}
		list = append(list, told)
	}
	fmt.Fprintln(out) // what a vendor's package has printed is on lines of its own
	if err := json.NewEncoder(out).Encode(list); err != nil {
		fmt.Fprintln(os.Stderr, "ferric-agent:", err)
		return 1
	}
	return 0
}

// readCmdline reads the kernel command line; none is an empty one.
func readCmdline(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

// mediaPatience bounds the wait for virtual media: a BMC may take a while to
// show them again after the firmware has handed the machine over.
const mediaPatience = 10 * time.Second

// loadMedia reads virtual media. A machine that knows already where its API is
// does not wait for parameters. They are kept for the next life of the agent in
// this boot: a BMC may have lost the medium until then.
func loadMedia(ctx context.Context, c *config.Config) (vmedia.Found, error) {
	m := vmedia.Machine{Sys: c.Sys, Dev: c.Dev, Etc: c.Etc, Patience: mediaPatience}
	path := filepath.Join(c.StateDir, "agent.parameters")
	var kept []byte
	err := forgetFormerBoot(c)
	if err == nil {
		kept, err = os.ReadFile(path)
	}
	if err == nil && len(kept) > 0 {
		m.Patience = 0
	}
	found, err := m.Load(ctx, len(c.APIURLs) > 0 || c.UseMDNS)
	switch {
	case found.Parameters == "" && len(kept) > 0 && ctx.Err() == nil:
		found.Parameters = string(kept)
		return found, nil
	case err == nil && found.Parameters != "":
		// Without them a restart needs the medium again, as this one does.
		_ = replaceFile(path, []byte(found.Parameters))
	}
	return found, err
}
