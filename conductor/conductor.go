// Package conductor puts the thin conductor together: REST API, flows,
// drivers, netboot servers and periodic jobs over one database. One call,
// Run, is its whole life.
package conductor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ferric/conductor/driver"
	"ferric/conductor/driver/agent"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/direct"
	"ferric/conductor/driver/ipmi"
	"ferric/conductor/driver/pxe"
	"ferric/conductor/explain"
	"ferric/conductor/flow"
	"ferric/conductor/metrics"
	"ferric/conductor/netboot"
	"ferric/conductor/plugins"
	"ferric/conductor/restapi"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Run serves until ctx ends, then stops taking requests and lets work in
// flight finish for a while. What does not finish the next start goes
// on with.
func Run(ctx context.Context, cfg Config, log *logrus.Entry) error {
	path, err := cfg.databasePath()
	if err != nil {
		return err
	}
	unlock, err := lockDatabase(path)
	if err != nil {
		return err
	}
	defer unlock()
	db, err := store.Open(ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	counts := metrics.New(log)
	db.OnCommit(counts.Commit)
	cfg.IPMI.Observe, cfg.Flow.Observer = counts.BMCCommand, counts
	if cfg.AroundCommit != nil {
		db.AroundCommit(cfg.AroundCommit)
	}

	registry, err := builtin.New(cfg.Drivers)
	if err != nil {
		return err
	}
	cfg.Netboot.Leases = pxe.Leases{Store: db}
	machines := &pxe.Directory{Store: db, Fallback: cfg.Boot.EnableNetbootFallback, DefaultBootMode: cfg.Boot.DefaultBootMode}
	boots, err := netboot.New(cfg.Netboot, machines, recordEvents(ctx, db, log), log.WithField("service", "netboot"))
	if err != nil {
		return err
	}
	cfg.IPMI.Memory = db
	bmcs := ipmi.New(cfg.IPMI, log)
	defer bmcs.Close()
	consoles := ipmi.NewConsoles(bmcs, cfg.Consoles, log)
	defer consoles.Close()
	views := steps.Views{Node: restapi.AgentNode, Port: restapi.AgentPort, Agents: cfg.Flow.Agents}
	cfg.Boot.KernelParams, cfg.Boot.AppendParams, cfg.Boot.CheckLoader = cfg.Netboot.KernelParams, cfg.Netboot.AppendParams, boots.CheckLoader
	images := direct.New(cfg.Direct, registry, views)
	registry.Add(builtin.Implementations{
		Power:      map[string]driver.Power{"ipmitool": ipmi.NewPower(bmcs), "agent": agent.NewPower(cfg.Flow.Agents)},
		Management: map[string]driver.Management{"ipmitool": ipmi.NewManagement(bmcs)},
		Vendor:     map[string]driver.Vendor{"ipmitool": ipmi.NewVendor(bmcs)},
		Boot:       pxe.Interfaces(cfg.Boot, registry),
		Deploy:     map[string]driver.Deploy{"direct": images, "custom-agent": direct.NewCustomAgent(images), "ramdisk": direct.NewRamdisk(images)},
		Console:    map[string]driver.Console{"ipmitool-socat": consoles.Socat(), "ipmitool-shellinabox": consoles.WebSocket()},
		Inspect:    map[string]driver.Inspect{"agent": agent.NewInspect(cfg.Agent, cfg.Flow.Agents, registry)},
		Rescue:     map[string]driver.Rescue{"agent": agent.NewRescue(registry)},
	})
	warnings, err := registry.Check()
	if err != nil {
		return err
	}
	for _, text := range warnings {
		log.Warn(text)
	}
	if cfg.Flow.AutoDiscovery {
		n := &store.Node{Driver: cfg.Flow.AutoDiscoveryDriver}
		if err := registry.SetDefaults(n); err != nil {
			return fmt.Errorf("[auto_discovery]driver: %w", err)
		}
		machines.Unknown = pxe.Discovery(cfg.Boot, n, cfg.Agent.KernelParams())
	}

	// Work outlives the stop of the servers, up to the graceful timeout.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	tasks := task.NewManager(work, task.Config{
		Host: cfg.Host, WorkersPoolSize: cfg.WorkersPoolSize, ReservedWorkers: cfg.ReservedWorkersPercentage,
		LockRetryAttempts: cfg.NodeLockedRetryAttempts, LockRetryInterval: cfg.NodeLockedRetryInterval,
		History: cfg.history(),
	}, db, log)
	cfg.Flow.NodeView, cfg.Flow.PortView = restapi.AgentNode, restapi.AgentPort
	flows := flow.New(cfg.Flow, db, tasks, registry, log)

	boots.Sightings().Observe(counts.Sighting)
	cfg.API.Metrics, cfg.API.Observe = counts.Handler(), counts.Request
	cfg.API.Explain = &explain.Sources{
		Drivers: registry, Sightings: boots.Sightings(), Holding: tasks.Holding, Workers: tasks.Workers, AutomatedClean: cfg.Flow.AutomatedClean,
		Site: explain.Site{DHCP: string(cfg.Netboot.DHCP), APIURL: cfg.Boot.APIURL},
	}
	if cfg.API.Plugins, err = plugins.Open(ctx, cfg.Plugins, db, log.WithField("service", "plugins")); err != nil {
		return err
	}
	api, err := restapi.New(cfg.API, db, flows, log)
	if err != nil {
		return err
	}
	listeners, err := listenAPI(cfg, api, log)
	if err != nil {
		return err
	}
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	if err := flows.Recover(ctx); err != nil {
		closeAll()
		return fmt.Errorf("recover from an earlier run: %w", err)
	}
	if err := db.RegisterConductor(ctx, cfg.Host, strings.ToLower(cfg.ConductorGroup), registry.TypeNames()); err != nil {
		closeAll()
		return err
	}
	log.WithFields(logrus.Fields{"api": listeners[0].Addr(), "conductor": cfg.Host, "database": path}).Info("ferric conductor is up")

	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		group.Go(func() error { return serveAPI(groupCtx, l) })
	}
	context.AfterFunc(groupCtx, api.EndStreams)
	sources := metrics.Sources{Store: db, Tasks: tasks, Streams: api.OpenStreams, Version: metrics.Version()}
	if cfg.Flow.Sensors.Metrics {
		sources.Sensors = func(tell func(value float64, node, kind, sensor, unit string)) int {
			values, leftOut := flows.SensorValues()
			for _, v := range values {
				tell(v.Value, v.Node, v.Kind, v.Sensor, v.Unit)
			}
			return leftOut
		}
	}
	counts.Collect(sources)
	group.Go(func() error { return counts.Follow(groupCtx, db) })
	group.Go(func() error { return boots.Run(groupCtx) })
	group.Go(func() error { return flows.StartConsoles(groupCtx) })
	group.Go(func() error {
		if err := trim(groupCtx); err != nil {
			log.WithError(err).Debug("cannot give memory back")
		}
		return nil
	})
	for _, job := range jobs(cfg, db, flows) {
		group.Go(func() error { return job.run(groupCtx, log) })
	}
	err = group.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // somebody was still beginning when the stop came
	}
	log.Info("ferric conductor stops")
	waitFor(tasks, cfg.GracefulShutdownTimeout)
	return errors.Join(err, db.UnregisterConductor(work, cfg.Host))
}

