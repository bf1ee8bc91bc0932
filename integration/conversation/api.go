package conversation

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const versionHeader = "X-OpenStack-Ironic-API-Version"

// maxBody bounds a request's body; inspection data with logs are the largest.
const maxBody = 64 << 20

// fault is a refusal with its HTTP status.
type fault struct {
	status int
	text   string
}

func (f *fault) Error() string { return f.text }

func refuse(status int, format string, args ...any) error {
	return &fault{status, fmt.Sprintf(format, args...)}
}

// endpoint is the constant for a path.
func endpoint(path string) string {
	if strings.HasPrefix(path, Heartbeat) {
		return Heartbeat
	}
	return path
}

// ServeHTTP is the API: it answers and records one call.
func (c *Conductor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return // the agent went away
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	call := Call{Time: time.Now(), Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Version: r.Header.Get(versionHeader), TLS: r.TLS != nil, Body: body}
	var answer any
	if queue := c.refusals[endpoint(call.Path)]; len(queue) > 0 {
		c.refusals[endpoint(call.Path)] = queue[1:]
		call.Status, call.Fault = queue[0], "by request of the test"
	} else {
		call.Status, answer, err = c.answer(call)
		if f, ok := err.(*fault); ok {
			call.Status, call.Fault = f.status, f.text
		}
	}
	c.calls = append(c.calls, call)
	close(c.changed)
	c.changed = make(chan struct{})

	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-OpenStack-Ironic-API-Minimum-Version", "1.1")
	w.Header().Set("X-OpenStack-Ironic-API-Maximum-Version", c.Release.Version)
	w.WriteHeader(call.Status)
	if call.Status >= 400 {
		// Pecan and the JSON error middleware of Ironic: the fault is a JSON text inside JSON.
		inner, _ := json.Marshal(map[string]any{"faultcode": "Client", "faultstring": call.Fault, "debuginfo": nil})
		answer = map[string]string{"error_message": string(inner)}
	}
	if answer != nil {
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// answer is what the real API answers; the lock is held.
func (c *Conductor) answer(call Call) (int, any, error) {
	if call.Path == Root && call.Method == http.MethodGet {
		version := map[string]any{"id": "v1", "links": []any{}, "status": "CURRENT", "min_version": "1.1", "version": c.Release.Version}
		return http.StatusOK, map[string]any{"name": "OpenStack Ironic API", "description": "", "default_version": version, "versions": []any{version}}, nil
	}
	if newer(call.Version, c.Release.Version) {
		return 0, nil, refuse(http.StatusNotAcceptable, "version %s was requested but the service only supports up to %s", call.Version, c.Release.Version)
	}
	switch {
	case call.Path == Lookup && call.Method == http.MethodGet:
		answer, err := c.lookup(call)
		return http.StatusOK, answer, err
	case strings.HasPrefix(call.Path, Heartbeat) && call.Method == http.MethodPost:
		return http.StatusAccepted, nil, c.heartbeat(call)
	case call.Path == Inspect && call.Method == http.MethodPost:
		answer, err := c.inspect(call)
		return http.StatusAccepted, answer, err
	}
	return 0, nil, refuse(http.StatusNotFound, "%s %s is not part of this API", call.Method, call.Path)
}

// newer reports whether microversion a is above b; none is the lowest.
func newer(a, b string) bool {
	minor := func(v string) int {
		_, text, _ := strings.Cut(v, ".")
		n, _ := strconv.Atoi(text)
		return n
	}
	return minor(a) > minor(b)
}

func (c *Conductor) since(call Call, version string) bool { return !newer(version, call.Version) }

// lookup finds the node by the agent's addresses or its UUID. The token is shown once a boot (deploy flow 2).
func (c *Conductor) lookup(call Call) (any, error) {
	if !c.since(call, "1.22") {
		return nil, refuse(http.StatusNotFound, "lookup was added in version 1.22")
	}
	addresses := strings.Split(call.Query.Get("addresses"), ",")
	known := call.Query.Get("node_uuid") == c.uuid()
	for _, port := range c.Ports {
		known = known || slices.ContainsFunc(addresses, func(a string) bool { return strings.EqualFold(a, fmt.Sprint(port["address"])) })
	}
	if !known {
		return nil, refuse(http.StatusNotFound, "Node not found: no port with any of %v", addresses)
	}
	config := map[string]any{
		"heartbeat_timeout": c.HeartbeatTimeout.Seconds(), "agent_token": "******", "agent_token_required": true, "agent_md5_checksum_enable": true,
		"metrics":        map[string]any{"backend": "noop", "prepend_host": false, "prepend_uuid": false, "prepend_host_reverse": true, "global_prefix": nil},
		"metrics_statsd": map[string]any{"statsd_host": "localhost", "statsd_port": 8125},
	}
	if c.Release.TokenOnGET { // the later releases
		config["disable_deep_image_inspection"], config["permitted_image_formats"] = false, []string{"raw", "gpt", "qcow2", "iso"}
		config["agent_skip_bmc_detect"] = false
	}
	for key, value := range c.Config {
		config[key] = value
	}
	if c.since(call, "1.62") && c.token == "" {
		c.token = newToken()
		config["agent_token"] = c.token
	}
	node := map[string]any{"links": []any{}}
	for _, key := range []string{"uuid", "properties", "instance_info", "driver_internal_info"} {
		node[key] = c.Node[key]
	}
	return map[string]any{"node": node, "config": config}, nil
}

// heartbeat makes the checks of the API and of the conductor (agent contract 2.4, deploy flow 3).
func (c *Conductor) heartbeat(call Call) error {
	var beat Beat
	if err := json.Unmarshal(call.Body, &beat); err != nil {
		return refuse(http.StatusBadRequest, "Invalid input: %v", err)
	}
	var members map[string]any
	if err := json.Unmarshal(call.Body, &members); err != nil {
		return refuse(http.StatusBadRequest, "Invalid input: %v", err)
	}
	for member, since := range map[string]string{"agent_version": "1.36", "agent_token": "1.62", "agent_verify_ca": "1.68"} {
		if _, there := members[member]; there && !c.since(call, since) {
			return refuse(http.StatusBadRequest, "%s was added in version %s", member, since)
		}
		delete(members, member)
	}
	delete(members, "callback_url")
	for member := range members {
		return refuse(http.StatusBadRequest, "Unknown argument: %q", member)
	}
	switch {
	case strings.TrimPrefix(call.Path, Heartbeat) != c.uuid():
		return refuse(http.StatusNotFound, "Node %s could not be found", strings.TrimPrefix(call.Path, Heartbeat))
	case beat.AgentVersion == "":
		return refuse(http.StatusBadRequest, "Agent version is required")
	case c.token == "" || beat.AgentToken != c.token:
		return refuse(http.StatusBadRequest, "Agent token is required or does not match")
	case c.beat.CallbackURL != "" && c.beat.CallbackURL != beat.CallbackURL:
		return refuse(http.StatusBadRequest, "Detected change in ramdisk provided \"callback_url\"")
	case c.beat.CallbackURL != "" && c.beat.AgentVerifyCA != beat.AgentVerifyCA:
		return refuse(http.StatusBadRequest, "Detected change in ramdisk provided \"agent_verify_ca\"")
	case c.Release.RequireTLS && !strings.HasPrefix(beat.CallbackURL, "https://"):
		return refuse(http.StatusBadRequest, "TLS is required by configuration")
	}
	c.beat = beat
	c.beats++
	return nil
}

// inspect accepts inspection data of this node.
func (c *Conductor) inspect(call Call) (any, error) {
	var data struct {
		Inventory struct {
			Interfaces []struct {
				MAC string `json:"mac_address"`
			} `json:"interfaces"`
		} `json:"inventory"`
	}
	if err := json.Unmarshal(call.Body, &data); err != nil {
		return nil, refuse(http.StatusBadRequest, "Invalid inspection data: %v", err)
	}
	for _, i := range data.Inventory.Interfaces {
		for _, port := range c.Ports {
			if strings.EqualFold(i.MAC, fmt.Sprint(port["address"])) {
				return map[string]any{"uuid": c.uuid()}, nil
			}
		}
	}
	return nil, refuse(http.StatusNotFound, "Node not found: no interface of the inventory belongs to a node")
}

func (c *Conductor) uuid() string { return fmt.Sprint(c.Node["uuid"]) }
