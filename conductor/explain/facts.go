// Package explain says why a node is where it is and what to do next. Facts are
// what was observed of it; causes.go is the table of what they mean. The table
// is pure; gathering (gather.go) is where the facts come from.
package explain

import (
	"maps"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/provision"
)

// Facts are what was observed of a node.
type Facts struct {
	Now  time.Time `json:"now"`
	UUID string    `json:"uuid"`
	Name string    `json:"name,omitempty"`

	State       provision.State `json:"provision_state"`
	Target      provision.State `json:"target_provision_state,omitempty"`
	Since       *time.Time      `json:"provision_updated_at,omitempty"`
	AskedVerb   string          `json:"asked_verb,omitempty"` // the request that was accepted last
	AskedBy     string          `json:"asked_by,omitempty"`
	AskedAt     *time.Time      `json:"asked_at,omitempty"`
	Power       string          `json:"power_state,omitempty"`
	TargetPower string          `json:"target_power_state,omitempty"`
	Maintenance bool            `json:"maintenance"`
	Reason      string          `json:"maintenance_reason,omitempty"`
	Fault       string          `json:"fault,omitempty"`
	LastError   string          `json:"last_error,omitempty"`
	Reservation string          `json:"reservation,omitempty"`
	// Work is what this conductor does with the node, under its lock.
	Work      string     `json:"work,omitempty"`
	WorkSince *time.Time `json:"work_since,omitempty"`

	Driver        string `json:"driver"`
	Protected     bool   `json:"protected,omitempty"`
	Retired       bool   `json:"retired,omitempty"`
	ResourceClass string `json:"resource_class,omitempty"`
	Instance      string `json:"instance_uuid,omitempty"`
	CleansItself  bool   `json:"automated_clean"` // what the node and the configuration come to
	NoAgent       bool   `json:"without_agent,omitempty"`
	NoNetboot     bool   `json:"without_netboot,omitempty"` // its boot interface boots nothing over our servers
	// DeployFault and PowerFault are why the interfaces refuse the node, "" if they do not.
	DeployFault string `json:"deploy_fault,omitempty"`
	PowerFault  string `json:"power_fault,omitempty"`

	// Booted is when the machine was switched on, or reset, last.
	Booted *time.Time `json:"booted,omitempty"`
	Ports  []Port     `json:"ports"`
	// Strangers are the last requests of machines that no node is of.
	Strangers []Sighting `json:"strangers,omitempty"`
	BMC       *Contact   `json:"bmc,omitempty"`
	// Probe is what the BMC said right now, or why it did not.
	Probe      string `json:"power_probe,omitempty"`
	ProbeError string `json:"power_probe_error,omitempty"`

	AgentURL       string        `json:"agent_url,omitempty"`
	AgentVersion   string        `json:"agent_version,omitempty"`
	LastHeartbeat  *time.Time    `json:"last_heartbeat,omitempty"`
	LookedUp       bool          `json:"looked_up"` // the agent of this boot has been told its node
	Step           string        `json:"step,omitempty"`
	StepNumber     int           `json:"step_number,omitempty"`
	Steps          int           `json:"steps,omitempty"`
	StepSince      *time.Time    `json:"step_since,omitempty"`
	Progress       *ipa.Progress `json:"progress,omitempty"`
	Events         []Event       `json:"events"` // of this boot, oldest first
	RefusedLookups []Event       `json:"refused_lookups,omitempty"`
	// Plugins are what the agent of this boot said of them.
	Plugins *Plugins `json:"plugins,omitempty"`

	Site Site `json:"site"`
}

// Plugins are hardware managers of an agent: versions, and reasons, by name.
type Plugins struct {
	Time     time.Time         `json:"time"`
	Loaded   map[string]string `json:"loaded,omitempty"`
	Refused  map[string]string `json:"refused,omitempty"`
	SetAside map[string]string `json:"set_aside,omitempty"`
}

// Port of the node, with what was asked under its address.
type Port struct {
	Address    string     `json:"address"`
	PXEEnabled bool       `json:"pxe_enabled"`
	Sightings  []Sighting `json:"sightings"`
}

