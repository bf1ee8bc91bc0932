// Package agent is the daemon in the ramdisk: it finds its node at the
// bare-metal API, serves the ironic-python-agent protocol and runs the
// commands of a conductor with the hardware managers that it was built with.
//
// The agent knows nothing of how the ramdisk was made; it also runs as a
// service of an ordinary distribution. Reading order: Main, Agent.Run,
// commands.go.
package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/agent/command"
	"ferric/agent/config"
	"ferric/agent/ironic"
	"ferric/agent/server"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Version of the agent.
const Version = "0.1.0"

// wireVersion is what the conductor is told: the agent of OpenStack whose
// protocol this is, and ours as a local version (PEP 440).
const wireVersion = "12.0.0+ferric." + Version

// Main runs an agent with the given managers and the arguments of the process
// until it is told to stop; it returns the exit status.
func Main(managers []hwmanager.Manager) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	cfg, warnings, err := config.Parse(os.Args[1:], config.Sources{Cmdline: readCmdline}, os.Stderr)
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
	if err := a.Run(ctx); err != nil {
		a.log.WithError(err).Error("ferric-agent stopped")
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
	var err error
	if a.set, err = hwmanager.Load(ctx, a.host, a.managers); err != nil {
		return err
	}
	if _, err := a.lookAtDisks(ctx); err != nil {
		a.log.WithError(err).Warn("disks cannot be listed")
	}
	if err := pause(ctx, a.cfg.HardwareInitializationDelay); err != nil {
		return nil
	}
	if _, err := a.waitForMACs(ctx); err != nil {
		return err
	}
	if len(a.cfg.APIURLs) == 0 {
		a.log.Warn("no API URL is configured (ipa-api-url): no lookup, no heartbeats")
		return a.serveWithoutAPI(ctx)
	}
	client, err := a.newClient()
	if err != nil {
		return err
	}
	found, err := client.WaitForLookup(ctx, a.waitForMACs, a.cfg.LookupInterval, a.cfg.LookupTimeout, a.log)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	uuid, _ := found.Node["uuid"].(string)
	a.log.WithField("node", uuid).Info("lookup done")
	a.setNode(found.Node)
	a.applyLookup(found.Config)
	token, err := a.adoptToken(uuid, found.Config.AgentToken)
	if err != nil {
		a.log.WithError(err).Error("cannot join: idle until the machine is restarted")
		<-ctx.Done()
		return nil
	}
	a.setToken(token)
	if err := a.waitForRoot(ctx, found.Node); err != nil {
		return nil
	}
	return a.serve(ctx, client, uuid, token, time.Duration(found.Config.HeartbeatTimeout*float64(time.Second)))
}

func (a *Agent) newClient() (*ironic.Client, error) {
	opts := ironic.Options{
		URLs: a.cfg.APIURLs, Timeout: a.cfg.HTTPRequestTimeout, Insecure: a.cfg.Insecure,
		CAFile: a.cfg.CAFile, GlobalRequestID: a.cfg.GlobalRequestID,
	}
	if a.cfg.IronicAPIVersion != "" {
		var err error
		if opts.Version, err = ironic.ParseVersion(a.cfg.IronicAPIVersion); err != nil {
			return nil, err
		}
	}
	return ironic.NewClient(opts)
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

// versionPatience bounds the wait for the API version of the server. It
// decides about TLS for the whole life of the agent.
const versionPatience = 30 * time.Second

// serve listens, sends heartbeats and runs commands until ctx ends.
func (a *Agent) serve(ctx context.Context, client *ironic.Client, uuid, token string, heartbeatTimeout time.Duration) error {
	api, err := client.WaitForVersion(ctx, versionPatience)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		a.log.WithError(err).Warn("a conductor of today is assumed: TLS, and a token on every request")
		api = ironic.TokenOnEveryRequest
	}
	address, err := a.address(ctx)
	if err != nil {
		return err
	}
	opts := server.Options{
		Version: wireVersion, Token: token, Log: a.log,
		TokenlessGET: api < ironic.TokenOnEveryRequest,
		Logs:         a.writeLogs,
	}
	scheme, certificate := a.cfg.AdvertiseProtocol, ""
	if a.cfg.EnableAutoTLS && api.SupportsVerifyCA() {
		scheme = "https"
		if opts.TLS, certificate, err = a.certificate(address); err != nil {
			return err
		}
	}
	listener, err := listen(ctx, a.cfg.ListenHost, a.cfg.ListenPort)
	if err != nil {
		return err
	}
	beat := ipa.Heartbeat{
		CallbackURL:  scheme + "://" + a.hostPort(address, listener),
		AgentVersion: wireVersion, AgentToken: token, AgentVerifyCA: certificate,
	}
	beatsCtx, stopBeats := context.WithCancel(ctx)
	defer stopBeats()
	heartbeats := ironic.NewHeartbeater(func(ctx context.Context) error {
		return client.Heartbeat(ctx, uuid, beat)
	}, heartbeatTimeout, a.cfg.ForcedHeartbeatGap, a.log)

	exec := command.New(ctx, a.commands(), command.Options{Dir: a.cfg.StateDir, Ended: heartbeats.Force, Log: a.log})
	a.log.WithField("url", beat.CallbackURL).Info("server listening")
	go heartbeats.Run(beatsCtx)
	return a.serveUntilTold(ctx, server.New(exec, opts), listener, stopBeats)
}

