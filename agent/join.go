package agent

import (
	"context"
	"net/http"
	"time"

	"ferric/agent/inspection"
	"ferric/agent/ironic"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// join looks the node up and serves its conductor until ctx ends. inspected is
// the node's UUID if an inspection told it, else "".
func (a *Agent) join(ctx context.Context, inspected string) error {
	var err error
	if a.api, err = ironic.NewClient(a.apiOptions()); err != nil {
		return err
	}
	found, err := a.api.WaitForLookup(ctx, ironic.Lookup{
		MACs: a.waitForMACs, NodeUUID: inspected,
		Interval: a.cfg.LookupInterval, Timeout: a.cfg.LookupTimeout, Log: a.log,
	})
	if err != nil {
		return unlessEnded(ctx, err)
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
	a.takeOffers(ctx, uuid, token, found.Config.Plugins)
	if err := a.waitForRoot(ctx, found.Node); err != nil {
		return nil
	}
	return a.serve(ctx, a.api, uuid, token, time.Duration(found.Config.HeartbeatTimeout*float64(time.Second)))
}

func (a *Agent) apiOptions() ironic.Options {
	return ironic.Options{
		URLs: a.cfg.APIURLs, Version: a.cfg.IronicAPIVersion, GlobalRequestID: a.cfg.GlobalRequestID,
		Timeout: a.cfg.HTTPRequestTimeout, Insecure: a.cfg.Insecure,
		CAFile: a.cfg.CAFile, CertFile: a.cfg.CertFile, KeyFile: a.cfg.KeyFile,
	}
}

// inspect sends what the machine is, if that was configured, and returns the
// UUID of the node, "" if it is not known. What fails is only logged: the node
// is looked up in any case.
func (a *Agent) inspect(ctx context.Context) string {
	if !inspection.Enabled(a.cfg.InspectionCallbackURLs, a.cfg.InspectionCollectors, a.cfg.APIURLs) {
		return ""
	}
	client, err := ironic.NewHTTPClient(a.apiOptions())
	if err != nil {
		a.log.WithError(err).Error("inspection failed")
		return ""
	}
	uuid, err := inspection.Run(ctx, a.inspectionOptions(client))
	if err != nil && ctx.Err() == nil {
		a.log.WithError(err).Error("inspection failed")
	}
	return uuid
}

func (a *Agent) inspectionOptions(client *http.Client) inspection.Options {
	return inspection.Options{
		Host: a.host, Set: a.set, URLs: inspection.URLs(a.cfg.InspectionCallbackURLs, a.cfg.APIURLs),
		Collectors: a.cfg.InspectionCollectors, Benchmarks: a.cfg.InspectionBenchmarks,
		DHCPWait: a.cfg.InspectionDHCPWaitTimeout, DHCPAllInterfaces: a.cfg.InspectionDHCPAllInterfaces,
		Logs: a.systemLogs, HTTP: client, RequestID: a.cfg.GlobalRequestID, Log: a.log,
	}
}

// refreshPatience bounds the lookup that refreshes the node: a conductor that
// does not want lookups in the node's state answers 404 for good.
const refreshPatience = 10 * time.Second

// refreshNode looks the node up again if it has no hints for its root disk, for
// they may have been set since (agent contract, section "Root device
// selection"). A failure is only logged: the node is known as it was.
func (a *Agent) refreshNode(ctx context.Context) {
	node := a.currentNode()
	uuid, _ := node["uuid"].(string)
	if a.api == nil || uuid == "" || hasRootHints(node) {
		return
	}
	found, err := a.api.WaitForLookup(ctx, ironic.Lookup{
		MACs: a.waitForMACs, NodeUUID: uuid,
		Interval: a.cfg.LookupInterval, Timeout: min(a.cfg.LookupTimeout, refreshPatience), Log: a.log,
	})
	if err == nil && found.Node["uuid"] != uuid {
		err = ipa.LookupNode.New("another node, %v, was found", found.Node["uuid"])
	}
	if err != nil {
		a.log.WithError(err).Warn("node not refreshed")
		return
	}
	a.setNode(found.Node)
}

func hasRootHints(node hwmanager.Node) bool {
	for _, field := range []string{"instance_info", "properties"} {
		object, _ := node[field].(map[string]any)
		if hints, _ := object["root_device"].(map[string]any); len(hints) > 0 {
			return true
		}
	}
	return false
}
