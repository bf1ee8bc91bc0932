// Package agent is the daemon in the ramdisk: it finds its node at the
// bare-metal API, serves the ironic-python-agent protocol and runs the
// commands of a conductor with the hardware managers that it was built with.
//
// The agent knows nothing of how the ramdisk was made; it also runs as a
// service of an ordinary distribution. Reading order: Main, Agent.Run, join.go,
// serve.go, commands.go.
package agent

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/agent/config"
	"ferric/agent/ironic"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Version of the agent.
const Version = "0.1.0"

// wireVersion is what the conductor is told: the agent of OpenStack whose
// protocol this is, and ours as a local version (PEP 440).
const wireVersion = "12.0.0+ferric." + Version

// Agent is one life of the agent. Use New.
type Agent struct {
	cfg      *config.Config
	managers []hwmanager.Manager
	log      *logrus.Entry
	journal  *ring
	host     *hwmanager.Host
	set      *hwmanager.Set

	disks diskWatch

	lockdown chan struct{} // gets a value when the conductor wants silence
	rescue   chan struct{} // gets a value when the machine is handed over for a rescue

	mu    sync.Mutex
	node  hwmanager.Node // as the conductor last sent it
	token string         // of this boot
	// offered are the plugins that the conductor has offered, and what became of them.
	offered []ipa.OfferedPlugin

	api *ironic.Client // nil before the lookup, and without an API
}

// New makes an agent that logs to console.
func New(cfg *config.Config, managers []hwmanager.Manager, console io.Writer) *Agent {
	journal := newRing(journalSize)
	logger := logrus.New()
	logger.SetOutput(io.MultiWriter(console, journal))
	logger.SetFormatter(&logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00"})
	if cfg.Debug {
		logger.SetLevel(logrus.DebugLevel)
	}
	log := logrus.NewEntry(logger)
	return &Agent{
		cfg: cfg, managers: managers, log: log, journal: journal,
		lockdown: make(chan struct{}, 1), rescue: make(chan struct{}, 1),
		host: &hwmanager.Host{
			Sys: cfg.Sys, Proc: cfg.Proc, Dev: cfg.Dev, Etc: cfg.Etc, Run: hwmanager.Exec{}, Log: log,
			Guard:    hwmanager.DeviceGuard{InRamdisk: inRamdisk(), Allowed: cfg.AllowDevices},
			Settings: settingsOf(cfg),
		},
	}
}

// Run is the life of the agent, in the order of the agent contract, section
// "Start-up order". It returns when ctx ends, or with what made going on
// impossible.
func (a *Agent) Run(ctx context.Context) error {
	a.log.Infof("ferric-agent %s starting", Version)
	if a.rescued() {
		a.log.Info("the machine was handed over for a rescue: idle until it is restarted")
		<-ctx.Done()
		return nil
	}
	if err := forgetFormerBoot(a.cfg); err != nil {
		a.log.WithError(err).Warn("what a former boot left cannot be removed")
	}
	if err := a.discover(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	if err := a.syncClock(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	if err := a.loadManagers(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	if _, err := a.lookAtDisks(ctx); err != nil {
		a.log.WithError(err).Warn("disks cannot be listed")
	}
	if err := pause(ctx, a.cfg.HardwareInitializationDelay); err != nil {
		return nil
	}
	if _, err := a.waitForMACs(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	inspected := a.inspect(ctx)
	if len(a.cfg.APIURLs) == 0 {
		a.log.Warn("no API URL is configured (ipa-api-url): no lookup, no heartbeats")
		return a.serveWithoutAPI(ctx)
	}
	return a.join(ctx, inspected)
}

// unlessEnded is err, or nil if it is only that the agent was told to stop.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Waiting for a network interface (agent contract, section "Start-up order").
const (
	macPatience = 60 * time.Second
	macPoll     = 500 * time.Millisecond
)

// waitForMACs waits until a network interface has a hardware address and
// returns all of them.
func (a *Agent) waitForMACs(ctx context.Context) ([]string, error) {
	deadline := time.Now().Add(macPatience)
	for {
		interfaces, err := hwmanager.First(a.set, "list_network_interfaces", func(l hwmanager.InterfaceLister) ([]ipa.Interface, error) {
			return l.Interfaces(ctx, a.host)
		})
		if err != nil {
			return nil, fmt.Errorf("list network interfaces: %w", err)
		}
		var macs []string
		for _, i := range interfaces {
			if i.MACAddress != "" {
				macs = append(macs, i.MACAddress)
			}
		}
		if len(macs) > 0 {
			return macs, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no network interface with a hardware address within %s", macPatience)
		}
		if err := pause(ctx, macPoll); err != nil {
			return nil, err
		}
	}
}

// pause waits; the error is that of ctx.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