// serveWithoutAPI serves without a token, so that no command passes.
func (a *Agent) serveWithoutAPI(ctx context.Context) error {
	listener, err := listen(ctx, a.cfg.ListenHost, a.cfg.ListenPort)
	if err != nil {
		return err
	}
	exec := command.New(ctx, a.commands(), command.Options{Ended: func() {}, Log: a.log})
	a.log.WithField("address", listener.Addr().String()).Info("server listening")
	return a.serveUntilTold(ctx, server.New(exec, server.Options{Version: wireVersion, Log: a.log}), listener, func() {})
}

// shutdownPatience bounds the wait for requests in flight.
const shutdownPatience = 5 * time.Second

// serveUntilTold serves until ctx ends, until a rescue, which leaves the
// network as it is, or until a lockdown, after which the agent stays alive and
// silent, so that nobody restarts it.
func (a *Agent) serveUntilTold(ctx context.Context, s *server.Server, l net.Listener, stopBeats func()) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	locked := false
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-a.lockdown:
		locked = true
	case <-a.rescue:
	case <-ctx.Done():
	}
	stopBeats()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPatience)
	defer cancel()
	if err := s.Shutdown(grace); err != nil {
		a.log.WithError(err).Warn("requests in flight were cut off")
	}
	if locked {
		a.silenceNetwork()
		<-ctx.Done()
	}
	return nil
}

// address is the one that the conductor is to call back.
func (a *Agent) address(ctx context.Context) (netip.Addr, error) {
	switch {
	case a.cfg.AdvertiseHost != "":
		addr, err := netip.ParseAddr(a.cfg.AdvertiseHost)
		if err != nil {
			return netip.Addr{}, ipa.LookupAgentIP.New("advertise_host %q is not an IP address", a.cfg.AdvertiseHost)
		}
		return addr, nil
	case a.cfg.NetworkInterface != "":
		return ironic.InterfaceAddress(a.cfg.NetworkInterface)
	}
	return ironic.WaitForAddress(ctx, a.cfg.APIURLs, a.cfg.IPLookupAttempts, a.cfg.IPLookupSleep, a.cfg.HTTPRequestTimeout)
}

// hostPort is address and port to advertise; the port is the one listened on
// unless another one was configured.
func (a *Agent) hostPort(address netip.Addr, l net.Listener) string {
	port := a.cfg.AdvertisePort
	if port == 0 {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			port = tcp.Port
		}
	}
	return netip.AddrPortFrom(address, uint16(port)).String()
}

// listen listens on both families; without IPv6 in the kernel "::" becomes
// IPv4 only.
func listen(ctx context.Context, host string, port int) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil && strings.Trim(host, "[]") == "::" {
		l, err = lc.Listen(ctx, "tcp4", net.JoinHostPort("0.0.0.0", strconv.Itoa(port)))
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
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