// Sighting is a request of a machine that boots, and what became of it.
type Sighting struct {
	Time     time.Time `json:"time"`
	MAC      string    `json:"mac,omitempty"`
	IP       string    `json:"ip,omitempty"`
	Node     string    `json:"node,omitempty"`
	Protocol string    `json:"protocol"`
	Request  string    `json:"request"`
	Answer   string    `json:"answer,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Count    int       `json:"count"`
}

// Contact is how it went when the BMC was asked last.
type Contact struct {
	Time  time.Time `json:"time"`
	OK    bool      `json:"ok"`
	What  string    `json:"what"`
	Error string    `json:"error,omitempty"`
}

// Event of the node.
type Event struct {
	Time   time.Time `json:"time"`
	Kind   string    `json:"kind"`
	Detail string    `json:"detail"`
}

// Site is what all nodes share.
type Site struct {
	DHCP             string        `json:"dhcp"`              // mode of our server: off, proxy, full
	APIURL           string        `json:"api"`               // as agents are told
	HeartbeatTimeout time.Duration `json:"heartbeat_timeout"` // within which an agent is heard
	Workers          int           `json:"workers"`           // of the pool
	WorkersBusy      int           `json:"workers_busy"`
}

// waiting is true while the node waits for its agent, and when that wait ended
// in vain: what was seen meanwhile is why.
func (f *Facts) waiting() bool {
	return f.State.Is(provision.Waiting) || f.timedOut()
}

func (f *Facts) timedOut() bool {
	return strings.Contains(f.LastError, "Timeout reached while waiting for callback") && !f.settled()
}

// settled is true in states in which a last_error is an old story.
func (f *Facts) settled() bool {
	return f.State == provision.Active || f.State == provision.Available || f.State == provision.Rescue
}

// failed is true while an error is what the node's state is about.
func (f *Facts) failed() bool {
	return f.LastError != "" && !f.settled() && !f.State.Is(provision.Waiting, provision.Transient)
}

// says looks for one of several texts in the node's last_error, whatever their case.
func (f *Facts) says(texts ...string) bool {
	return f.failed() && containsAny(f.LastError, texts...)
}

func containsAny(text string, parts ...string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, strings.ToLower(p)) })
}

// bootless is a wait in which the agent of this boot has not been heard at all.
func (f *Facts) bootless() bool {
	return f.waiting() && (f.AgentURL == "" || f.timedOut()) && !f.NoAgent
}

// since is when the boot began that is waited for.
func (f *Facts) since() time.Time {
	if f.Booted != nil {
		return *f.Booted
	}
	if f.Since != nil {
		return *f.Since
	}
	return f.Now
}

// waited is for how long nothing has become of the boot.
func (f *Facts) waited() time.Duration { return f.Now.Sub(f.since()) }

// seen are the requests under the node's addresses in this boot, oldest first.
func (f *Facts) seen() (list []Sighting) {
	for _, p := range f.Ports {
		for _, s := range p.Sightings {
			if !s.Time.Before(f.since().Add(-time.Second)) {
				list = append(list, s)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Sighting) int { return a.Time.Compare(b.Time) })
	return list
}

// refused finds the last request of this boot that was not answered for one of
// the reasons; without reasons, for any.
func (f *Facts) refused(protocol string, reasons ...string) *Sighting {
	list := f.seen()
	for i := len(list) - 1; i >= 0; i-- {
		s := &list[i]
		if s.Reason != "" && (protocol == "" || s.Protocol == protocol) && (len(reasons) == 0 || containsAny(s.Reason, reasons...)) {
			return s
		}
	}
	return nil
}

// answered finds the last request by a protocol of this boot that was answered.
func (f *Facts) answered(protocols ...string) *Sighting {
	list := f.seen()
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Answer != "" && slices.Contains(protocols, list[i].Protocol) {
			return &list[i]
		}
	}
	return nil
}

// event finds the last event of this boot of a kind, with one of the texts in its detail.
func (f *Facts) event(kind string, texts ...string) *Event {
	for i := len(f.Events) - 1; i >= 0; i-- {
		e := &f.Events[i]
		if e.Kind == kind && !e.Time.Before(f.since().Add(-time.Second)) && (len(texts) == 0 || containsAny(e.Detail, texts...)) {
			return e
		}
	}
	return nil
}

// missing are the plugins that the agent is without, as sentences.
func (f *Facts) missing() (list []string) {
	if f.Plugins == nil {
		return nil
	}
	for _, part := range []struct {
		what string
		of   map[string]string
	}{{"refused", f.Plugins.Refused}, {"set aside", f.Plugins.SetAside}} {
		for _, name := range slices.Sorted(maps.Keys(part.of)) {
			list = append(list, "plugin "+name+" was "+part.what+": "+part.of[name])
		}
	}
	return list
}

// missed says that what failed speaks of a step that is not there, or of a plugin
// that is not.
func (f *Facts) missed() bool {
	if len(f.missing()) == 0 {
		return false
	}
	words := append(slices.Collect(maps.Keys(f.Plugins.Refused)), slices.Collect(maps.Keys(f.Plugins.SetAside))...)
	return f.says(append(words, "does not support the step")...)
}

// stranger is a machine that no node is of and that asked in vain during this boot.
func (f *Facts) stranger() *Sighting {
	for i := range f.Strangers {
		if s := &f.Strangers[i]; s.MAC != "" && !s.Time.Before(f.since().Add(-time.Second)) {
			return s
		}
	}
	return nil
}

// bmcFault is why the BMC could not be asked the last time, "" if it could.
func (f *Facts) bmcFault() string {
	switch {
	case f.ProbeError != "":
		return f.ProbeError
	case f.Probe != "":
		return ""
	case f.BMC != nil && !f.BMC.OK:
		return f.BMC.Error
	case f.BMC == nil && f.failed():
		return f.LastError
	}
	return ""
}
