package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"ferric/agent/command"
	"ferric/agent/ironic"
	"ferric/agent/server"
	"ferric/api/ipa"
)

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
	address, host, err := a.address(ctx, client.URLs())
	if err != nil {
		return unlessEnded(ctx, err)
	}
	opts := server.Options{
		Version: wireVersion, Token: token, Log: a.log,
		TokenlessGET: api < ironic.TokenOnEveryRequest,
		Logs:         a.writeLogs,
		EraseReport:  a.host.Erased.Last,
		Plugins:      a.plugins,
	}
	scheme, certificate := a.cfg.AdvertiseProtocol, ""
	switch {
	case a.cfg.ListenTLS:
		scheme = "https"
		opts.TLS, err = a.staticTLS()
	case a.cfg.EnableAutoTLS && api.SupportsVerifyCA():
		scheme = "https"
		opts.TLS, certificate, err = a.certificate(address)
	}
	if err != nil {
		return err
	}
	listener, err := listen(ctx, a.cfg.ListenHost, a.cfg.ListenPort)
	if err != nil {
		return err
	}
	beat := ipa.Heartbeat{
		CallbackURL:  scheme + "://" + a.hostPort(host, listener),
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

// serveWithoutAPI serves an agent that has no conductor (standalone): whoever
// knows the token that it was given in advance commands it; without one no
// command passes.
func (a *Agent) serveWithoutAPI(ctx context.Context) error {
	listener, err := listen(ctx, a.cfg.ListenHost, a.cfg.ListenPort)
	if err != nil {
		return err
	}
	a.setToken(a.cfg.AgentToken)
	opts := server.Options{Version: wireVersion, Token: a.cfg.AgentToken, Log: a.log, Logs: a.writeLogs, EraseReport: a.host.Erased.Last, Plugins: a.plugins}
	if a.cfg.ListenTLS {
		if opts.TLS, err = a.staticTLS(); err != nil {
			return err
		}
	}
	exec := command.New(ctx, a.commands(), command.Options{Dir: a.cfg.StateDir, Ended: func() {}, Log: a.log})
	a.log.WithField("address", listener.Addr().String()).Info("server listening")
	return a.serveUntilTold(ctx, server.New(exec, opts), listener, func() {})
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

// address is the one that the conductor is to call back; urls are those of the
// API. Instead of an address a host name may be configured, which is then
// advertised as it is.
func (a *Agent) address(ctx context.Context, urls []string) (netip.Addr, string, error) {
	if host := a.cfg.AdvertiseHost; host != "" {
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			return netip.Addr{}, host, nil
		}
		return addr, addr.String(), nil
	}
	addr, err := ironic.WaitForAddress(ctx, ironic.Addressing{
		Interface: a.cfg.NetworkInterface, URLs: urls,
		Attempts: a.cfg.IPLookupAttempts, Sleep: a.cfg.IPLookupSleep, Timeout: a.cfg.HTTPRequestTimeout,
	})
	return addr, addr.String(), err
}

// hostPort is host and port to advertise; the port is the one listened on
// unless another one was configured.
func (a *Agent) hostPort(host string, l net.Listener) string {
	port := a.cfg.AdvertisePort
	if port == 0 {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			port = tcp.Port
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
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
