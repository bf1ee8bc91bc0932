package flow

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Bounds of what an agent tells of its plugins.
const (
	maxReportedPlugins = 64
	maxPluginName      = 255
	maxPluginReason    = 2000
	maxPluginDetail    = 8000 // of an event
)

// AgentNode finds the node of an agent that shows the token which it was given.
// Whoever shows another learns nothing of the node, not even whether there is one.
func (f *Flow) AgentNode(ctx context.Context, nodeUUID, token string) (*store.Node, error) {
	n, err := f.store.HeartbeatNode(ctx, nodeUUID)
	known := ""
	switch {
	case err == nil:
		known = n.DriverInternalInfo.String(driver.KeyAgentToken)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	if known == "" || subtle.ConstantTimeCompare([]byte(known), []byte(token)) != 1 {
		return nil, fmt.Errorf("%w of node %s", ErrAgentToken, nodeUUID)
	}
	return n, nil
}

// ReportPlugins keeps what the agent of a node tells of its plugins. What is bad
// of it becomes part of the node's history: a step of such a plugin will be missed.
func (f *Flow) ReportPlugins(ctx context.Context, report ipa.PluginReport) error {
	n, err := f.AgentNode(ctx, report.NodeUUID, report.AgentToken)
	if err != nil {
		return err
	}
	row := &store.PluginReport{NodeID: n.ID, Agent: driver.AgentDigest(n)}
	for _, part := range []struct {
		name string
		from map[string]string
		to   *store.Object
	}{{"loaded", report.Loaded, &row.Loaded}, {"refused", report.Refused, &row.Refused}, {"set_aside", report.SetAside, &row.SetAside}, {"not_here", report.NotHere, &row.NotHere}} {
		if len(part.from) > maxReportedPlugins {
			return invalid("The report of node %s has %d plugins in %s, more than %d.", n.UUID, len(part.from), part.name, maxReportedPlugins)
		}
		*part.to = store.Object{}
		for name, text := range part.from {
			if name == "" || len(name) > maxPluginName {
				return invalid("The report of node %s has a plugin in %s whose name has %d bytes; 1 to %d are allowed.", n.UUID, part.name, len(name), maxPluginName)
			}
			(*part.to)[name] = cutText(text, maxPluginReason)
		}
	}
	faults := pluginFaults(row)
	var words []string
	if len(row.Loaded) > 0 {
		for _, name := range slices.Sorted(maps.Keys(row.Loaded)) {
			words = append(words, strings.TrimSpace(name+" "+row.Loaded.String(name)))
		}
		words = []string{"loaded " + strings.Join(words, ", ")}
	}
	words = append(words, faults...)
	for _, name := range slices.Sorted(maps.Keys(row.NotHere)) {
		words = append(words, fmt.Sprintf("plugin %s is not for this machine: %s", name, row.NotHere.String(name)))
	}
	if len(words) == 0 {
		words = []string{"no plugins"}
	}
	data := store.Object{"loaded": row.Loaded, "refused": row.Refused, "set_aside": row.SetAside, "not_here": row.NotHere}
	events := []store.Event{task.MakeEvent(task.Actor{Request: task.ActorOf(ctx).Request}, event.Plugins, data, "%s", cutText(strings.Join(words, "; "), maxPluginDetail))}
	var entries []store.History
	var limits store.HistoryLimits
	if len(faults) > 0 {
		entries, limits = f.tasks.HistoryEntry(n, store.SeverityError, cutText(strings.Join(faults, "; "), maxPluginDetail))
	}
	if err := f.store.KeepPluginReport(ctx, row, events, entries, limits); err != nil {
		return err
	}
	log := f.log.WithField("node", n.UUID)
	for _, fault := range faults {
		log.Warn(fault)
	}
	if f.cfg.Observer != nil {
		f.cfg.Observer.Plugins(len(row.Loaded), len(row.Refused), len(row.SetAside))
	}
	return nil
}

// cutText makes valid UTF-8 of at most limit bytes of a text.
func cutText(text string, limit int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= limit {
		return text
	}
	const mark = " …"
	cut := text[:limit-len(mark)]
	for !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return cut + mark
}

// pluginFaults are sentences about what is missing of an agent.
func pluginFaults(r *store.PluginReport) (list []string) {
	for _, part := range []struct {
		what string
		of   store.Object
	}{{"refused", r.Refused}, {"set aside", r.SetAside}} {
		for _, name := range slices.Sorted(maps.Keys(part.of)) {
			list = append(list, fmt.Sprintf("plugin %s was %s: %s", name, part.what, part.of.String(name)))
		}
	}
	return list
}

// namePlugins adds to the error of a step that is not offered what the agent is
// without: that may be why.
func (f *Flow) namePlugins(ctx context.Context, n *store.Node, err error) error {
	if !errors.As(err, new(*steps.NotOfferedError)) {
		return err
	}
	report, missing := f.store.PluginReport(ctx, n.ID)
	if missing != nil || report.Agent != driver.AgentDigest(n) || !report.Bad() {
		return err // of an agent of an earlier boot, or of none
	}
	return fmt.Errorf("%w; %s", err, strings.Join(pluginFaults(report), "; "))
}
