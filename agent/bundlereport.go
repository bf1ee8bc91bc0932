package agent

import (
	"context"
	"maps"
	"slices"
	"time"

	"ferric/api/ipa"
)

// Limits of the report.
const (
	reportAttempts = 3
	reportPatience = 10 * time.Second // for all attempts
	reportPause    = time.Second
)

// reportPlugins tells the conductor what became of its offers. It can be left
// out: a conductor that does not take it loses only what it would show.
func (a *Agent) reportPlugins(ctx context.Context, node, token string, results []ipa.OfferedPlugin) {
	report := ipa.PluginReport{
		NodeUUID: node, AgentToken: token,
		Loaded: map[string]string{}, Refused: map[string]string{}, NotHere: map[string]string{}, SetAside: a.set.SetAside(),
	}
	for _, r := range results {
		switch r.State {
		case ipa.PluginLoaded:
			report.Loaded[r.Name] = r.Version
		case ipa.PluginRefused:
			report.Refused[r.Name] = r.Reason
			delete(report.SetAside, r.Name) // says the same
		case ipa.PluginNotHere:
			report.NotHere[r.Name] = r.Reason
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := a.api.ReportPlugins(ctx, report)
		if err == nil {
			return
		}
		if attempt == reportAttempts || pause(ctx, reportPause) != nil {
			a.log.WithError(err).Warn("what became of the plugins is not reported")
			return
		}
	}
}

func (a *Agent) setOffered(results []ipa.OfferedPlugin) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.offered = results
}

// plugins is the document of the agent's managers and plugins.
func (a *Agent) plugins() ipa.AgentPlugins {
	a.mu.Lock()
	offered := slices.Clone(a.offered)
	a.mu.Unlock()
	if offered == nil {
		offered = []ipa.OfferedPlugin{}
	}
	aside := a.set.SetAside()
	if aside == nil {
		aside = map[string]string{}
	}
	return ipa.AgentPlugins{Managers: maps.Clone(a.set.Versions()), Offered: offered, SetAside: aside}
}
