package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
)

// Sources are where the facts come from. Without one of the functions, its
// facts are missing.
type Sources struct {
	Store     *store.Store
	Drivers   driver.Resolver
	Sightings interface {
		Of(mac string) []netboot.Sighting
		Recent(n int) []netboot.Sighting
	}
	// Progress asks the node's agent.
	Progress func(ctx context.Context, id int64) (*ipa.Progress, error)
	// Holding tells what is done with a node under its lock.
	Holding func(id int64) (purpose string, since time.Time, ok bool)
	// Workers counts those that are busy, and all.
	Workers func() (busy, all int)
	// AutomatedClean is the configuration's.
	AutomatedClean bool
	Site           Site
}

const (
	// probeTimeout bounds the questions to BMC and agent.
	probeTimeout = 4 * time.Second
	// recentSightings are looked through for machines that no node is of.
	recentSightings = 500
	maxStrangers    = 10
	maxEvents       = 200
)

// networkBoots are the boot interfaces that boot over the conductor's servers.
var networkBoots = []string{"ipxe", "pxe", "http", "http-ipxe"}

// Gather observes a node. With probe, its BMC and its agent are asked, too.
func (s Sources) Gather(ctx context.Context, n *store.Node, probe bool) (*Facts, error) {
	f := &Facts{
		Now: time.Now().UTC(), UUID: n.UUID, Name: text(n.Name), State: n.ProvisionState, Since: n.ProvisionUpdatedAt, Power: text(n.PowerState), TargetPower: text(n.TargetPowerState),
		Maintenance: n.Maintenance, Reason: text(n.MaintenanceReason), Fault: text(n.Fault), LastError: text(n.LastError), Reservation: text(n.Reservation),
		Driver: n.Driver, Protected: n.Protected, Retired: n.Retired, ResourceClass: text(n.ResourceClass), Instance: text(n.InstanceUUID),
		CleansItself: s.AutomatedClean, Site: s.Site, Ports: []Port{}, Events: []Event{},
		AgentURL: n.DriverInternalInfo.String(driver.KeyAgentURL), AgentVersion: n.DriverInternalInfo.String(driver.KeyAgentVersion),
		LookedUp:  n.DriverInternalInfo.String(driver.KeyAgentToken) != "",
		NoNetboot: !slices.Contains(networkBoots, text(n.BootInterface)),
	}
	if n.TargetProvisionState != nil {
		f.Target = *n.TargetProvisionState
	}
	if n.AutomatedClean != nil {
		f.CleansItself = *n.AutomatedClean
	}
	if at, err := time.Parse(store.HeartbeatLayout, n.DriverInternalInfo.String(driver.KeyAgentLastHeartbeat)); err == nil {
		f.LastHeartbeat = &at
	}
	if s.Holding != nil {
		if purpose, since, ok := s.Holding(n.ID); ok {
			f.Work, f.WorkSince = purpose, &since
		}
	}
	if s.Workers != nil {
		f.Site.WorkersBusy, f.Site.Workers = s.Workers()
	}
	f.readStep(n)
	if err := s.readEvents(ctx, n, f); err != nil {
		return nil, err
	}
	if err := s.readPorts(ctx, n, f); err != nil {
		return nil, err
	}
	if err := s.readPlugins(ctx, n, f); err != nil {
		return nil, err
	}
	s.askHardware(ctx, n, f, probe)
	if probe && s.Progress != nil && f.AgentURL != "" && n.ProvisionState.Is(provision.Waiting) {
		if p, err := s.Progress(ctx, n.ID); err == nil {
			f.Progress = p
		}
	}
	return f, nil
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// phases are the states in which steps run, with their kind.
var phases = map[provision.State]steps.Kind{
	provision.Cleaning: steps.Clean, provision.CleanWait: steps.Clean, provision.CleanHold: steps.Clean, provision.CleanFailed: steps.Clean,
	provision.Deploying: steps.Deploy, provision.WaitCallback: steps.Deploy, provision.DeployHold: steps.Deploy, provision.DeployFailed: steps.Deploy,
	provision.Servicing: steps.Service, provision.ServiceWait: steps.Service, provision.ServiceHold: steps.Service, provision.ServiceFailed: steps.Service,
}

func (f *Facts) readStep(n *store.Node) {
	kind, ok := phases[n.ProvisionState]
	if !ok {
		return
	}
	f.NoAgent = n.DriverInternalInfo.Bool(kind.NoRamdisk)
	step := map[string]store.Object{steps.Clean.Name: n.CleanStep, steps.Deploy.Name: n.DeployStep, steps.Service.Name: n.ServiceStep}[kind.Name]
	if step.String("step") == "" {
		return
	}
	f.Step = step.String("interface") + "." + step.String("step")
	if list, ok := n.DriverInternalInfo[kind.List].([]any); ok {
		f.Steps = len(list)
	}
	if index, ok := n.DriverInternalInfo[kind.Index].(float64); ok {
		f.StepNumber = int(index) + 1
	}
}

func (s Sources) readEvents(ctx context.Context, n *store.Node, f *Facts) error {
	list, err := s.Store.Events(ctx, n.ID)
	if err != nil {
		return fmt.Errorf("explain node %s: %w", n.UUID, err)
	}
	for _, e := range list {
		at := e.Time.UTC()
		switch {
		case e.Kind == event.Verb:
			f.AskedVerb, f.AskedBy, f.AskedAt = e.Data.String("verb"), e.Data.String("user"), &at
		case e.Kind == event.Step && e.Data.String("outcome") == event.Started && e.Data.String("step") == f.Step:
			f.StepSince = &at
		case e.Kind == event.Power && (e.Detail == "power on verified" || strings.HasPrefix(e.Detail, "reboot") || e.Detail == "power on requested"):
			f.Booted = &at
		}
	}
	for _, e := range list[max(0, len(list)-maxEvents):] {
		seen := Event{e.Time.UTC(), e.Kind, e.Detail}
		f.Events = append(f.Events, seen)
		if e.Kind == event.Lookup && e.Data.Bool("refused") && !seen.Time.Before(f.since().Add(-time.Second)) {
			f.RefusedLookups = append(f.RefusedLookups, seen)
		}
	}
	return nil
}

// readPlugins reads what the agent of this boot has reported, also when it has gone.
func (s Sources) readPlugins(ctx context.Context, n *store.Node, f *Facts) error {
	r, err := s.Store.PluginReport(ctx, n.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("explain node %s: %w", n.UUID, err)
	}
	if agent := driver.AgentDigest(n); agent != r.Agent && (agent != "" || r.ReportedAt.Before(f.since().Add(-time.Second))) {
		return nil
	}
	texts := func(o store.Object) map[string]string {
		out := map[string]string{}
		for name := range o {
			out[name] = o.String(name)
		}
		return out
	}
	f.Plugins = &Plugins{Time: r.ReportedAt.UTC(), Loaded: texts(r.Loaded), Refused: texts(r.Refused), SetAside: texts(r.SetAside)}
	return nil
}

func (s Sources) readPorts(ctx context.Context, n *store.Node, f *Facts) error {
	ports, err := s.Store.NodePorts(ctx, n.ID)
	if err != nil {
		return fmt.Errorf("explain node %s: %w", n.UUID, err)
	}
	for _, p := range ports {
		port := Port{Address: p.Address, PXEEnabled: p.PXEEnabled, Sightings: []Sighting{}}
		if s.Sightings != nil {
			for _, seen := range s.Sightings.Of(p.Address) {
				port.Sightings = append(port.Sightings, sighting(seen))
			}
		}
		f.Ports = append(f.Ports, port)
	}
	if s.Sightings == nil {
		return nil
	}
	for _, seen := range s.Sightings.Recent(recentSightings) {
		if seen.NodeUUID == "" && seen.Reason != "" && len(f.Strangers) < maxStrangers {
			f.Strangers = append(f.Strangers, sighting(seen))
		}
	}
	return nil
}

func sighting(s netboot.Sighting) Sighting {
	return Sighting{Time: s.Time.UTC(), MAC: s.MAC, IP: s.IP, Node: s.NodeUUID, Protocol: s.Protocol, Request: s.Request, Answer: s.Answer, Reason: s.Reason, Count: s.Count}
}

// askHardware tells how it went with the BMC the last time and, with probe, now.
func (s Sources) askHardware(ctx context.Context, n *store.Node, f *Facts, probe bool) {
	if s.Drivers == nil {
		return
	}
	ifs, err := s.Drivers.Interfaces(n)
	if err != nil {
		f.DeployFault, f.PowerFault = err.Error(), err.Error()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := ifs.Power.Validate(ctx, n); err != nil {
		f.PowerFault = err.Error()
	}
	// What its instance is to be is nobody's fault yet: that is the deploy interface's.
	if err := ifs.Boot.Validate(ctx, n); err != nil {
		f.DeployFault = err.Error()
	}
	if probe && f.PowerFault == "" {
		state, err := ifs.Power.PowerState(ctx, n)
		f.Probe = state
		if err != nil {
			f.Probe, f.ProbeError = "", err.Error()
		}
		if contact, ok := lastContact(ifs, n); ok && errors.Is(err, context.DeadlineExceeded) && !contact.OK {
			f.ProbeError = contact.Error // which says why
		}
	}
	if contact, ok := lastContact(ifs, n); ok {
		f.BMC = &Contact{Time: contact.At, OK: contact.OK, What: contact.What, Error: contact.Error}
	}
}

func lastContact(ifs driver.Interfaces, n *store.Node) (driver.Contact, bool) {
	power, ok := ifs.Power.(driver.Contacted)
	if !ok {
		return driver.Contact{}, false
	}
	return power.LastContact(n)
}
