package agent

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"ferric/agent/config"
	"ferric/agent/ironic"
	"ferric/agent/mdns"
)

// Services of OpenStack in multicast DNS, and the path of the latter (agent
// contract, sections "Finding the API" and "When and how inspection runs").
const (
	serviceAPI        = "baremetal"
	serviceInspection = "baremetal-introspection"
	inspectionPath    = "/v1/continue"
)

// discover finds the API and the inspection service by multicast DNS, as far as
// that is configured. Only an API that was to be found so and cannot be is an
// error.
func (a *Agent) discover(ctx context.Context) error {
	wanted := isMDNS(a.cfg.APIURLs)
	if wanted || len(a.cfg.APIURLs) == 0 && a.cfg.UseMDNS {
		url, err := a.find(ctx, serviceAPI)
		switch {
		case err != nil && wanted:
			return err
		case err != nil:
			a.log.WithError(err).Warn("no API found")
		default:
			a.cfg.APIURLs = []string{url}
		}
	}
	if isMDNS(a.cfg.InspectionCallbackURLs) {
		url, err := a.find(ctx, serviceInspection)
		a.cfg.InspectionCallbackURLs = nil
		if err != nil {
			a.log.WithError(err).Error("inspection is left out")
			a.cfg.InspectionCollectors = nil
			return ctx.Err()
		}
		a.cfg.InspectionCallbackURLs = []string{url + inspectionPath}
	}
	return nil
}

func isMDNS(urls []string) bool { return len(urls) == 1 && urls[0] == config.MDNS }

// find looks for a service and takes over the options that come with it.
func (a *Agent) find(ctx context.Context, service string) (string, error) {
	q := mdns.Query{Service: service, Attempts: a.cfg.MDNSLookupAttempts, HasRoute: ironic.HasRoute}
	for _, text := range a.cfg.MDNSInterfaces {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			a.log.Warnf("[mdns] interfaces: %q is not an IP address", text)
			continue
		}
		q.Interfaces = append(q.Interfaces, addr.Unmap())
	}
	if err := waitForAddress(ctx); err != nil {
		return "", fmt.Errorf("multicast DNS: %w", err)
	}
	found, err := mdns.Find(ctx, q)
	if err != nil {
		return "", err
	}
	a.log.WithField("url", found.URL).Infof("service %s found by multicast DNS", service)
	for _, option := range slices.Sorted(maps.Keys(found.Options)) {
		err := fmt.Errorf("option %q is not one that multicast DNS may set", option)
		if slices.Contains(a.cfg.MDNSAllowedOverrides, option) {
			err = a.cfg.Override("DEFAULT", option, found.Options[option])
		}
		if err != nil {
			a.log.WithError(err).Warn("multicast DNS")
		}
	}
	a.host.Settings = settingsOf(a.cfg)
	return found.URL, nil
}

const (
	addressPatience = 60 * time.Second // as for an interface with a MAC address
	addressPoll     = 250 * time.Millisecond
)

// waitForAddress waits until the machine has an address that others reach: an
// agent of a small ramdisk starts before DHCP is done.
func waitForAddress(ctx context.Context) error {
	deadline := time.Now().Add(addressPatience)
	for {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("addresses of this machine: %w", err)
		}
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr().IsGlobalUnicast()
		}) {
			return nil
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("no address on any interface within %s", addressPatience)
		}
		if err := pause(ctx, addressPoll); err != nil {
			return err
		}
	}
}
