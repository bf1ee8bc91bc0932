package agent

import (
	"context"
	"path/filepath"
	"slices"

	"ferric/agent/config"
	"ferric/agent/inspection"
	"ferric/agent/ironic"
)

// inspectProgram is the name of the other agent's program that only inspects.
const inspectProgram = "ironic-collect-introspection-data"

// inspectArgs are the arguments of the process without "inspect", and whether
// an inspection is all that is wanted: "ferric-agent inspect [--daemon]", or by
// the name of the program.
func inspectArgs(argv []string) (args []string, only bool) {
	if len(argv) > 1 && argv[1] == "inspect" {
		args = slices.Clone(argv[2:])
		if i := slices.Index(args, "--daemon"); i >= 0 {
			args[i] = "--introspection-daemon"
		}
		return args, true
	}
	return argv[1:], filepath.Base(argv[0]) == inspectProgram
}

// Inspect sends what the machine is, once or, as introspection_daemon, again and
// again until ctx ends. Nothing is served and no node is looked up. Without any
// URL the service is looked for by multicast DNS.
func (a *Agent) Inspect(ctx context.Context) error {
	if len(a.cfg.InspectionCallbackURLs) == 0 && len(a.cfg.APIURLs) == 0 {
		a.cfg.InspectionCallbackURLs = []string{config.MDNS}
	}
	if err := a.discover(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	if err := a.loadManagers(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	if _, err := a.waitForMACs(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	client, err := ironic.NewHTTPClient(a.apiOptions())
	if err != nil {
		return err
	}
	options := a.inspectionOptions(client)
	if a.cfg.IntrospectionDaemon {
		inspection.Daemon(ctx, options, a.cfg.IntrospectionDaemonPostInterval)
		return nil
	}
	_, err = inspection.Run(ctx, options)
	return unlessEnded(ctx, err)
}