// lockDatabase makes sure that no other process uses the database: SQLite
// would allow it, the conductor's recovery would not.
func lockDatabase(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("database directory: %w", err)
	}
	file, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("database %s is in use by another conductor", path)
	}
	return func() { file.Close() }, nil
}

// job is periodic work.
type job struct {
	name  string
	every time.Duration // 0 is never
	fn    func(ctx context.Context) error
}

// jobs is the literal list.
func jobs(cfg Config, db *store.Store, flows *flow.Flow) []job {
	return []job{
		{"conductor keepalive", cfg.HeartbeatInterval, func(ctx context.Context) error { return db.TouchConductor(ctx, cfg.Host) }},
		{"provision timeouts", cfg.CheckProvisionStateInterval, flows.CheckTimeouts},
		{"boot retry", bootRetryInterval(cfg.Flow), flows.RetryBoots},
		{"power state sync", cfg.SyncPowerStateInterval, flows.NewPowerSync(cfg.SyncPowerStateInterval).Run},
		{"power failure recovery", cfg.PowerFailureRecoveryInterval, flows.RecoverPowerFailures},
		{"sensors", cfg.Flow.Sensors.Every(), flows.PollSensors},
		{"history purge", cfg.NodeHistoryCleanupInterval, func(ctx context.Context) error { return purgeHistory(ctx, cfg, db) }},
	}
}

// bootRetryInterval is how often machines are looked for that do not boot.
func bootRetryInterval(cfg flow.Config) time.Duration {
	if cfg.BootRetryTimeout <= 0 {
		return 0
	}
	return cfg.BootRetryCheckInterval
}

// run repeats the job until ctx ends. A failure is logged; the next run may do.
func (j job) run(ctx context.Context, log *logrus.Entry) error {
	if j.every <= 0 {
		return nil
	}
	ticker := time.NewTicker(j.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := j.fn(ctx); err != nil && ctx.Err() == nil {
				log.WithField("job", j.name).WithError(err).Error("periodic job failed")
			}
		}
	}
}

// eventQueue bounds the netboot events that wait to be written.
const eventQueue = 1024

// recordEvents returns a function that files netboot events under their nodes
// without making the servers wait. When the database cannot follow, events are
// dropped rather than machines kept waiting.
func recordEvents(ctx context.Context, db *store.Store, log *logrus.Entry) func(netboot.Event) {
	queue := make(chan netboot.Event, eventQueue)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-queue:
				n, err := db.Node(ctx, e.NodeUUID)
				if err == nil {
					err = db.AddEvent(ctx, n.ID, e.Time, e.Kind, e.Detail)
				}
				if err != nil && ctx.Err() == nil {
					log.WithError(err).Warn("cannot record a netboot event")
				}
			}
		}
	}()
	return func(e netboot.Event) {
		log.WithFields(logrus.Fields{"node": e.NodeUUID, "mac": e.MAC, "event": e.Kind}).Info(e.Detail)
		if e.NodeUUID == "" {
			return
		}
		select {
		case queue <- e:
		default:
			log.Warn("too many netboot events at once, one is not recorded")
		}
	}
}

// waitFor lets background work end, for at most the given time.
func waitFor(tasks *task.Manager, limit time.Duration) {
	done := make(chan struct{})
	go func() {
		tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}
