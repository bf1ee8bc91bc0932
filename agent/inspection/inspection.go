// Package inspection tells the bare-metal API what machine this is: it runs
// collectors and posts what they found, before the node is looked up (agent
// contract, section "When and how inspection runs"). Reading order: Run,
// collectors.go, post.go.
package inspection

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/hwmanager"
)

// Options of an inspection.
type Options struct {
	Host *hwmanager.Host
	Set  *hwmanager.Set
	// URLs that the document is posted to, tried in order; see URLs.
	URLs       []string
	Collectors []string // none: default and logs
	// DHCPWait bounds the wait for IPv4 addresses, of the interface booted
	// from or of all; 0: no wait.
	DHCPWait          time.Duration
	DHCPAllInterfaces bool
	Benchmarks        []string // of extra-hardware: cpu, mem, disk
	// Logs is the archive of all logs: a tar.gz in base64.
	Logs      func(ctx context.Context) (string, error)
	HTTP      *http.Client // with time limit and trust as configured
	RequestID string       // X-OpenStack-Request-ID; "": none
	Log       *logrus.Entry
}

// Enabled reports whether an inspection was configured: a URL of its own, or
// collectors and the URL of an API.
func Enabled(callbackURLs, collectors, apiURLs []string) bool {
	return len(callbackURLs) > 0 || len(collectors) > 0 && len(apiURLs) > 0
}

// URLs are those to post to: callbackURLs (inspection_callback_url), else those
// of the API.
func URLs(callbackURLs, apiURLs []string) []string {
	if len(callbackURLs) > 0 {
		return callbackURLs
	}
	urls := make([]string, len(apiURLs))
	for i, u := range apiURLs {
		urls[i] = strings.TrimRight(u, "/") + "/v1/continue_inspection"
	}
	return urls
}

// defaultCollectors run if none are configured.
func defaultCollectors() []string { return []string{"default", "logs"} }

// document is what is posted.
type document map[string]any

// failures are the collectors' errors. They do not end an inspection: it runs
// on machines that nobody knows anything else of.
type failures []error

// text is the member "error" of the document; nil if there are none.
func (f failures) text() *string {
	if len(f) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("The following errors were encountered:")
	for _, err := range f {
		fmt.Fprintf(&b, "\n* %v", err)
	}
	s := b.String()
	return &s
}

// Run inspects the machine once and posts the result. It returns the UUID of
// the node, "" if the server told none. With an error it may return a UUID
// too: then the document has arrived, but a collector had failed. An error is
// no reason not to look the node up.
func Run(ctx context.Context, o Options) (nodeUUID string, err error) {
	names := o.Collectors
	if len(names) == 0 {
		names = defaultCollectors()
	}
	o.Log.WithField("collectors", names).Info("inspection starts")
	started := time.Now()
	doc := document{}
	failed, aborted := o.collect(ctx, names, doc)
	doc["error"] = failed.text()
	collected := time.Since(started)
	nodeUUID, err = o.post(ctx, doc)
	switch {
	case err != nil:
		return "", fmt.Errorf("inspection: %w", errors.Join(append(failed, err)...))
	case aborted:
		return "", fmt.Errorf("inspection: %w", errors.Join(failed...))
	case len(failed) > 0:
		return nodeUUID, fmt.Errorf("inspection: %w", errors.Join(failed...))
	}
	o.Log.WithFields(logrus.Fields{"node": nodeUUID, "collected_in": collected.Round(time.Millisecond).String()}).Info("inspection done")
	return nodeUUID, nil
}

// collect runs the collectors in their order, those of the hardware managers
// where one of them is named, else before the logs, which tell of all. A name
// that none has aborts before the first one.
func (o *Options) collect(ctx context.Context, names []string, doc document) (failed failures, aborted bool) {
	table := collectors()
	managers := o.Set.Collectors()
	var order []string // with one entry for those of all managers
	asked := false
	for _, name := range names {
		known, ofManager := table[name] != nil, slices.Contains(managers, name)
		if !known && !ofManager {
			// Operators know the text from the other agent.
			failed = append(failed, fmt.Errorf("Failed to load collector %s", name))
		}
		if !asked && (ofManager && !known || name == "logs") {
			order, asked = append(order, ofManagers), true
		}
		if known {
			order = append(order, name)
		}
	}
	if len(failed) > 0 {
		return failed, true
	}
	if !asked {
		order = append(order, ofManagers)
	}
	table[ofManagers] = collectManagers
	for _, name := range order {
		started := time.Now()
		if err := table[name](ctx, o, doc); err != nil {
			o.Log.WithError(err).WithField("collector", name).Error("collector failed")
			failed = append(failed, fmt.Errorf("collector %s failed: %w", name, err))
		}
		o.Log.WithField("collector", name).Debugf("collector took %s", time.Since(started))
	}
	return failed, false
}

// configuration is what the document says of the inspection itself.
func (o *Options) configuration() map[string]any {
	type manager struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	managers := []manager{}
	for name, version := range o.Set.Versions() {
		managers = append(managers, manager{name, version})
	}
	slices.SortFunc(managers, func(a, b manager) int { return strings.Compare(a.Name, b.Name) })
	names := o.Collectors
	if len(names) == 0 {
		names = defaultCollectors()
	}
	return map[string]any{"collectors": names, "managers": managers}
}
